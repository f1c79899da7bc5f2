"""Borders of regions: how far predicted ones lie from labelled ones, and whether what they part stays apart.

Distances are of the pixels on a region's border (those with a neighbour outside, by edges), in pixels or in the unit of
`spacing`: exact Euclidean ones to the nearest, by SciPy's k-d tree, whose time is that of the borders, not of the
volume. Regions are [H, W], or [Z, H, W] with a spacing of three.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

Mask = NDArray[np.bool_]


def border(region: Mask, *, edge: bool = False) -> Mask:
    """Pixels of a region with a neighbour outside; the picture's own `edge` is one where it is said to be."""
    inner = ndimage.binary_erosion(region, border_value=not edge)
    return np.asarray(region & ~inner)


def distances(
    predicted: Mask, truth: Mask, spacing: Sequence[float] = (1.0, 1.0), *, edge: bool = False
) -> tuple[NDArray[np.float64], ...]:
    """Distances between borders: of every predicted border pixel to the label's border, and the other way round.

    Empty where either region is.
    """
    own, right = (np.argwhere(border(region, edge=edge)) * np.asarray(spacing) for region in (predicted, truth))
    if not len(own) or not len(right):
        return np.zeros(0), np.zeros(0)
    return KDTree(right).query(own)[0], KDTree(own).query(right)[0]


def hausdorff_95(predicted: Mask, truth: Mask, spacing: Sequence[float] = (1.0, 1.0)) -> float:
    """The larger of both directions' 95th percentile; 0 where both regions are the same, infinite where else one has no
    border, as it is empty or all there is."""
    if np.array_equal(predicted, truth):
        return 0.0
    there, back = distances(predicted, truth, spacing)
    return max(float(np.percentile(d, 95)) for d in (there, back)) if there.size else float("inf")


def hausdorff_95_medpy(predicted: Mask, truth: Mask) -> float:
    """That of `medpy.metric.binary.hd95` 0.5.2 without spacing, in voxels: the 95th percentile of both directions'
    distances together, with the volume's own ends among the borders.

    Raises:
        ValueError: either region is empty.
    """
    there, back = distances(predicted, truth, (1.0,) * predicted.ndim, edge=True)
    if not there.size:
        raise ValueError("medpy's HD95 is not defined where a region is empty")
    return float(np.percentile(np.concatenate([there, back]), 95))


def boundary_f(predicted: Mask, truth: Mask, tolerance: float = 2.0, spacing: Sequence[float] = (1.0, 1.0)) -> float:
    """F1 of border pixels that lie within `tolerance` of the other border; 1 where both regions are the same, and 0
    where else one has no border, as it is empty or all there is."""
    if np.array_equal(predicted, truth):
        return 1.0
    there, back = distances(predicted, truth, spacing)
    if not there.size:
        return 0.0
    precision, recall = float((there <= tolerance).mean()), float((back <= tolerance).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def surface_dice(predicted: Mask, truth: Mask, tolerance: float, spacing: Sequence[float] = (1.0, 1.0)) -> float:
    """Normalised surface Dice: the share of both borders within `tolerance`; 1 where both regions are the same, and 0
    where else one has no border, as it is empty or all there is."""
    if np.array_equal(predicted, truth):
        return 1.0
    there, back = distances(predicted, truth, spacing)
    near = float((there <= tolerance).sum() + (back <= tolerance).sum())
    return near / (there.size + back.size) if there.size else 0.0


def regions(inside: Mask) -> NDArray[np.int64]:
    """Connected regions of what a border leaves [H, W], with the border's pixels given to the nearest: 1, 2, ...

    0 everywhere where nothing is inside.
    """
    labels, number = ndimage.label(inside)
    if not number:
        return np.zeros(inside.shape, dtype=np.int64)
    nearest = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
    return np.asarray(labels[tuple(nearest)], dtype=np.int64)


def v_rand(predicted: Mask, truth: Mask) -> float:
    """V_rand of the ISBI 2012 challenge (Arganda-Carreras et al. 2015): F1 of pairs of pixels in one region.

    Args:
        predicted: what lies inside of cells, [H, W].
        truth: likewise; as in the challenge only its pixels count.

    Returns:
        1 where regions are the same; few where one gap in a membrane joins two large cells.
    """
    valid = truth
    if not valid.any():
        return float("nan")
    own, right = regions(predicted)[valid], regions(truth)[valid]
    table = np.zeros((int(right.max()) + 1, int(own.max()) + 1))
    np.add.at(table, (right, own), 1.0)
    share = table / table.sum()
    together = float((share**2).sum())
    return 2 * together / float((share.sum(0) ** 2).sum() + (share.sum(1) ** 2).sum())
