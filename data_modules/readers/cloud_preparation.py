"""Samples N points from any number of points, in the same way for training, evaluation and prediction.

1. Exact duplicates out, the rest ordered by their coordinates; of more than MOST_SAMPLED points so many are drawn by a
   hash of their coordinates. 2. Mean to the origin and farthest point to distance one, where a data set asks for it.
3. Farthest point sampling, begun at the point farthest from the mean; no point is taken twice while others are left.
4. Where there are fewer than N, all are repeated in that order, evenly.

So a cloud is the *set* of its points: neither their order nor how often one is stored moves a single bit of what comes
out. Version 1 kept copies and began at the first point stored: a cloud padded with copies of its points gave up to 40 %
copies of that one point, which a method learned as a mark of small objects, and no user's file has.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from data_modules.errors import DataError
from zoo.ops.points import farthest_points

VERSION = 2
"""Part of every key and of every adapter: raise it when preparation changes."""

MOST_COLUMNS, FARTHEST, NEAREST = 32, 1e18, 1e-30

MOST_SAMPLED = 100_000
"""Points of a cloud that farthest point sampling looks at: its time grows with their number."""


class Prepared(NamedTuple):
    """A prepared cloud.

    Attributes:
        points: float32 [N, 3].
        rows: of the raw cloud, int64 [N]; of copies the first one.
        distinct: points of the raw cloud that differ.
    """

    points: NDArray[np.float32]
    rows: NDArray[np.int64]
    distinct: int


@dataclass(frozen=True)
class Preparation:
    """The way of a cloud [M, >= 3] to [N, 3].

    Attributes:
        points: N.
        unit: scale into the unit sphere.
    """

    points: int
    unit: bool = True

    @property
    def name(self) -> str:
        """Marker of a prepared cloud, so that it is not prepared again."""
        return f"cloud {VERSION} {self.points} {self.unit}"

    def __call__(self, values: NDArray[Any], where: str, remarks: Counter[str] | None = None) -> Prepared:
        """Prepare a cloud.

        Args:
            values: coordinates in the first three columns.
            where: the cloud, for messages.
            remarks: counts points left out and points repeated.

        Raises:
            DataError: as `clean`.
        """
        points = clean(values, where, remarks)
        rows, distinct = distinct_rows(points)
        points = points[rows]
        ready = (normalise(points) if self.unit else points).astype(np.float32)
        chosen = sample(ready, self.points)
        if remarks is not None and distinct < self.points:
            remarks[f"clouds of fewer than {self.points} distinct points, which are repeated"] += 1
        if remarks is not None and distinct < len(values):
            remarks["clouds with points stored more than once, of which one is kept"] += 1
        return Prepared(ready[chosen], rows[chosen], distinct)


def clean(values: NDArray[Any], where: str, remarks: Counter[str] | None = None) -> NDArray[np.float64]:
    """The coordinates [M, 3] of a cloud [M, >= 3]; float64, as map coordinates lose decimetres in float32.

    Args:
        values: coordinates in the first three columns.
        where: the cloud, for messages.
        remarks: counts what was passed over.

    Raises:
        DataError: not a table of three columns, no point, a coordinate that is not finite, or no extent.
    """
    # Very many columns are a table that lies on its side.
    if values.ndim != 2 or not 3 <= values.shape[1] <= MOST_COLUMNS or not len(values):
        raise DataError(f"{where} has shape {list(values.shape)}; expected [points, 3 to {MOST_COLUMNS} columns]")
    points = np.ascontiguousarray(values[:, :3], dtype=np.float64)
    # Squares of what is farther away overflow float32; NaN is not nearer either.
    bad = ~(np.abs(points) < FARTHEST).all(1)
    if bad.any():
        raise DataError(
            f"{where}: {int(bad.sum())} of {len(points)} points are NaN, infinite or beyond {FARTHEST:g}, the first "
            f"in row {int(bad.argmax())}; remove them from the file"
        )
    # The squares of what is closer underflow, and scaling to the unit sphere would give NaN.
    if (extent := float(np.ptp(points, axis=0).max())) < NEAREST:
        less = f" but for {extent:g}" if extent else ""
        raise DataError(f"{where} has no extent: {len(points)} point(s), all at {points[0].tolist()}{less}")
    if remarks is not None and values.shape[1] > 3:
        remarks["clouds with further columns, which are not used"] += 1
    return points


def distinct_rows(points: NDArray[np.float64]) -> tuple[NDArray[np.int64], int]:
    """Rows of the distinct points of [M, 3] in the order of x, y, z, MOST_SAMPLED at most; and how many there are.

    Of several copies the first row is named.
    """
    points = points + 0.0  # -0.0 is 0.0
    if len(points) <= MOST_SAMPLED:
        rows = _ordered(points, np.arange(len(points)))
        return rows, len(rows)
    # Sorting one number a point is quicker than sorting by three, and the smallest are a random choice.
    _, rows = np.unique(_hash(points), return_index=True)
    return _ordered(points, np.sort(rows[:MOST_SAMPLED])), len(rows)


def _ordered(points: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    rows = rows[np.lexsort(points[rows].T[::-1])]
    kept: NDArray[np.int64] = rows[np.r_[True, (np.diff(points[rows], axis=0) != 0).any(1)]]
    return kept


def _hash(points: NDArray[np.float64]) -> NDArray[np.uint64]:
    """One number a point [M]: the mixing steps of SplitMix64 over the bits of x, y and z."""
    mixed = np.zeros(len(points), np.uint64)
    for axis in range(3):
        mixed = mixed + np.ascontiguousarray(points[:, axis]).view(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> np.uint64(31))
    return mixed


def copies(points: NDArray[Any]) -> int:
    """Number of repetitions of the most frequent point in [M, >= 3]."""
    hashes = _hash(points[:, :3].astype(np.float64) + 0.0)
    return int(np.unique(hashes, return_counts=True)[1].max()) if len(hashes) else 0


def normalise(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean at the origin, farthest point at distance one: [M, 3] -> [M, 3]."""
    centred = points - points.mean(0)
    scaled: NDArray[np.float64] = centred / np.linalg.norm(centred, axis=1).max()
    return scaled


def sample(points: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Indices [count] of farthest points of [M, 3], begun at the one farthest from the mean; repeated in that order
    where M < count.
    """
    centred = points - points.mean(0, dtype=np.float64)
    first = int(np.square(centred).sum(1).argmax())
    order = np.r_[first, np.delete(np.arange(len(points)), first)]
    ready = torch.from_numpy(np.ascontiguousarray(points[order]))[None]
    chosen = order[farthest_points(ready, min(count, len(points)))[0].numpy()]
    return np.resize(chosen, count)
