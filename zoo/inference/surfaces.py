"""Whole pictures of any size: predicted square by square, put together band by band, written as mask files.

Only one row of squares is held as scores, so that a picture takes little more memory than its mask.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_modules.kinds.tiles import Surface
from data_modules.readers import volumes
from data_modules.readers.masks import MapGrid, map_grid
from zoo.ops.frame import ROWS, Place
from zoo.pairing import Pairing
from zoo.report.kinds.masks import colours
from zoo.tasks.dense import resized

TOGETHER = 8
"""Squares that are predicted in one batch."""

UNSEEN = -30.0
"""Log-probability of an object where its prompt has no pixels seen."""


def predict(pairing: Pairing, surface: Surface) -> dict[str, Tensor]:
    """The class of every pixel.

    Args:
        pairing: whose task predicts `scores` of squares.
        surface: the picture.

    Returns:
        `mask` uint8 [H, W]; `confidence` float64 [K], the mean probability of the pixels given to each class, NaN of a
        class that does not occur; and, where the adapter can tell, `unlike` [], of its most foreign square.
    """
    height, width = surface.squares.sizes[0]
    mask = torch.zeros(height, width, dtype=torch.uint8)
    total = count = torch.zeros(0)
    foreign: list[Tensor] = []
    for first, band in _bands(pairing, surface, foreign):
        best = band.max(0)
        mask[first : first + band.shape[1]] = best.indices.to("cpu", torch.uint8)
        # Overlapping squares are averaged as log-probabilities, which need not sum to 1 then.
        probability = (best.values - band.logsumexp(0)).exp().double().flatten()
        rows = best.indices.flatten()
        sums, seen = (rows.bincount(each, len(band)).cpu() for each in (probability, None))
        total, count = (total + sums, count + seen) if total.numel() else (sums, seen)
    return {"mask": mask, "confidence": total / count, **({"unlike": torch.stack(foreign).max()} if foreign else {})}


def _bands(pairing: Pairing, surface: Surface, foreign: list[Tensor]) -> Iterator[tuple[int, Tensor]]:
    """Log-probabilities of the picture, as `Frame.bands` has them; where a prompt has one tile of it seen, the rest is
    background."""
    squares, (height, width) = surface.squares, surface.squares.sizes[0]
    scores = _scores(pairing, surface, foreign)
    if squares.prompts is None or squares.frame.way != "tile":
        yield from squares.frame.bands(scores, height, width)
        return
    ((place, found),) = scores
    top, left, rows, columns = place.inside(height, width)
    for first, count in ((0, top), (top, rows), (top + rows, height - top - rows)):
        for start in range(first, first + count, ROWS):
            band = found.new_full((len(found), min(ROWS, first + count - start), width), UNSEEN)
            band[0] = 0
            if first == top:
                band[:, :, left : left + columns] = found[:, start - top :][:, : band.shape[1], :columns]
            yield start, band


@torch.no_grad()
def _scores(pairing: Pairing, surface: Surface, foreign: list[Tensor]) -> Iterator[tuple[Place, Tensor]]:
    """Log-probabilities [K, S, S] of every square, at the size in which it was cut.

    `foreign` takes how unlike training each is.
    """
    squares, side = surface.squares, surface.squares.frame.side
    for start in range(0, len(squares), TOGETHER):
        rows = range(start, min(len(squares), start + TOGETHER))
        scores = pairing.predict(pairing.batch([squares[k] for k in rows]))["scores"].float()
        if pairing.unlike is not None:
            foreign += pairing.unlike.cpu().unbind()
        yield from zip((squares.place(k) for k in rows), resized(scores, (side, side)), strict=True)


def write(mask: NDArray[np.uint8], surface: Surface, path: Path, classes: int) -> Path:
    """Write a mask beside others: PNG with a palette, or a GeoTIFF with the grid of a GeoTIFF picture.

    Args:
        mask: uint8 [H, W], index of every pixel's class.
        surface: the picture.
        path: without suffix.
        classes: K.

    Returns:
        The file that was written.
    """
    grid = None if surface.file is None else map_grid(surface.file)
    target = path.with_name(f"{path.name}{'.tif' if grid else '.png'}")
    part = target.with_name(f".{os.getpid()}-{target.name}")
    target.parent.mkdir(parents=True, exist_ok=True)
    if grid:
        _geotiff(mask, part, grid, classes)
    else:
        from PIL import Image

        image = Image.fromarray(mask)
        image.putpalette(colours(classes).tobytes())
        image.save(part, format="PNG")
    os.replace(part, target)
    return target


def write_volume(masks: dict[int, NDArray[np.uint8]], like: Path, path: Path) -> Path:
    """Write the masks of all slices of a volume as one volume with its axes and affine.

    Args:
        masks: by slice, uint8 [H, W].
        like: the volume.
        path: without suffix.
    """
    target = path.with_name(f"{path.name}.nii.gz")
    part = target.with_name(f".{os.getpid()}-{target.name}")
    target.parent.mkdir(parents=True, exist_ok=True)
    volumes.write_mask(part, np.stack([masks[k] for k in sorted(masks)]), like)
    os.replace(part, target)
    return target


def _geotiff(mask: NDArray[np.uint8], path: Path, grid: MapGrid, classes: int) -> None:
    import rasterio

    tiled = {"tiled": True, "blockxsize": 256, "blockysize": 256} if min(mask.shape) >= 256 else {}
    profile = {"driver": "GTiff", "height": mask.shape[0], "width": mask.shape[1], "count": 1, "dtype": "uint8"}
    with rasterio.open(
        path, "w", compress="deflate", crs=grid.system, transform=grid.transform, **profile, **tiled
    ) as file:
        file.write(mask, 1)
        file.write_colormap(1, {k: (*map(int, colour), 255) for k, colour in enumerate(colours(classes))})
