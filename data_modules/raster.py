"""Reading one picture: any usual file as uint8 RGB, with notes on what was lost on the way.

The first bytes of a file tell its format, its name does not. TIFF and PNG are read by rasterio (`bands.py` says why and
how), JPEG, WebP, BMP and GIF by Pillow. What was made up or left out is a note, a plural sentence that can be counted.

- Transparent parts are black. Of an animation the first picture is read. CMYK becomes RGB without a colour profile.
- A camera's orientation (EXIF) is not applied: rows and columns stay those of the file, as in every benchmark's own
  loader, so that north stays where labels and coordinates expect it.
- With `max_side` memory stays bounded: JPEG is decoded at an eighth, quarter or half where that is enough, TIFF and PNG
  are averaged block by block. What has to be decoded whole (a progressive JPEG, an interlaced PNG, a TIFF of one
  compressed strip) takes three to six bytes a pixel all the same. 10^9 pixels are the most; 8 * 10^7 in WebP, BMP and
  GIF, which cannot be read in parts. Pillow's own limit is smaller and holds for the whole process, so its formats
  are opened by their classes, which do not ask it.
"""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, GifImagePlugin, Image, ImageFile, JpegImagePlugin, WebPImagePlugin

from data_modules import bands
from data_modules.errors import DataError
from data_modules.foreign import is_irregular, reason, require_file
from zoo.errors import UserError

SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"RIFF": "WebP",
    b"GIF8": "GIF",
    b"BM": "BMP",
}
DRIVERS: dict[str, bands.Driver] = {"TIFF": "GTiff", "PNG": "PNG"}
PILLOW: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
}
MOST, MOST_WHOLE = 10**9, 8 * 10**7
"""Pixels of a picture that can be read in parts, and of one that cannot."""


@dataclass(frozen=True)
class Header:
    """Size in pixels and ground sampling distance in metres per pixel, as the file itself says."""

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
    with _reading(source, where) as (kind, name):
        if kind in DRIVERS:
            with bands.opened(source, DRIVERS[kind]) as raster:
                _require_size(raster.height, raster.width, kind, name)
                return Header(raster.height, raster.width, bands.ground(raster)[0])
        with _image(source, kind, name) as image:
            return Header(image.height, image.width)


def read_picture(
    source: Path | bytes, where: str, *, max_side: int | None = None
) -> tuple[NDArray[np.uint8], list[str]]:
    """uint8 [H, W, 3] RGB and notes.

    Args:
        source: file, or its bytes.
        where: for messages.
        max_side: a longer side is shrunk to it, areas being averaged; None keeps all pixels.

    Raises:
        DataError: no picture, a damaged or too large one, or one whose bands make no colours.
    """
    with _reading(source, where) as (kind, name):
        if kind in DRIVERS:
            with bands.opened(source, DRIVERS[kind]) as raster:
                _require_size(raster.height, raster.width, kind, name)
                image, notes = bands.pixels(raster, _size(raster.height, raster.width, max_side), name)
                return image, [*notes, *bands.ground(raster)[1]]
        with _image(source, kind, name) as opened:
            return _pixels(opened, _size(opened.height, opened.width, max_side))


def content_hash(source: Path | bytes, where: str) -> str:
    """sha256 of a picture file or of encoded bytes.

    Raises:
        DataError: the file cannot be read.
    """
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    try:
        state = source.stat()
    except OSError as error:
        raise DataError(f"{where}: {source} cannot be read: {error.strerror}") from error
    return _file_hash(source, state.st_size, state.st_mtime_ns)


@cache
def _file_hash(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _reading(source: Path | bytes, where: str) -> Iterator[tuple[str, str]]:
    """The format of a picture and its name for messages; whatever its decoder raises becomes a DataError."""
    name = where if isinstance(source, bytes) or str(source) == where else f"{where}: {source}"
    try:
        if isinstance(source, bytes):
            start = source[:16]
        else:
            if is_irregular(source):  # opening a pipe would wait for ever
                require_file(source)
            with source.open("rb") as file:
                start = file.read(16)
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error.strerror}") from error
    if not start:
        raise DataError(f"{name} is empty")
    kind = next((kind for signature, kind in SIGNATURES.items() if start.startswith(signature)), None)
    if kind is None:
        raise DataError(f"{name} is no picture: it starts with {start!r}; expected {', '.join((*DRIVERS, *PILLOW))}")
    try:
        yield kind, name
    except (DataError, UserError):
        raise
    except Exception as error:  # of a decoder; rasterio says only "see previous exception"
        why = error.__cause__ if isinstance(error.__cause__, Exception) else error
        raise DataError(f"{name} cannot be read, so it is damaged or cut short: {reason(why)}") from error


def _require_size(height: int, width: int, kind: str, name: str) -> None:
    most = MOST_WHOLE if kind in PILLOW and kind != "JPEG" else MOST
    if height * width > most:
        advice = "cut it into tiles" if most == MOST else f"cut it into tiles, or store it as TIFF, up to {MOST:g}"
        raise DataError(f"{name}: {height} x {width} pixels; expected up to {most:g} in {kind}; {advice}")


def _size(height: int, width: int, max_side: int | None) -> tuple[int, int]:
    """Height and width as read."""
    shrunk = 1.0 if max_side is None else max(1.0, max(height, width) / max_side)
    return max(1, round(height / shrunk)), max(1, round(width / shrunk))


@contextmanager
def _image(source: Path | bytes, kind: str, name: str) -> Iterator[ImageFile.ImageFile]:
    with PILLOW[kind](io.BytesIO(source) if isinstance(source, bytes) else source) as image:
        _require_size(image.height, image.width, kind, name)
        yield image


def _pixels(image: ImageFile.ImageFile, size: tuple[int, int]) -> tuple[NDArray[np.uint8], list[str]]:
    """uint8 [H, W, 3] RGB of an open picture, and notes."""
    notes = []
    if getattr(image, "n_frames", 1) > 1:
        notes.append("animations, of which the first picture is read")
    if image.mode == "CMYK":
        notes.append(bands.CMYK)
    if image.mode == "L":
        notes.append(bands.GREY)
    if size != (image.height, image.width):
        image.draft(None, (size[1], size[0]))
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        opacity = layers.getchannel("A")
        if opacity.histogram()[255] < opacity.width * opacity.height:
            notes.append(bands.BLACK)
        picture = Image.new("RGB", layers.size)
        picture.paste(layers, mask=opacity)
    else:
        # Even RGB would be copied.
        picture = image if image.mode == "RGB" else image.convert("RGB")
    if size != (picture.height, picture.width):
        picture = picture.resize((size[1], size[0]), Image.Resampling.BOX)
    return np.array(picture), notes
