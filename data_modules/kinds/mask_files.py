"""A picture with its mask as files: pictures, slices of volumes, and masks that are stored or drawn."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from data_modules.errors import DataError
from data_modules.readers import volumes
from data_modules.readers.mask_shapes import Drawing
from data_modules.readers.masks import Legend, Stored, read_stored
from data_modules.readers.raster import content_hash, header, read_part, read_picture
from data_modules.readers.sensors import AS_IT_IS, Rendering
from data_modules.readers.stretch import stretched
from data_modules.readers.upright import upright

PLAIN = Legend()
"""Numbers are class indices."""


class MaskedPicture(Protocol):
    """A picture of a split: `PictureFile`, or one that is drawn."""

    @property
    def id(self) -> str:
        """Unique within its split."""
        ...

    @property
    def path(self) -> Path | None:
        """File that it is read from; None of one that is drawn."""
        ...

    def size(self) -> tuple[int, int]:
        """Height and width, without decoding it."""
        ...

    def key(self) -> str:
        """Identity of its pixels as they are read."""
        ...

    def image(self) -> tuple[NDArray[np.uint8], list[str]]:
        """uint8 [H, W, 3] RGB and notes."""
        ...

    def part(self, box: tuple[int, int, int, int]) -> NDArray[np.uint8] | None:
        """The rectangle y, x, h, w alone, uint8 [h, w, 3]; None where all has to be read for it."""
        ...

    def labels(self) -> NDArray[np.uint8] | None:
        """The mask, uint8 [H, W]; None where it is not known."""
        ...


@dataclass(frozen=True)
class MaskFile:
    """The mask of one picture.

    Attributes:
        path: of the file.
        names: classes in label order.
        legend: what stored numbers or colours mean.
        drawing: the shapes, where the file holds no pixels.
        slice: of a volume.
        held: orientation (1 to 8) that it is turned upright by, as its picture is.
    """

    path: Path
    names: tuple[str, ...]
    legend: Legend = PLAIN
    drawing: Drawing | None = None
    slice: int | None = None
    held: int = 1

    def read(self) -> NDArray[np.uint8]:
        """Class indices, uint8 [H, W], `IGNORE` where there is no label.

        Raises:
            DataError: no mask, or one with values that are no class.
        """
        if self.drawing is not None:
            labels = self.drawing.classes(self.names)
        else:
            stored = self.stored()
            legend = PLAIN if self.legend.colours else self.legend  # colours are class indices already
            where = str(self.path) if self.slice is None else f"{self.path}, slice {self.slice}"
            labels = legend.classes(stored, len(self.names), where)
        return labels if self.held == 1 else upright(labels, self.held)

    def stored(self) -> Stored:
        """What the file holds; see `read_stored`."""
        if self.slice is None:
            return read_stored(self.path, self.legend)
        state = self.path.stat()
        return Stored(_numbers(self.path, state.st_size, state.st_mtime_ns)[self.slice])


@dataclass(frozen=True)
class PictureFile:
    """One picture, or one slice of a volume, and its mask.

    Attributes:
        id: unique within its split.
        path: of the file.
        mask: None where it is not known.
        rendering: which bands are shown, and which range of their values.
        slice: of a volume.
    """

    id: str
    path: Path
    mask: MaskFile | None = None
    rendering: Rendering = AS_IT_IS
    slice: int | None = None

    def size(self) -> tuple[int, int]:
        """Height and width, without decoding it.

        Raises:
            DataError: no picture.
        """
        if self.slice is not None:
            return volumes.shape(self.path)[1:]
        found = header(self.path, str(self.path))
        return found.height, found.width

    def key(self) -> str:
        """Identity of its pixels as they are read."""
        return f"{content_hash(self.path, self.id)} {self.slice}{self.rendering.key}"

    def image(self) -> tuple[NDArray[np.uint8], list[str]]:
        """uint8 [H, W, 3] RGB and notes.

        Raises:
            DataError: no picture.
        """
        if self.slice is None:
            return read_picture(self.path, str(self.path), rendering=self.rendering)
        state = self.path.stat()
        grey, notes = _grey(self.path, state.st_size, state.st_mtime_ns, self.rendering)
        return np.repeat(grey[self.slice][..., None], 3, axis=2), notes

    def part(self, box: tuple[int, int, int, int]) -> NDArray[np.uint8] | None:
        """The rectangle y, x, h, w alone, uint8 [h, w, 3]; None where all has to be read for it."""
        return None if self.slice is not None else read_part(self.path, box, self.rendering)

    def labels(self) -> NDArray[np.uint8] | None:
        """The mask, uint8 [H, W].

        Raises:
            DataError: no mask, or one of another size.
        """
        if self.mask is None:
            return None
        found = self.mask.read()
        require_same_size(self.path, self.size(), self.mask.path, found.shape)
        return found


def require_same_size(picture: Path, size: tuple[int, ...], mask: Path, found: tuple[int, ...]) -> None:
    """A mask has as many rows and columns as its picture.

    Raises:
        DataError: it has not.
    """
    if found != size:
        raise DataError(
            f"{mask}: {found[1]} x {found[0]} pixels (width x height), but {picture.name} has {size[1]} x {size[0]}; "
            "a mask has a value for every pixel of its picture"
        )


def slices(path: Path) -> list[int | None]:
    """The slices of a volume; None alone for a picture.

    Raises:
        DataError: no volume.
    """
    return list(range(volumes.shape(path)[0])) if volumes.is_volume(path) else [None]


@lru_cache(maxsize=1)
def _numbers(path: Path, size: int, changed: int) -> NDArray[np.int32]:
    return volumes.read_volume(path, whole=True).slices


@lru_cache(maxsize=1)
def _grey(path: Path, size: int, changed: int, rendering: Rendering) -> tuple[NDArray[np.uint8], list[str]]:
    """All slices of a volume in grey, uint8 [Z, H, W]: percentiles are those of the whole volume."""
    found = volumes.read_volume(path).slices
    flat = found.reshape(1, -1, found.shape[-1])
    valid = np.isfinite(flat[0])
    grey, notes = stretched((flat, False), valid, None, rendering, found.dtype, str(path))
    return grey[0].reshape(found.shape), notes
