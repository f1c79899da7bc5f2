"""ShapeNetPart (Yi et al., SIGGRAPH Asia 2016): objects of 16 categories, a part label for every point; y up.

Expected below ROOT, shapenetcore_partanno_segmentation_benchmark_v0_normal as the authors of PointNet++ distribute it:

    synsetoffset2category.txt                                        category, tab, synset
    train_test_split/shuffled_{train,val,test}_file_list.json        ["shape_data/<synset>/<id>", ...]
    <synset>/<id>.txt                                                x y z nx ny nz part, one line a point

The official splits are used as they are: selection on val, where much of the field trains on train and val together.
`python -m data_modules.shapenet_part --check ROOT` says what is missing.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_modules.check import check_command
from data_modules.errors import DataError
from data_modules.kinds.clouds import CloudDataModule
from data_modules.kinds.parts import category_condition, require_category
from data_modules.kinds.stored_clouds import CloudRecords, StoredSet, compared
from data_modules.readers.arrays import LazyClouds
from data_modules.readers.listed import read_lines, require, require_apart
from zoo.batch import Cloud, SampleSet
from zoo.errors import SettingError

SPLITS = ("train", "val", "test")

PUBLISHED = (12137, 1870, 2874)

COLUMNS = 7

DISTRIBUTOR = (
    "ShapeNetPart with normals is distributed by the authors of PointNet++: github.com/charlesq34/pointnet2 "
    "(shapenetcore_partanno_segmentation_benchmark_v0_normal)"
)

NUMBERS = {
    "Airplane": 4, "Bag": 2, "Cap": 2, "Car": 4, "Chair": 4, "Earphone": 3, "Guitar": 3, "Knife": 2, "Lamp": 4,
    "Laptop": 2, "Motorbike": 6, "Mug": 2, "Pistol": 3, "Rocket": 3, "Skateboard": 3, "Table": 3,
}  # fmt: skip
"""Parts of each category; their labels count through in this order, from 0 to 49."""

CATEGORIES = list(NUMBERS)

CLASSES = [f"{category}/{part}" for category, number in NUMBERS.items() for part in range(number)]

PARTS = {
    category: [label for label, name in enumerate(CLASSES) if name.startswith(f"{category}/")]
    for category in CATEGORIES
}


class PartSet(StoredSet):
    """One split; `labels` are categories, targets are the parts of the points that were sampled."""

    def __init__(self, data: CloudDataModule, split: str, stored: CloudRecords) -> None:
        super().__init__(data, split, stored)
        self._parts: dict[int, NDArray[np.uint8]] = {}

    def raw(self, index: int) -> NDArray[Any]:
        """Coordinates [M, 3]; the parts are kept aside.

        Raises:
            DataError: another number of columns, or a part that its category has not.
        """
        table, file = super().raw(index), self.where(index)
        if table.ndim != 2 or table.shape[1] != COLUMNS:
            raise DataError(f"{file} has shape {list(table.shape)}; expected lines of x y z nx ny nz part")
        category, parts = CATEGORIES[self.labels[index]], table[:, -1]
        wrong = ~np.isin(parts, PARTS[category])
        if wrong.any():
            row, (first, *_, last) = int(wrong.argmax()), PARTS[category]
            raise DataError(
                f"{file}, row {row}: part {parts[row]:g} is none of {category}'s, which are {first} to {last}"
            )
        self._parts[index] = parts.astype(np.uint8)
        return table[:, :3]

    def target(self, index: int) -> dict[str, Tensor]:
        """`parts`: int64 [N]."""
        _, rows = self.prepared(index)
        return {"parts": torch.from_numpy(self._parts[index][rows].astype(np.int64))}

    def conditions(self, index: int) -> dict[str, Tensor]:
        """`category`: int64 []; `points`: float32 [N, 3], which per-point features are spread to."""
        return category_condition(self.prepared(index)[0], self.labels[index])


class ShapeNetPart(CloudDataModule):
    """Parts of the official splits; the object's category is given, as is the custom.

    Attributes:
        categories: names of the 16, in label order.
        parts: labels of each category's parts.

    Args:
        root: folder of the data set.
        points: N, sampled farthest first; a label is read, predicted and scored for these.
        augment: augmentations of training clouds, drawn again in every epoch (no random subset: points carry labels).
    """

    name = "ShapeNetPart"
    classes = CLASSES
    categories: list[str] = CATEGORIES
    parts: dict[str, list[int]] = PARTS
    license = "ShapeNet's terms of use (research)"
    settings = ("category", "up")
    own_files = "data_modules.folder_clouds.PartFolder"

    def __init__(
        self,
        *,
        root: str,
        points: Annotated[int, ">= 1"] = 2048,
        augment: tuple[Literal["shuffle", "rotate", "scale_translate", "jitter"], ...] = (),
    ) -> None:
        super().__init__(points=points, augment=augment)
        if "subset" in self.augmentations:
            raise SettingError(
                "augment: subset would part points from their labels; expected shuffle, rotate, scale_translate, jitter"
            )
        self.root = Path(root)

    def stored(self) -> dict[str, CloudRecords]:
        """Listed clouds by split.

        Raises:
            DataError: naming list and entry, or files that are missing.
        """
        synsets = read_synsets(self.root / "synsetoffset2category.txt")
        splits = {}
        for split in SPLITS:
            file = self.root / "train_test_split" / f"shuffled_{split}_file_list.json"
            ids, labels = [], []
            for number, entry in enumerate(read_json(file)):
                match entry.split("/") if isinstance(entry, str) else ():
                    case ["shape_data", synset, name] if synset in synsets:
                        ids.append(f"{synset}/{name}")
                        labels.append(CATEGORIES.index(synsets[synset]))
                    case _:
                        raise DataError(
                            f"{file}, entry {number}: {entry!r}; expected shape_data/<synset>/<id> with a synset of "
                            "synsetoffset2category.txt"
                        )
            paths = [self.root / f"{name}.txt" for name in ids]
            require(paths, str(file), DISTRIBUTOR)
            splits[split] = CloudRecords(LazyClouds(paths), ids, labels, [str(path) for path in paths])
        require_apart({split: stored.ids for split, stored in splits.items()}, str(self.root / "train_test_split"))
        return splits

    def splits(self) -> dict[str, SampleSet[Cloud]]:
        """The three official splits."""
        return {split: PartSet(self, split, stored) for split, stored in self.stored().items()}

    def check(self) -> list[str]:
        """Counts beside the published ones."""
        return [
            compared(len(stored.ids), number, split)
            for (split, stored), number in zip(self.stored().items(), PUBLISHED, strict=True)
        ]

    def require(self, settings: Mapping[str, str]) -> None:
        """Refuse a category that is none of the 16."""
        super().require(settings)
        require_category(settings.get("category", ""), self.categories)

    def read(self, path: Path, settings: dict[str, str]) -> tuple[Cloud, list[str]]:
        """A cloud from a table; `category=Chair` says what it shows.

        Raises:
            DataError: no cloud, or no category of the 16.
        """
        category = require_category(settings.pop("category", ""), self.categories)
        cloud, notes = super().read(path, settings)
        return replace(cloud, conditions=category_condition(cloud.points, category)), notes


def read_synsets(path: Path) -> dict[str, str]:
    """Category by synset.

    Raises:
        DataError: naming the line, or categories that are missing.
    """
    synsets = {}
    for where, line in read_lines(path, DISTRIBUTOR):
        match line.split():
            case [category, synset] if category in CATEGORIES:
                synsets[synset] = category
            case _:
                raise DataError(f"{where}: {line!r}; expected a category and its synset, such as Airplane 02691156")
    missing = [category for category in CATEGORIES if category not in synsets.values()]
    if missing:
        raise DataError(f"{path} lacks {', '.join(missing)}. {DISTRIBUTOR}")
    return synsets


def read_json(path: Path) -> Sequence[Any]:
    """The list in a JSON file.

    Raises:
        DataError: there is none.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist. {DISTRIBUTOR}") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no JSON: {error}. {DISTRIBUTOR}") from error
    if not isinstance(values, list):
        raise DataError(f"{path} holds a {type(values).__name__}; expected a list of shape_data/<synset>/<id>")
    return values


if __name__ == "__main__":
    sys.exit(check_command("data_modules.shapenet_part", lambda root: ShapeNetPart(root=root)))
