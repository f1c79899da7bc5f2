"""Orders of point tokens: along an axis, the Morton (z-order) curve or the Hilbert curve, forwards and backwards.

Source of the Hilbert curve: J. Skilling, "Programming the Hilbert curve" (AIP Conf. Proc. 707, 2004), here over whole
tensors. Unlike Point Transformer V3, whose grid has a fixed cell size, each cloud is quantised to its own cube, so that
shift and scale do not matter; and x is the lowest bit of the Morton code, not the highest.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

Order = Literal[
    "native",
    "x",
    "y",
    "z",
    "x_reversed",
    "y_reversed",
    "z_reversed",
    "z_order",
    "z_order_reversed",
    "hilbert",
    "hilbert_reversed",
]

ORDERS: tuple[Order, ...] = get_args(Order)

BITS = 10


def order(centres: Tensor, name: Order) -> Tensor:
    """The permutation that sorts each cloud's centres: [B, G, 3] -> int64 indices [B, G].

    The curves run through 2**10 cells a side of the cube that starts at the cloud's lowest coordinates and is as wide
    as its largest extent. Equals (the same coordinate or cell) keep their order, backwards too.

    Raises:
        ValueError: an unknown order, or another shape.
    """
    if name not in ORDERS:
        raise ValueError(f"unknown order {name!r}: expected one of {', '.join(ORDERS)}")
    if centres.ndim != 3 or centres.shape[-1] != 3:
        raise ValueError(f"centres must be [B, G, 3], got {list(centres.shape)}")
    forwards = name.removesuffix("_reversed")
    if forwards == "native":
        keys = torch.zeros(centres.shape[:2], device=centres.device)
    elif forwards == "z_order":
        keys = morton(_cells(centres), BITS)
    elif forwards == "hilbert":
        keys = hilbert(_cells(centres), BITS)
    else:
        keys = centres[..., "xyz".index(forwards)]
    return keys.argsort(dim=1, stable=True, descending=forwards != name)


def morton(cells: Tensor, bits: int) -> Tensor:
    """Places of integer cells [..., 3], each below 2**bits, along the z-order curve: int64 [...]."""
    x, y, z = cells.unbind(-1)
    return _interleave(x, y, z, bits)


def hilbert(cells: Tensor, bits: int) -> Tensor:
    """Places of integer cells [..., 3], each below 2**bits, along the Hilbert curve: int64 [...]."""
    axes = list(cells.unbind(-1))
    for level in range(bits - 1, 0, -1):  # from the largest octants: turn the curve inside each into place
        below = (1 << level) - 1
        for i in range(3):
            upper = (axes[i] >> level & 1).bool()
            swapped = torch.where(upper, 0, (axes[0] ^ axes[i]) & below)
            axes[i] = axes[i] ^ swapped
            axes[0] = torch.where(upper, axes[0] ^ below, axes[0] ^ swapped)
    x, y, z = axes
    y = y ^ x
    z = z ^ y
    backwards = torch.zeros_like(z)
    for level in range(bits - 1, 0, -1):
        backwards = backwards ^ (z >> level & 1) * ((1 << level) - 1)
    return _interleave(z ^ backwards, y ^ backwards, x ^ backwards, bits)


def _interleave(low: Tensor, middle: Tensor, high: Tensor, bits: int) -> Tensor:
    code = torch.zeros_like(low)
    for bit in range(bits):
        for place, axis in enumerate((low, middle, high)):
            code = code | (axis >> bit & 1) << 3 * bit + place
    return code


def _cells(centres: Tensor) -> Tensor:
    """Quantise clouds [B, G, 3] to int64 cells of their own cubes; a cloud without extent lies in cell 0."""
    centres = centres.float()
    offsets = centres - centres.amin(1, keepdim=True)
    side = offsets.amax((1, 2), keepdim=True)
    places = offsets / torch.where(side > 0, side, 1)
    side_cells = 1 << BITS
    return (places * side_cells).long().clamp(max=side_cells - 1)  # the far faces belong to the last cells
