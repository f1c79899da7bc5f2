"""How pictures become squares and maps of them one map again: coverage, exact round trips, streaming."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from zoo.errors import SettingError
from zoo.ops.frame import IGNORE, Frame, Place, stitched

TILES = Frame("tile", 64, 16)


def seen(frame: Frame, height: int, width: int) -> np.ndarray:
    """How many squares show each pixel of a picture."""
    counts = np.zeros((height, width), int)
    for place in frame.places(height, width):
        y, x, h, w = place.inside(height, width)
        counts[y : y + h, x : x + w] += 1
    return counts


def cut(frame: Frame, image: np.ndarray) -> Iterator[tuple[Place, np.ndarray]]:
    for place in frame.places(*image.shape[:2]):
        y, x, h, w = place.inside(*image.shape[:2])
        yield place, frame.image(image[y : y + h, x : x + w], place)


def edges(image: np.ndarray) -> Tensor:
    """Two maps by filters of 5 x 5 pixels, float32 [2, H, W]: the same wherever a pixel lies."""
    kernels = torch.randn(2, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    grey = torch.from_numpy(image[None, None, ..., 0].astype(np.float32) / 255)
    return functional.conv2d(grey, kernels, padding=2)[0]


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


# --- squares ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 63, 64, 65, 112, 113, 1000])
@pytest.mark.parametrize("overlap", [0, 1, 16, 32])
def test_every_pixel_is_in_a_tile_and_tiles_lie_inside_and_overlap_enough(length: int, overlap: int) -> None:
    frame = Frame("tile", 64, overlap)
    assert seen(frame, length, 100).min() >= 1
    places = frame.places(length, 100)
    assert len(set(places)) == len(places)
    starts = sorted({place.y for place in places})
    assert all(later - start <= 64 - overlap for start, later in pairwise(starts))
    assert starts[0] == 0
    assert starts[-1] == max(0, length - 64)


def test_a_thousand_pixels_are_covered_to_the_last() -> None:
    """CellViT left out pixels 832 to 999 of 1000 with tiles of 256 that overlap by 64."""
    frame = Frame.parse({"tile": 256, "overlap": 64})
    assert sorted({place.y for place in frame.places(1000, 1000)}) == [0, 192, 384, 576, 744]
    assert seen(frame, 1000, 1000).min() == 1


def test_a_small_picture_is_padded_and_its_padding_has_no_label() -> None:
    image, mask = picture(40, 50), np.full((40, 50), 3, np.uint8)
    ((place, square),) = cut(TILES, image)
    assert place == (0, 0, 64, 64)
    assert (square[:40, :50] == image).all()
    assert not square[40:].any()
    label = TILES.mask(mask, place)
    assert (label[:40, :50] == 3).all()
    assert (label == IGNORE).sum() == 64 * 64 - 40 * 50


def test_the_whole_of_a_picture_is_letterboxed_and_nothing_is_cropped() -> None:
    frame = Frame.parse({"letterbox": 60})
    image = np.zeros((100, 300, 3), np.uint8)
    image[:, 290:] = 255
    ((place, square),) = cut(frame, image)
    assert place == (0, 0, 300, 300)
    assert (square[:20, 58:] == 255).all()
    assert not square[20:].any()
    label = frame.mask(np.repeat([[1], [2]], 50, axis=0).repeat(300, axis=1).astype(np.uint8), place)
    assert (label[:10] == 1).all()
    assert (label[10:20] == 2).all()
    assert (label[20:] == IGNORE).all()


def test_masks_get_no_value_that_was_not_there() -> None:
    mask = np.random.default_rng(0).choice([0, 2, 7], (97, 41)).astype(np.uint8)
    for frame in (Frame("letterbox", 32), Frame("squash", 200)):
        place = frame.places(97, 41)[0]
        assert set(np.unique(frame.mask(mask, place))) <= {0, 2, 7, IGNORE}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({}, "expected {tile: 256, overlap: 64}"),
        ({"tile": 256, "letterbox": 352}, "expected {tile: 256"),
        ({"tiles": 256}, "expected {tile: 256"),
        ({"tile": 0}, "tile = 0; expected pixels"),
        ({"tile": 64, "overlap": 33}, "expected 0 to 32, half the tile"),
        ({"letterbox": 64, "overlap": 8}, "letterbox shows the whole picture"),
    ],
)
def test_what_is_no_frame_is_refused(setting: dict[str, int], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Frame.parse(setting)


# --- and back ---------------------------------------------------------------------------------------------------------

FRAMES = [
    Frame("tile", 64, 16),
    Frame("tile", 64, 0),
    Frame("tile", 64, 32),
    Frame("letterbox", 48),
    Frame("squash", 48),
]


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame.key)
@pytest.mark.parametrize("size", [(64, 64), (150, 201), (30, 80), (20, 20)])
def test_a_constant_map_stays_constant(frame: Frame, size: tuple[int, int]) -> None:
    level = torch.tensor([1.5, -0.25])
    maps = [(place, level[:, None, None].expand(2, frame.side, frame.side)) for place in frame.places(*size)]
    assert torch.allclose(frame.whole(maps, *size), level[:, None, None].expand(2, *size), atol=1e-6)


@pytest.mark.parametrize("size", [(64, 64), (150, 201), (70, 300)])
def test_what_sees_as_far_as_a_quarter_of_the_overlap_finds_the_same_in_tiles_as_in_the_whole(
    size: tuple[int, int],
) -> None:
    image = picture(*size)
    maps = [(place, edges(square)) for place, square in cut(TILES, image)]
    assert torch.allclose(TILES.whole(maps, *size), edges(image), atol=1e-5)


def test_what_sees_farther_differs_near_borders_of_tiles_alone() -> None:
    frame, image = Frame("tile", 64, 4), picture(150, 201)
    apart = frame.whole([(place, edges(square)) for place, square in cut(frame, image)], 150, 201) - edges(image)
    near = np.zeros((150, 201), bool)
    for y, x, h, w in frame.places(150, 201):
        inner = np.zeros((150, 201), bool)
        inner[y : y + h, x : x + w] = True
        inner[y + 4 : y + h - 4, x + 4 : x + w - 4] = False
        near |= inner
    assert apart.abs().max() > 1e-3
    assert apart.abs().amax(0)[torch.from_numpy(~near)].max() < 1e-5


def test_weights_are_one_in_the_middle_and_those_of_neighbours_sum_to_one() -> None:
    first, second = (TILES.window(place, 64, 112) for place in TILES.places(64, 112))
    assert (first[:, :48] == 1).all()
    assert torch.allclose(first[:, 48:] + second[:, :16], torch.ones(64, 16))
    assert first[0, -1] == 0
    assert (second[:, -1] == 1).all()


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame.key)
def test_bands_are_the_whole_and_no_band_is_taller_than_a_tile(frame: Frame) -> None:
    generator = torch.Generator().manual_seed(1)
    maps = [(place, torch.randn(3, frame.side, frame.side, generator=generator)) for place in frame.places(310, 90)]
    bands = list(frame.bands(iter(maps), 310, 90))
    assert [first for first, _ in bands] == np.cumsum([0, *(band.shape[1] for _, band in bands[:-1])]).tolist()
    assert torch.cat([band for _, band in bands], 1).shape == (3, 310, 90)
    assert max(band.shape[1] for _, band in bands) <= max(frame.side, 256)
    if frame.way != "tile":
        tall, wide = (round(length * frame.side / side) for length, side in zip((310, 90), maps[0][0][2:], strict=True))
        seen = maps[0][1][None, :, :tall, :wide]
        right = functional.interpolate(seen, (310, 90), mode="bilinear", align_corners=False)[0]
        assert torch.allclose(torch.cat([band for _, band in bands], 1), right, atol=1e-5)


def test_a_picture_of_20000_rows_is_stitched_band_by_band() -> None:
    """Tiles are asked for one at a time, and a band is given before the next row of tiles is."""
    frame, asked = Frame("tile", 256, 64), []

    def maps() -> Iterator[tuple[Place, Tensor]]:
        for place in frame.places(20_000, 300):
            asked.append(place.y)
            yield place, torch.zeros(2, 256, 256)

    rows = 0
    for first, band in frame.bands(maps(), 20_000, 300):
        assert band.shape[1] <= 256
        assert asked[-1] <= first + 256
        rows += band.shape[1]
    assert rows == 20_000


def test_maps_of_other_places_are_refused() -> None:
    places = TILES.places(64, 200)
    with pytest.raises(ValueError, match="expected Place"):
        TILES.whole([(place, torch.zeros(1, 64, 64)) for place in places[::-1]], 64, 200)
    with pytest.raises(ValueError, match="shorter"):
        TILES.whole([(place, torch.zeros(1, 64, 64)) for place in places[:-1]], 64, 200)


@pytest.mark.parametrize("frame", [f for f in FRAMES if f.overlap or f.way != "tile"], ids=lambda frame: frame.key)
@pytest.mark.parametrize("size", [(64, 64), (150, 201), (30, 80), (64, 100)])
def test_places_alone_tell_how_to_stitch_in_any_order(frame: Frame, size: tuple[int, int]) -> None:
    image = picture(*size)
    squares = list(cut(frame, image))
    maps = torch.stack([edges(square) for _, square in squares])
    places = torch.stack([place.condition(4, len(squares), *size) for place, _ in squares])
    order = torch.randperm(len(squares), generator=torch.Generator().manual_seed(0))
    found = stitched(maps[order], places[order])
    right = frame.whole([(place, logits) for (place, _), logits in zip(squares, maps, strict=True)], *size)
    assert found.shape == (2, *size)
    assert torch.allclose(found, right, atol=1e-5)
    with pytest.raises(ValueError, match="all of the picture"):
        stitched(maps[:0], places[:0]) if len(squares) == 1 else stitched(maps[1:], places[1:])
