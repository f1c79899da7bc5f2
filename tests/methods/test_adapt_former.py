"""AdaptFormer: its equation, which modules it stands beside, and what every method promises."""

import copy
from pathlib import Path

import pytest
import tiny
import torch
import vlm_tiny
from makers import MAKERS
from test_dense_methods import batch, kept, moved, steps
from test_sites import inputs, tied
from torch import nn
from torch.nn import functional as F

from zoo.backbones.base import Backbone
from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.methods.adapt_former import AdaptFormer, Parallel
from zoo.methods.base import Method
from zoo.methods.frozen import Frozen
from zoo.pairing import Pairing
from zoo.prefix import PrefixCache
from zoo.tasks.classification import Classification
from zoo.tasks.segmentation import Segmentation

TOWERS = {"vit": "vision", "sam2": "image"}

MLPS = {"dinov2": "mlp", "dinov3": "mlp", "vit": "mlp", "siglip": "mlp", "clip": "mlp"}


def method(encoder: str, **settings: float) -> AdaptFormer:
    tower = TOWERS[encoder]
    return AdaptFormer(targets={tower: ["mlp"]}, last={tower: 2}, width=3, **settings)


def pairing(chosen: Method, encoder: str, cache: PrefixCache | None = None, *, dense: bool = False) -> Pairing:
    torch.manual_seed(0)
    task = Segmentation(width=4) if dense else Classification(hidden=())
    backbone = copy.deepcopy(kept(encoder))  # hooks stay on what they were put
    return Pairing({"vision": backbone}, chosen, task, classes=["a", "b"], cache=cache).eval()


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("encoder", TOWERS)
@torch.no_grad()
def test_step_0_is_the_frozen_encoder_and_what_moved_it_can_be_taken_away(encoder: str, dense: bool) -> None:
    model, data = pairing(method(encoder), encoder, dense=dense), batch(encoder, 3)
    found, expected = model(data), pairing(Frozen(), encoder, dense=dense)(data)
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    moved(model.method)
    after = model(data)
    last = list(expected)[-1]
    assert not torch.allclose(after[last], expected[last], atol=1e-3)
    alone = model(batch(encoder, 1))
    torch.testing.assert_close(alone, {key: value[:1] for key, value in after.items()}, atol=1e-5, rtol=1e-5)
    with model.method.without():
        assert all(torch.equal(value, expected[key]) for key, value in model(data).items())


@pytest.mark.parametrize("encoder", TOWERS)
def test_frozen_stays_frozen_and_all_else_has_a_gradient_by_the_second_step(encoder: str) -> None:
    model, data = pairing(method(encoder, norm=True), encoder, dense=True), batch(encoder)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    first, second = steps(model, data)
    assert all(first[key].any() for key in first if ".up." in key)
    assert [key for key, gradient in second.items() if gradient is None or not gradient.any()] == []
    trained, after = set(model.trainable), model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before if key not in trained)
    assert [key for key in trained if torch.equal(before[key], after[key])] == []
    assert all(key.startswith(("method.adapters.", "task.")) for key in trained)


@torch.no_grad()
def test_an_adapter_follows_its_equation() -> None:
    one, x = Parallel(5, 4, scale=0.1, norm=True), torch.randn(2, 7, 5)
    assert not one(x).any()
    assert one.down.weight.abs().max() <= 5**-0.5  # uniform, as LoRA's A
    moved(one)
    normed = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    hidden = (normed * one.norm.weight + one.norm.bias) @ one.down.weight.T + one.down.bias
    expected = 0.1 * (hidden.clamp(min=0) @ one.up.weight.T + one.up.bias)
    torch.testing.assert_close(one(x), expected, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_it_reads_what_the_mlp_reads_and_adds_to_what_the_mlp_gives() -> None:
    """A block of a plain transformer, written out."""
    model = pairing(AdaptFormer(targets={"vision": ["mlp"]}, last={"vision": 1}, width=3, scale=0.5), "vit")
    moved(model.method)
    backbone, adapter = model.backbones["vision"], model.method.adapters["vision/03/mlp"]
    tokens = backbone.through(backbone.embed(batch("vit").inputs["vision"][:, 0]), 0, 3)
    block = backbone.blocks[3]
    tokens = tokens + block.attn(block.norm1(tokens))
    normed = block.norm2(tokens)
    hidden = F.gelu(normed @ block.mlp.fc1.weight.T + block.mlp.fc1.bias)
    plain = hidden @ block.mlp.fc2.weight.T + block.mlp.fc2.bias
    beside = F.relu(normed @ adapter.down.weight.T + adapter.down.bias) @ adapter.up.weight.T + adapter.up.bias
    expected = backbone.pool(backbone.finish(tokens + plain + 0.5 * beside))
    torch.testing.assert_close(model(batch("vit"))["vision"][:, 0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", MLPS)
@torch.no_grad()
def test_it_stands_beside_the_mlps_of_every_transformer(name: str) -> None:
    backbone = MAKERS[name]()
    before = backbone.depth - 2
    adapted = AdaptFormer(targets={"vision": [MLPS[name]]}, last={"vision": 2}, width=3)
    tokens = backbone.embed(torch.randn(2, 3, backbone.image_size, backbone.image_size))
    tokens = backbone.through(tokens, 0, before)
    expected = backbone.through(tokens, before)
    adapted.attach({"vision": backbone})
    assert len(adapted.adapters) == 2
    assert adapted.prefix_depths() == {"vision": before}
    assert torch.equal(backbone.through(tokens, before), expected)
    moved(adapted)
    assert not torch.equal(backbone.through(tokens, before), expected)  # layer scale leaves little of it


def test_the_mlps_of_a_language_tower_are_adapted_too() -> None:
    model, samples = vlm_tiny.model("qwen3_vl"), vlm_tiny.pictures()
    before = vlm_tiny.likelihood(model, samples)
    adapted = AdaptFormer(targets={"language": ["mlp"]}, last={"language": 1}, width=3)
    adapted.attach({"scene": model})
    assert (adapted.ahead is None) == (model.blocks_ahead({"language": 1}) == 0)
    assert adapted.describe() == "adapts language blocks 1 to 1 (1 layer: mlp), with bottlenecks of width 3 beside them"
    torch.testing.assert_close(vlm_tiny.likelihood(model, samples), before, equal_nan=True, rtol=0, atol=0)
    moved(adapted)
    assert not torch.equal(vlm_tiny.likelihood(model, samples).nan_to_num(), before.nan_to_num())


def test_a_block_that_stands_several_times_has_one_adapter() -> None:
    backbone = tied()
    adapted = AdaptFormer(targets={"vision": ["mlp"]}, width=3, last={"vision": 4})
    adapted.attach({"vision": backbone})
    assert list(adapted.adapters) == ["vision/00/mlp"]
    assert adapted.prefix_depths() == {"vision": 0}
    calls: list[int] = []
    adapted.adapters["vision/00/mlp"].register_forward_hook(lambda *_: calls.append(1))
    backbone(inputs()[:, 0])
    assert len(calls) == 12


@torch.no_grad()
def test_what_was_learned_is_loaded_and_cached_tokens_give_the_same(tmp_path: Path) -> None:
    model = pairing(method("vit"), "vit")
    cached = pairing(method("vit"), "vit", PrefixCache(folder=str(tmp_path)))
    moved(model.method)
    cached.load_trainable(model.trainable_state())
    data = batch("vit", 3)
    expected = model.predict(data)["probabilities"]
    data.keys = data.ids
    data.prefix = cached.prefix(data)
    assert cached.cache is not None
    assert cached.cache.stored == 3
    assert model.method.prefix_depths() == {"vision": 2}
    torch.testing.assert_close(cached.predict(data)["probabilities"], expected, atol=1e-6, rtol=1e-6)
    kept_tokens = cached.cache.read(cached.cache.key(cached.fingerprints["vision"], 2, "a"))
    assert torch.equal(kept_tokens, data.prefix["vision"][0])


class Answering(nn.Module):
    """Two linear layers that give a pair."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(8, 4), nn.Linear(4, 8)

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, None]:
        """[N, L, 8] -> the same, and nothing."""
        return self.out(self.into(tokens)), None


def test_modules_that_are_no_mlp_are_refused() -> None:
    with pytest.raises(SettingError, match=r"block 2: 'fc1' matches no layer; it has \['mlp'\]"):
        pairing(AdaptFormer(targets={"vision": ["fc1"]}, last={"vision": 2}), "vit")
    with pytest.raises(SettingError, match=r"targets.vision, block 0: 'mlp' matches no layer; it has \[\]"):
        tiny.pairing(AdaptFormer(targets={"vision": ["mlp"]}))
    with pytest.raises(SettingError, match=r"method.targets.audio: the recipe's backbones have the towers"):
        pairing(AdaptFormer(targets={"audio": ["mlp"]}), "vit")
    backbone: Backbone = tiny.TinyVision()
    backbone.layers[0].append(Answering())
    adapted = AdaptFormer(targets={"vision": ["3"]})
    adapted.last = {"vision": 3}
    with pytest.raises(SettingError, match=r"block 1: '3' matches no layer"):
        adapted.attach({"vision": backbone})
    for layer in (1, 2):
        backbone.layers[layer].append(Answering())
    adapted.attach({"vision": backbone})
    with pytest.raises(SettingError, match=r"method.targets.vision, block 0: 3 gives no tensor, but a tuple: no MLP"):
        backbone.through(torch.randn(1, 4, 8))


def test_it_cannot_be_folded_into_weights() -> None:
    assert AdaptFormer(targets={}).unmergeable == "its bottlenecks lie beside MLPs, with a nonlinearity of their own"


def test_a_batch_has_no_part_in_it() -> None:
    model = pairing(method("vit"), "vit")
    moved(model.method)
    data = batch("vit", 3)
    other = Batch(data.ids, {"vision": data.inputs["vision"].flip(0)}, data.target, conditions=data.conditions)
    torch.testing.assert_close(model(other)["vision"], model(data)["vision"].flip(0), atol=1e-6, rtol=1e-5)
