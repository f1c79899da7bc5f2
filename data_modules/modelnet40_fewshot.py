"""Few-shot ModelNet40 (Sharma and Kaul, NeurIPS 2020): 5 or 10 classes, 10 or 20 clouds each, ten folds; y up.

The field passes its folds round as `{way}way_{shot}shot/{fold}.pkl`. Unpickling runs whatever the file says, so these
are refused. ROOT is one of two things instead:

1. A folder of the field's folds as arrays, `{way}way_{shot}shot/{fold}.npz`, with `train_points` [n, M, 3 to 9],
   `train_labels` [n], `test_points`, `test_labels` (0 to way-1), and `classes` (names) if known. Where the pickle's
   source is trusted, it becomes one by

       fold = pickle.load(open("0.pkl", "rb"))
       np.savez("0.npz", **{f"{s}_points": np.stack([c[0] for c in fold[s]]) for s in ("train", "test")},
                **{f"{s}_labels": np.array([c[1] for c in fold[s]]) for s in ("train", "test")})

2. A ModelNet40 folder (`data_modules.modelnet40`, either copy). Folds are then drawn here from (way, shot, fold):
   classes, training objects out of the official train split, 20 test objects a class out of the official test split.
   These are not the field's folds: numbers on them stand beside each other, not beside published ones. Nor are those of
   the two copies of ModelNet40 the same.

`python -m data_modules.modelnet40_fewshot --check ROOT` says what is missing.
"""

import itertools
import sys
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_modules.check import check_command
from data_modules.errors import DataError
from data_modules.kinds.cloud_augmentation import Augmentation
from data_modules.kinds.clouds import CloudDataModule, stratified_holdout
from data_modules.kinds.stored_clouds import CloudRecords, StoredSet, labelled, make_splits
from data_modules.modelnet40 import ModelNet40, layout, read_modelnet40
from data_modules.readers.arrays import read_arrays
from zoo.batch import Cloud, SampleSet

WAYS: tuple[Literal[5, 10], ...] = (5, 10)

SHOTS: tuple[Literal[10, 20], ...] = (10, 20)

FOLDS = 10

QUERIES = 20

MOST_COLUMNS = 9

DISTRIBUTOR = (
    "The field's folds are distributed as pickles by Point-BERT (github.com/lulutang0608/Point-BERT); "
    "data_modules/modelnet40_fewshot.py says how one becomes an npz, or give a ModelNet40 folder as root"
)


class Draw(NamedTuple):
    """A fold: classes in label order, and rows of the official splits, class by class."""

    classes: list[int]
    train: list[int]
    val: list[int]
    test: list[int]


def draw(train: list[int], test: list[int], names: list[str], *, way: int, shot: int, fold: int) -> Draw:
    """A fold out of (way, shot, fold) alone.

    Args:
        train: labels of the official train split.
        test: labels of the official test split.
        names: of the classes.
        way: classes.
        shot: training objects a class; 20 others of train are for validation, 20 of test for test.
        fold: number.

    Raises:
        DataError: fewer classes, or a class with fewer objects.
    """
    rng = np.random.default_rng([way, shot, fold])
    if len(names) < way:
        raise DataError(f"{way} way: there are only {len(names)} classes")
    drawn = Draw(sorted(rng.choice(len(names), way, replace=False).tolist()), [], [], [])
    for label in drawn.classes:
        for split, labels, need in (("train", train, shot + QUERIES), ("test", test, QUERIES)):
            members = np.flatnonzero(np.asarray(labels) == label)
            if len(members) < need:
                raise DataError(
                    f"{shot} shot: class {names[label]} has {len(members)} {split} objects; expected {need}"
                )
            rows = rng.permutation(members)[:need].tolist()
            if split == "train":
                drawn.train.extend(rows[:shot])
                drawn.val.extend(rows[shot:])
            else:
                drawn.test.extend(rows)
    return drawn


class ModelNet40FewShot(CloudDataModule):
    """One fold.

    The field selects checkpoints on test. Here validation is apart: a filed fold has none, so a fifth of each class's
    training clouds is held out and *training sees 8 of 10 or 16 of 20*; a drawn fold takes 20 further training objects
    a class, which serve selection alone.

    Args:
        root: folder of npz folds, or of ModelNet40.
        way: classes.
        shot: training clouds a class.
        fold: which of the ten.
        points: N, sampled farthest first.
        augment: augmentations of training clouds, drawn again in every epoch.
    """

    name = "ModelNet40, few-shot"
    license = "academic research (Princeton ModelNet)"

    def __init__(
        self,
        *,
        root: str,
        way: Literal[5, 10],
        shot: Literal[10, 20],
        fold: Annotated[int, ">= 0", "<= 9"],
        points: Annotated[int, ">= 1"] = 1024,
        augment: tuple[Augmentation, ...] = (),
    ) -> None:
        super().__init__(points=points, augment=augment)
        self.root, self.way, self.shot, self.fold = Path(root), way, shot, fold
        self.name = f"ModelNet40, {way} way {shot} shot, fold {fold}"
        self.classes = [f"class {label}" for label in range(way)]
        self.path = self.root / f"{way}way_{shot}shot" / f"{fold}.npz"

    def splits(self) -> dict[str, SampleSet[Cloud]]:
        """The filed fold where there is one, else the drawn one.

        Raises:
            DataError: neither, a pickle, or a fold that is not way x shot.
        """
        if self.path.is_file():
            return self._filed()
        if layout(self.root) is not None:
            return self._drawn()
        pickle = self.path.with_suffix(".pkl")
        if pickle.exists():
            raise DataError(
                f"{pickle} is a pickle, and unpickling runs whatever code it carries, so it is not opened; expected "
                f"{self.path.name} beside it with train_points, train_labels, test_points, test_labels. {DISTRIBUTOR}"
            )
        raise DataError(f"{self.root} holds neither {self.path.relative_to(self.root)} nor ModelNet40. {DISTRIBUTOR}")

    def _drawn(self) -> dict[str, SampleSet[Cloud]]:
        names, stored = read_modelnet40(self.root)
        train, test = stored["train"], stored["test"]
        fold = draw(train.labels, test.labels, names, way=self.way, shot=self.shot, fold=self.fold)
        self.classes = [names[label] for label in fold.classes]
        drawn = len(fold.train) + len(fold.val) + len(fold.test)
        self.remarks["clouds of a fold drawn by this program, which is none of the field's"] = drawn
        parts = {"train": (train, fold.train), "val": (train, fold.val), "test": (test, fold.test)}
        return {
            split: StoredSet(self, split, source, rows, labels=[fold.classes.index(source.labels[r]) for r in rows])
            for split, (source, rows) in parts.items()
        }

    def _filed(self) -> dict[str, SampleSet[Cloud]]:
        keys = ("train_points", "train_labels", "test_points", "test_labels")
        found = read_arrays(self.path, keys, ("classes",), distributor=DISTRIBUTOR)
        if "classes" in found:
            self.classes = self._names(found["classes"])
        train, test = (
            self._stored(split, found[f"{split}_points"], found[f"{split}_labels"]) for split in ("train", "test")
        )
        for label, number in enumerate(np.bincount(train.labels, minlength=self.way)):
            if number != self.shot:
                raise DataError(f"{self.path}: class {label} has {number} training clouds; expected {self.shot}")
        held = stratified_holdout(train.ids, train.labels, (self.shot // 5) / self.shot)
        self.remarks["training clouds held out for validation, as the fold has none"] = sum(held)
        return make_splits(self, train, test, held)

    def _names(self, classes: NDArray[np.str_]) -> list[str]:
        if classes.shape != (self.way,) or classes.dtype.kind != "U":
            shape = f"shape {list(classes.shape)} and type {classes.dtype}"
            raise DataError(f"{self.path}: classes of {shape}; expected {self.way} names")
        return [str(name) for name in classes]

    def _stored(self, split: str, points: NDArray[np.float32], labels: NDArray[np.int64]) -> CloudRecords:
        where = f"{self.path}, {split}"
        points, classed = labelled(points, labels, classes=self.way, where=where, columns=MOST_COLUMNS)
        rows = range(len(points))
        return CloudRecords(
            points, [f"{split}/{row}" for row in rows], classed, [f"{where}, row {row}" for row in rows]
        )


class EveryFold:
    """The filed folds below a root, for `--check`; of ModelNet40, its clouds, and that every fold can be drawn."""

    def __init__(self, root: str) -> None:
        self.root = root
        every = [
            ModelNet40FewShot(root=root, way=way, shot=shot, fold=fold)
            for way, shot, fold in itertools.product(WAYS, SHOTS, range(FOLDS))
        ]
        self.every, self.filed = every, [data for data in every if data.path.is_file()]

    def check(self) -> list[str]:
        """Number of folds."""
        if self.filed:
            return [f"{self.root}: {len(self.filed)} of {len(self.every)} folds are filed as npz"]
        if layout(Path(self.root)) is None:
            self.every[0].splits()  # says what is wrong
        names, stored = read_modelnet40(Path(self.root))
        train, test = stored["train"].labels, stored["test"].labels
        for data in self.every:
            draw(train, test, names, way=data.way, shot=data.shot, fold=data.fold)
        return [f"{self.root}: {len(self.every)} folds can be drawn from ModelNet40"]

    def splits(self) -> dict[str, SampleSet[Cloud]]:
        """Splits of every filed fold, or of ModelNet40."""
        if not self.filed:
            return ModelNet40(root=self.root).splits()
        return {
            f"{data.path.parent.name}/{data.fold} {split}": part
            for data in self.filed
            for split, part in data.splits().items()
        }


if __name__ == "__main__":
    sys.exit(check_command("data_modules.modelnet40_fewshot", EveryFold))
