"""Maps of plain transformers: patches where they were cut, through the last norm, without what stands before them."""

from functools import cache

import pytest
import torch
from makers import MAKERS

from zoo.backbones.base import Backbone
from zoo.backbones.dinov2 import DINOv2
from zoo.backbones.maps import quarters, square_map

PLAIN = {"dinov2": (14, 56), "dinov3": (16, 64), "vit": (16, 64), "siglip": (16, 32), "clip": (8, 32)}
"""Side of a patch and of the input."""

made = cache(lambda name: MAKERS[name]())


def test_levels_are_quarters_of_the_way_and_the_end() -> None:
    assert [level.after for level in quarters(16, 8, 12)] == [3, 6, 9, 12]
    assert [level.after for level in quarters(16, 8, 5)] == [2, 3, 4, 5]
    assert [level.after for level in quarters(16, 8, 3)] == [1, 2, 3]
    assert [level.after for level in quarters(16, 8, 1)] == [1]
    assert [tuple(level) for level in DINOv2(source="random:0", image_size=56, blocks=2).levels] == [
        (14, 384, 1),
        (14, 384, 2),
    ]


def test_tokens_are_laid_out_row_by_row() -> None:
    tokens = torch.arange(18.0).view(1, 9, 2)
    found = square_map(tokens)
    assert found.shape == (1, 2, 3, 3)
    assert found[0, :, 1, 2].tolist() == tokens[0, 5].tolist()


@pytest.mark.parametrize("name", PLAIN)
@torch.no_grad()
def test_maps_have_their_levels_shape_and_the_last_one_is_the_encoders_own_output(name: str) -> None:
    model: Backbone = made(name)
    patch, side = PLAIN[name]
    inputs = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    tokens, taps = model.embed(inputs), {}
    for after, block in enumerate(model.blocks, 1):
        tokens = taps[after] = block(tokens)
    found = model.maps({level.after: taps[level.after] for level in model.levels})
    assert len(found) == min(4, model.depth)
    for level in model.levels:
        assert level.stride == patch
        assert found[level.after].shape == (2, level.width, side // patch, side // patch)
    patches = (side // patch) ** 2
    last = model(inputs)[:, -patches:].transpose(1, 2).reshape(found[model.depth].shape)
    assert torch.equal(found[model.depth], last)


@pytest.mark.parametrize("name", ["dinov2", "vit", "clip"])
@torch.no_grad()
def test_a_cell_is_the_patch_that_lies_there(name: str) -> None:
    """What is changed in one corner of the picture changes the first map most there."""
    model: Backbone = made(name)
    patch, side = PLAIN[name]
    first = model.levels[0].after
    inputs = torch.zeros(1, 3, side, side)
    changed = inputs.clone()
    changed[..., :patch, -patch:] = 3 * torch.randn(3, patch, patch, generator=torch.Generator().manual_seed(0))

    def found(pictures: torch.Tensor) -> torch.Tensor:
        return model.maps({first: model.through(model.embed(pictures), 0, first)})[first]

    moved = (found(changed) - found(inputs)).norm(dim=1)[0]
    assert moved.argmax() == side // patch - 1  # the first row's last cell
