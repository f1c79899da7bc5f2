"""MSTAR (Sandia, for DARPA and AFRL): ten vehicles in chips of X-band SAR, about 128 x 128 pixels, amplitude as grey.

Standard operating conditions (SOC): one vehicle a class, trained on at 17 degrees of depression and measured at 15.
Expected below ROOT, the chips as JPEG or PNG, in one of the layouts that copies have:

    train/<class>/*                test/<class>/*
    17_DEG/<class>/*               15_DEG/<class>/*
    TRAIN/17_DEG/<class>/*         TEST/15_DEG/<class>/*         also below TARGETS, as the distributor has it

`<class>` is 2S1, BMP2, BRDM_2, BTR_60, BTR70, D7, T62, T72, ZIL131 or ZSU_23_4, with or without its underscores, and
may hold folders of serial numbers (BMP2/SN_9563). Of these SOC takes SN_9563 (BMP2), SN_C71 (BTR70) and SN_132 (T72),
which may also stand in the place of the class; chips of other vehicles, and of the reflector SLICY, are left out and
counted.

No validation split is published: a tenth of the training chips of every class, by a hash of the file's name, selects.
Its neighbours in azimuth train, so that it is easier than the test split. Chips as distributed are no pictures: convert
them first (the distributor has mstar2jpeg). A JPEG does not say how amplitude became grey; numbers of two ways to do so
do not compare. Grey is repeated to three bands. How long a pixel is on the ground is not read.
`python -m data_modules.mstar --check ROOT` says what is missing.
"""

import re
import sys
from collections import Counter
from pathlib import Path

from data_modules.check import check_command
from data_modules.errors import DataError
from data_modules.kinds.picture_set import PictureRecord
from data_modules.kinds.pictures import PictureDataModule, split
from data_modules.readers.formats import READABLE
from zoo.batch import Picture, SampleSet

CLASSES = ["2S1", "BMP2", "BRDM2", "BTR60", "BTR70", "D7", "T62", "T72", "ZIL131", "ZSU234"]

SERIALS = {"SN9563": "BMP2", "SNC71": "BTR70", "SN132": "T72"}
"""Class of the vehicles that SOC takes where there are several."""

FOLDERS = {
    "train": ("TARGETS/TRAIN/17_DEG", "TRAIN/17_DEG", "train/17_DEG", "17_DEG", "TRAIN", "train"),
    "test": ("TARGETS/TEST/15_DEG", "TEST/15_DEG", "test/15_DEG", "15_DEG", "TEST", "test"),
}

VAL = 0.1

PUBLISHED = {
    "train and val": (299, 233, 298, 256, 233, 299, 299, 232, 299, 299),
    "test": (274, 195, 274, 195, 196, 274, 273, 196, 274, 274),
}
"""Chips of every class under SOC (Chen et al. 2016, by github.com/jangsoopark/AConvNet-pytorch): 2,747 and 2,425."""

DISTRIBUTOR = (
    "MSTAR is distributed by the Sensor Data Management System of AFRL to registered users (sdms.afrl.af.mil: Target "
    "Chips, Mixed Targets, mstar2jpeg)"
)


class MSTAR(PictureDataModule):
    """Ten vehicles in SAR chips, train at 17 and test at 15 degrees of depression.

    Args:
        root: folder of the data set.
    """

    name = "MSTAR (SOC, ten classes)"
    classes = CLASSES
    license = "of its distributor: registered users"
    side = 128

    def __init__(self, *, root: str) -> None:
        super().__init__()
        self.root = Path(root)

    def chips(self, part: str) -> list[PictureRecord]:
        """Chips of `train` (with those that select) or `test`.

        Raises:
            DataError: there are none, or one lies in a folder that names no class.
        """
        folder = next((self.root / name for name in FOLDERS[part] if (self.root / name).is_dir()), None)
        if folder is None:
            places = ", ".join(FOLDERS[part][1:])
            raise DataError(f"{self.root} holds no MSTAR: expected one of the folders {places}. {DISTRIBUTOR}")
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in READABLE)
        found, left_out = [], 0
        for path in files:
            label = _class_of(path.relative_to(folder))
            if label is None:
                left_out += 1
            else:
                name = f"{part}/{path.relative_to(folder).as_posix()}"
                found.append(PictureRecord(name, (path,), label=CLASSES.index(label)))
        if missing := [name for label, name in enumerate(CLASSES) if not any(chip.label == label for chip in found)]:
            raise DataError(
                f"{folder}: no chip of {', '.join(missing)} as {', '.join(READABLE[:3])}; chips as distributed (.000, "
                f".015, ...) have to be converted first. {DISTRIBUTOR}"
            )
        if left_out:
            self.remarks[f"{part}: chips of vehicles that SOC does not take"] = left_out
        return found

    def splits(self) -> dict[str, SampleSet[Picture]]:
        """17 degrees, of which a tenth of every class selects, and 15."""
        train = self.chips("train")
        rows = split([Path(chip.id).name for chip in train], [chip.label for chip in train], {"val": VAL})
        found = {name: self.pictures([train[row] for row in rows[name]]) for name in ("train", "val")}
        return {**found, "test": self.pictures(self.chips("test"))}

    def check(self) -> list[str]:
        """Chips beside the published numbers, class by class where they differ."""
        lines = []
        for names, published in PUBLISHED.items():
            chips = self.chips("test" if names == "test" else "train")
            counts = Counter(chip.label for chip in chips)
            whole = sum(published)
            lines.append(
                f"{names}: {len(chips)} chips, " + ("as" if len(chips) == whole else f"{whole} are") + " published"
            )
            lines += [
                f"{names}, {name}: {counts[label]}, {number} are published"
                for label, (name, number) in enumerate(zip(CLASSES, published, strict=True))
                if counts[label] != number
            ]
        return lines + [f"{number} {reason}" for reason, number in self.remarks.items()]


def _class_of(path: Path) -> str | None:
    """The class of a chip by the folders that it lies in; None of what SOC does not take.

    Raises:
        DataError: none of them names one.
    """
    names = [re.sub(r"[^A-Z0-9]", "", name.upper()) for name in path.parts[:-1]]
    if "SLICY" in names:
        return None
    serial = next((name for name in names if re.fullmatch(r"SN[A-Z0-9]+", name)), None)
    if serial is not None:
        return SERIALS.get(serial)
    if (found := next((name for name in names if name in CLASSES), None)) is None:
        raise DataError(f"{path}: none of its folders names a class; expected {', '.join(CLASSES)} or a serial, SN_...")
    return found


if __name__ == "__main__":
    sys.exit(check_command("data_modules.mstar", lambda root: MSTAR(root=root)))
