"""A *synthetic* set of cells in drawn microscopy, a class a pixel, generated on the fly: background, round, spindle.

No grey value tells cells from what surrounds them, and nothing but their shape tells the two kinds apart
(`data_modules.synthetic.cell_pictures`). The best grey threshold, its blur and classes fitted on 32 pictures, reaches a
mean IoU of .26 on others, as much as calling all of them background; a few lines that look at the grain, and then at
the shape of what is fine, reach .58 (`tests/data/test_synthetic_cells.py`), and eyes see nearly everything. The set
shows a method at work and catches broken code. It says nothing about real cells.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray

from data_modules.kinds.masks import MaskDataModule
from data_modules.synthetic.cell_pictures import draw
from zoo.batch import SampleSet, Tile

VERSION = 1
"""Part of every sample's key: raise it whenever the generator draws anything else."""

SPLITS = ("train", "val", "test")

CLASSES = ["background", "round", "spindle"]

WHOLE = {"tile": 128}


@dataclass(frozen=True)
class CellPicture:
    """One drawn picture.

    Attributes:
        split: splits draw from disjoint streams of random numbers.
        index: in the split.
        side: in pixels.
        seed: of the whole set.
    """

    split: str
    index: int
    side: int
    seed: int

    @property
    def id(self) -> str:
        """Unique within the set."""
        return f"{self.split}_{self.index:05d}"

    @property
    def path(self) -> None:
        """None: it is drawn."""

    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.side, self.side

    def key(self) -> str:
        """Identity of the pixels."""
        return hashlib.sha256(f"cells {VERSION} {self.seed} {self.side} {self.id}".encode()).hexdigest()

    def image(self) -> tuple[NDArray[np.uint8], list[str]]:
        """uint8 [side, side, 3] RGB, and no notes."""
        return self._drawn()[0], []

    def part(self, box: tuple[int, int, int, int]) -> None:
        """None: the whole is drawn."""

    def labels(self) -> NDArray[np.uint8]:
        """The mask, uint8 [side, side]."""
        return self._drawn()[1]

    def _drawn(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        return _drawn(self.seed, SPLITS.index(self.split), self.index, self.side)


@lru_cache(maxsize=4)
def _drawn(*stream: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    return draw(np.random.default_rng([VERSION, *stream[:-1]]), stream[-1])


class SyntheticCells(MaskDataModule):
    """The synthetic cells as a data module.

    Args:
        train_pictures: size of the training split.
        val_pictures: size of the validation split.
        test_pictures: size of the test split.
        side: of a picture in pixels.
        frame: how pictures become squares.
        generator_seed: of the set itself; the recipe's `seed` changes only the training.
    """

    name = "synthetic cells"
    classes = CLASSES
    synthetic = True
    license = "none needed (generated)"

    def __init__(
        self,
        *,
        train_pictures: Annotated[int, ">= 1"] = 128,
        val_pictures: Annotated[int, ">= 1"] = 32,
        test_pictures: Annotated[int, ">= 1"] = 64,
        side: Literal[128, 256] = 128,
        frame: Mapping[str, int] = WHOLE,
        generator_seed: Annotated[int, ">= 0"] = 0,
    ) -> None:
        super().__init__(frame=frame)
        self.numbers = {"train": train_pictures, "val": val_pictures, "test": test_pictures}
        self.side, self.generator_seed = side, generator_seed

    def splits(self) -> dict[str, SampleSet[Tile]]:
        """Three disjoint streams of pictures."""
        return {
            split: self.tiles([CellPicture(split, index, self.side, self.generator_seed) for index in range(number)])
            for split, number in self.numbers.items()
        }
