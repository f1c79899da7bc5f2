"""Segmentation of volumes: Dice and surface Dice of whole ones, which their slices are put together to.

Published Dice of CT and MRI is mostly that of a volume and a class, averaged over both. Papers differ where a class is
missing: here a class that neither label nor prediction has is left out, and one that only either has counts 0. Those
that use TransUNet's script (arXiv 2102.04306) count 1 where a class is predicted that the label lacks, and 0 where both
lack it; that number is given beside ours, and so is their HD95.

Surface Dice (NSD; Nikolov et al., arXiv 1809.04430) is the share of both surfaces, in voxels on the border, that lie
within a tolerance in millimetres of the other one. The ends of a volume are no surface.

HD95 is a distance: there is none where either lacks the class. Here such cases are left out, and counted. TransUNet's
script counts them 0, as if they were perfect, measures in voxels, and takes the ends of a volume for surface, as medpy
does.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.metrics.boundaries import hausdorff_95, hausdorff_95_medpy, surface_dice
from zoo.metrics.segmentation import FN, FP, TP, counts, dice

TOLERANCE = 2.0
"""Millimetres within which a surface counts as found."""


class VolumeScores(NamedTuple):
    """What is known of one volume.

    Attributes:
        counts: int64 [K, 3], see `zoo.metrics.segmentation.counts`.
        surface: surface Dice by class, float64 [K]; NaN of classes that neither label nor prediction has.
        hd95: in millimetres, by class, float64 [K]; NaN of classes that label or prediction lacks, or of which one of
            them fills the volume, so that it has no border.
        hd95_script: likewise in voxels, as `hausdorff_95_medpy`.
    """

    counts: Tensor
    surface: Tensor
    hd95: Tensor
    hd95_script: Tensor


class Stack:
    """The slices of one volume, as they come.

    Args:
        spacing: millimetres from slice to slice, and a pixel along H and W.
    """

    def __init__(self, spacing: Sequence[float]) -> None:
        self.spacing = spacing
        self.slices: dict[int, tuple[NDArray[np.uint8], NDArray[np.uint8]]] = {}

    def add(self, index: int, predicted: NDArray[np.uint8], truth: NDArray[np.uint8]) -> int:
        """Keep a slice, classes of its pixels [H, W] each; gives how many slices there are now."""
        self.slices[index] = predicted, truth
        return len(self.slices)

    def scores(self, classes: int, *, ignore: int) -> VolumeScores:
        """Of all slices, in their order."""
        parts = zip(*(self.slices[index] for index in sorted(self.slices)), strict=True)
        predicted, truth = (np.stack(part) for part in parts)
        predicted[truth == ignore] = ignore  # nothing is known there
        counted = counts(torch.from_numpy(predicted), torch.from_numpy(truth), classes, ignore=ignore)
        surface, hd95, script = torch.full((3, classes), torch.nan, dtype=torch.double)
        for index in range(1, classes):
            own, right = predicted == index, truth == index
            if own.any() or right.any():
                surface[index] = surface_dice(own, right, TOLERANCE, self.spacing)
            if own.any() and right.any():
                millimetres = hausdorff_95(own, right, self.spacing)
                hd95[index] = millimetres if math.isfinite(millimetres) else torch.nan
                script[index] = hausdorff_95_medpy(own, right)
        return VolumeScores(counted, surface, hd95, script)


def pooled(volumes: Sequence[VolumeScores]) -> dict[str, float]:
    """Means over volumes and classes but the first; nothing of no volume.

    Returns:
        `volume_dice`, `volume_nsd`, `volume_dice_transunet`, and as shares of all cases `volume_neither` (left out),
        `volume_false` (predicted where the label has none) and `volume_missed` (the other way round).
    """
    if not volumes:
        return {}
    counted = torch.stack([volume.counts for volume in volumes])[:, 1:]
    each = dice(counted)
    labelled, claimed = (counted[..., TP] + counted[..., column] for column in (FN, FP))
    script = torch.where((labelled == 0) & (claimed > 0), 1.0, each.nan_to_num(0.0))
    surface = torch.stack([volume.surface for volume in volumes])[:, 1:]
    return {
        "volume_dice": float(each.nanmean().nan_to_num(0.0)),
        "volume_nsd": float(surface.nanmean().nan_to_num(0.0)),
        "volume_dice_transunet": float(script.mean()),
        "volume_neither": float(((labelled == 0) & (claimed == 0)).double().mean()),
        "volume_false": float(((labelled == 0) & (claimed > 0)).double().mean()),
        "volume_missed": float(((labelled > 0) & (claimed == 0)).double().mean()),
    }


def far(volumes: Sequence[VolumeScores]) -> dict[str, float]:
    """Mean HD95 over volumes and classes but the first; nothing of no volume.

    Returns:
        `volume_hd95` in millimetres, of the cases that label and prediction have, where there are any; and
        `volume_hd95_transunet` in voxels, of all cases, those without a distance counted 0.
    """
    if not volumes:
        return {}
    found = torch.stack([volume.hd95 for volume in volumes])[:, 1:].nanmean()
    script = torch.stack([volume.hd95_script for volume in volumes])[:, 1:].nan_to_num(0.0).mean()
    own = {} if found.isnan() else {"volume_hd95": float(found)}
    return {**own, "volume_hd95_transunet": float(script)}
