"""Objects of a label, and the prompts that a person might have given for them: by rules, drawn from the label itself.

An object is a connected component (by edges) of a class. Its box is its extent, moved by a jitter. Its first click lies
in its middle, where it is farthest from what is not the object; every further one in the middle of the largest
connected error so far. Places are pixels, named by column and row.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Region = NDArray[np.bool_]

Box = tuple[float, float, float, float]

Click = tuple[float, float, int]


def objects(mask: NDArray[np.uint8], classes: Sequence[int], least: int) -> list[Region]:
    """Objects of some classes, class by class.

    Args:
        mask: class of every pixel, [H, W].
        classes: whose components are objects.
        least: pixels of an object; smaller ones are left out.

    Returns:
        bool [H, W] each.
    """
    found: list[Region] = []
    for index in classes:
        labelled, count = ndimage.label(mask == index)
        sizes = np.bincount(labelled.ravel(), minlength=count + 1)
        found += [labelled == number for number in range(1, count + 1) if sizes[number] >= least]
    return found


def box(region: Region, jitter: float, random: np.random.Generator) -> Box:
    """First and last column and row of an object, x0, y0, x1, y1.

    Args:
        region: bool [H, W].
        jitter: every side is moved by up to this share of the box's own length, inside the picture.
        random: draws it.
    """
    rows, columns = (np.flatnonzero(region.any(axis)) for axis in (1, 0))
    ends = np.array([columns[0], rows[0], columns[-1], rows[-1]], dtype=float)
    lengths = np.tile(ends[2:] - ends[:2] + 1, 2)
    moved = ends + jitter * lengths * random.uniform(-1, 1, 4)
    left, top = np.minimum(moved[:2], ends[2:]).clip(0)
    right, bottom = np.minimum(np.maximum(moved[2:], [left, top]), np.array(region.shape[::-1]) - 1)
    return float(left), float(top), float(right), float(bottom)


def filled(place: Box, height: int, width: int) -> Region:
    """The pixels of a box, bool [height, width]."""
    left, top, right, bottom = place
    columns, rows = np.arange(width), np.arange(height)
    across = (columns >= round(left)) & (columns <= round(right))
    along = (rows >= round(top)) & (rows <= round(bottom))
    return np.asarray(along[:, None] & across)


def middle(region: Region) -> tuple[float, float]:
    """The pixel x, y of a region that is farthest from what is outside of it, and from the border of the picture."""
    distance = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(distance.argmax()), region.shape)
    return float(x), float(y)


def next_click(predicted: Region, truth: Region, valid: Region) -> Click | None:
    """The middle of the largest connected error, with 1 where the object was missed and 0 where too much was claimed.

    Args:
        predicted: bool [H, W]; nothing before the first click.
        truth: the object.
        valid: where the label is known.

    Returns:
        None where nothing is wrong.
    """
    best: tuple[int, Region, int] | None = None
    for on, wrong in ((1, truth & ~predicted & valid), (0, predicted & ~truth & valid)):
        labelled, count = ndimage.label(wrong)
        if count:
            sizes = np.bincount(labelled.ravel())[1:]
            largest = int(sizes.argmax())
            if best is None or sizes[largest] > best[0]:
                best = int(sizes[largest]), labelled == largest + 1, on
    return None if best is None else (*middle(best[1]), best[2])
