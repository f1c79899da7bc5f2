"""Ladder side tuning: its equations, that no gradient enters an encoder, and what the cache keeps for it."""

import copy
from collections.abc import Mapping
from pathlib import Path

import pytest
import tiny
import torch
import vlm_tiny
from makers import MAKERS, clip
from test_dense_methods import batch, kept, moved, steps
from torch import Tensor
from torch.nn import functional as F

from zoo.backbones.base import tap
from zoo.backbones.mamba3d import Mamba3D
from zoo.backbones.timm_encoder import TimmEncoder
from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.methods.base import Method
from zoo.methods.frozen import Frozen
from zoo.methods.side import Ladder, Side, Thin
from zoo.pairing import Pairing
from zoo.prefix import PrefixCache
from zoo.tasks.classification import Classification
from zoo.tasks.segmentation import Segmentation

SIDES = {
    "all": lambda: Side(rungs=2, reduction=4, heads=2),
    "mean": lambda: Side(rungs=4, reduction=4, tokens="mean"),
}


def pairing(chosen: Method, cache: PrefixCache | None = None) -> Pairing:
    """On a plain transformer of four blocks, seventeen tokens of width 16."""
    torch.manual_seed(0)
    backbone = copy.deepcopy(kept("vit"))
    return Pairing({"vision": backbone}, chosen, Classification(hidden=()), classes=["a", "b"], cache=cache).eval()


def labelled(count: int = 3) -> Batch:
    data = batch("vit", count)
    data.target = {"label": torch.arange(count) % 2}
    return data


@pytest.mark.parametrize("form", SIDES)
@torch.no_grad()
def test_step_0_is_the_frozen_encoder_and_what_moved_it_can_be_taken_away(form: str) -> None:
    model, data = pairing(SIDES[form]()), labelled()
    expected = pairing(Frozen())(data)["vision"]
    assert torch.equal(model(data)["vision"], expected)
    moved(model.method)
    after = model(data)["vision"]
    assert not torch.allclose(after, expected, atol=1e-2)
    torch.testing.assert_close(model(labelled(1))["vision"], after[:1], atol=1e-5, rtol=1e-5)
    with model.method.without():
        assert torch.equal(model(data)["vision"], expected)


@pytest.mark.parametrize("form", SIDES)
def test_no_gradient_enters_the_encoder_and_all_else_has_one_by_the_second_step(form: str) -> None:
    model, data = pairing(SIDES[form]()), labelled()
    entered: list[int] = []
    for block in model.backbones["vision"].blocks:
        block.register_forward_hook(lambda *given: entered.append(int(torch.is_grad_enabled())))
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    first, second = steps(model, data)
    assert sum(entered) == 0
    assert len(entered) == 2 * 4
    assert first["method.ladders.vision.up.weight"].any()
    assert [key for key, gradient in second.items() if gradient is None or not gradient.any()] == []
    trained, after = set(model.trainable), model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before if key not in trained)
    assert [key for key in trained if torch.equal(before[key], after[key])] == []
    assert all(key.startswith(("method.ladders.vision.", "task.")) for key in trained)


@torch.no_grad()
def test_a_ladder_follows_its_equations() -> None:
    """Another loop, from the docstring of `zoo.methods.side`."""
    torch.manual_seed(0)
    one = Ladder([6, 6, 5], 4, 7, heads=2, temperature=0.1)
    states = [torch.randn(2, 9, width) for width in (6, 6, 5)]
    assert not one(states).any()
    assert torch.equal(torch.sigmoid(one.gates / 0.1), torch.full((2,), 0.5))
    moved(one)
    tokens = torch.zeros(())
    for k, state in enumerate(states):
        normed = (state - state.mean(-1, keepdim=True)) / (state.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
        share = 1 / (1 + torch.exp(-one.gates[k - 1] / 0.1)) if k else torch.ones(())
        tokens = one.blocks[k](share * (normed @ one.downs[k].weight.T) + (1 - share) * tokens)
    expected = one.norm(tokens).mean(1) @ one.up.weight.T + one.up.bias
    torch.testing.assert_close(one(states), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_block_is_a_plain_transformers_and_without_heads_an_mlp() -> None:
    one, alone, x = Thin(4, 2), Thin(4, 0), torch.randn(2, 9, 4)
    query, key, value = (
        part.unflatten(-1, (2, 2)).transpose(1, 2) for part in one.attn.qkv(one.norm1(x)).split(4, dim=-1)
    )
    mixed = ((query @ key.transpose(-1, -2) / 2**0.5).softmax(-1) @ value).transpose(1, 2).flatten(2)
    y = x + mixed @ one.attn.proj.weight.T + one.attn.proj.bias
    torch.testing.assert_close(one(x), y + one.mlp.fc2(F.gelu(one.mlp.fc1(one.norm2(y)))), atol=1e-6, rtol=1e-5)
    assert {name.partition(".")[0] for name, _ in alone.named_parameters()} == {"norm2", "mlp"}
    torch.testing.assert_close(alone(x), x + alone.mlp(alone.norm2(x)))


@torch.no_grad()
def test_what_was_learned_is_loaded_and_the_cache_keeps_every_depth_that_is_read(tmp_path: Path) -> None:
    model, cached = pairing(SIDES["all"]()), pairing(SIDES["all"](), PrefixCache(folder=str(tmp_path)))
    moved(model.method)
    cached.load_trainable(model.trainable_state())
    data = labelled()
    expected = model.predict(data)["probabilities"]
    backbone = cached.backbones["vision"]
    data.keys = data.ids
    assert cached.taps("vision") == (2,)
    data.prefix = cached.prefix(data)
    assert cached.cache is not None
    entry = cached.cache.entry(cached.cache.key(cached.fingerprints["vision"], 4, "a", (2,)))
    assert entry is not None
    half = backbone.through(backbone.embed(data.inputs["vision"][:1, 0]), 0, 2)
    assert torch.equal(entry.taps[2], half)
    assert torch.equal(entry.taps[2], data.prefix[tap("vision", 2)][0])
    assert torch.equal(entry.tokens, data.prefix["vision"][0])
    torch.testing.assert_close(cached.predict(data)["probabilities"], expected, atol=1e-6, rtol=1e-6)
    assert pairing(Frozen(), cached.cache).taps("vision") == ()


@pytest.mark.parametrize("name", ["tiny_swin", "aisfx"])
@torch.no_grad()
def test_stages_are_read_by_their_means(name: str) -> None:
    backbone = TimmEncoder(model=name, source="random:0") if name == "tiny_swin" else MAKERS[name]()
    chosen = Side(rungs=3, reduction=2, tokens="mean")
    chosen.attach({"it": backbone})
    assert len({backbone.dims[after] for after in chosen.taps["it"]}) > 1
    prefix: dict[str, Tensor] = {}
    tokens = backbone.embed(backbone.transform(clip()))
    for after, block in enumerate(backbone.blocks, 1):
        tokens = block(tokens)
        prefix[tap("it", after)] = prefix["it"] = tokens[:, None]
    found = chosen.run("it", {"it": backbone}, prefix, Batch([], {}, {}))["it"][:, 0]
    torch.testing.assert_close(found, backbone.pool(backbone.finish(tokens)), atol=0, rtol=0)
    moved(chosen)
    after = chosen.run("it", {"it": backbone}, prefix, Batch([], {}, {}))["it"][:, 0]
    states = [prefix[tap("it", depth)][:, 0].mean(1, keepdim=True) for depth in chosen.taps["it"]]
    torch.testing.assert_close(after, found + chosen.ladders["it"](states), atol=1e-6, rtol=1e-6)
    assert not torch.allclose(after, found, atol=1e-2)


def test_two_encoders_have_a_ladder_each() -> None:
    chosen = Side(rungs=2, reduction=2, tokens="mean")
    model = tiny.pairing(chosen)
    assert chosen.describe() == (
        "a network of width 4 beside vision, which reads the mean token after blocks 2, 3; "
        "a network of width 3 beside audio, which reads the mean token after blocks 1, 2"
    )
    losses = tiny.train_steps(model, steps=20)
    assert losses[-1] < 0.9 * losses[0]


def refused(chosen: Method, backbones: Mapping[str, object], told: str) -> None:
    with pytest.raises(SettingError, match=told):
        chosen.attach(backbones)


def test_settings_and_encoders_that_do_not_fit_are_refused_before_training() -> None:
    vit = {"vision": kept("vit")}
    refused(Side(rungs=5), vit, r"method.rungs = 5: backbones.vision has 4 blocks")
    refused(
        Side(heads=3), vit, r"method.reduction = 8 leaves 2 of the 16 channels of .*; expected a multiple of .* = 3"
    )
    refused(Side(reduction=32), vit, "method.reduction = 32 leaves 0 of the 16 channels")
    refused(Side(rungs=2), {"audio": tiny.TinyAudio()}, r"4, 6 wide after blocks 1, 2; method.tokens=mean reads")
    refused(
        Side(), {"vlm": vlm_tiny.model(vlm_tiny.NAMES[0])}, "backbones.vlm: method Side needs an encoder whose tokens"
    )
    with pytest.raises(SettingError, match="method Side gives no maps, which task segmentation reads"):
        Pairing({"vision": kept("vit")}, Side(), Segmentation(width=4), classes=["a", "b"])
    assert Side().unmergeable == "its network stands beside the encoder"


def test_tokens_that_change_in_number_and_features_that_are_several_are_named() -> None:
    chosen, backbone = Side(rungs=2, reduction=4), kept("vit")
    chosen.attach({"vision": backbone})
    tokens = torch.randn(1, 1, 17, 16)
    prefix = {"vision": tokens, tap("vision", 2): tokens[:, :, :9]}
    with pytest.raises(SettingError, match=r"it has 9, 17 tokens after blocks 2, 4; method.tokens=mean reads"):
        chosen.run("vision", {"vision": backbone}, prefix, Batch([], {}, {}))
    points = Mamba3D(source="random:0", width=13, depth=2, groups=8, neighbours=4, taps=(0,), scan="reference")
    chosen = Side(rungs=1, reduction=1, tokens="mean")
    chosen.attach({"points": points})
    with pytest.raises(SettingError, match=r"backbones.points: method Side adds to one feature a segment; it gives 8"):
        chosen.run("points", {"points": points}, {"points": torch.randn(1, 1, 9, points.dims[2])}, Batch([], {}, {}))
