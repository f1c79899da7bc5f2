"""Reading one picture: any usual file as uint8 RGB, with notes on what was lost on the way.

The first bytes of a file tell its format, its name does not. TIFF, PNG and JPEG 2000 are read by rasterio (`bands.py`
says why and how), JPEG, WebP, AVIF, BMP and GIF by Pillow; `formats.py` names those that are refused. What was made up,
left out or turned is a note, a plural sentence that can be counted.

- Transparent parts are black. Of an animation the first picture is read. CMYK becomes RGB without a colour profile.
- A camera's orientation (EXIF, or the tag of a TIFF) is applied, so that what was up is up; a TIFF that lies on a map
  grid stays as its grid says.
- A picture without one pixel of data is an error.
- With `max_side` memory stays bounded: JPEG is decoded at an eighth, quarter or half where that is enough, TIFF and PNG
  are averaged block by block. What has to be decoded whole (a progressive JPEG, an interlaced PNG, a TIFF of one
  compressed strip) takes three to six bytes a pixel all the same. 10^9 pixels are the most; 8 * 10^7 in WebP, BMP and
  GIF, which cannot be read in parts. Pillow's own limit is smaller and holds for the whole process, so its formats
  are opened by their classes, which do not ask it.
"""

import hashlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import AvifImagePlugin, BmpImagePlugin, GifImagePlugin, Image, ImageFile, JpegImagePlugin, WebPImagePlugin

from data_modules.errors import DataError
from data_modules.readers.foreign import is_irregular, reason, require_file
from data_modules.readers.formats import START, kind_of
from data_modules.readers.picture_notes import BLACK, CMYK, EMPTY, GREY
from data_modules.readers.sensors import AS_IT_IS, Rendering
from data_modules.readers.upright import TURNED, of_png, of_tiff, orientation, upright
from zoo.errors import UserError, require_packages

if TYPE_CHECKING:
    from data_modules.readers.bands import Driver

DRIVERS: "dict[str, Driver]" = {"TIFF": "GTiff", "PNG": "PNG", "JPEG 2000": "JP2OpenJPEG"}

PILLOW: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
}

MOST, MOST_WHOLE = 10**9, 8 * 10**7
"""Pixels of a picture that can be read in parts, and of one that cannot."""

FLAT = "pictures of one colour throughout"


@dataclass(frozen=True)
class Header:
    """Size in pixels, upright, and ground sampling distance in metres per pixel, as the file itself says."""

    height: int
    width: int
    gsd: float | None = None


def header(source: Path | bytes, where: str) -> Header:
    """What a picture file says of itself, without decoding its pixels.

    Args:
        source: file, or its bytes.
        where: for messages.

    Raises:
        DataError: no picture, or one that is too large.
    """
    with reading(source, where) as (kind, name):
        if kind in DRIVERS:
            with open_raster(source, kind, name) as raster:
                from data_modules.readers.ground import ground

                _require_size(raster.height, raster.width, kind, name)
                size, gsd = (raster.height, raster.width), ground(raster)[0]
        else:
            with open_image(source, kind, name) as image:
                size, gsd = (image.height, image.width), None
        return Header(*(size if orientation_of(source, kind) <= 4 else size[::-1]), gsd)


def read_picture(
    source: Path | bytes, where: str, *, max_side: int | None = None, rendering: Rendering = AS_IT_IS
) -> tuple[NDArray[np.uint8], list[str]]:
    """uint8 [H, W, 3] RGB and notes.

    Args:
        source: file, or its bytes.
        where: for messages.
        max_side: a longer side is shrunk to it, areas being averaged; None keeps all pixels.
        rendering: which bands are shown, and which range of their values.

    Raises:
        DataError: no picture, a damaged, empty or too large one, or one whose bands make no colours.
    """
    with reading(source, where) as (kind, name):
        if kind in DRIVERS:
            with open_raster(source, kind, name) as raster:
                from data_modules.readers import bands
                from data_modules.readers.ground import ground

                _require_size(raster.height, raster.width, kind, name)
                image, notes = bands.pixels(
                    raster, size_as_read(raster.height, raster.width, max_side), name, rendering
                )
                notes += ground(raster)[1]
        else:
            with open_image(source, kind, name) as opened:
                image, notes = _pixels(opened, size_as_read(opened.height, opened.width, max_side), name)
        if (held := orientation_of(source, kind)) != 1:
            image = upright(image, held)
            notes.append(TURNED)
        if image.min() == image.max():
            notes.append(FLAT)
        return image, notes


def read_part(path: Path, box: tuple[int, int, int, int], rendering: Rendering = AS_IT_IS) -> NDArray[np.uint8] | None:
    """A rectangle of a TIFF without the rest of it, uint8 [h, w, 3] RGB as `read_picture` gives it.

    Args:
        path: of the picture.
        box: y, x, h, w in pixels, inside the picture.
        rendering: which bands are shown, and which range of their values.

    Returns:
        None where the whole has to be read: another format, a picture that is turned, or one that is stretched by its
        own percentiles.

    Raises:
        DataError: as `read_picture`; a rectangle without data is black.
    """
    with reading(path, str(path)) as (kind, name):
        if kind != "TIFF" or orientation_of(path, kind) != 1:
            return None
        with open_raster(path, kind, name) as raster:
            from data_modules.readers import bands

            if raster.dtypes[0] != "uint8" and not isinstance(rendering.stretch, tuple):
                return None
            return bands.pixels(raster, box[2:], name, rendering, box)[0]


def orientation_of(source: Path | bytes, kind: str) -> int:
    """The orientation of a picture, 1 to 8; 1 where nothing can be made of what it says, or a map grid says it."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return _said(source, kind)
    except Exception:  # of any decoder
        return 1  # what is damaged there says so where its pixels are read


def _said(source: Path | bytes, kind: str) -> int:
    if kind == "TIFF" and (held := of_tiff(source)) != 1:
        with open_raster(source, kind, "") as raster:
            return held if raster.transform.is_identity and not raster.gcps[0] else 1
    if kind == "PNG":
        return of_png(source)
    if kind in PILLOW:
        with open_image(source, kind, "") as image:
            return orientation(image)
    return 1


def content_hash(source: Path | bytes, where: str) -> str:
    """sha256 of a picture file or of encoded bytes; with a mark where its pixels are turned while they are read.

    Raises:
        DataError: the file cannot be read.
    """
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest() + _mark(source)
    try:
        state = source.stat()
    except OSError as error:
        raise DataError(f"{where}: {source} cannot be read: {error.strerror}") from error
    return _file_hash(source, state.st_size, state.st_mtime_ns)


@cache
def _file_hash(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() + _mark(path)


def _mark(source: Path | bytes) -> str:
    """Keys of what is turned differ from those of when it was not; all others stay what they were."""
    try:
        with reading(source, "") as (kind, _):
            return " upright" if orientation_of(source, kind) != 1 else ""
    except DataError:
        return ""


@contextmanager
def reading(source: Path | bytes, where: str) -> Iterator[tuple[str, str]]:
    """The format of a picture and its name for messages; whatever its decoder raises becomes a DataError."""
    name = where if isinstance(source, bytes) or str(source) == where else f"{where}: {source}"
    try:
        if isinstance(source, bytes):
            start = source[:START]
        else:
            if is_irregular(source):  # opening a pipe would wait for ever
                require_file(source)
            with source.open("rb") as file:
                start = file.read(START)
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error.strerror}") from error
    if not start:
        raise DataError(f"{name} is empty")
    kind = kind_of(start, name)
    try:
        yield kind, name
    except UserError:
        raise
    except Exception as error:  # of a decoder; rasterio says only "see previous exception"
        why = error.__cause__ if isinstance(error.__cause__, Exception) else error
        raise DataError(f"{name} cannot be read, so it is damaged or cut short: {reason(why)}") from error


def _require_size(height: int, width: int, kind: str, name: str) -> None:
    most = MOST_WHOLE if kind in PILLOW and kind != "JPEG" else MOST
    if height * width > most:
        advice = "cut it into tiles" if most == MOST else f"cut it into tiles, or store it as TIFF, up to {MOST:g}"
        raise DataError(f"{name}: {height} x {width} pixels; expected up to {most:g} in {kind}; {advice}")


def size_as_read(height: int, width: int, max_side: int | None) -> tuple[int, int]:
    """Height and width as read."""
    shrunk = 1.0 if max_side is None else max(1.0, max(height, width) / max_side)
    return max(1, round(height / shrunk)), max(1, round(width / shrunk))


@contextmanager
def open_raster(source: Path | bytes, kind: str, name: str) -> Iterator[Any]:
    """A picture that rasterio reads; it is imported for no other."""
    require_packages(f"{name}: {kind}", "rasterio")
    from data_modules.readers import bands

    with bands.opened(source, DRIVERS[kind]) as raster:
        yield raster


@contextmanager
def open_image(source: Path | bytes, kind: str, name: str) -> Iterator[ImageFile.ImageFile]:
    """A picture that Pillow reads."""
    # Pillow warns of damaged EXIF, which decides nothing but the orientation.
    with (
        warnings.catch_warnings(action="ignore"),
        PILLOW[kind](io.BytesIO(source) if isinstance(source, bytes) else source) as image,
    ):
        _require_size(image.height, image.width, kind, name)
        yield image


def _pixels(image: ImageFile.ImageFile, size: tuple[int, int], name: str) -> tuple[NDArray[np.uint8], list[str]]:
    """uint8 [H, W, 3] RGB of an open picture, and notes.

    Raises:
        DataError: nothing of it can be seen.
    """
    notes = []
    if getattr(image, "n_frames", 1) > 1:
        notes.append("animations, of which the first picture is read")
    if image.mode == "CMYK":
        notes.append(CMYK)
    if image.mode == "L":
        notes.append(GREY)
    if size != (image.height, image.width):
        image.draft(None, (size[1], size[0]))
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        opacity = layers.getchannel("A")
        if opacity.getextrema() == (0, 0):
            raise DataError(f"{name}: {EMPTY}")
        if opacity.histogram()[255] < opacity.width * opacity.height:
            notes.append(BLACK)
        picture = Image.new("RGB", layers.size)
        picture.paste(layers, mask=opacity)
    else:
        # Even RGB would be copied.
        picture = image if image.mode == "RGB" else image.convert("RGB")
    if size != (picture.height, picture.width):
        picture = picture.resize((size[1], size[0]), Image.Resampling.BOX)
    return np.array(picture), notes
