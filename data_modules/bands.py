"""TIFF and PNG files as RGB pictures, whatever their bands and numbers, and the ground sampling distance of GeoTIFFs.

Read by rasterio (GDAL) and not by tifffile, which knows neither coordinate systems (in which unit is a pixel given?)
nor turned grids, and cannot shrink a picture of gigabytes while it reads. Only the file itself is read: no sidecar
(.tfw, .aux.xml, .ovr) changes a picture behind its content hash, none is written, and a file that says .tif but is a
recipe of GDAL's for reading other files is refused.

What becomes of the bands:

- marked as red, green and blue: these, wherever they stand; unmarked, the first three of three or four
- one: grey, or looked up in its palette
- 13 of uint16: Sentinel-2 in EuroSAT's order, where bands 4, 3, 2 are red, green, blue, and 0..2750 becomes 1..255; so
  the authors of EuroSAT made its RGB version (github.com/jensleitloff/CNN-Sentinel/issues/1)
- any other number: an error

Values of more than 8 bits are stretched, band by band, from the 2nd to the 98th percentile to 1..255. What is
transparent, has no data or is no number is black, 0. Shrinking averages areas, as a coarser sensor does.
"""

import math
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import MemoryFile
from rasterio.warp import transform

from data_modules.errors import DataError

ERRORS = (RasterioError, CPLE_BaseError)
"""What rasterio raises; some of GDAL's own errors pass through it unnamed."""

Driver = Literal["GTiff", "PNG"]
OPTIONS = {
    # No sidecars.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    # GDAL's default keeps blocks in a twentieth of the machine's memory, in every loader worker.
    "GDAL_CACHEMAX": 64 * 2**20,
    # Its fast path for whole pictures returns uninitialised memory for a PNG that is cut short, and no error.
    "GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO",
}
COLOURS = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
BLACK = "pictures with parts that are transparent, have no data or are no number, which are black"
CMYK = "pictures in CMYK, turned into RGB without a colour profile"
GREY = "grey pictures, whose one band is repeated"
SENTINEL2_BANDS, SENTINEL2_RGB, SENTINEL2_RANGE = 13, (4, 3, 2), (0.0, 2750.0)
PERCENTILES = (2.0, 98.0)
SAMPLED = 1000
"""Rows and columns at most that percentiles are taken of."""
SQUARE = 1.05
"""Ratio of lengths up to which they count as equal."""
RADIUS, ECCENTRICITY2 = 6_378_137.0, 0.00669437999014
"""Of the ellipsoid WGS 84: at the equator in metres, and squared."""


@contextmanager
def opened(source: Path | bytes, driver: Driver) -> Iterator[Any]:
    """A rasterio data set, of a file or of its bytes; opened for every read, so that no process or thread shares it."""
    with ExitStack() as stack:
        stack.enter_context(rasterio.Env(**OPTIONS))
        # That a picture has no coordinate system is no news, and told by a GSD that is not known.
        stack.enter_context(warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning))
        if isinstance(source, bytes):
            yield stack.enter_context(stack.enter_context(MemoryFile(source)).open(driver=driver))
        else:
            yield stack.enter_context(rasterio.open(source, driver=driver))


def ground(raster: Any) -> tuple[float | None, list[str]]:
    """Metres per pixel at the centre, None where the file does not tell, and notes.

    The geometric mean of the lengths of the two sides of a pixel, whichever way the grid is turned. Degrees become
    metres at the latitude of the centre. In a projected coordinate system its own unit counts, but where the projection
    stretches lengths by more than 5 % (Web Mercator does by 1 / cos(latitude)) those on the ground do.
    """
    grid, crs = raster.transform, raster.crs
    if grid.is_identity:
        return None, []
    if crs is None or not (crs.is_geographic or crs.is_projected):
        return None, ["pictures with a map grid but no coordinate system, whose ground sampling distance is not known"]
    across, down = raster.width / 2, raster.height / 2
    centre = grid.c + grid.a * across + grid.b * down, grid.f + grid.d * across + grid.e * down
    sides, notes = [(grid.a, grid.d), (grid.b, grid.e)], []
    unit = crs.units_factor[1]
    if crs.is_geographic:
        lengths = [_metres(x * unit, y * unit, centre[1] * unit) for x, y in sides]
    else:
        lengths = [math.hypot(x, y) * unit for x, y in sides]
        true = _true(crs, centre, sides)
        if true and not all(_alike(*pair) for pair in zip(lengths, true, strict=True)):
            lengths = true
            notes.append("pictures in a map projection that stretches lengths, whose pixels are measured on the ground")
    if not _alike(*lengths):
        notes.append("pictures whose pixels are not square, of which the geometric mean of the sides is taken")
    return math.sqrt(lengths[0] * lengths[1]), notes


def _alike(one: float, other: float) -> bool:
    return max(one, other) <= SQUARE * min(one, other)


def _metres(east: float, north: float, latitude: float) -> float:
    """Length of a small step on the ellipsoid; all in radians."""
    flat = 1 - ECCENTRICITY2 * math.sin(latitude) ** 2
    across = RADIUS / math.sqrt(flat) * math.cos(latitude)
    along = RADIUS * (1 - ECCENTRICITY2) / flat**1.5
    return math.hypot(east * across, north * along)


def _true(crs: Any, centre: tuple[float, float], sides: list[tuple[float, float]]) -> list[float]:
    """Metres on the ground of steps from the centre in a projected coordinate system; none where it cannot be told."""
    points = [centre, *((centre[0] + x, centre[1] + y) for x, y in sides)]
    try:
        longitudes, latitudes = transform(crs, "EPSG:4326", [x for x, _ in points], [y for _, y in points])
    except ERRORS:  # a place outside of the projection, or another planet
        return []
    east, north = np.radians(longitudes), np.radians(latitudes)
    if not np.isfinite([east, north]).all():
        return []
    return [_metres(e - east[0], n - north[0], north[0]) for e, n in zip(east[1:], north[1:], strict=True)]


def colour_bands(raster: Any, name: str) -> tuple[list[int], list[str]]:
    """The one band, or the red, green and blue one, counted from 1, and notes.

    Raises:
        DataError: it is not clear which bands are the colours.
    """
    marks = list(raster.colorinterp)
    further = [band for band, mark in enumerate(marks, 1) if mark != ColorInterp.alpha]
    if _sentinel2(raster):
        return list(SENTINEL2_RGB), ["pictures of 13 bands, taken for Sentinel-2: bands 4, 3, 2 up to 2750 are shown"]
    if all(colour in marks for colour in COLOURS):
        chosen = [marks.index(colour) + 1 for colour in COLOURS]
    elif len(further) in (1, 3, 4):
        chosen = further[:3]
    else:
        raise DataError(
            f"{name}: {raster.count} bands; expected 1 (grey), 3 or 4 (RGB first), 13 of uint16 (Sentinel-2), or bands "
            "marked as red, green and blue. To mark all bands in their order, e.g.: "
            "rio edit-info --colorinterp undefined,blue,green,red,nir FILE"
        )
    if raster.tags(ns="IMAGE_STRUCTURE").get("SOURCE_COLOR_SPACE") == "CMYK":
        return chosen, [CMYK]
    if len(further) > max(len(chosen), 1):
        return chosen, ["pictures with bands beside red, green and blue, which are not used"]
    return chosen, []


def _sentinel2(raster: Any) -> bool:
    return bool(raster.count == SENTINEL2_BANDS and raster.dtypes[0] == "uint16")


def pixels(raster: Any, size: tuple[int, int], name: str) -> tuple[NDArray[np.uint8], list[str]]:
    """uint8 [H, W, 3] RGB, and notes.

    Args:
        raster: an open data set.
        size: H and W to read; areas are averaged where they are smaller than the file's.
        name: of the file, for messages.

    Raises:
        DataError: bands or numbers that make no picture.
        ERRORS: the file is damaged.
    """
    bands, notes = colour_bands(raster, name)
    kind = np.dtype(raster.dtypes[bands[0] - 1])
    if kind.kind not in "uif":
        raise DataError(f"{name}: values of type {kind}; expected whole or real numbers")
    if len(raster.subdatasets) > 1:
        notes.append("files of several pages, of which the first is read")
    # A mean of two entries of a palette is another colour altogether.
    palette = raster.colorinterp[bands[0] - 1] == ColorInterp.palette
    how = Resampling.nearest if palette else Resampling.average
    values = raster.read(bands, out_shape=(len(bands), *size), resampling=how)  # [1 or 3, H, W]
    shown = np.full(size, 255, np.uint8)
    if any(MaskFlags.all_valid not in raster.mask_flag_enums[band - 1] for band in bands):
        shown = raster.dataset_mask(out_shape=size, resampling=how)
    depth = int(raster.tags(bands[0], ns="IMAGE_STRUCTURE").get("NBITS", 8))
    if palette:
        values, opaque = _looked_up(values[0], raster.colormap(1))
        shown = np.minimum(shown, opaque)
    elif _sentinel2(raster):
        values = np.stack([_scaled(band, *SENTINEL2_RANGE) for band in values])
    elif kind != np.uint8:
        shown = np.where(np.isfinite(values).all(0), shown, 0).astype(np.uint8)
        values = np.stack([_scaled(band, *_percentiles(band, shown > 0)) for band in values])
        notes.append(f"pictures of {kind} values, stretched to 8 bits between their percentiles 2 and 98")
    elif depth < 8:
        values = values * np.uint8(255 // (2**depth - 1))
    if len(values) == 1:
        values = np.repeat(values, 3, axis=0)
        notes.append(GREY)
    if (shown < 255).any():
        values = (values * shown.astype(np.uint16) + 127) // 255
        notes.append(BLACK)
    return np.ascontiguousarray(values.transpose(1, 2, 0), dtype=np.uint8), notes


def _looked_up(values: NDArray[Any], palette: dict[int, tuple[int, ...]]) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """uint8 [3, H, W] RGB and [H, W] opacity of the entries of a palette."""
    table = np.zeros((np.iinfo(values.dtype).max + 1, 4), np.uint8)
    table[list(palette)] = list(palette.values())
    colours = table[values].transpose(2, 0, 1)
    return colours[:3], colours[3]


def _percentiles(band: NDArray[Any], valid: NDArray[np.bool_]) -> tuple[float, float]:
    """The range that a band is stretched from; its extremes where the percentiles coincide."""
    step = max(1, max(band.shape) // SAMPLED)
    sample = band[::step, ::step][valid[::step, ::step]]
    if not sample.size:
        return 0.0, 1.0
    low, high = (float(np.percentile(sample, percentile)) for percentile in PERCENTILES)
    return (low, high) if low < high else (float(sample.min()), float(sample.max()))


def _scaled(band: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """low..high as 1..255, what lies outside as the nearer end; no number becomes 0."""
    share = (band.astype(np.result_type(band, np.float32)) - low) / ((high - low) or 1.0)
    scaled: NDArray[np.uint8] = np.nan_to_num(np.rint(1 + 254 * share.clip(0, 1)), nan=0).astype(np.uint8)
    return scaled
