"""ScanObjectNN (Uy et al., ICCV 2019): 15 classes of scanned furniture, 2048 points a cloud, y up.

Expected below ROOT, as HKUST distributes it (h5_files):

    main_split/{training,test}_objectdataset.h5                            variant bg: objects with background
    main_split_nobg/{training,test}_objectdataset.h5                       variant only: objects alone
    main_split/{training,test}_objectdataset_augmentedrot_scale75.h5       variant hardest: PB_T50_RS, moved and turned

each with `data` [n, 2048, 3] and `label` [n]. `python -m data_modules.scanobjectnn --check ROOT` says what is missing.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray

from data_modules.check import check_command
from data_modules.errors import DataError
from data_modules.kinds.cloud_augmentation import Augmentation
from data_modules.kinds.clouds import CloudDataModule, stratified_holdout
from data_modules.kinds.stored_clouds import CloudRecords, compared, labelled, make_splits
from data_modules.readers.arrays import read_arrays
from zoo.batch import Cloud, SampleSet

Variant = Literal["bg", "only", "hardest"]

FILES: dict[Variant, tuple[str, str]] = {
    "bg": ("main_split", "objectdataset.h5"),
    "only": ("main_split_nobg", "objectdataset.h5"),
    "hardest": ("main_split", "objectdataset_augmentedrot_scale75.h5"),
}

PUBLISHED = {"bg": (2309, 581), "only": (2309, 581), "hardest": (11416, 2882)}

OBJECT_KEYS = ("object", "object_id")

BLOCK = 25

DISTRIBUTOR = "ScanObjectNN is distributed by HKUST on request: hkust-vgd.github.io/scanobjectnn (h5_files)"

CLASSES = [
    "bag", "bin", "box", "cabinet", "chair", "desk", "display", "door", "shelf", "table", "bed", "pillow", "sink",
    "sofa", "toilet",
]  # fmt: skip


def blocks(labels: Sequence[int]) -> list[str]:
    """Name of each row's block: a class's rows in file order, 25 to a block."""
    seen: dict[int, int] = {}
    names = []
    for label in labels:
        seen[label] = seen.get(label, -1) + 1
        names.append(f"class {label}, block {seen[label] // BLOCK}")
    return names


class ScanObjectNN(CloudDataModule):
    """The official train and test files; validation is held out of train, class by class, and test is touched once.

    In `bg` and `only` every training row is an object of its own. `hardest` holds about five perturbed copies of each
    object, which must not lie on both sides. A file that says which row shows which object (a whole-number key `object`
    or `object_id`) is divided by it. The distributed one does not; then we *assume* that copies lie near each other in
    the file, and hold out whole blocks of 25 rows of a class. Should the assumption be wrong, validation is easier than
    test; test itself is not concerned.

    Args:
        root: folder of the data set.
        variant: objects with background, objects alone, or the hardest perturbed ones (PB_T50_RS).
        val_share: share of each class's training objects that validation takes.
        points: N, sampled farthest first.
        augment: augmentations of training clouds, drawn again in every epoch.
    """

    name = "ScanObjectNN"
    classes = CLASSES
    license = "by request form of HKUST (research)"
    # The stored clouds are centred and scaled already.
    unit = False

    def __init__(
        self,
        *,
        root: str,
        variant: Literal["bg", "only", "hardest"],
        val_share: Annotated[float, "> 0", "<= 0.5"] = 0.1,
        points: Annotated[int, ">= 1"] = 2048,
        augment: tuple[Augmentation, ...] = (),
    ) -> None:
        super().__init__(points=points, augment=augment)
        self.root, self.variant, self.val_share = Path(root), variant, val_share
        self.name = f"ScanObjectNN ({variant})"

    def path(self, split: str) -> Path:
        """File of `training` or `test`."""
        folder, ending = FILES[self.variant]
        return self.root / folder / f"{split}_{ending}"

    def stored(self, split: str) -> tuple[CloudRecords, NDArray[np.int64] | None]:
        """A file's clouds, and the object each shows where the file says so."""
        path = self.path(split)
        found = read_arrays(path, ("data", "label"), OBJECT_KEYS, distributor=DISTRIBUTOR)
        points, labels = labelled(found["data"], found["label"], classes=len(CLASSES), where=str(path))
        rows = range(len(points))
        stored = CloudRecords(
            points, [f"{path.stem}/{row}" for row in rows], labels, [f"{path}, row {row}" for row in rows]
        )
        objects = [a for key, a in found.items() if key in OBJECT_KEYS and a.dtype.kind in "iu" and a.ndim == 1]
        if objects and len(objects[0]) != len(points):
            raise DataError(
                f"{path}: {len(objects[0])} object numbers beside {len(points)} clouds; expected one a cloud"
            )
        return stored, objects[0] if objects else None

    def splits(self) -> dict[str, SampleSet[Cloud]]:
        """Train without the held-out objects, these as val, and test."""
        train, recorded = self.stored("training")
        objects = train.ids if recorded is None else [str(number) for number in recorded]
        assumed = self.variant == "hardest" and recorded is None
        if assumed:
            objects = blocks(train.labels)
        held = stratified_holdout(objects, train.labels, self.val_share)
        if assumed:
            what = f"objects are not recorded: validation holds whole blocks of {BLOCK} neighbouring rows"
            self.remarks[what] = len({block for block, out in zip(objects, held, strict=True) if out})
        return make_splits(self, train, self.stored("test")[0], held)

    def check(self) -> list[str]:
        """Counts beside the published ones."""
        published = zip(("training", "test"), PUBLISHED[self.variant], strict=True)
        return [compared(len(self.stored(split)[0].ids), number, str(self.path(split))) for split, number in published]


class EveryVariant:
    """The variants that lie below a root, for `--check`."""

    def __init__(self, root: str) -> None:
        every = [ScanObjectNN(root=root, variant=variant) for variant in FILES]
        self.found = [data for data in every if data.path("training").exists() or data.path("test").exists()]
        if not self.found:
            looked = ", ".join(str(data.path("training")) for data in every)
            raise DataError(f"no variant below {root}: looked for {looked}. {DISTRIBUTOR}")

    def check(self) -> list[str]:
        """Counts of every variant."""
        return [line for data in self.found for line in data.check()]

    def splits(self) -> dict[str, SampleSet[Cloud]]:
        """Splits of every variant."""
        return {f"{data.variant} {split}": part for data in self.found for split, part in data.splits().items()}


if __name__ == "__main__":
    sys.exit(check_command("data_modules.scanobjectnn", EveryVariant))
