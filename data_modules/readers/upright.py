"""A camera's orientation: the tag of EXIF (also in PNG, WebP and AVIF) or TIFF that says how a picture is held."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, PngImagePlugin, TiffImagePlugin

TAG = 274

TURNED = "pictures turned upright, as their EXIF orientation says"


def orientation(image: ImageFile.ImageFile) -> int:
    """1 to 8, of a picture that Pillow has opened, without decoding it; 1 where it says none."""
    return _valid(image.getexif().get(TAG))


def of_png(source: Path | bytes) -> int:
    """1 to 8; a chunk that stands behind the pixels is not looked for."""
    with PngImagePlugin.PngImageFile(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
        exif = Image.Exif()
        if exif_bytes := image.info.get("exif"):
            exif.load(exif_bytes)
        return _valid(exif.get(TAG))


def of_tiff(source: Path | bytes) -> int:
    """1 to 8, of the first page; also of a TIFF whose bands Pillow does not know."""
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        head = file.read(8)
        if 43 in head[2:4]:  # BigTIFF
            head += file.read(8)
        directory = TiffImagePlugin.ImageFileDirectory_v2(head)
        file.seek(directory.next)
        directory.load(file)
        return _valid(directory.get(TAG))


def upright(image: NDArray[np.uint8], held: int) -> NDArray[np.uint8]:
    """[H, W, 3] as it is meant to be seen: [H, W, 3], or [W, H, 3] where it lies on its side.

    Args:
        image: as stored.
        held: the orientation, 1 to 8.
    """
    if held > 4:
        image = image.swapaxes(0, 1)
    if held in (3, 4, 7, 8):
        image = image[::-1]
    if held in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def _valid(held: object) -> int:
    return held if isinstance(held, int) and 1 <= held <= 8 else 1
