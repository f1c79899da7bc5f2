"""EfficientNet-Lite0: the published file's tensors, read under their names, give what the architecture's tables say."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.backbones import weights
from zoo.backbones.efficientnet_lite import EMBEDDED, FIRST, LATER, EfficientNetLite0
from zoo.backbones.weights import WeightsError
from zoo.batch import Picture
from zoo.interop import merged
from zoo.methods.lora import LoRA
from zoo.pairing import Pairing
from zoo.tasks.classification import Classification

SIDE = 64

STAGES = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))
"""Blocks of a stage, and the stride of its first (EfficientNet's table 1)."""


@pytest.fixture(scope="module")
def drawn() -> EfficientNetLite0:
    return EfficientNetLite0(source="random:0", image_size=SIDE)


@pytest.fixture(scope="module")
def published(drawn: EfficientNetLite0) -> dict[str, Tensor]:
    """Tensors by the published file's names, batch norms included, whose statistics are drawn as well."""
    generator = torch.Generator().manual_seed(0)
    numbers = {f"blocks.{s}.{i}": 0 for s, (count, _) in enumerate(STAGES) for i in range(count)}
    numbers = {name: number for number, name in enumerate(numbers)}
    ends = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}
    found = {}
    for name, tensor in drawn.net.state_dict().items():
        path, _, kind = name.rpartition(".")
        block, _, layer = path.rpartition(".")
        known = {v: k for k, v in (FIRST if numbers.get(block) == 0 else LATER).items()}
        theirs = f"_blocks.{numbers[block]}.{known[layer]}" if block else ends[layer]
        if kind in ("running_mean", "running_var"):
            tensor = 0.5 + torch.rand(tensor.shape, generator=generator)
        found[f"{theirs}.{kind}"] = tensor.clone()
    return found


@pytest.fixture(scope="module")
def file(published: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "published.pth"
    torch.save(published, path)
    return path


def reference(state: dict[str, Tensor], pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Pooled features and logits [N, 1000], from the published names alone."""

    def norm(grid: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (state[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(grid, mean, var, weight, bias, eps=1e-3)

    def conv(grid: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        missing = [max(0, (-(-side // stride) - 1) * stride + weight.shape[-1] - side) for side in grid.shape[:1:-1]]
        grid = F.pad(grid, [part for each in missing for part in (each // 2, each - each // 2)])
        return F.conv2d(grid, weight, stride=stride, groups=grid.shape[1] // weight.shape[1])

    grid = F.relu6(norm(conv(pictures, "_conv_stem", 2), "_bn0"))
    for number, stride in enumerate(stride if i == 0 else 1 for count, stride in STAGES for i in range(count)):
        name, before = f"_blocks.{number}", grid
        if number:
            grid = F.relu6(norm(conv(grid, f"{name}._expand_conv"), f"{name}._bn0"))
        grid = F.relu6(norm(conv(grid, f"{name}._depthwise_conv", stride), f"{name}._bn1"))
        grid = norm(conv(grid, f"{name}._project_conv"), f"{name}._bn2")
        grid = grid + before if grid.shape == before.shape else grid
    pooled = F.relu6(norm(conv(grid, "_conv_head"), "_bn1")).mean((2, 3))
    return pooled, F.linear(pooled, state["_fc.weight"], state["_fc.bias"])


def pictures(count: int = 2, side: int = SIDE) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
@pytest.mark.parametrize("side", [SIDE, 72])  # of odd maps in between
def test_a_file_in_the_published_names_gives_what_a_plain_forward_gives(
    file: Path, published: dict[str, Tensor], side: int
) -> None:
    model = EfficientNetLite0(source=f"file:{file}", image_size=side)
    pooled = model.pool(model(pictures(side=side)))
    features, logits = reference(published, pictures(side=side))
    torch.testing.assert_close(pooled, features, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(model.scores(pooled), logits.softmax(-1), atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(model.net(pictures(side=side)), logits, atol=1e-5, rtol=1e-4)  # timm's own forward


def test_timms_names_are_read_too_and_other_files_are_refused(
    file: Path, published: dict[str, Tensor], tmp_path: Path
) -> None:
    model = EfficientNetLite0(source=f"file:{file}", image_size=SIDE)
    torch.save(model.net.state_dict(), tmp_path / "timm.pth")
    assert EfficientNetLite0(source=f"file:{tmp_path / 'timm.pth'}", image_size=SIDE).fingerprint == model.fingerprint
    torch.save({**published, "_blocks.16._bn0.weight": torch.zeros(3)}, tmp_path / "more.pth")
    with pytest.raises(WeightsError, match=r"does not fit this architecture: left over _blocks\.16\._bn0\.weight"):
        EfficientNetLite0(source=f"file:{tmp_path / 'more.pth'}")
    torch.save({k: v for k, v in published.items() if k != "_fc.bias"}, tmp_path / "less.pth")
    with pytest.raises(WeightsError, match=r"missing classifier\.bias"):
        EfficientNetLite0(source=f"file:{tmp_path / 'less.pth'}")


@torch.no_grad()
def test_blocks_are_steps_of_the_told_widths(drawn: EfficientNetLite0) -> None:
    tokens = drawn.embed(pictures())
    assert tokens.shape == (2, drawn.sides[0] ** 2, drawn.dims[0])
    for block, width, side in zip(drawn.blocks, drawn.dims[1:], drawn.sides[1:], strict=True):
        tokens = block(tokens)
        assert tokens.shape == (2, side * side, width)
    assert drawn.pool(drawn.finish(tokens)).shape == (2, drawn.dim) == (2, 1280)


def test_a_picture_is_the_central_square_as_it_was_trained_on(drawn: EfficientNetLite0) -> None:
    image = np.full((SIDE, 2 * SIDE, 3), 255, np.uint8)
    image[:, SIDE // 2 : -SIDE // 2] = np.arange(SIDE, dtype=np.uint8)[:, None, None]
    found = drawn.transform(Picture("a", (image,), {}))
    expected = ((torch.arange(SIDE) - 127) / 128)[None, None, :, None].expand(1, 3, SIDE, SIDE)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_it_knows_imagenets_names_where_its_weights_are_read(drawn: EfficientNetLite0, file: Path) -> None:
    read = EfficientNetLite0(source=f"file:{file}", image_size=SIDE)
    assert len(read.vocabulary) == len(drawn.vocabulary) == 1000
    assert read.vocabulary[1] == "goldfish, Carassius auratus"
    assert read.vocabulary[985] == "daisy"
    assert not set(drawn.vocabulary) & set(read.vocabulary)  # random weights know no names
    scores = drawn.scores(torch.rand(2, 3, 1280))
    assert scores.shape == (2, 3, 1000)
    torch.testing.assert_close(scores.sum(-1), torch.ones(2, 3))


def test_lora_is_merged_into_a_file_that_it_reads(drawn: EfficientNetLite0, tmp_path: Path) -> None:
    torch.manual_seed(0)
    base = EfficientNetLite0(source="random:0", image_size=SIDE)
    method = LoRA(rank=2, targets={"vision": ["conv_pw", "conv_pwl"]}, last={"vision": 2})
    model = Pairing({"vision": base}, method, Classification(hidden=()), classes=["a", "b"])
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    with torch.no_grad():
        adapted = base.pool(base(pictures()))
        assert not torch.allclose(adapted, drawn.pool(drawn(pictures())), atol=1e-3)
        written = merged.write(model, tmp_path)
        plain = EfficientNetLite0(source=f"file:{written['vision']}", image_size=SIDE)
        torch.testing.assert_close(plain.pool(plain(pictures())), adapted, atol=1e-5, rtol=1e-4)


def test_the_published_file_gives_what_a_plain_forward_gives() -> None:
    if not weights.here(EMBEDDED):
        pytest.skip("EfficientNet-Lite0 is not on this machine: `zoo train recipe=rsscn7_open` fetches it")
    model = EfficientNetLite0()
    assert sum(parameter.numel() for parameter in model.parameters()) == 4_652_008
    state = weights.load_state_dict(weights.resolve(EMBEDDED))
    with torch.no_grad():
        found = model.pool(model(pictures(1, 224)))
        features, logits = reference(state, pictures(1, 224))
    torch.testing.assert_close(found, features, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(model.scores(found), logits.softmax(-1), atol=1e-5, rtol=1e-3)
    origin = weights.origin(EMBEDDED)
    assert origin is not None
    assert origin.license == "Apache-2.0"
