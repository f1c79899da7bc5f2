"""Volumes with their masks as pictures, one a slice, and what is told of each: patient, volume and millimetres."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from nibabel.affines import voxel_sizes
from torch import Tensor

from data_modules.kinds.mask_files import PLAIN, MaskFile, PictureFile
from data_modules.kinds.masks import MaskDataModule
from data_modules.readers import volumes
from data_modules.readers.masks import Legend
from data_modules.readers.sensors import AS_IT_IS, Rendering

CONDITIONS = ("place", "group", "volume", "spacing")
"""Conditions of slices; see `sliced`."""


@dataclass(frozen=True)
class VolumeFile:
    """One volume and its mask.

    Attributes:
        id: unique within its split.
        image: NIfTI file of the picture.
        label: NIfTI file of its mask.
        group: number of what several volumes are of, a patient.
    """

    id: str
    image: Path
    label: Path
    group: int


def sliced(
    files: Sequence[VolumeFile],
    classes: Sequence[str],
    *,
    legend: Legend = PLAIN,
    rendering: Rendering = AS_IT_IS,
) -> tuple[list[PictureFile], list[Mapping[str, Tensor]]]:
    """All slices of the volumes of one split, from the lowest, and the conditions of each.

    Args:
        files: in order.
        classes: names of the K classes.
        legend: what numbers in masks mean.
        rendering: which range of values is shown.

    Returns:
        Pictures `ID[z]`, and of each `group` int64 [], `volume` int64 [3] (index of the volume in its split, index of
        the slice in it, slices of it) and `spacing` float32 [3] (millimetres from slice to slice, and a pixel along H
        and W).

    Raises:
        DataError: no volume, or a mask that does not lie on its picture.
    """
    pictures: list[PictureFile] = []
    told: list[Mapping[str, Tensor]] = []
    for number, file in enumerate(files):
        volumes.require_same_space(file.image, file.label)
        depth = volumes.shape(file.image)[0]
        common = {"group": torch.tensor(file.group), "spacing": torch.tensor(spacing(file.image))}
        for z in range(depth):
            mask = MaskFile(file.label, tuple(classes), legend, slice=z)
            pictures.append(PictureFile(f"{file.id}[{z}]", file.image, mask, rendering, z))
            told.append(common | {"volume": torch.tensor([number, z, depth])})
    return pictures, told


def spacing(path: Path) -> tuple[float, float, float]:
    """Millimetres from slice to slice, and a pixel along H and W, from a volume's header.

    Raises:
        DataError: no volume of three axes.
    """
    width, height, depth = voxel_sizes(volumes.affine(path))
    return float(depth), float(height), float(width)


def shares(data: MaskDataModule) -> list[str]:
    """Lines of `--check`, one a split: volumes, slices and shares of the classes; after `setup`.

    Raises:
        DataError: a mask with numbers that are no class.
    """
    lines = []
    for split, samples in data.sets.items():
        counts = np.stack([count.pixels for count in data.counts(split)])
        number = len({int(samples.conditions(index)["volume"][0]) for index in range(len(samples))})
        told = ", ".join(
            f"{name} {share:.2%}" for name, share in zip(data.classes, counts.sum(0) / counts.sum(), strict=True)
        )
        lines.append(f"{split}: {number} volumes, {len(counts)} slices; {told}")
    return lines
