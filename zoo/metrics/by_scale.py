"""Accuracy by ground sampling distance."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DISTINCT, QUANTILES = 8, 6
"""So many different distances are a bin each; where there are more, bins are equally full."""

UNKNOWN = "unknown"


class Bin(NamedTuple):
    """Samples of like scale.

    Attributes:
        name: "0.5", "0.5 to 0.9" or "unknown".
        accuracy: of its samples, in [0, 1].
        n: number of samples.
    """

    name: str
    accuracy: float
    n: int


def accuracy_by_gsd(gsd: NDArray[np.floating], right: NDArray[np.floating]) -> list[Bin]:
    """Bins in order of scale, those of unknown scale last; empty ones are left out.

    Args:
        gsd: metres per pixel, NaN where unknown, [N].
        right: whether each answer is right, [N].
    """
    known = ~np.isnan(gsd)
    members: list[tuple[str, NDArray[np.bool_]]] = []
    distinct = np.unique(gsd[known])
    if len(distinct) <= DISTINCT:
        members = [(f"{value:.3g}", gsd == value) for value in distinct]
    else:
        # Borders are values that occur, so that equal distances never fall into two bins.
        borders = np.unique(np.quantile(gsd[known], np.arange(1, QUANTILES) / QUANTILES, method="higher"))
        which = np.searchsorted(borders, gsd, side="right")
        for k in range(len(borders) + 1):
            inside = known & (which == k)
            if inside.any():
                low, high = (f"{value:.3g}" for value in (gsd[inside].min(), gsd[inside].max()))
                members.append((low if low == high else f"{low} to {high}", inside))
    members.append((UNKNOWN, ~known))
    return [Bin(name, float(right[rows].mean()), int(rows.sum())) for name, rows in members if rows.any()]
