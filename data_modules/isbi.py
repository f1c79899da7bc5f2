"""Membranes of nerve cells (ISBI 2012; Arganda-Carreras et al. 2015): 30 slices of 512 x 512 pixels of one stack.

Electron microscopy of a fruit fly larva's nerve cord, 4 x 4 nm a pixel, slices of 50 nm. Expected below ROOT:

    image/0.png ... image/29.png    grey
    label/0.png ... label/29.png    0 on membranes, 255 in cells

In the files 255 is the cell; the positive class here is the membrane, index 1. Neighbouring slices show the same cells,
so splits are contiguous blocks of the stack: train 0 to 15, val 16 to 19, test 20 to 29. These are not the challenge's
splits, whose 30 test slices have no public labels: numbers are not comparable with its leader board.
`python -m data_modules.isbi --check ROOT` says what is missing, and how many pixels each class has.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np

from data_modules.check import check_command
from data_modules.kinds.mask_files import MaskFile, PictureFile
from data_modules.kinds.masks import TILES, MaskDataModule
from data_modules.readers.listed import require
from data_modules.readers.masks import Legend
from zoo.batch import SampleSet, Tile

BLOCKS = {"train": range(16), "val": range(16, 20), "test": range(20, 30)}
"""Slices of every split."""

CLASSES = ["cell", "membrane"]

VALUES = {255: 0, 0: 1}
"""Class by the number in the files."""

DISTRIBUTOR = (
    "The 30 labelled slices of ISBI 2012 are distributed as PNG by github.com/zhixuhao/unet (data/membrane/train), "
    "and as volumes by imagej.net/events/isbi-2012-segmentation-challenge"
)


class ISBI(MaskDataModule):
    """Cells and the membranes between them.

    Args:
        root: folder of the data set.
        slices: how many of the first training slices to train on; null takes all 16.
        frame: how slices become squares.
    """

    name = "ISBI 2012 membranes"
    classes = CLASSES
    license = "of the challenge: free for research, with its citation"

    def __init__(
        self,
        *,
        root: str,
        slices: Annotated[int, ">= 1", "<= 16"] | None = None,
        frame: Mapping[str, int] = TILES,
    ) -> None:
        super().__init__(frame=frame)
        self.root, self.slices = Path(root), slices

    def splits(self) -> dict[str, SampleSet[Tile]]:
        """Blocks of the stack; the first number of `place` counts slices from the beginning of the block.

        Raises:
            DataError: files are missing.
        """
        names = [f"{number}.png" for block in BLOCKS.values() for number in block]
        require([self.root / kind / name for kind in ("image", "label") for name in names], str(self.root), DISTRIBUTOR)
        blocks = BLOCKS | {"train": BLOCKS["train"][: self.slices]}
        return {split: self.tiles([self.picture(number) for number in block]) for split, block in blocks.items()}

    def picture(self, number: int) -> PictureFile:
        """One slice and its mask."""
        mask = MaskFile(self.root / "label" / f"{number}.png", tuple(CLASSES), Legend(values=VALUES))
        return PictureFile(f"slice {number}", self.root / "image" / f"{number}.png", mask)

    def check(self) -> list[str]:
        """Slices, squares and shares of the classes by split."""
        self.setup()
        lines = []
        for split, samples in self.sets.items():
            counts = np.stack([count.pixels for count in self.counts(split)])
            shares = ", ".join(
                f"{name} {share:.1%}" for name, share in zip(self.classes, counts.sum(0) / counts.sum(), strict=True)
            )
            lines.append(f"{split}: {len(counts)} slices, {len(samples)} squares; {shares}")
        return lines


if __name__ == "__main__":
    sys.exit(check_command("data_modules.isbi", lambda root: ISBI(root=root)))
