"""Masks of one object: PNG files in which whatever is not 0 belongs to it, be it one bit, a grey value, an index of a
palette or a colour."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from data_modules.errors import DataError
from data_modules.readers.foreign import reason, require_file

MOST = 64 << 20
"""Pixels of a picture that are read."""

NUMBERS = ("1", "L", "P", "I", "I;16")
"""Pillow's modes of one number a pixel."""


def opened(path: Path, size: tuple[int, int] | None = None) -> Image.Image:
    """A decoded PNG.

    Args:
        path: of the file.
        size: width and height that it must have; None takes any.

    Raises:
        DataError: it is missing, no PNG, damaged, too large or of another size.
    """
    try:
        require_file(path)
        with Image.open(path, formats=["PNG"]) as image:
            if size is not None and image.size != size:
                raise DataError(f"{path} has {image.size[0]} x {image.size[1]} pixels; expected {size[0]} x {size[1]}")
            if image.size[0] * image.size[1] > MOST:
                raise DataError(f"{path} has {image.size[0]} x {image.size[1]} pixels; at most {MOST:,} are read")
            image.load()
            return image.copy()
    except UnidentifiedImageError:
        raise DataError(f"{path} is no PNG") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {reason(error)}") from None


def object_mask(image: Image.Image) -> NDArray[np.uint8]:
    """uint8 [H, W], 1 where the picture's number, or any of its colours, is not 0."""
    values = np.asarray(image) if image.mode in NUMBERS else np.asarray(image.convert("RGB"))
    there: NDArray[np.bool_] = np.any(values.reshape(*values.shape[:2], -1) > 0, axis=-1)
    return there.astype(np.uint8)
