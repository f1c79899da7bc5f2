"""TIFF, PNG and JPEG 2000 files as RGB pictures, whatever their bands and numbers.

Read by rasterio (GDAL) and not by tifffile, which knows neither coordinate systems (in which unit is a pixel given?)
nor turned grids, and cannot shrink a picture of gigabytes while it reads. Only the file itself is read: no sidecar
(.tfw, .aux.xml, .ovr) changes a picture behind its content hash, none is written, and a file that says .tif but is a
recipe of GDAL's for reading other files is refused.

What becomes of the bands, where `bands=` (see `sensors.py`) says nothing:

- marked, or called, as red, green and blue: these, wherever they stand
- one: grey, or looked up in its palette; three: red, green, blue; four of 8 bits: the first three, with a note
- 13 of uint16: Sentinel-2 in EuroSAT's order, where bands 4, 3, 2 are red, green, blue, and 0..2750 becomes 1..255; so
  the authors of EuroSAT made its RGB version (github.com/jensleitloff/CNN-Sentinel/issues/1)
- any other number, and four of more bits (Sentinel-2 and Planet store blue first, others red): an error

Values of more than 8 bits are shown in the range that `stretch=` or the sensor says; without either they are stretched,
band by band, from the 2nd to the 98th percentile of the picture to 1..255, with a note. What is transparent, has no
data or is no number is black, 0; a picture of nothing else is an error. Shrinking averages areas, as a coarser sensor
does.
"""

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import MemoryFile
from rasterio.windows import Window

from data_modules.errors import DataError
from data_modules.readers import sensors
from data_modules.readers.picture_notes import BLACK, CMYK, EMPTY, FIRST_THREE, FURTHER, GREY, RADAR
from data_modules.readers.sensors import AS_IT_IS, SENSORS, Rendering, Sensor
from data_modules.readers.stretch import physical, stretched

ERRORS = (RasterioError, CPLE_BaseError)
"""Errors that rasterio raises; some of GDAL's own pass through it."""

Driver = Literal["GTiff", "PNG", "JP2OpenJPEG"]

OPTIONS = {
    # No sidecars.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    # GDAL's default keeps blocks in a twentieth of the machine's memory, in every loader worker.
    "GDAL_CACHEMAX": 64 * 2**20,
    # Its fast path for whole pictures returns uninitialised memory for a PNG that is cut short, and no error.
    "GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO",
}

COLOURS = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)

SENTINEL2_BANDS, SENTINEL2_RGB = 13, (4, 3, 2)

ALWAYS = ("GTiff", "PNG")
"""Drivers of every GDAL."""


@contextmanager
def opened(source: Path | bytes, driver: Driver) -> Iterator[Any]:
    """A rasterio data set, of a file or of its bytes; opened for every read, so that no process or thread shares it."""
    with ExitStack() as stack:
        environment = stack.enter_context(rasterio.Env(**OPTIONS))
        if driver not in ALWAYS and driver not in environment.drivers():
            where = "a picture" if isinstance(source, bytes) else source
            raise DataError(
                f"{where}: this GDAL was built without {driver}; pip install --force-reinstall --only-binary :all: "
                "rasterio brings one with it, or write it as GeoTIFF"
            )
        # A picture without coordinates is common, and is reported by its unknown GSD.
        stack.enter_context(warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning))
        if isinstance(source, bytes):
            yield stack.enter_context(stack.enter_context(MemoryFile(source)).open(driver=driver))
        else:
            yield stack.enter_context(rasterio.open(source, driver=driver))


@dataclass(frozen=True)
class Chosen:
    """The bands to show.

    Attributes:
        bands: one, or red, green and blue, counted from 1.
        sensor: that they come from, if it is known.
        notes: on how they were chosen.
    """

    bands: list[int]
    sensor: Sensor | None = None
    notes: tuple[str, ...] = ()


def colour_bands(raster: Any, name: str, rendering: Rendering = AS_IT_IS) -> Chosen:
    """The bands to show.

    Raises:
        DataError: it is not clear which bands are the colours, or the requested bands do not exist.
    """
    marks, names = list(raster.colorinterp), list(raster.descriptions)
    further = [band for band, mark in enumerate(marks, 1) if mark != ColorInterp.alpha]
    if rendering.sensor:
        sensor = SENSORS[rendering.sensor]
        found = sensors.of_sensor(rendering.sensor, len(further), names, name)
        return Chosen(found, sensor, (RADAR,) if sensor.radar else ())
    if rendering.bands:
        return Chosen(_by_name_or_number(rendering.bands, raster, name))
    if raster.count == SENTINEL2_BANDS and raster.dtypes[0] == "uint16":
        note = "pictures of 13 bands, taken for Sentinel-2: bands 4, 3, 2 up to 2750 are shown"
        return Chosen(list(SENTINEL2_RGB), replace(SENSORS["sentinel-2-l1c"], nodata=None), (note,))
    notes = [CMYK] if raster.tags(ns="IMAGE_STRUCTURE").get("SOURCE_COLOR_SPACE") == "CMYK" else []
    if all(colour in marks for colour in COLOURS):
        chosen = [marks.index(colour) + 1 for colour in COLOURS]
    elif called := sensors.by_words(names):
        chosen = called
    elif len(further) in (1, 3):
        chosen = further
    elif len(further) == 4 and raster.dtypes[0] == "uint8":
        return Chosen(further[:3], None, (FIRST_THREE,))
    else:
        known = " or ".join(f"bands={sensor}" for sensor in sensors.like(len(further)))
        hint = f"say {known} if it is one, or " if known else "say "
        raise DataError(
            f"{name}: {len(further)} bands of {raster.dtypes[0]}, and it does not say which are red, green and blue; "
            f"{hint}bands=RED,GREEN,BLUE by their numbers, like bands=3,2,1"
        )
    if len(further) > max(len(chosen), 1) and not notes:
        notes.append(FURTHER)
    return Chosen(chosen, None, tuple(notes))


def _by_name_or_number(bands: tuple[int | str, ...], raster: Any, name: str) -> list[int]:
    names = list(raster.descriptions)
    found = [band if isinstance(band, int) else (sensors.by_name([band], names) or [0])[0] for band in bands]
    if any(not 1 <= band <= raster.count for band in found):
        called = f", called {', '.join(str(n) for n in names)}" if any(names) else " without names"
        requested = ",".join(str(band) for band in bands)
        raise DataError(f"{name}: bands={requested}; expected numbers from 1 to {raster.count}, of its bands{called}")
    return found


def pixels(
    raster: Any,
    size: tuple[int, int],
    name: str,
    rendering: Rendering = AS_IT_IS,
    box: tuple[int, int, int, int] | None = None,
) -> tuple[NDArray[np.uint8], list[str]]:
    """uint8 [H, W, 3] RGB, and notes.

    Args:
        raster: an open data set.
        size: H and W to read; areas are averaged if they are smaller than the file's.
        name: of the file, for messages.
        rendering: requested bands and range of values.
        box: y, x, h, w of the only part to read, which may hold no data; None reads all.

    Raises:
        DataError: the bands or numbers make no picture, or hold no data.
        ERRORS: the file is damaged.
    """
    chosen = colour_bands(raster, name, rendering)
    bands, notes = chosen.bands, list(chosen.notes)
    kind = np.dtype(raster.dtypes[bands[0] - 1])
    if kind.kind not in "uif":
        raise DataError(f"{name}: values of type {kind}; expected whole or real numbers")
    if len(raster.subdatasets) > 1:
        notes.append("files of several pages, of which the first is read")
    # A mean of two entries of a palette is another colour altogether.
    palette = raster.colorinterp[bands[0] - 1] == ColorInterp.palette
    how = Resampling.nearest if palette else Resampling.average
    window = None if box is None else Window(box[1], box[0], box[3], box[2])
    values = raster.read(bands, window=window, out_shape=(len(bands), *size), resampling=how)  # [1 or 3, H, W]
    shown = np.full(size, 255, np.uint8)
    if any(MaskFlags.all_valid not in raster.mask_flag_enums[band - 1] for band in bands):
        shown = raster.dataset_mask(window=window, out_shape=size, resampling=how)
    elif chosen.sensor and chosen.sensor.nodata is not None:
        shown = np.where((values == chosen.sensor.nodata).all(0), 0, shown).astype(np.uint8)
    depth = int(raster.tags(bands[0], ns="IMAGE_STRUCTURE").get("NBITS", 8))
    if palette:
        values, opaque = _looked_up(values[0], raster.colormap(1))
        shown = np.minimum(shown, opaque)
    elif kind != np.uint8 or rendering.stretch:
        shown = np.where(np.isfinite(values).all(0) & bool(values.any()), shown, 0).astype(np.uint8)
        values, more = stretched(physical(values, raster, bands), shown > 0, chosen.sensor, rendering, kind, name)
        notes += more
    elif depth < 8:
        values = values * np.uint8(255 // (2**depth - 1))
    if box is None and not shown.any():
        raise DataError(f"{name}: {EMPTY}")
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
