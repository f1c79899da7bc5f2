"""DALES objects: 300 things an airborne laser saw, cut out of DALES (Varney et al., CVPR workshops 2020); z up.

Expected below ROOT: `dales_objects_2048.npz` with

    points      float32 [n, 2048, 3], metres            labels      int [n]
    ids         int [n], one an object                  classes     K names

Splits are 60 / 20 / 20 of every class, by a hash of the object's id.
`python -m data_modules.dales_objects --check ROOT` says what is missing.
"""

import sys
from pathlib import Path
from typing import Annotated

from data_modules.check import check_command
from data_modules.errors import DataError
from data_modules.kinds.cloud_augmentation import Augmentation
from data_modules.kinds.clouds import CloudDataModule, stratified_holdout, subsample
from data_modules.kinds.stored_clouds import CloudRecords, StoredSet, labelled
from data_modules.readers.arrays import read_arrays
from zoo.batch import Cloud, SampleSet

FILE = "dales_objects_2048.npz"

KEYS = ("points", "labels", "ids", "classes")

TEST_SHARE, VAL_SHARE = 0.2, 0.2

CLASSES = ["building", "car", "fence", "pole", "tree"]

DISTRIBUTOR = "DALES is distributed by the University of Dayton; the objects were cut out of it into one file"


class DalesObjects(CloudDataModule):
    """Buildings, cars, fences, poles and trees.

    With `shots`, training uses that many objects a class, drawn from the run's seed; validation and test stay as they
    are, so that numbers of different shots are measured on the same objects.

    Args:
        root: folder that holds dales_objects_2048.npz.
        shots: training objects a class; all when null.
        points: N, sampled farthest first.
        augment: augmentations of training clouds, drawn again in every epoch.
    """

    name = "DALES objects"
    classes = CLASSES
    license = "academic (DALES)"
    up = "z"

    def __init__(
        self,
        *,
        root: str,
        shots: Annotated[int, ">= 1"] | None = None,
        points: Annotated[int, ">= 1"] = 1024,
        augment: tuple[Augmentation, ...] = (),
    ) -> None:
        super().__init__(points=points, augment=augment)
        self.path, self.shots = Path(root) / FILE, shots

    def stored(self) -> CloudRecords:
        """All objects.

        Raises:
            DataError: naming the file and what is wrong with it.
        """
        found = read_arrays(self.path, KEYS, distributor=DISTRIBUTOR)
        names, ids = found["classes"], found["ids"]
        if names.ndim != 1 or names.dtype.kind != "U":
            raise DataError(f"{self.path}: classes of type {names.dtype}; expected names")
        points, labels = labelled(found["points"], found["labels"], classes=len(names), where=str(self.path))
        if ids.shape != (len(points),) or len(set(ids.tolist())) != len(points):
            raise DataError(
                f"{self.path}: {ids.size} ids beside {len(points)} clouds; expected a different one for each"
            )
        self.classes = [str(name) for name in names]
        places = [f"{self.path}, row {row}" for row in range(len(points))]
        return CloudRecords(points, [f"object {number}" for number in ids], labels, places)

    def splits(self) -> dict[str, SampleSet[Cloud]]:
        """60 / 20 / 20 of every class; fewer to train on where `shots` says so."""
        stored = self.stored()
        rows: dict[str, list[int]] = {"train": list(range(len(stored.ids)))}
        for split, share in (("test", TEST_SHARE), ("val", VAL_SHARE / (1 - TEST_SHARE))):
            left = rows["train"]
            held = stratified_holdout([stored.ids[row] for row in left], [stored.labels[row] for row in left], share)
            rows[split] = [row for row, out in zip(left, held, strict=True) if out]
            rows["train"] = [row for row, out in zip(left, held, strict=True) if not out]
        if self.shots is not None:
            chosen = subsample([stored.labels[row] for row in rows["train"]], self.shots, self.seed)
            self.remarks["train: objects beyond the shots: left out"] = len(rows["train"]) - len(chosen)
            rows["train"] = [rows["train"][place] for place in chosen]
        return {split: StoredSet(self, split, stored, rows[split]) for split in ("train", "val", "test")}

    def check(self) -> list[str]:
        """Count and classes."""
        return [f"{self.path}: {len(self.stored().ids)} objects of {', '.join(self.classes)}"]


if __name__ == "__main__":
    sys.exit(check_command("data_modules.dales_objects", lambda root: DalesObjects(root=root)))
