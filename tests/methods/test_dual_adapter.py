"""The two adapters with convolutions behind blocks: their equations, and what becomes of branches."""

import copy
from pathlib import Path
from typing import Literal

import pytest
import tiny
import torch
from test_dense_methods import batch, kept, moved
from test_sites import inputs, tied
from torch import nn
from torch.nn import functional as F

from zoo.errors import SettingError
from zoo.interop.graph import Graph, compare, run_onnx, run_torch, to_onnx, to_torch
from zoo.methods.dual_adapter import Branched, Deformable, DualAdapter, GridAdapter
from zoo.pairing import Pairing
from zoo.tasks.classification import Classification


def random(module: nn.Module) -> nn.Module:
    for number, parameter in enumerate(module.parameters()):
        nn.init.normal_(parameter, generator=torch.Generator().manual_seed(number))
    return module


@torch.no_grad()
def test_fused_is_what_the_branches_add_up_to() -> None:
    one, grid = random(Branched(6)), torch.randn(2, 6, 7, 7)
    branched = one.train()(grid)
    assert torch.allclose(branched, grid + sum(branch(grid) for branch in one.branches), atol=1e-5)
    torch.testing.assert_close(one.eval()(grid), branched, atol=1e-5, rtol=1e-5)


def test_fused_learns_as_the_branches_do() -> None:
    one, grid = random(Branched(3)), torch.randn(2, 3, 5, 5)
    gradients = []
    for training in (True, False):
        one.zero_grad()
        one.train(training)(grid).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in one.parameters()])
    torch.testing.assert_close(*gradients, atol=1e-3, rtol=1e-4)


@torch.no_grad()
def test_a_deformable_convolution_samples_where_its_offsets_say() -> None:
    """Term by term at one place, bilinear, zero outside."""
    one, grid = random(Deformable(2)), torch.randn(1, 2, 5, 5)
    one.offsets.weight.mul_(0.2)
    found, (row, column) = one(grid), (2, 3)
    offsets = one.offsets(grid)[0, :, row, column]
    expected = one.convolution.bias.clone()
    for sample in range(9):
        y = row + sample // 3 - 1 + float(offsets[2 * sample])
        x = column + sample % 3 - 1 + float(offsets[2 * sample + 1])
        place = torch.tensor([[[[2 * (x + 0.5) / 5 - 1, 2 * (y + 0.5) / 5 - 1]]]])
        value = F.grid_sample(grid, place, align_corners=False)[0, :, 0, 0]
        weight = 2 * offsets[18 + sample].sigmoid()
        expected += weight * (one.convolution.weight[:, :, sample // 3, sample % 3] @ value)
    torch.testing.assert_close(found[0, :, row, column], expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_without_offsets_it_is_a_plain_convolution() -> None:
    one, grid = Deformable(4), torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(one(grid), one.convolution(grid), atol=1e-6, rtol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert one(grid.bfloat16()).dtype == torch.float32


@torch.no_grad()
def test_an_adapter_follows_its_equation_and_class_tokens_have_no_neighbours() -> None:
    one, x = random(GridAdapter(5, 4, Branched(4), 1)), torch.randn(2, 1 + 9, 5)
    u = x @ one.down.weight.T + one.down.bias
    grid = u[:, 1:].unflatten(1, (3, 3)).permute(0, 3, 1, 2)
    seen = one.middle(grid).permute(0, 2, 3, 1).flatten(1, 2)
    expected = F.gelu(torch.cat([u[:, :1], seen], 1)) @ one.up.weight.T + one.up.bias
    torch.testing.assert_close(one(x), expected, atol=1e-5, rtol=1e-5)
    changed = x.clone()
    changed[:, 1 + 4] += 1
    assert torch.equal(one(x)[:, 0], one(changed)[:, 0])


@pytest.mark.parametrize("form", ["hp", "lw"])
def test_every_use_of_a_block_has_an_adapter_of_its_own(form: Literal["hp", "lw"]) -> None:
    backbone = tied()
    method = DualAdapter(form=form, width=3, last={"vision": 2})
    method.attach({"vision": backbone})
    assert list(method.adapters) == ["vision/11", "vision/12"]
    assert method.describe() == f"{form} adapters of width 3 after vision blocks 10 to 11"
    before = backbone.through(backbone.embed(inputs()[:, 0]), 0, 10)
    moved(method)
    assert torch.equal(backbone.through(backbone.embed(inputs()[:, 0]), 0, 10), before)


def graph(form: Literal["hp", "lw"]) -> tuple[Graph, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    method = DualAdapter(form=form, width=3, last={"vision": 2})
    task = Classification(hidden=())
    model = Pairing({"vision": copy.deepcopy(kept("vit"))}, method, task, classes=["a", "b"]).eval()
    moved(model.method)
    return Graph(model), {"vision": batch("vit", 3).inputs["vision"]}


def test_an_exported_graph_has_one_convolution_for_the_branches(tmp_path: Path) -> None:
    own, given = graph("lw")
    with torch.no_grad():
        expected = [own(given)]
    to_torch(own, given, tmp_path / "model.pt2")
    assert compare(expected, run_torch(tmp_path / "model.pt2", [given])).max_abs < 1e-5
    program = torch.export.load(tmp_path / "model.pt2")
    convolutions = [node for node in program.graph.nodes if "conv2d" in str(node.target)]
    assert len(convolutions) == 1 + 2  # patches, and one of each adapter


def test_a_deformable_convolution_is_exported_to_onnx(tmp_path: Path) -> None:
    own, given = graph("hp")
    with torch.no_grad():
        expected = [own(given)]
    to_onnx(own, given, list(expected[0]), tmp_path / "model.onnx")
    assert compare(expected, run_onnx(tmp_path / "model.onnx", [given])).max_abs < 1e-4


def test_tokens_on_no_grid_are_refused() -> None:
    with pytest.raises(
        SettingError, match=r"backbones.vision: method DualAdapter needs an image encoder .* TinyVision"
    ):
        tiny.pairing(DualAdapter(form="hp"))
