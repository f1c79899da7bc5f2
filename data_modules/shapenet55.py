"""ShapeNet-55 (Yu et al., ICCV 2021): 55 categories of CAD models as 8192 points each, to pre-train on.

Expected below ROOT, as the authors of PoinTr distribute it:

    train.txt, test.txt                        <taxonomy>-<model>.npy, one a line; or in ShapeNet-55/
    shapenet_pc/<taxonomy>-<model>.npy         float32 [8192, 3]

`python -m data_modules.shapenet55 --check ROOT` says what is missing.
"""

import re
import sys
from pathlib import Path
from typing import Annotated

from data_modules.check import check_command
from data_modules.errors import DataError
from data_modules.kinds.cloud_augmentation import Augmentation
from data_modules.kinds.clouds import CloudDataModule, stratified_holdout
from data_modules.kinds.stored_clouds import CloudRecords, compared, make_splits
from data_modules.readers.arrays import LazyClouds
from data_modules.readers.listed import read_lines, require
from zoo.batch import Cloud, SampleSet

PUBLISHED = (41952, 10518)

NAME = re.compile(r"\w+-[^/\\]+\.npy")

DISTRIBUTOR = "ShapeNet-55 is distributed by the authors of PoinTr: github.com/yuxumin/PoinTr (DATASET.md)"


class ShapeNet55(CloudDataModule):
    """The official lists; a share of train, by a hash of the model's name, is validation. The label is the taxonomy.

    Args:
        root: folder of the data set.
        val_share: share of each category's training models that validation takes.
        points: N, sampled farthest first.
        augment: augmentations of training clouds, drawn again in every epoch.
    """

    name = "ShapeNet-55"
    license = "ShapeNet's terms of use (research)"
    own_files = "data_modules.folder_clouds.PlainCloudFolder"

    def __init__(
        self,
        *,
        root: str,
        val_share: Annotated[float, "> 0", "<= 0.5"] = 0.02,
        points: Annotated[int, ">= 1"] = 1024,
        augment: tuple[Augmentation, ...] = (),
    ) -> None:
        super().__init__(points=points, augment=augment)
        self.root, self.val_share = Path(root), val_share

    def listed(self, split: str) -> list[str]:
        """File names of `train` or `test`.

        Raises:
            DataError: naming list and line, or files that are missing.
        """
        file = self.root / "ShapeNet-55" / f"{split}.txt"
        file = file if file.exists() else self.root / f"{split}.txt"
        names = []
        for where, line in read_lines(file, DISTRIBUTOR):
            if not NAME.fullmatch(line):
                raise DataError(f"{where}: {line!r}; expected <taxonomy>-<model>.npy")
            names.append(line)
        require([self.root / "shapenet_pc" / name for name in names], str(file), DISTRIBUTOR)
        return list(dict.fromkeys(names))

    def splits(self) -> dict[str, SampleSet[Cloud]]:
        """Train without the held-out models, these as val, and test."""
        names = {split: self.listed(split) for split in ("train", "test")}
        both = set(names["train"]) & set(names["test"])
        if both:
            self.remarks["train clouds that are also in test: left out"] = len(both)
            names["train"] = [name for name in names["train"] if name not in both]
        self.classes = sorted({name.partition("-")[0] for part in names.values() for name in part})
        train, test = self._stored(names["train"]), self._stored(names["test"])
        return make_splits(self, train, test, stratified_holdout(train.ids, train.labels, self.val_share))

    def _stored(self, names: list[str]) -> CloudRecords:
        paths = [self.root / "shapenet_pc" / name for name in names]
        labels = [self.classes.index(name.partition("-")[0]) for name in names]
        return CloudRecords(LazyClouds(paths), names, labels, [str(path) for path in paths])

    def check(self) -> list[str]:
        """Counts beside the published ones."""
        return [
            compared(len(self.listed(split)), number, split)
            for split, number in zip(("train", "test"), PUBLISHED, strict=True)
        ]


if __name__ == "__main__":
    sys.exit(check_command("data_modules.shapenet55", lambda root: ShapeNet55(root=root)))
