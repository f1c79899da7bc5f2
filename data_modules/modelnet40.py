"""ModelNet40 (Wu et al., CVPR 2015): 40 classes of CAD models, as points drawn from their surfaces, y up.

Expected below ROOT, one of two copies, each of its own making (the second has three objects fewer in train):

    modelnet40_normal_resampled, by the authors of PointNet++ (github.com/charlesq34/pointnet2)
        modelnet40_shape_names.txt, modelnet40_{train,test}.txt      one name a line
        <class>/<class>_NNNN.txt                                     x,y,z,nx,ny,nz, 10,000 lines

    modelnet40_ply_hdf5_2048, by the authors of PointNet (github.com/charlesq34/pointnet)
        ply_data_{train,test}*.h5                                    `data` [n, 2048, 3], `label` [n, 1]
        shape_names.txt                                              the alphabetical list below where it is absent

`python -m data_modules.modelnet40 --check ROOT` says what is missing.
"""

import sys
from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from data_modules.check import check_command
from data_modules.errors import DataError
from data_modules.kinds.cloud_augmentation import Augmentation
from data_modules.kinds.clouds import CloudDataModule, stratified_holdout
from data_modules.kinds.stored_clouds import CloudRecords, compared, labelled, make_splits
from data_modules.readers.arrays import LazyClouds, read_arrays
from data_modules.readers.listed import read_lines, require, require_apart
from zoo.batch import Cloud, SampleSet

SPLITS = ("train", "test")

PUBLISHED = {"txt": (9843, 2468), "hdf5": (9840, 2468)}

DISTRIBUTOR = (
    "ModelNet40 is distributed as points by the authors of PointNet++ (modelnet40_normal_resampled, "
    "github.com/charlesq34/pointnet2) and of PointNet (modelnet40_ply_hdf5_2048, github.com/charlesq34/pointnet)"
)

CLASSES = [
    "airplane", "bathtub", "bed", "bench", "bookshelf", "bottle", "bowl", "car", "chair", "cone", "cup", "curtain",
    "desk", "door", "dresser", "flower_pot", "glass_box", "guitar", "keyboard", "lamp", "laptop", "mantel", "monitor",
    "night_stand", "person", "piano", "plant", "radio", "range_hood", "sink", "sofa", "stairs", "stool", "table",
    "tent", "toilet", "tv_stand", "vase", "wardrobe", "xbox",
]  # fmt: skip


def layout(root: Path) -> Literal["txt", "hdf5"] | None:
    """Format of the copy below a root, or None."""
    if any((root / f"modelnet40_{part}.txt").exists() for part in (*SPLITS, "shape_names")):
        return "txt"
    return "hdf5" if any(root.glob("ply_data_*.h5")) else None


def read_modelnet40(root: Path) -> tuple[list[str], dict[str, CloudRecords]]:
    """Class names, and the clouds of the official `train` and `test`.

    Raises:
        DataError: neither copy, or one with something missing or wrong.
    """
    found = layout(root)
    if found is None:
        raise DataError(f"{root} holds neither modelnet40_train.txt nor ply_data_train*.h5. {DISTRIBUTOR}")
    return _text(root) if found == "txt" else _hdf5(root)


def _text(root: Path) -> tuple[list[str], dict[str, CloudRecords]]:
    classes = [text for _, text in read_lines(root / "modelnet40_shape_names.txt", DISTRIBUTOR)]
    splits = {}
    for split in SPLITS:
        file = root / f"modelnet40_{split}.txt"
        names, labels = [], []
        for where, name in read_lines(file, DISTRIBUTOR):
            # Names of classes have underscores too.
            kind = name.rpartition("_")[0]
            if kind not in classes:
                raise DataError(f"{where}: {name!r} is of none of the classes of {root / 'modelnet40_shape_names.txt'}")
            names.append(name)
            labels.append(classes.index(kind))
        paths = [root / classes[label] / f"{name}.txt" for name, label in zip(names, labels, strict=True)]
        require(paths, str(file), DISTRIBUTOR)
        splits[split] = CloudRecords(LazyClouds(paths), names, labels, [str(path) for path in paths])
    require_apart({split: stored.ids for split, stored in splits.items()}, str(root))
    return classes, splits


def _hdf5(root: Path) -> tuple[list[str], dict[str, CloudRecords]]:
    names = root / "shape_names.txt"
    classes = [text for _, text in read_lines(names, DISTRIBUTOR)] if names.exists() else CLASSES
    splits = {}
    for split in SPLITS:
        clouds, ids, labels, places = [], [], [], []
        for path in sorted(root.glob(f"ply_data_{split}*.h5")):
            found = read_arrays(path, ("data", "label"), distributor=DISTRIBUTOR)
            points, classed = labelled(found["data"], found["label"], classes=len(classes), where=str(path))
            clouds.append(points)
            labels += classed
            ids += [f"{path.stem}/{row}" for row in range(len(points))]
            places += [f"{path}, row {row}" for row in range(len(points))]
        if not clouds:
            raise DataError(f"{root} holds no ply_data_{split}*.h5. {DISTRIBUTOR}")
        sizes = {points.shape[1] for points in clouds}
        if len(sizes) > 1:
            raise DataError(f"{root}: clouds of {split} have {sorted(sizes)} points by file; expected one number")
        splits[split] = CloudRecords(np.concatenate(clouds), ids, labels, places)
    return classes, splits


class ModelNet40(CloudDataModule):
    """The official train and test lists; validation is held out of train, class by class, and test is touched once.

    Args:
        root: folder of the data set, in one of its layouts.
        val_share: share of each class's training objects that validation takes.
        points: N, sampled farthest first.
        augment: augmentations of training clouds, drawn again in every epoch.
    """

    name = "ModelNet40"
    classes = CLASSES
    license = "academic research (Princeton ModelNet)"

    def __init__(
        self,
        *,
        root: str,
        val_share: Annotated[float, "> 0", "<= 0.5"] = 0.1,
        points: Annotated[int, ">= 1"] = 1024,
        augment: tuple[Augmentation, ...] = (),
    ) -> None:
        super().__init__(points=points, augment=augment)
        self.root, self.val_share = Path(root), val_share

    def splits(self) -> dict[str, SampleSet[Cloud]]:
        """Train without the held-out objects, these as val, and test."""
        self.classes, stored = read_modelnet40(self.root)
        held = stratified_holdout(stored["train"].ids, stored["train"].labels, self.val_share)
        return make_splits(self, stored["train"], stored["test"], held)

    def check(self) -> list[str]:
        """Counts beside the published ones."""
        classes, stored = read_modelnet40(self.root)
        kind = layout(self.root) or "txt"
        lines = [f"{self.root}: {kind} copy, {len(classes)} classes"]
        return lines + [
            compared(len(stored[split].ids), number, split)
            for split, number in zip(SPLITS, PUBLISHED[kind], strict=True)
        ]


if __name__ == "__main__":
    sys.exit(check_command("data_modules.modelnet40", lambda root: ModelNet40(root=root)))
