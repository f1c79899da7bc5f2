"""What methods with convolutions on the token grid promise, on a plain transformer, LiteMedSAM and SAM 2."""

import copy
from collections.abc import Callable
from functools import cache
from typing import Literal

import pytest
import sam_tiny
import timm_tiny
import torch
from torch import nn

from zoo.backbones.base import Backbone
from zoo.backbones.timm_vit import TimmViT
from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.methods.base import Method
from zoo.methods.conv_lora import ConvLoRA
from zoo.methods.dual_adapter import DualAdapter
from zoo.methods.frozen import Frozen
from zoo.pairing import Pairing
from zoo.tasks.segmentation import Segmentation

TARGETS = {
    "vit": {"vision": ["attn.qkv", "mlp.fc2"]},
    "sam2": {"image": ["attn.qkv", "mlp.proj_out"]},
    "lite_medsam": {"image": ["attn.qkv", "mlp.fc2"]},
}
LATE = {"vit": 2, "sam2": 2, "lite_medsam": 1}


def conv_lora(encoder: str) -> Method:
    tower = next(iter(TARGETS[encoder]))
    return ConvLoRA(targets=TARGETS[encoder], rank=2, experts=2, last={tower: LATE[encoder]})


def dual(form: Literal["hp", "lw"]) -> Callable[[str], Method]:
    return lambda encoder: DualAdapter(form=form, width=3, last={"vision": LATE[encoder]})


METHODS = {"conv_lora": conv_lora, "dual_hp": dual("hp"), "dual_lw": dual("lw")}

CASES = [(method, encoder) for method in METHODS for encoder in TARGETS]


@cache
def kept(encoder: str) -> Backbone:
    if encoder == "vit":
        return TimmViT(model=timm_tiny.tiny_vit.__name__, source="random:0", image_size=32)
    return sam_tiny.made(encoder)


def pairing(method: Method, encoder: str) -> Pairing:
    torch.manual_seed(0)
    backbone = copy.deepcopy(kept(encoder))  # hooks stay on what they were put
    return Pairing({"vision": backbone}, method, Segmentation(width=4), classes=["a", "b"]).eval()


def batch(encoder: str, count: int = 2) -> Batch:
    side = kept(encoder).image_size
    generator = torch.Generator().manual_seed(1)
    pictures = torch.randn(3, 1, 3, side, side, generator=generator)[:count]
    mask = torch.randint(0, 2, (3, side, side), generator=generator, dtype=torch.uint8)[:count]
    place = torch.tensor([[i, 0, 0, side, side, 1, side, side] for i in range(count)])
    return Batch([*"abc"][:count], {"vision": pictures}, {"mask": mask}, conditions={"place": place})


def steps(model: Pairing, data: Batch, count: int = 2) -> list[dict[str, torch.Tensor | None]]:
    """Plain steps; the gradients of every trained tensor at each."""
    model.train()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer, seen = torch.optim.Adam(trained.values(), lr=0.01), []
    for _ in range(count):
        optimizer.zero_grad()
        sum(model.losses(data).values()).backward()
        seen.append({name: p.grad for name, p in trained.items()})
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    model.eval()
    return seen


def moved(method: nn.Module) -> None:
    with torch.no_grad():
        for number, parameter in enumerate(method.parameters()):
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))


@pytest.mark.parametrize(("name", "encoder"), CASES)
@torch.no_grad()
def test_step_0_is_the_frozen_encoder_and_what_moved_it_can_be_taken_away(name: str, encoder: str) -> None:
    model, data = pairing(METHODS[name](encoder), encoder), batch(encoder)
    found, expected = model(data), pairing(Frozen(), encoder)(data)
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    moved(model.method)
    assert not torch.allclose(list(model(data).values())[-1], list(expected.values())[-1], atol=1e-3)
    with model.method.without():
        assert all(torch.equal(value, expected[key]) for key, value in model(data).items())


@pytest.mark.parametrize(("name", "encoder"), CASES)
def test_frozen_stays_frozen_and_all_else_has_a_gradient_by_the_second_step(name: str, encoder: str) -> None:
    model, data = pairing(METHODS[name](encoder), encoder), batch(encoder)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    _, second = steps(model, data)
    assert [key for key, gradient in second.items() if gradient is None or not gradient.any()] == []
    trained = set(model.trainable)
    after = model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before if key not in trained)
    assert [key for key in trained if torch.equal(before[key], after[key])] == []
    assert all(key.startswith(("method.", "task.")) for key in trained)


@pytest.mark.parametrize(("name", "encoder"), CASES)
@torch.no_grad()
def test_what_was_learned_is_loaded_and_a_picture_is_predicted_alone_as_in_company(name: str, encoder: str) -> None:
    model, other = (pairing(METHODS[name](encoder), encoder) for _ in range(2))
    moved(model.method)
    other.load_trainable(model.trainable_state())
    data = batch(encoder, 3)
    assert torch.equal(model.predict(data)["scores"], other.predict(data)["scores"])
    found, alone = model(data), model(batch(encoder, 1))
    torch.testing.assert_close(alone, {key: maps[:1] for key, maps in found.items()}, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("name", "encoder"), CASES)
@torch.no_grad()
def test_nothing_changes_inside_the_prefix(name: str, encoder: str) -> None:
    model, data = pairing(METHODS[name](encoder), encoder), batch(encoder)
    depth = model.method.prefix_depths()["vision"]
    assert 0 < depth < model.backbones["vision"].depth
    before = model.prefix(data)
    moved(model.method)
    after = model.prefix(data)
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("name", METHODS)
def test_it_cannot_be_folded_into_weights(name: str) -> None:
    with pytest.raises(SettingError, match=METHODS[name]("vit").unmergeable):
        METHODS[name]("vit").deltas()
