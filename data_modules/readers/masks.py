"""Reading one mask: class indices of every pixel, uint8 [H, W] with `IGNORE` where there is no label.

The numbers that a file stores are read, never colours: a palette, one bit, 8 or 16 bits of PNG, TIFF, BMP or GIF.
Colours are classes only where a `Legend` says which. Formats that may lose anything are refused: a JPEG of classes 0
and 2 has pixels of 1 along every border. They are read only where a `Legend` cuts grey values at a threshold.

- Pixels that a GeoTIFF gives as nodata, or that are transparent, have no label.
- Three bands that are equal are one.
- Nothing is shrunk, and nothing is turned by an orientation of the mask's own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_modules.errors import DataError
from data_modules.readers import raster
from data_modules.readers.foreign import require_file
from zoo.ops.frame import IGNORE

LOSSLESS = ("PNG", "TIFF", "BMP", "GIF")

READABLE = (".png", ".tif", ".tiff", ".bmp", ".gif")
"""Suffixes of masks that store numbers."""

MOST_CLASSES = IGNORE
"""Classes that a mask of 8 bits has room for beside `IGNORE`."""

EQUAL_BANDS = "masks of three equal bands, of which one is read"

NO_DATA = "masks with pixels of no data, or transparent ones, which have no label"

AGREE = 1e-3
"""Pixels by which two map grids may differ at a corner."""

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Legend:
    """What the numbers or colours in mask files mean.

    Attributes:
        values: class index by number in the file; None takes numbers as class indices.
        colours: class index by colour; empty where masks have none.
        ignore: number of pixels without a label.
        threshold: grey value (0 to 255) from which on a pixel is class 1, of masks of two classes whose borders are
            grey; below it is class 0. Such a mask may be a JPEG. None where values are numbers.
    """

    values: Mapping[int, int] | None = None
    colours: Mapping[Colour, int] = field(default_factory=dict)
    ignore: int | None = None
    threshold: int | None = None

    def classes(self, stored: "Stored", classes: int, where: str) -> NDArray[np.uint8]:
        """Class indices, uint8 [H, W].

        Args:
            stored: what the file holds.
            classes: number of them.
            where: for messages.

        Raises:
            DataError: numbers that are no class, with how many pixels have each and where the first one is.
        """
        if stored.values.dtype == np.uint8:
            numbers, at = np.arange(256), stored.values
        else:
            numbers = np.unique(stored.values)
            at = np.searchsorted(numbers, stored.values)
        found = np.array([self.index(int(number), classes) for number in numbers], np.int16)[at]
        strange = found < 0
        if stored.unlabelled is not None:
            strange &= ~stored.unlabelled
        if strange.any():
            raise DataError(f"{where}: {self._strangers(stored.values, strange, classes)}")
        labels: NDArray[np.uint8] = found.astype(np.uint8)
        if stored.unlabelled is not None:
            labels[stored.unlabelled] = IGNORE
        return labels

    def index(self, number: int, classes: int) -> int:
        """The class of a number, `IGNORE`, or -1 where it is none."""
        if number == self.ignore:
            return IGNORE
        if self.values is not None:
            return self.values.get(number, -1)
        return number if 0 <= number < classes else -1

    def _strangers(self, values: NDArray[Any], strange: NDArray[np.bool_], classes: int) -> str:
        numbers, counts = np.unique(values[strange], return_counts=True)
        told = []
        for number, count in list(zip(numbers.tolist(), counts.tolist(), strict=True))[:3]:
            y, x = np.unravel_index(np.argmax((values == number) & strange), values.shape)
            told.append(f"{number} in {count} pixels, the first at x = {x}, y = {y}")
        more = f", and {len(numbers) - 3} more values" if len(numbers) > 3 else ""
        known = f"0 to {classes - 1}" if self.values is None else ", ".join(str(number) for number in self.values)
        advice = "data.values={NUMBER: CLASS} says what numbers mean"
        if self.ignore is None and 255 in numbers:
            advice += ", data.ignore=255 that 255 is no label"
        return f"{'; '.join(told)}{more}: no class; expected {known}. {advice}"


class Stored(NamedTuple):
    """What a mask file holds.

    Attributes:
        values: uint8, uint16 or int32 [H, W].
        unlabelled: bool [H, W], pixels that the file itself says have no label; None where there are none.
        notes: plural sentences on what was made up or left out.
    """

    values: NDArray[Any]
    unlabelled: NDArray[np.bool_] | None = None
    notes: tuple[str, ...] = ()


def read_stored(path: Path, legend: Legend) -> Stored:
    """The numbers in a PNG, TIFF, BMP or GIF; of a coloured one the class indices.

    Args:
        path: of the mask.
        legend: says which colours are classes.

    Raises:
        DataError: no mask, one of a format that loses values, colours without a meaning, or numbers that are not whole.
    """
    require_file(path)
    if legend.threshold is not None:
        return Stored(_cut(path, legend.threshold))
    with raster.reading(path, str(path)) as (kind, name):
        if kind not in LOSSLESS:
            raise DataError(
                f"{name} is {kind}, which may change values near borders, so it holds no classes; write masks as PNG "
                "or TIFF"
            )
        if kind in raster.DRIVERS:
            with raster.open_raster(path, kind, name) as file:
                return _of_raster(file, legend, name)
        with raster.open_image(path, kind, name) as opened:
            values = np.array(opened if opened.mode in ("P", "L", "1") else opened.convert("RGB"))
            bands = values[None] if values.ndim == 2 else values.transpose(2, 0, 1)
            return _stored(bands.astype(np.uint8), None, legend, name)


def _cut(path: Path, threshold: int) -> NDArray[np.uint8]:
    grey = raster.read_picture(path, str(path))[0].mean(-1)
    if 0 < grey.max() < threshold:
        raise DataError(
            f"{path}: its lightest pixel has {grey.max():g}, below the threshold of {threshold}, and not all are 0; "
            "expected a mask of 0 to 255"
        )
    return np.asarray(grey >= threshold, np.uint8)


def _of_raster(file: Any, legend: Legend, name: str) -> Stored:
    from rasterio.enums import ColorInterp, MaskFlags

    marks = list(file.colorinterp)
    bands = [band for band, mark in enumerate(marks, 1) if mark != ColorInterp.alpha]
    if len(bands) not in (1, 3):
        raise DataError(f"{name}: {len(bands)} bands; expected one, of class numbers, or the three of a coloured mask")
    unlabelled = None
    # GDAL takes a transparent entry of a PNG's palette for nodata; it is often that of the background.
    palette = marks[0] == ColorInterp.palette and file.driver == "PNG"
    if not palette and any(MaskFlags.all_valid not in flags for flags in file.mask_flag_enums):
        unlabelled = file.dataset_mask() == 0
    return _stored(file.read(bands), unlabelled, legend, name)


def _stored(bands: NDArray[Any], unlabelled: NDArray[np.bool_] | None, legend: Legend, name: str) -> Stored:
    notes = []
    if unlabelled is not None and not unlabelled.any():
        unlabelled = None
    if unlabelled is not None:
        notes.append(NO_DATA)
    if legend.colours:
        return Stored(_coloured(bands, unlabelled, legend, name), unlabelled, tuple(notes))
    if len(bands) == 3:
        if not (bands[0] == bands[1]).all() or not (bands[0] == bands[2]).all():
            raise DataError(
                f"{name} is a coloured picture, and nobody says which colour is which class; "
                f"{_listed(bands)}data.colours={{NAME: [R, G, B], ...}} does, or save it with one band of class numbers"
            )
        notes.append(EQUAL_BANDS)
    return Stored(_whole(bands[0], unlabelled, name), unlabelled, tuple(notes))


def _whole(values: NDArray[Any], unlabelled: NDArray[np.bool_] | None, name: str) -> NDArray[Any]:
    """Numbers as uint8, uint16 or int32."""
    if values.dtype in (np.uint8, np.uint16):
        return values
    if values.dtype.kind not in "uif":
        raise DataError(f"{name}: values of type {values.dtype}; expected whole numbers")
    kept = values if unlabelled is None else np.where(unlabelled, 0, values)
    whole: NDArray[np.int32] = np.nan_to_num(kept, nan=-1).astype(np.int32)
    if (wrong := whole != kept).any():
        y, x = np.unravel_index(np.argmax(wrong), wrong.shape)
        raise DataError(
            f"{name}: {values[y, x]} at x = {x}, y = {y}; expected whole numbers of classes, not probabilities or grey"
        )
    return whole


def _coloured(
    bands: NDArray[Any], unlabelled: NDArray[np.bool_] | None, legend: Legend, name: str
) -> NDArray[np.uint8]:
    """Class indices of colours, uint8 [H, W]; `IGNORE` is one only where `unlabelled`."""
    if len(bands) != 3 or bands.dtype != np.uint8:
        raise DataError(f"{name}: {len(bands)} bands of {bands.dtype}; expected three of uint8, as data.colours says")
    codes = (bands[0].astype(np.int32) << 16) | (bands[1].astype(np.int32) << 8) | bands[2]
    found = np.full(codes.shape, IGNORE, np.uint8)
    strange = np.ones(codes.shape, bool) if unlabelled is None else ~unlabelled
    for (red, green, blue), index in legend.colours.items():
        same = codes == (red << 16 | green << 8 | blue)
        found[same] = index
        strange &= ~same
    if strange.any():
        y, x = np.unravel_index(np.argmax(strange), strange.shape)
        raise DataError(
            f"{name}: colour {bands[:, y, x].tolist()} at x = {x}, y = {y}, and {int(strange.sum())} pixels in all of "
            "colours that data.colours does not name"
        )
    return found


def _listed(bands: NDArray[Any]) -> str:
    step = max(1, max(bands.shape[1:]) // 256)
    colours = np.unique(bands[:, ::step, ::step].reshape(3, -1), axis=1).T
    return f"it has {', '.join(str(colour) for colour in colours.tolist())}; " if len(colours) <= 12 else ""


def require_same_grid(picture: Path, mask: Path) -> None:
    """A picture and a mask that both lie on a map lie on the same place of it.

    Raises:
        DataError: coordinate systems or grids that differ by more than a thousandth of a pixel.
    """
    grids = [map_grid(path) for path in (picture, mask)]
    if None in grids:
        return
    (system, grid, size), (other, beside, _) = (each for each in grids if each is not None)
    if system != other:
        raise DataError(f"{mask}: coordinate system {other}, but {picture.name} has {system}; reproject one of them")
    for corner in ((0, 0), (size[1], 0), (0, size[0]), size[::-1]):
        column, row = ~grid * (beside * corner)
        if max(abs(column - corner[0]), abs(row - corner[1])) > AGREE:
            raise DataError(
                f"{mask} lies elsewhere on the map than {picture.name}: its pixel {corner} is pixel "
                f"({column:.3f}, {row:.3f}) there; resample it to the picture's grid"
            )


class MapGrid(NamedTuple):
    """Where a picture lies on a map.

    Attributes:
        system: coordinate reference system, as rasterio has it.
        transform: from columns and rows to coordinates.
        size: height and width in pixels.
    """

    system: Any
    transform: Any
    size: tuple[int, int]


def map_grid(path: Path) -> MapGrid | None:
    """The grid of a GeoTIFF, told by its content; None of other files.

    Raises:
        DataError: no picture.
    """
    with raster.reading(path, str(path)) as (kind, name):
        if kind != "TIFF":
            return None
        with raster.open_raster(path, kind, name) as file:
            placed = file.crs is not None and not file.transform.is_identity
            return MapGrid(file.crs, file.transform, (file.height, file.width)) if placed else None
