"""A user's own point clouds, for classification, for part segmentation, or without labels.

Class folders, or a manifest with the columns `path,label`. For part segmentation, the class of a cloud is its
category. The last of a file's columns, the fourth or a later one, is the part of each point, a whole number from 0 on.
Classes are then called Category/part.

`python -m data_modules.folder_clouds --check DIR` says what is in a folder.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_modules.check import check_command
from data_modules.errors import DataError
from data_modules.folder.own_files import Folder, OwnFiles, require_classes
from data_modules.folder.rows import Columns, FileEntry, repeated_files
from data_modules.kinds.cloud_augmentation import Augmentation
from data_modules.kinds.clouds import CloudDataModule, standing
from data_modules.kinds.parts import category_condition, require_category
from data_modules.kinds.stored_clouds import CloudRecords, StoredSet
from data_modules.readers.arrays import LazyClouds
from data_modules.readers.cloud_notes import Axis
from data_modules.readers.cloud_preparation import MOST_SAMPLED, clean
from data_modules.readers.lines import ErrorCollector
from data_modules.readers.point_files import read_points
from zoo.batch import Cloud, SampleSet
from zoo.errors import SettingError

MOST_PARTS = 100


class CloudFolder(OwnFiles, CloudDataModule):
    """Clouds with one class each.

    Args:
        root: folder of the files.
        manifest: CSV or JSON lines, relative to the root; by default manifest.csv or manifest.jsonl if one exists,
            else class folders.
        classes: class names in label order; by default those found, sorted.
        up: the axis that points up, about which `augment: [rotate]` turns.
        points: N, sampled farthest first.
        augment: augmentations of training clouds, drawn again in every epoch.
        splits: a run's splits.json to follow.
        val_share: of every class's groups, to select on.
        test_share: of every class's groups, to measure.
        group_by: regular expression; files in whose path it finds the same (its first bracket, where it has one) stay
            together, e.g. "scan[0-9]+".
        on_bad: a file that cannot be used is an error, or is left out (counted in the manifest).
    """

    own_files = "data_modules.folder_clouds.CloudFolder"
    columns = Columns("point clouds", ("label",))

    def __init__(
        self,
        *,
        root: str,
        manifest: str | None = None,
        classes: tuple[str, ...] | None = None,
        up: Axis = "y",
        points: Annotated[int, ">= 1"] = 1024,
        augment: tuple[Augmentation, ...] = (),
        splits: str | None = None,
        val_share: Annotated[float, ">= 0", "<= 1"] = 0.2,
        test_share: Annotated[float, ">= 0", "<= 1"] = 0.2,
        group_by: str | None = None,
        on_bad: Literal["error", "skip"] = "error",
    ) -> None:
        super().__init__(points=points, augment=augment)
        self.folder = Folder(root, manifest, splits, val_share, test_share, group_by, on_bad)
        self.wanted, self.up = classes, up
        self.classes = list(classes or ())

    def parse_labels(self, entries: Sequence[FileEntry], errors: ErrorCollector) -> None:
        """Parse class names; a cloud has one row."""
        errors.messages += repeated_files(entries)
        self.classes = require_classes(
            [self.label(entry) for entry in entries], self.wanted, errors, where=self.folder.path, least=2
        )

    def label(self, entry: FileEntry) -> str:
        """The class."""
        return entry.rows[0].values["label"]

    def inspect(self, entry: FileEntry) -> list[str]:
        """Warnings about size; further columns and repeated points are counted during sampling.

        Raises:
            DataError: the file is no cloud, or holds several.
        """
        values, _ = read_points(entry.path)
        clean(values, str(entry.path))
        return (
            [f"clouds of more than {MOST_SAMPLED:,} points, of which so many are used"]
            if len(values) > MOST_SAMPLED
            else []
        )

    def samples(self, split: str, entries: Sequence[FileEntry]) -> SampleSet[Cloud]:
        """Clouds of one split."""
        return StoredSet(self, split, self.stored(entries, self.classes))

    def stored(self, entries: Sequence[FileEntry], names: Sequence[str]) -> CloudRecords:
        """Files of one split, labelled by their place in `names`."""
        paths = [entry.path for entry in entries]
        labels = [names.index(self.label(entry)) for entry in entries]
        clouds = LazyClouds(paths, partial(_upright, up=self.up))
        return CloudRecords(clouds, [entry.name for entry in entries], labels, [str(path) for path in paths])


def _upright(path: Path, up: Axis) -> NDArray[Any]:
    """A cloud turned so that the axis `up` points up, if its format names another axis."""
    return standing(path, None, up)[0]


class PlainCloudFolder(CloudFolder):
    """Clouds without labels, for pretraining; one folder is enough."""

    own_files = "data_modules.folder_clouds.PlainCloudFolder"

    def parse_labels(self, entries: Sequence[FileEntry], errors: ErrorCollector) -> None:
        """Names of folders, however many."""
        self.classes = sorted({self.label(entry) for entry in entries})


class PartSet(StoredSet):
    """One split; `labels` are categories, targets are the parts of the points that were sampled.

    Args:
        data: its settings and classes are used.
        split: name of the split.
        stored: the clouds.
    """

    def __init__(self, data: "PartFolder", split: str, stored: CloudRecords) -> None:
        super().__init__(data, split, stored)
        self.label_of = {name: label for label, name in enumerate(data.classes)}
        self.categories = data.categories
        self._parts: dict[int, NDArray[np.int64]] = {}

    def raw(self, index: int) -> NDArray[Any]:
        """Coordinates [M, 3]; the parts are kept aside."""
        table, category = super().raw(index), self.categories[self.labels[index]]
        parts, rows = np.unique(table[:, -1].astype(np.int64), return_inverse=True)
        self._parts[index] = np.array([self.label_of[f"{category}/{part}"] for part in parts])[rows]
        return table[:, :3]

    def target(self, index: int) -> dict[str, Tensor]:
        """`parts`: int64 [N]."""
        _, rows = self.prepared(index)
        return {"parts": torch.from_numpy(self._parts[index][rows])}

    def conditions(self, index: int) -> dict[str, Tensor]:
        """`category`: int64 []; `points`: float32 [N, 3], which per-point features are spread to."""
        return category_condition(self.prepared(index)[0], self.labels[index])


class PartFolder(CloudFolder):
    """Clouds with a part for every point; the category is known. `classes`, where given, are Category/part."""

    settings = ("category", "up")
    own_files = "data_modules.folder_clouds.PartFolder"

    @property
    def categories(self) -> list[str]:
        """Names, in label order."""
        return list(dict.fromkeys(name.rpartition("/")[0] for name in self.classes))

    def parse_labels(self, entries: Sequence[FileEntry], errors: ErrorCollector) -> None:
        """Categories; their parts are in the files.

        Raises:
            SettingError: an augmentation that would part points from their labels.
        """
        if "subset" in self.augmentations:
            raise SettingError("data.augment: subset would part points from their labels; take it out")
        errors.messages += repeated_files(entries)
        slashed = [entry for entry in entries if "/" in self.label(entry)]
        errors.messages += [f"{entry.rows[0].where}: category {self.label(entry)!r} holds a /" for entry in slashed]
        self.parts: dict[str, set[int]] = {}

    def inspect(self, entry: FileEntry) -> list[str]:
        """No warnings; the parts are collected.

        Raises:
            DataError: the file is no cloud, or has no column of whole-numbered parts.
        """
        table, _ = read_points(entry.path)
        clean(table, str(entry.path))
        if table.shape[1] < 4:
            raise DataError(f"{entry.path} has {table.shape[1]} columns; expected x y z ... part")
        parts = np.unique(table[:, -1])
        if (parts != np.floor(parts)).any() or parts[0] < 0 or len(parts) > MOST_PARTS:
            raise DataError(
                f"{entry.path}: the last column holds {len(parts)} values from {parts[0]:g} to {parts[-1]:g}; expected "
                f"parts, whole numbers from 0 on, {MOST_PARTS} at most"
            )
        self.parts[entry.name] = set(parts.astype(int).tolist())
        return []

    def parse_contents(self, entries: Sequence[FileEntry], errors: ErrorCollector) -> None:
        """Classes: the parts of every category."""
        named = {f"{self.label(e)}/{part}": (self.label(e), part) for e in entries for part in self.parts[e.name]}
        require_classes(list(named), self.wanted, errors, where=self.folder.path, least=2)
        self.classes = list(self.wanted or sorted(named, key=lambda name: named[name]))

    def samples(self, split: str, entries: Sequence[FileEntry]) -> SampleSet[Cloud]:
        """Clouds of one split, labelled by category."""
        return PartSet(self, split, self.stored(entries, self.categories))

    def require(self, settings: Mapping[str, str]) -> None:
        """Refuse a category that is none of the user's."""
        super().require(settings)
        require_category(settings.get("category", ""), self.categories)

    def read(self, path: Path, settings: dict[str, str]) -> tuple[Cloud, list[str]]:
        """A cloud from a table; `category=NAME` says what it shows.

        Raises:
            DataError: no cloud, or a category that is none of the user's.
        """
        category = require_category(settings.pop("category", ""), self.categories)
        cloud, notes = super().read(path, settings)
        return replace(cloud, conditions=category_condition(cloud.points, category)), notes


if __name__ == "__main__":
    sys.exit(check_command("data_modules.folder_clouds", lambda root: CloudFolder(root=root)))
