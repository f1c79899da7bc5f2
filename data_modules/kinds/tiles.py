"""Pictures with masks as squares, one sample each, and as the whole pictures that squares are put together to."""

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

from data_modules.kinds.mask_files import MaskedPicture
from zoo.batch import SampleSet, Tile
from zoo.ops.frame import IGNORE, Frame, Place
from zoo.ops.prompts import Prompts

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
        told: conditions of every picture beside `place`, such as its `group`; None where there are none.

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
        told: Sequence[Mapping[str, Tensor]] | None = None,
    ) -> None:
        self.pictures, self.frame, self.prompts, self.told = list(pictures), frame, prompts, told
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

    def together(self, index: int) -> range:
        """All squares of its picture."""
        picture, k = self.tiles[index]
        return range(index - k, index - k + len(self.places[picture]))

    def key(self, index: int) -> str:
        """sha256 over the picture, how it is read and cut, and the rectangle."""
        picture = self.pictures[self.tiles[index][0]]
        text = f"tile 1 {self.frame.key} {tuple(self.place(index))} {picture.key()}"
        return hashlib.sha256(text.encode()).hexdigest()

    def picture_size(self, index: int) -> tuple[int, int]:
        """Height and width of the square."""
        return self.frame.side, self.frame.side

    def conditions(self, index: int) -> dict[str, Tensor]:
        """`place`: int64 [8], see `zoo.batch.Tile`; what is `told` of the picture; and prompts, see
        `Prompts.conditions`."""
        picture, _ = self.tiles[index]
        place, size = self.place(index), self.sizes[picture]
        found = {"place": place.condition(picture, len(self.places[picture]), *size)}
        found |= {} if self.told is None else self.told[picture]
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

    def image(self, picture: int) -> NDArray[np.uint8]:
        """A whole picture of this split, uint8 [H, W, 3] RGB; it is kept until another is asked for."""
        if self._image is None or self._image[0] != picture:
            image, notes = self.pictures[picture].image()
            if picture not in self._noted:
                self._noted.add(picture)
                self.remarks.update(notes)
            self._image = picture, image
        return self._image[1]

    def surface(self, index: int, prompts: Prompts | None = None) -> "Surface":
        """The whole picture that a square is of, with its mask where that is known and no object of it is asked for.

        Raises:
            SettingError: prompts lie outside of it.
        """
        number, _ = self.tiles[index]
        picture = self.pictures[number]
        squares = TileSet([picture], self.frame, prompts=prompts)
        if prompts is not None:
            return Surface(picture.id, squares, conditions=squares.conditions(0))
        labels = squares.labels(0)
        target = {} if labels is None else {"mask": torch.from_numpy(labels)}
        return Surface(picture.id, squares, target=target)

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
        slice: of a volume.
        depth: slices of the volume; 1 of a picture.
        target: `{"mask": uint8 [H, W]}` where it is known.
        conditions: with prompts, those of the square that shows them.
    """

    kind: ClassVar[str] = "masks"
    id: str
    squares: TileSet
    slice: int | None = None
    depth: int = 1
    target: dict[str, Tensor] = field(default_factory=dict)
    conditions: dict[str, Tensor] = field(default_factory=dict)

    @property
    def file(self) -> Path | None:
        """File that it is read from; None of one that is drawn."""
        return self.squares.pictures[0].path

    @property
    def image(self) -> NDArray[np.uint8]:
        """The picture, uint8 [H, W, 3] RGB."""
        return self.squares.image(0)
