"""NIfTI volumes as slices, with their masks, and masks back into the volume's own axes.

A volume is turned to the closest canonical orientation (RAS+: axes towards right, front and head), whatever order it is
stored in, and cut across its third axis. Slices are shown as radiologists see them: front up, the patient's right on
the left. Nothing is resampled; an oblique affine stays. Needs nibabel (extra `medical`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_modules.errors import DataError
from data_modules.readers.foreign import LARGEST, reason, require_file
from zoo.errors import require_packages

SUFFIXES = (".nii", ".gz")

AFFINE = 1e-3
"""Largest difference of affines, in millimetres or millimetres per voxel, of a picture and its mask."""


@dataclass(frozen=True)
class Volume:
    """One volume in canonical axes.

    Attributes:
        slices: [Z, H, W], as stored times the file's scale.
        affine: float64 [4, 4] of the canonical axes, voxels to millimetres.
        spacing: millimetres a pixel along H and W.
    """

    slices: NDArray[Any]
    affine: NDArray[np.float64]
    spacing: tuple[float, float]


def is_volume(path: Path) -> bool:
    """Whether a file's name is that of a NIfTI volume."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def shape(path: Path) -> tuple[int, int, int]:
    """Z, H and W of a volume's slices, from its header alone.

    Raises:
        DataError: no volume of three axes.
    """
    image = _opened(path)
    axes = np.argsort(_orientation(image.affine)[:, 0])
    width, height, depth = (int(image.shape[axis]) for axis in axes)
    return depth, height, width


def affine(path: Path) -> NDArray[np.float64]:
    """float64 [4, 4] of the canonical axes, voxels to millimetres, from the header alone.

    Raises:
        DataError: no volume of three axes.
    """
    import nibabel

    found: NDArray[np.float64] = nibabel.as_closest_canonical(_opened(path)).affine
    return found


def read_volume(path: Path, *, whole: bool = False) -> Volume:
    """The volume in a file.

    Args:
        path: `.nii` or `.nii.gz`.
        whole: values are class numbers and must be whole; they become int32.

    Raises:
        DataError: no volume of three axes, or a damaged one.
    """
    import nibabel

    image = _opened(path)
    try:
        turned = nibabel.as_closest_canonical(image)
        values = np.asanyarray(turned.dataobj)
    except Exception as error:  # of any decoder
        raise DataError(f"{path} cannot be read, so it is damaged or cut short: {reason(error)}") from error
    if whole:
        numbers = np.nan_to_num(values, nan=-1).astype(np.int32)
        if not (numbers == values).all():
            raise DataError(f"{path}: values that are not whole; expected class numbers")
        values = numbers
    spacing = np.linalg.norm(turned.affine[:3, :3], axis=0)
    return Volume(_shown(values), turned.affine, (float(spacing[1]), float(spacing[0])))


def require_same_space(picture: Path, mask: Path) -> None:
    """A volume and its mask lie in the same space.

    Raises:
        DataError: sizes differ, or affines by more than `AFFINE`.
    """
    import nibabel

    pair = [nibabel.as_closest_canonical(_opened(path)) for path in (picture, mask)]
    if pair[0].shape[:3] != pair[1].shape[:3]:
        raise DataError(f"{mask}: {pair[1].shape[:3]} voxels, but {picture.name} has {pair[0].shape[:3]}")
    if (apart := float(np.abs(pair[0].affine - pair[1].affine).max())) > AFFINE:
        raise DataError(
            f"{mask}: its affine differs from that of {picture.name} by {apart:g}; expected up to {AFFINE:g}: one of "
            "them was resampled or lost its header"
        )


def write_mask(path: Path, slices: NDArray[np.uint8], like: Path) -> None:
    """Class indices of all slices as a volume with the axes, the size and the affine of another.

    Args:
        path: to write, `.nii` or `.nii.gz`.
        slices: [Z, H, W], as `read_volume` gives them.
        like: the volume that they belong to.
    """
    import nibabel
    from nibabel.orientations import apply_orientation, io_orientation, ornt_transform

    image = _opened(like)
    canonical = np.column_stack([np.arange(3), np.ones(3)])
    back = ornt_transform(canonical, io_orientation(image.affine))
    stored = apply_orientation(_hidden(slices), back)
    header = image.header.copy()
    header.set_data_dtype(np.uint8)
    header.set_slope_inter(1, 0)
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(stored), image.affine, header), path)


def _shown(values: NDArray[Any]) -> NDArray[Any]:
    """[X, Y, Z] towards right, front, head as [Z, H, W] with the front up and the right on the left."""
    return values[::-1, ::-1].transpose(2, 1, 0)


def _hidden(slices: NDArray[Any]) -> NDArray[Any]:
    return slices.transpose(2, 1, 0)[::-1, ::-1]


def _opened(path: Path) -> Any:
    require_packages(f"{path}: NIfTI", "nibabel")
    import nibabel

    require_file(path, most=LARGEST)
    try:
        image = nibabel.Nifti1Image.from_filename(path)
    except Exception as error:  # of any decoder
        raise DataError(f"{path} is no NIfTI volume: {reason(error)}") from error
    if len(image.shape) != 3 and not (len(image.shape) == 4 and image.shape[3] == 1):
        raise DataError(f"{path}: {' x '.join(map(str, image.shape))} voxels; expected three axes, one volume")
    return image.slicer[..., 0] if len(image.shape) == 4 else image


def _orientation(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    from nibabel.orientations import io_orientation

    found: NDArray[np.float64] = io_orientation(affine)
    return found
