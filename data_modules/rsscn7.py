"""RSSCN7 (Zou et al. 2015): seven land uses, 256 x 256, each seen at four map scales; pictures of Google Earth.

Expected below ROOT, as distributed or as a part of it:

    aGrass/a001.jpg ... gRiverLake/g400.jpg     seven folders, or folders of the same names without their letter

with the map scale in the number of a file: 1 to 100 are 1:700, then 1:1300, 1:2600 and 1:5200. A `labels.csv` with the
columns `file,label,scale_block` takes precedence over names. The ground sampling distance is not given, only its ratio:
here the finest scale is 1, in units of its own, and the others are 1.86, 3.71 and 7.43.

Splits are 40 / 10 / 50 of every class at every scale, by a hash of the file's name. Classes may be kept from training
and validation (`unseen`), and training pictures left out (`shots`): see `kinds.held_back`.
`python -m data_modules.rsscn7 --check ROOT` says what is missing.
"""

import csv
import re
import sys
from pathlib import Path
from typing import Annotated

from data_modules.check import check_command
from data_modules.errors import DataError
from data_modules.kinds.held_back import HeldBack
from data_modules.kinds.picture_set import PictureRecord, require_factors, view
from data_modules.kinds.pictures import PictureDataModule, split
from zoo.batch import Picture, SampleSet

DISTRIBUTOR = (
    "RSSCN7 is Zou et al.'s (doi.org/10.1109/LGRS.2015.2475299); a copy with its folders is "
    "huggingface.co/datasets/blanchon/RSSCN7"
)

CLASSES = ["field", "forest", "grass", "industry", "parking", "residential", "river_lake"]

FOLDERS = {
    "aGrass": "grass",
    "bField": "field",
    "cIndustry": "industry",
    "dRiverLake": "river_lake",
    "eForest": "forest",
    "fResident": "residential",
    "gParking": "parking",
}

SCALES = (700, 1300, 2600, 5200)

GSD = tuple(scale / SCALES[0] for scale in SCALES)

SHARES = {"test": 0.5, "val": 0.1}

PICTURES = 100
"""Of a class at a scale."""


class RSSCN7(PictureDataModule):
    """Seven land uses at four map scales.

    Args:
        root: folder that holds the pictures.
        train_scales: map scales to train and select on, 0 (finest) to 3; all when null.
        test_scales: map scales to measure; all when null.
        resample: every training picture is also shown with its ground sampling distance multiplied by these factors.
        unseen: classes that are neither trained on nor validated; they alone are measured then, on all of their
            pictures at the scales to measure.
        unseen_drawn: so many of them, drawn, in the place of names.
        shots: training pictures a class; null takes all.
        draw: which classes and pictures are drawn; null draws by the run's seed.

    Raises:
        SettingError: an unknown class, one alone on either side, or unseen classes both named and drawn.
    """

    name = "RSSCN7"
    classes = CLASSES
    license = "research use"
    conditions = ("gsd", "candidates")
    gsd_unit = "x the finest (1:700 = 1)"
    side = 256

    def __init__(
        self,
        *,
        root: str,
        train_scales: tuple[int, ...] | None = None,
        test_scales: tuple[int, ...] | None = None,
        resample: tuple[float, ...] = (),
        unseen: tuple[str, ...] = (),
        unseen_drawn: Annotated[int, ">= 2", "<= 5"] | None = None,
        shots: Annotated[int, ">= 1"] | None = None,
        draw: Annotated[int, ">= 0"] | None = None,
    ) -> None:
        super().__init__()
        self.held_back = HeldBack(CLASSES, tuple(unseen), unseen_drawn, shots, draw)
        self.root, self.factors = Path(root), require_factors((1.0, *resample), "resample")
        self.scales = {"train": train_scales, "val": train_scales, "test": test_scales}
        if bad := {scale for chosen in self.scales.values() for scale in chosen or ()} - set(range(len(SCALES))):
            raise DataError(f"train_scales, test_scales: {sorted(bad)}: expected numbers from 0 to {len(SCALES) - 1}")

    def shots(self) -> list[tuple[PictureRecord, int]]:
        """Every picture and its map scale.

        Raises:
            DataError: naming the file and what is wrong with it.
        """
        table = self.root / "labels.csv"
        rows = _listed(table) if table.is_file() else _named(self.root)
        if not rows:
            raise DataError(
                f"{self.root} holds no RSSCN7: expected labels.csv, or the folders {', '.join(FOLDERS)} of pictures"
            )
        return [
            (PictureRecord(name, (self.root / name,), label=CLASSES.index(label), gsd=GSD[scale]), scale)
            for name, label, scale in rows
        ]

    def shots_by_split(self) -> dict[str, list[PictureRecord]]:
        """40 / 10 / 50 of every class at every scale: `train`, `val` and `test`, each at its chosen scales.

        Raises:
            DataError: a class has fewer training pictures than shots.
        """
        found = self.shots()
        away = self.held_back.away(self.seed)
        # Names of folders differ by copy.
        names = [Path(shot.id).name for shot, _ in found]
        rows = split(names, [(shot.label, scale) for shot, scale in found], SHARES)
        parts: dict[str, list[PictureRecord]] = {name: [] for name in self.scales}
        split_of = {row: name for name, own in rows.items() for row in own}
        for row, (shot, scale) in enumerate(found):
            placed = self.held_back.placed(split_of[row], shot.label, away) or ""
            chosen = self.scales.get(placed)
            if placed and (chosen is None or scale in chosen):
                parts[placed].append(shot)
        train = parts["train"]
        labels = [shot.label for shot in train if shot.label is not None]
        few = self.held_back.few(labels, self.held_back.drawn(self.seed), "at the scales to train")
        return {**parts, "train": [train[row] for row in few]}

    def splits(self) -> dict[str, SampleSet[Picture]]:
        """`shots_by_split`, the training pictures at every factor."""
        factors = {"train": self.factors}
        between = self.held_back.candidates(self.held_back.away(self.seed))
        return {
            name: self.pictures(
                [view(shot, factor) for factor in factors.get(name, (1.0,)) for shot in shots], between[name]
            )
            for name, shots in self.shots_by_split().items()
        }

    def check(self) -> list[str]:
        """Pictures by class and scale that are missing from the whole set."""
        found = [(shot.label, scale) for shot, scale in self.shots()]
        lines = [f"{self.root}: {len(found)} of {len(CLASSES) * len(SCALES) * PICTURES} pictures"]
        for label, name in enumerate(CLASSES):
            counts = [found.count((label, scale)) for scale in range(len(SCALES))]
            if set(counts) != {PICTURES}:
                lines.append(f"{name}: {', '.join(f'{n} at 1:{s}' for n, s in zip(counts, SCALES, strict=True))}")
        return lines


def _listed(table: Path) -> list[tuple[str, str, int]]:
    """(file, class, scale) of labels.csv."""
    rows = []
    with table.open(encoding="utf-8", newline="") as file:
        for line, row in enumerate(csv.DictReader(file), 2):
            name, label, block = (row.get(key) or "" for key in ("file", "label", "scale_block"))
            if label not in CLASSES or block not in {"0", "1", "2", "3"} or not name:
                raise DataError(
                    f"{table}, line {line}: file {name!r}, label {label!r}, scale_block {block!r}; expected a label of "
                    f"{', '.join(CLASSES)} and a scale_block from 0 to 3"
                )
            rows.append((name, label, int(block)))
    return rows


def _named(root: Path) -> list[tuple[str, str, int]]:
    """(file, class, scale) by the names of folders and files."""
    rows = []
    for folder, label in {**FOLDERS, **{name: name for name in CLASSES}}.items():
        for path in sorted((root / folder).glob("*.jpg")):
            number = int(re.sub(r"\D", "", path.stem) or 0)
            if not 1 <= number <= PICTURES * len(SCALES):
                raise DataError(f"{path}: expected a number from 1 to {PICTURES * len(SCALES)}, which tells the scale")
            rows.append((path.relative_to(root).as_posix(), label, (number - 1) // PICTURES))
    return rows


if __name__ == "__main__":
    sys.exit(check_command("data_modules.rsscn7", lambda root: RSSCN7(root=root)))
