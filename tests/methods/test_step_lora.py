"""Updates by step, on bViT: silent at the start, each acting at its own step, behind a prefix that does not change."""

from pathlib import Path

import pytest
import timm_tiny
import torch
from test_sites import inputs, moved, tied, vit

from zoo.backbones.bvit import BViT
from zoo.backbones.weights import WeightsError
from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.interop import merged
from zoo.interop.graph import ExportError
from zoo.methods.frozen import Frozen
from zoo.methods.lora import LoRA
from zoo.methods.sites import find
from zoo.methods.step_lora import StepLoRA
from zoo.pairing import Pairing
from zoo.tasks.classification import Classification
from zoo.tasks.segmentation import Segmentation

STEPS = 5


def bvit(steps: int = STEPS) -> BViT:
    return BViT(model=timm_tiny.tiny_vit.__name__, source="random:0", image_size=32, steps=steps)


def method(last: int | None = None) -> StepLoRA:
    return StepLoRA(
        targets={"vision": ["attn.qkv", "mlp.fc1"]}, rank=2, last=None if last is None else {"vision": last}
    )


def pairing(own: StepLoRA | Frozen | LoRA, dense: bool = False) -> Pairing:
    torch.manual_seed(0)
    task = Segmentation(width=4) if dense else Classification(hidden=())
    return Pairing({"vision": bvit()}, own, task, classes=["a", "b"]).eval()


def batch(count: int = 2) -> Batch:
    return Batch([*"abc"][:count], {"vision": inputs(3)[:count]}, {"label": torch.arange(count) % 2})


def test_one_block_stands_at_every_step_and_is_one_site() -> None:
    model = bvit()
    assert model.depth == STEPS
    assert len({id(block) for block in model.blocks}) == 1
    (site,) = find({"vision": model}, {"vision": ["attn.qkv"]}, {})
    assert (site.index, site.uses) == (0, STEPS)
    once, more = bvit(1), bvit()
    assert sum(p.numel() for p in once.parameters()) == sum(p.numel() for p in more.parameters())
    tokens = more.embed(inputs()[:, 0])
    for _ in range(STEPS):
        tokens = once.blocks[0](tokens)
    assert torch.equal(more(inputs()[:, 0]), more.finish(tokens))
    assert [level.after for level in more.levels] == [2, 3, 4, 5]


def test_weights_are_drawn_and_no_others_are_known() -> None:
    assert bvit().fingerprint == bvit().fingerprint
    for source in ("timm:vit_base_patch16_224", "file:bvit.safetensors"):
        with pytest.raises(WeightsError, match="there are no trained weights of a bViT"):
            BViT(source=source)


@pytest.mark.parametrize("dense", [False, True])
@torch.no_grad()
def test_step_0_is_the_frozen_network(dense: bool) -> None:
    model, frozen = pairing(method(), dense), pairing(Frozen(), dense)
    found, expected = model(batch()), frozen(batch())
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    moved(model.method)
    assert all(not torch.allclose(value, expected[key], atol=1e-3) for key, value in model(batch()).items())
    with model.method.without():
        assert all(torch.equal(value, expected[key]) for key, value in model(batch()).items())


@torch.no_grad()
def test_updates_equal_the_unrolled_network_with_a_weight_of_its_own_at_every_step() -> None:
    model = pairing(method(last=3))
    moved(model.method)
    tokens, plain = bvit().embed(inputs()[:, 0]), bvit()
    for step in range(STEPS):
        block = bvit().net.blocks[0]
        for path, update in model.method.updates.items():
            name = path.rpartition("/")[2].replace("_", ".")
            if step >= 2:
                block.get_submodule(name).weight.add_(4.0 * update.ups[step - 2] @ update.down)
        tokens = block(tokens)
    expected = plain.pool(plain.finish(tokens))
    torch.testing.assert_close(model(batch())["vision"][:, 0], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_steps_before_the_first_adapted_one_stay_as_they_are_and_can_be_cached() -> None:
    model = pairing(method(last=2))
    assert model.method.prefix_depths() == {"vision": STEPS - 2}
    before = model.prefix(batch())["vision"]
    moved(model.method)
    after = model.prefix(batch())["vision"]
    assert torch.equal(before, after)
    assert torch.equal(before[:, 0], bvit().through(bvit().embed(inputs()[:, 0]), 0, STEPS - 2))
    whole, data = model(batch()), batch()
    data.prefix = {"vision": after}
    assert torch.equal(model(data)["vision"], whole["vision"])
    assert pairing(LoRA(targets={"vision": ["attn.qkv"]}, last={"vision": 2})).method.prefix_depths() == {"vision": 0}


def test_nothing_else_learns_and_all_of_it_does_by_the_second_step() -> None:
    model = pairing(method(last=3))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert model.method.updates["vision/00/attn_qkv"].ups.shape == (3, 48, 2)
    optimizer = torch.optim.Adam(trained.values(), lr=0.01)
    for _ in range(2):
        optimizer.zero_grad()
        sum(model.losses(batch()).values()).backward()
        optimizer.step()
    ups = [update.ups.grad for update in model.method.updates.values()]
    assert all(bool(each.flatten(1).any(1).all()) for each in ups)  # at every step
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == set(trained) == set(model.trainable)
    other = pairing(method(last=3))
    other.load_trainable(model.trainable_state())
    with torch.no_grad():
        assert torch.equal(other(batch())["vision"], model(batch())["vision"])
        alone = model(batch(1))["vision"]
    torch.testing.assert_close(alone, model(batch())["vision"][:1].detach(), atol=1e-5, rtol=1e-5)


def test_what_is_adapted_is_told_and_merging_is_refused(tmp_path: Path) -> None:
    model = pairing(method(last=2))
    assert model.method.describe() == (
        f"adapts vision, 1 block used {STEPS} times (2 layers: qkv, fc1), with an update of its own at each of the "
        "steps 3 to 4"
    )
    with pytest.raises(SettingError, match="one weight serves several steps, each of which has an update of its own"):
        merged.write(model, tmp_path)
    tied_lora = pairing(LoRA(targets={"vision": ["attn.qkv"]}))  # which changes every step alike
    assert len(tied_lora.method.deltas()) == 1
    with pytest.raises(ExportError, match=r"backbones.vision loads no file of plain tensors"):
        merged.write(tied_lora, tmp_path)


def test_of_two_blocks_in_turn_each_has_updates_at_its_own_steps() -> None:
    own = StepLoRA(targets={"vision": ["attn.qkv"]}, rank=2, last={"vision": 3})
    own.attach({"vision": tied(period=2)})
    assert [update.steps for update in own.updates.values()] == [(10,), (9, 11)]
    assert own.prefix_depths() == {"vision": 9}
    one = StepLoRA(targets={"vision": ["attn.qkv"]}, rank=2, last={"vision": 1})
    one.attach({"vision": tied(period=2)})
    assert [update.steps for update in one.updates.values()] == [(11,)]


def test_other_networks_and_steps_are_refused() -> None:
    with pytest.raises(SettingError, match=r"those of backbones.vision stand once each: method=lora adapts them"):
        method().attach({"vision": vit()})
    with pytest.raises(SettingError, match=r"method.last: audio are not in method.targets"):
        StepLoRA(targets={"vision": ["attn.qkv"]}, last={"audio": 1}).attach({"vision": bvit()})
    with pytest.raises(SettingError, match=r"method.last.vision = 6: expected 1 to 5, its steps"):
        pairing(method(last=6))
    with pytest.raises(SettingError, match="'norm1' matches no layer"):
        StepLoRA(targets={"vision": ["norm1"]}).attach({"vision": bvit()})
