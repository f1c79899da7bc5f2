"""Base of the data modules of pictures with masks: squares of pictures, one sample each, with a class a pixel.

`zoo.ops.frame` says how a picture becomes squares. Nothing here knows how large a pixel is on the ground.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_modules.base import DataModule
from data_modules.errors import DataError
from data_modules.kinds.mask_files import MaskedPicture, PictureFile, slices
from data_modules.readers.formats import READABLE, REFUSED_SUFFIXES
from data_modules.readers.sensors import Rendering, parse
from zoo.batch import IGNORE, SampleSet, Tile
from zoo.ops.frame import Frame, Place
from zoo.ops.prompts import BOX, POINTS, Prompts

TILES = {"tile": 256, "overlap": 64}

LARGE = 1 << 26
"""Pixels beyond which a TIFF is read square by square."""


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
        prompts: for one object of every picture, of which only the square that shows them is seen.

    Raises:
        SettingError: prompts that no square of a picture shows.
    """

    def __init__(
        self,
        pictures: Sequence[MaskedPicture],
        frame: Frame,
        *,
        remarks: Counter[str] | None = None,
        prompts: Prompts | None = None,
    ) -> None:
        self.pictures, self.frame, self.prompts = list(pictures), frame, prompts
        self.remarks: Counter[str] = Counter() if remarks is None else remarks
        self.sizes = [picture.size() for picture in self.pictures]
        self.places = [frame.places(*size) if prompts is None else [prompts.place(frame, *size)] for size in self.sizes]
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
        """`place`: int64 [8], see `zoo.batch.Tile`; and prompts, see `Prompts.conditions`."""
        picture, _ = self.tiles[index]
        place, size = self.place(index), self.sizes[picture]
        found = {"place": place.condition(picture, len(self.places[picture]), *size)}
        return found if self.prompts is None else found | self.prompts.conditions(place)

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

    def _part(self, picture: int, box: Place) -> NDArray[np.uint8]:
        held = self._image is not None and self._image[0] == picture
        height, width = self.sizes[picture]
        if not held and height * width > LARGE and (part := self.pictures[picture].part(box)) is not None:
            return part
        if self._image is None or not held:
            image, notes = self.pictures[picture].image()
            if picture not in self._noted:
                self._noted.add(picture)
                self.remarks.update(notes)
            self._image = picture, image
        return _cut(self._image[1], box)

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
        conditions: with prompts, those of the square that shows them.
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
        return self.squares.pictures[0].image()[0]


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
    settings: tuple[str, ...] = ("window", "bands", POINTS, BOX)
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
        """Refuse unknown bands, windows that are none, and prompts that are none."""
        super().require(settings)
        self.rendering(dict(settings))
        Prompts.parse(settings)

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
            SettingError: prompts lie outside of it.
        """
        stem, mark, digits = str(path).rpartition("#")
        numbered = bool(mark) and digits.isdecimal() and not path.is_file()
        file, k = (Path(stem), int(digits)) if numbered else (path, 0)
        every, rendering, prompts = slices(file), self.rendering(settings), Prompts.parse(settings)
        for name in (POINTS, BOX):
            settings.pop(name, None)
        if k >= len(every):
            raise DataError(f"{path}: the volume has {len(every)} slices, #0 the first")
        picture = PictureFile(str(path), file, None, rendering, every[k])
        squares = TileSet([picture], self.frame, prompts=prompts)
        squares.read_ahead()
        cut = len(every) > 1 and not numbered
        notes = [f"only the first of {len(every)} slices; {file.name}#1 is the next"] if cut else []
        given = {} if prompts is None else squares.conditions(0)
        surface = Surface(str(path), squares, file, every[k], len(every), conditions=given)
        return surface, [*squares.remarks, *notes]


def _rendering(bands: str | None, window: tuple[float, float] | None) -> Rendering:
    return parse(bands, None if window is None else f"{window[0]}..{window[1]}")
