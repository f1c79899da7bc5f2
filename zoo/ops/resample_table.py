"""Bicubic resampling of a table of positions, bit for bit the same on every processor.

The weights are those of `torch.nn.functional.interpolate(mode="bicubic", align_corners=False)` with and without
`antialias` (Keys 1981; a = -0.75 without, -0.5 with it, as Pillow has it). torch's kernel rounds by vector unit, and a
resampled table enters a backbone's fingerprint; here products are added one by one in double precision. (Sound:
`resample_audio.py`.)
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Values = NDArray[np.float64]


def bicubic(table: Tensor, size: tuple[int, int], *, antialias: bool) -> Tensor:
    """[H, W, D] -> float32 [h, w, D].

    Args:
        table: values on a grid.
        size: (h, w).
        antialias: widen the kernel where the grid shrinks.
    """
    values = table.detach().cpu().double().numpy()
    for axis in (0, 1):
        values = np.moveaxis(_along(np.moveaxis(values, axis, 0), size[axis], antialias), 0, axis)
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def _along(values: Values, size: int, antialias: bool) -> Values:
    """The first axis resampled: [H, ...] -> [h, ...]."""
    taps = [_taps(len(values), size, place, antialias) for place in range(size)]
    out = np.zeros((size, *values.shape[1:]))
    for place, (indices, weights) in enumerate(taps):
        for index, weight in zip(indices, weights, strict=True):
            out[place] = out[place] + weight * values[index]
    return out


def _taps(length: int, size: int, place: int, antialias: bool) -> tuple[list[int], list[float]]:
    """Which of `length` values one of `size` takes, and by which weights; they add up to 1."""
    scale = length / size
    centre = scale * (place + 0.5)
    if not antialias:
        first = math.floor(centre - 0.5) - 1
        weights = [_kernel(centre - 0.5 - (first + k), -0.75) for k in range(4)]
        return [min(max(first + k, 0), length - 1) for k in range(4)], weights
    stretch = max(scale, 1.0)
    low, high = max(int(centre - 2 * stretch + 0.5), 0), min(int(centre + 2 * stretch + 0.5), length)
    raw = [_kernel((index - centre + 0.5) / stretch, -0.5) for index in range(low, high)]
    return list(range(low, high)), [weight / sum(raw) for weight in raw]


def _kernel(distance: float, a: float) -> float:
    """Keys' cubic."""
    d = abs(distance)
    if d < 1:
        return ((a + 2) * d - (a + 3)) * d * d + 1
    return (((d - 5) * d + 8) * d - 4) * a if d < 2 else 0.0
