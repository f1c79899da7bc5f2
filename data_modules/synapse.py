"""Synapse multi-organ, or BTCV (Landman et al. 2015): organs in abdominal CT, 30 labelled volumes of 13 organs.

Expected below ROOT, or below ROOT/Training, ROOT/RawData/Training or ROOT/Abdomen/RawData/Training, as distributed:

    img/img0001.nii.gz      label/label0001.nii.gz       0001 to 0010 and 0021 to 0040

Eight organs are classes, as in TransUNet (arXiv 2102.04306): spleen, both kidneys, gallbladder, liver, stomach, aorta,
pancreas; the other five are background. Values from -125 to 275 Hounsfield units become black to white, as there. Train
and test are TransUNet's 18 and 12 volumes. It has no validation split; **three of the 18, drawn by a hash of their
names, select here** and do not train, which is ours. TransUNet's own files (.npz and .h5) are not read. Every slice is
a picture; an interval is over volumes, each of another patient. Needs nibabel (extra `medical`).

Published Dice here is of volumes and mostly by TransUNet's script: `volume_dice_transunet` of `zoo.metrics.volumes`,
which says how it counts organs that are missing, and not the pooled Dice. Published HD95 is `volume_hd95_transunet`.
`python -m data_modules.synapse --check ROOT` says what is missing.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from data_modules.check import check_command
from data_modules.kinds.masks import MaskDataModule
from data_modules.kinds.pictures import split
from data_modules.kinds.volume_slices import CONDITIONS, VolumeFile, shares, sliced
from data_modules.readers.listed import require
from data_modules.readers.masks import Legend
from zoo.batch import SampleSet, Tile

FOLDERS = ("", "Training", "RawData/Training", "Abdomen/RawData/Training")

CLASSES = [
    "background", "spleen", "right kidney", "left kidney", "gallbladder", "liver", "stomach", "aorta", "pancreas",
]  # fmt: skip

VALUES = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 0, 6: 5, 7: 6, 8: 7, 9: 0, 10: 0, 11: 8, 12: 0, 13: 0}
"""Class by the number in the files; 5 oesophagus, 9 and 10 veins, 12 and 13 adrenal glands are background."""

TRAIN = (5, 6, 7, 9, 10, 21, 23, 24, 26, 27, 28, 30, 31, 33, 34, 37, 39, 40)

TEST = (1, 2, 3, 4, 8, 22, 25, 29, 32, 35, 36, 38)

VAL = 1 / 6
"""Share of the training volumes to select on."""

WINDOW = (-125.0, 275.0)
"""Hounsfield units of black and white."""

DISTRIBUTOR = (
    "BTCV is distributed by Synapse to registered users (synapse.org, syn3193805: Abdomen/RawData.zip), and "
    "TransUNet's lists by its authors (github.com/Beckschen/TransUNet, lists/lists_Synapse)"
)


class Synapse(MaskDataModule):
    """Eight abdominal organs.

    Args:
        root: folder of the data set.
        frame: how slices become squares.
    """

    name = "Synapse multi-organ (BTCV)"
    classes = CLASSES
    license = "of the challenge: registered users of Synapse, not to be passed on"
    conditions = CONDITIONS

    def __init__(self, *, root: str, frame: Mapping[str, int] = {"letterbox": 512}) -> None:
        super().__init__(frame=frame, window=WINDOW)
        self.root = Path(root)

    def folder(self) -> Path:
        """Folder that holds `img` and `label`."""
        return next((self.root / name for name in FOLDERS if (self.root / name / "img").is_dir()), self.root)

    def splits(self) -> dict[str, SampleSet[Tile]]:
        """Slices of the volumes of every split.

        Raises:
            DataError: files are missing, or masks do not lie on their volumes.
        """
        folder = self.folder()
        files = {number: _volume(folder, number) for number in (*TRAIN, *TEST)}
        every = [path for file in files.values() for path in (file.image, file.label)]
        require(every, str(self.root), DISTRIBUTOR)
        rows = split([files[number].id for number in TRAIN], [0] * len(TRAIN), {"val": VAL})
        numbers = {name: [TRAIN[row] for row in rows[name]] for name in ("train", "val")} | {"test": [*TEST]}
        legend = Legend(values=VALUES)
        return {
            name: self.tiles(*sliced([files[number] for number in own], CLASSES, legend=legend, rendering=self.showing))
            for name, own in numbers.items()
        }

    def check(self) -> list[str]:
        """Volumes, slices and shares of the classes by split."""
        self.setup()
        return shares(self)


def _volume(folder: Path, number: int) -> VolumeFile:
    name = f"{number:04d}"
    return VolumeFile(
        f"case{name}", folder / "img" / f"img{name}.nii.gz", folder / "label" / f"label{name}.nii.gz", number
    )


if __name__ == "__main__":
    sys.exit(check_command("data_modules.synapse", lambda root: Synapse(root=root)))
