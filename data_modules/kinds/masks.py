"""Base of the data modules of pictures with masks: squares of pictures, one sample each, with a class a pixel.

`zoo.ops.frame` says how a picture becomes squares. Nothing here knows how large a pixel is on the ground.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_modules.base import DataModule
from data_modules.errors import DataError
from data_modules.kinds.mask_files import PictureFile, slices
from data_modules.readers.formats import READABLE, REFUSED_SUFFIXES
from data_modules.readers.sensors import Rendering, parse
from zoo.batch import SampleSet, Tile
from zoo.ops.frame import IGNORE, Frame, Place

TILES = {"tile": 256, "overlap": 64}

LARGE = 1 << 26
"""Pixels beyond which a TIFF is read square by square."""


class MaskedPicture(Protocol):
    """A picture of a split: `data_modules.kinds.mask_files.PictureFile`, or one that is drawn."""

    @property
    def id(self) -> str:
        """Unique within its split."""
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


class Count(NamedTuple):
    """Pixels of one mask: int64 [K] by class, and those without a label."""

    pixels: NDArray[np.int64]
    ignored: int


class TileSet(SampleSet[Tile]):
    """One split: the squares of its pictures, picture by picture, row by row.

    Args:
        pictures: of the split.
        frame: how they become squares.
        remarks: counts pictures that needed mending, each once.
    """

    def __init__(self, pictures: Sequence[MaskedPicture], frame: Frame, *, remarks: Counter[str] | None = None) -> None:
        self.pictures, self.frame = list(pictures), frame
        self.remarks: Counter[str] = Counter() if remarks is None else remarks
        self.sizes = [picture.size() for picture in self.pictures]
        self.places = [frame.places(*size) for size in self.sizes]
        self.tiles = [(picture, k) for picture, places in enumerate(self.places) for k in range(len(places))]
        self._noted: set[int] = set()
        # The last picture and mask: its next square is often the next that is asked for.
        self._image: tuple[int, NDArray[np.uint8]] | None = None
        self._labels: tuple[int, NDArray[np.uint8] | None] | None = None

    def __len__(self) -> int:
        return len(self.tiles)

    def id(self, index: int) -> str:
        """`PICTURE#k`."""
        picture, k = self.tiles[index]
        return f"{self.pictures[picture].id}#{k}"

    def place(self, index: int) -> Place:
        """Rectangle of the square in its picture."""
        picture, k = self.tiles[index]
        return self.places[picture][k]

    def key(self, index: int) -> str:
        """sha256 over the picture, how it is read and cut, and the rectangle."""
        picture = self.pictures[self.tiles[index][0]]
        text = f"tile 1 {self.frame.key} {tuple(self.place(index))} {picture.key()}"
        return hashlib.sha256(text.encode()).hexdigest()

    def picture_size(self, index: int) -> tuple[int, int]:
        """Height and width of the square."""
        return self.frame.side, self.frame.side

    def conditions(self, index: int) -> dict[str, Tensor]:
        """`place`: int64 [8], see `zoo.batch.Tile`."""
        picture, _ = self.tiles[index]
        size = self.sizes[picture]
        return {"place": self.place(index).condition(picture, len(self.places[picture]), *size)}

    def target(self, index: int) -> dict[str, Tensor]:
        """`mask`: uint8 [S, S], where it is known; the picture is not decoded for it."""
        picture, _ = self.tiles[index]
        labels = self.labels(picture)
        if labels is None:
            return {}
        place = self.place(index)
        return {"mask": torch.from_numpy(self.frame.mask(_cut(labels, place.inside(*self.sizes[picture])), place))}

    def read_ahead(self) -> None:
        """Read the first square: errors and notes come before anything is predicted.

        Raises:
            DataError: the file is no picture, or is damaged.
        """
        self._part(0, self.place(0).inside(*self.sizes[0]))

    def labels(self, picture: int) -> NDArray[np.uint8] | None:
        """The whole mask of a picture of this split, uint8 [H, W]; None where it is not known."""
        if self._labels is None or self._labels[0] != picture:
            self._labels = picture, self.pictures[picture].labels()
        return self._labels[1]

    def count(self, picture: int, classes: int) -> Count:
        """Pixels of the mask of a picture, which must be known."""
        labels = self.labels(picture)
        if labels is None:
            raise ValueError(f"{self.pictures[picture].id} has no mask")
        found = np.bincount(labels.ravel(), minlength=IGNORE + 1)
        return Count(found[:classes].astype(np.int64), int(found[IGNORE]))

    def __getitem__(self, index: int) -> Tile:
        picture, place = self.tiles[index][0], self.place(index)
        image = self.frame.image(self._part(picture, place.inside(*self.sizes[picture])), place)
        return Tile(self.id(index), image, self.target(index), self.conditions(index))

    def image(self, picture: int) -> NDArray[np.uint8]:
        """A whole picture of this split, uint8 [H, W, 3] RGB; it is kept until another is asked for."""
        if self._image is None or self._image[0] != picture:
            image, notes = self.pictures[picture].image()
            if picture not in self._noted:
                self._noted.add(picture)
                self.remarks.update(notes)
            self._image = picture, image
        return self._image[1]

    def surface(self, index: int) -> "Surface":
        """The whole picture that a square is of, with its mask where that is known."""
        number, _ = self.tiles[index]
        picture = self.pictures[number]
        squares = TileSet([picture], self.frame)
        labels = squares.labels(0)
        target = {} if labels is None else {"mask": torch.from_numpy(labels)}
        return Surface(picture.id, squares, Path(picture.id), target=target)

    def _part(self, picture: int, box: Place) -> NDArray[np.uint8]:
        held = self._image is not None and self._image[0] == picture
        height, width = self.sizes[picture]
        if not held and height * width > LARGE and (part := self.pictures[picture].part(box)) is not None:
            return part
        return _cut(self.image(picture), box)

    def __getstate__(self) -> dict[str, Any]:
        """Without the picture at hand: loader workers read their own."""
        return {**self.__dict__, "_image": None, "_labels": None}


def _cut(array: NDArray[np.uint8], box: Place) -> NDArray[np.uint8]:
    return array[box.y : box.y + box.h, box.x : box.x + box.w]


@dataclass(frozen=True)
class Surface:
    """A whole picture, which is predicted square by square and put together again.

    Attributes:
        id: unique among the inputs.
        squares: of this picture alone.
        file: that it was read from.
        slice: of a volume.
        depth: slices of the volume; 1 of a picture.
        target: `{"mask": uint8 [H, W]}` where it is known.
    """

    kind: ClassVar[str] = "masks"
    id: str
    squares: TileSet
    file: Path
    slice: int | None = None
    depth: int = 1
    target: dict[str, Tensor] = field(default_factory=dict)
    conditions: dict[str, Tensor] = field(default_factory=dict)

    @property
    def image(self) -> NDArray[np.uint8]:
        """The picture, uint8 [H, W, 3] RGB."""
        return self.squares.image(0)


class MaskDataModule(DataModule):
    """Splits of squares of pictures, each with its mask.

    Args:
        frame: how pictures become squares, e.g. {tile: 256, overlap: 64} or {letterbox: 352}.
        window: values of more than 8 bits that become black and white in all pictures, e.g. [-160, 240] for soft
            tissue in CT; null stretches every picture, or volume, by its own percentiles.
        bands: bands to show, or the sensor they come from; null as the file says.
    """

    sample = Tile
    conditions: tuple[str, ...] = ("place",)
    readable = (*READABLE, ".nii", ".gz")
    refused = tuple(suffix for suffix in REFUSED_SUFFIXES if suffix != ".nii")
    settings: tuple[str, ...] = ("window", "bands")
    own_files = "data_modules.folder_masks.MaskFolder"

    def __init__(
        self,
        *,
        frame: Mapping[str, int] = TILES,
        window: tuple[float, float] | None = None,
        bands: str | None = None,
    ) -> None:
        super().__init__()
        self.frame, self.window, self.bands = Frame.parse(frame), window, bands
        self.showing = _rendering(bands, window)
        self.mended: Counter[str] = Counter()

    def tiles(self, pictures: Sequence[MaskedPicture]) -> TileSet:
        """A split of these pictures."""
        return TileSet(pictures, self.frame, remarks=self.mended)

    def counts(self, split: str) -> list[Count]:
        """Pixels of every mask of a split; after `setup`."""
        samples = self.sets[split]
        if not isinstance(samples, TileSet):
            raise TypeError(f"split {split} of {self.name} is no set of tiles")
        return [samples.count(picture, len(self.classes)) for picture in range(len(samples.pictures))]

    def report(self) -> dict[str, Any]:
        """Counts for the manifest, including pictures that were repaired."""
        self.remarks |= self.mended
        return super().report()

    def rendering(self, settings: dict[str, str]) -> Rendering:
        """Parse and remove `window=LOW..HIGH` and `bands=`.

        Raises:
            DataError: no range, or unknown bands.
        """
        bands, window = settings.pop("bands", None) or self.bands, settings.pop("window", None)
        if window is None:
            return _rendering(bands, self.window)
        try:
            low, high = (float(end) for end in window.split(".."))
        except ValueError:
            raise DataError(f"window: got {window!r}; expected LOW..HIGH, like -160..240") from None
        return _rendering(bands, (low, high))

    def require(self, settings: Mapping[str, str]) -> None:
        """Refuse unknown bands and windows that are none."""
        super().require(settings)
        self.rendering(dict(settings))

    def samples_in(self, path: Path, settings: Mapping[str, str]) -> list[Path]:
        """The picture, or FILE#0, FILE#1, ...: the slices of a volume."""
        try:
            number = len(slices(path))
        except DataError:
            return [path]  # reading it will tell, once
        return [Path(f"{path}#{k}") for k in range(number)] if number > 1 else [path]

    def read(self, path: Path, settings: dict[str, str]) -> tuple[Surface, list[str]]:
        """A whole picture, or the slice FILE#k of a volume, as the squares that it is predicted by.

        Raises:
            DataError: the file is no picture, or has fewer slices.
        """
        stem, mark, digits = str(path).rpartition("#")
        numbered = bool(mark) and digits.isdecimal() and not path.is_file()
        file, k = (Path(stem), int(digits)) if numbered else (path, 0)
        every, rendering = slices(file), self.rendering(settings)
        if k >= len(every):
            raise DataError(f"{path}: the volume has {len(every)} slices, #0 the first")
        picture = PictureFile(str(path), file, None, rendering, every[k])
        squares = TileSet([picture], self.frame)
        squares.read_ahead()
        cut = len(every) > 1 and not numbered
        notes = [f"only the first of {len(every)} slices; {file.name}#1 is the next"] if cut else []
        return Surface(str(path), squares, file, every[k], len(every)), [*squares.remarks, *notes]


def _rendering(bands: str | None, window: tuple[float, float] | None) -> Rendering:
    return parse(bands, None if window is None else f"{window[0]}..{window[1]}")
