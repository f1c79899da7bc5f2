"""Conv-LoRA: its equations, where its convolutions reach, and where there is no grid for them."""

import pytest
import sam_tiny
import timm_tiny
import tiny
import torch
import vlm_tiny
from test_sites import inputs, tied
from torch import nn
from torch.nn import functional as F

from zoo.backbones.timm_encoder import TimmEncoder
from zoo.errors import SettingError
from zoo.methods.conv_lora import ConvLoRA, Update


def update(experts: int = 3, before: int = 1) -> Update:
    torch.manual_seed(0)
    found = Update(5, 7, rank=4, scaling=0.5, experts=experts, before=before)
    for parameter in found.parameters():
        nn.init.normal_(parameter)
    return found


@torch.no_grad()
def test_an_update_follows_its_equations() -> None:
    one, x = update(), torch.randn(2, 1 + 9, 5)
    u = x @ one.down.T
    grid = torch.stack([u[:, 1 + 3 * row : 4 + 3 * row] for row in range(3)], 1)  # [N, row, column, r]
    pooled = u[:, 1:].mean(1)
    gates = (pooled @ one.gate.weight.T + one.gate.bias).softmax(-1)
    total = grid.clone()
    for k in (1, 2, 3):
        large = F.interpolate(grid.permute(0, 3, 1, 2), scale_factor=k, mode="bilinear")
        seen = F.gelu(one.convolutions[k - 1](large))
        back = F.interpolate(seen, scale_factor=1 / k, mode="bilinear").permute(0, 2, 3, 1)
        total += gates[:, k - 1, None, None, None] * back
    expected = torch.cat([u[:, :1], total.flatten(1, 2)], 1) @ one.up.T * 0.5
    torch.testing.assert_close(one(x), expected)
    torch.testing.assert_close(one(x[:, 1:].unflatten(1, (3, 3))), expected[:, 1:].unflatten(1, (3, 3)))


@torch.no_grad()
def test_a_place_hears_its_neighbours_and_a_class_token_nobody() -> None:
    one = update(experts=1)
    x = torch.randn(1, 1 + 25, 5)
    changed = x.clone()
    changed[:, 1 + 12] += 1  # the middle of five by five
    differs = (one(x) - one(changed)).abs().amax(-1)[0] > 1e-6
    assert not differs[0]
    assert differs[1:].view(5, 5).nonzero().tolist() == [[i, j] for i in (1, 2, 3) for j in (1, 2, 3)]


def test_gates_are_equal_at_the_start_and_one_expert_needs_none() -> None:
    fresh = Update(5, 7, rank=4, scaling=1.0, experts=3, before=0)
    assert torch.equal(fresh.gate(torch.randn(2, 4)).softmax(-1), torch.full((2, 3), 1 / 3))
    assert not hasattr(update(experts=1), "gate")


def test_what_is_adapted_is_told() -> None:
    method = ConvLoRA(targets={"vision": ["attn.qkv"]}, last={"vision": 2}, experts=2)
    method.attach({"vision": TimmEncoder(model="tiny_vit", source="random:0")})
    assert (
        method.describe()
        == "adapts vision blocks 2 to 3 (2 layers: qkv), with convolutions at scales 1 to 2 in each update"
    )


def test_a_block_that_stands_several_times_has_one_update() -> None:
    backbone = tied()
    method = ConvLoRA(targets={"vision": ["attn.qkv"]}, rank=2, experts=1, last={"vision": 4})
    method.attach({"vision": backbone})
    assert list(method.updates) == ["vision/00/attn_qkv"]
    assert method.prefix_depths() == {"vision": 0}
    calls: list[int] = []
    method.updates["vision/00/attn_qkv"].register_forward_hook(lambda *_: calls.append(1))
    backbone(inputs()[:, 0])
    assert len(calls) == 12


@pytest.mark.parametrize("name", ["tiny_swin", "tiny_vit"])
@torch.no_grad()
def test_windows_and_plain_tokens_of_timm_are_grids(name: str) -> None:
    backbone = TimmEncoder(model=name, source="random:0")
    pictures = torch.randn(2, 3, timm_tiny.SIDE, timm_tiny.SIDE, generator=torch.Generator().manual_seed(0))
    before = backbone(pictures)
    method = ConvLoRA(targets={"vision": ["attn.qkv", "mlp.fc1"]}, rank=2, experts=2)
    method.attach({"vision": backbone})
    assert torch.equal(backbone(pictures), before)
    for value in method.updates.values():
        nn.init.normal_(value.up)
    assert not torch.allclose(backbone(pictures), before, atol=1e-2)


def test_tokens_on_no_grid_are_refused() -> None:
    method = ConvLoRA(targets={"audio": ["conv1"]})
    with pytest.raises(
        SettingError, match=r"method.targets.audio: method ConvLoRA needs an image encoder .* TinyAudio"
    ):
        tiny.pairing(method)
    name = vlm_tiny.NAMES[0]
    with pytest.raises(SettingError, match=r"method.targets.language: method ConvLoRA adapts image encoders"):
        ConvLoRA(targets={"language": ["q_proj"]}).attach({"vlm": vlm_tiny.model(name)})
    hiera = TimmEncoder(model="tiny_hiera", source="random:0")  # whose tokens stand window by window
    with pytest.raises(SettingError, match=r"those of TimmEncoder do not"):
        ConvLoRA(targets={"vision": ["mlp.fc1"]}).attach({"vision": hiera})
    with pytest.raises(SettingError, match=r"11 tokens, of which 1 come first, lie on no square grid"):
        update()(torch.randn(1, 11, 5))


def test_other_layers_are_refused() -> None:
    with pytest.raises(SettingError, match=r"local_conv.conv is no linear layer, but Conv2d"):
        ConvLoRA(targets={"image": ["local_conv.conv"]}).attach({"vision": sam_tiny.kept("lite_medsam")})
