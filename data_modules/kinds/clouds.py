"""Base of the data modules of point clouds: preparation, augmentation, a user's file, and hold-out by object.

Sampling and augmentation follow Point-MAE's fine-tuning practice as Mantis uses it: farthest point sampling to N, and
in training to 1.17 N (1200 for 1024), of which a random N are drawn again in every epoch (`subset`); where files have
no more than N, all of them in another order (`shuffle`). Groups have other centres either way. Augmentations draw from
a generator seeded by run, epoch and batch, so that a resumed run sees what an uninterrupted one would have seen.

Policy for imperfect clouds: copies of a point are left out, fewer points than N are repeated, further columns (normals,
colours) are not used, all counted in the manifest; coordinates that are not finite, and clouds without extent, are
errors. `cloud_preparation` documents the sampling of N points.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Annotated, Any, Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_modules.base import DataModule
from data_modules.errors import DataError
from data_modules.kinds.cloud_augmentation import Augmentation, augment
from data_modules.readers.cloud_notes import AXES, Axis, upright
from data_modules.readers.cloud_preparation import MOST_SAMPLED, VERSION, Preparation
from data_modules.readers.point_files import READABLE, REFUSED, clouds_in, read_points
from zoo.batch import Batch, Cloud, SampleSet
from zoo.errors import SettingError

SURPLUS = 1200 / 1024

POINT_LABELS = ("parts",)
"""Targets of one label a point."""


def stratified_holdout(objects: Sequence[str], labels: Sequence[int], share: float) -> list[bool]:
    """Hold out a share of every class's objects, by a hash of the object's name.

    All samples of one object go the same way. At least one object of every class that has two is held out, and an
    object that is added to the data moves at most one other.
    """
    by_class: dict[int, set[str]] = {}
    for name, label in zip(objects, labels, strict=True):
        by_class.setdefault(label, set()).add(name)
    held: set[tuple[int, str]] = set()
    for label, names in by_class.items():
        ranked = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
        number = max(1, round(share * len(ranked))) if len(ranked) > 1 else 0
        held |= {(label, name) for name in ranked[:number]}
    return [(label, name) in held for name, label in zip(objects, labels, strict=True)]


def subsample(labels: Sequence[int], shots: int, seed: int) -> list[int]:
    """Indices of `shots` samples of every class, drawn from `seed`.

    Raises:
        DataError: a class has fewer.
    """
    rng, found = np.random.default_rng([seed, shots]), np.asarray(labels)
    chosen: list[int] = []
    for label in np.unique(found):
        members = np.flatnonzero(found == label)
        if len(members) < shots:
            raise DataError(f"shots = {shots}: class {label} has only {len(members)} training samples")
        chosen += rng.choice(members, shots, replace=False).tolist()
    return sorted(chosen)


def standing(path: Path, stated_up: str | None, up: Axis) -> tuple[NDArray[Any], list[str]]:
    """A file's cloud [M, >= 3] with the axis `up` pointing up, and notes: as users' files and folders are read.

    Args:
        path: a file, or FILE#k.
        stated_up: up axis of the file, where its owner says so.
        up: that of the data.

    Raises:
        DataError: naming the file and what is wrong with it.
    """
    values, notes = read_points(path)
    if values.ndim != 2 or values.shape[1] < 3:
        return values, notes  # `clean` tells of it
    values, turned = upright(values, path, stated_up, up)
    return values, [*notes, *turned]


class CloudSet(SampleSet[Cloud]):
    """One split of clouds, each read and prepared on first access and kept in memory.

    Subclasses implement `raw`, and `target` where it is more than one class label.

    Args:
        ids: of the samples.
        labels: class of each.
        count: points to give, as `Preparation` does.
        unit: scale every cloud into the unit sphere.
        remarks: counts clouds that needed mending.
    """

    def __init__(
        self, ids: Sequence[str], labels: Sequence[int], *, count: int, unit: bool, remarks: Counter[str] | None = None
    ) -> None:
        self.ids, self.labels, self.preparation = list(ids), list(labels), Preparation(count, unit)
        self.remarks: Counter[str] = Counter() if remarks is None else remarks
        self._prepared: dict[int, tuple[NDArray[np.float32], NDArray[np.int64], str]] = {}

    def raw(self, index: int) -> NDArray[Any]:
        """Cloud `index` as stored, [M, >= 3]."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.ids)

    def id(self, index: int) -> str:
        """Name of the cloud."""
        return self.ids[index]

    def where(self, index: int) -> str:
        """Place of the cloud, for messages."""
        return self.ids[index]

    def key(self, index: int) -> str:
        """sha256 over the stored values and how they are prepared."""
        return self._prepare(index)[2]

    def prepared(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Points [count, 3] and the rows they come from [count]."""
        return self._prepare(index)[:2]

    def _prepare(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.int64], str]:
        """Points, rows and key out of one reading: twelve thousand text files are not read twice."""
        if index not in self._prepared:
            values = self.raw(index)
            points, rows, _ = self.preparation(values, self.where(index), self.remarks)
            text = f"{self.preparation.name} {values.dtype} {values.shape}".encode()
            self._prepared[index] = points, rows, hashlib.sha256(text + values.tobytes()).hexdigest()
        return self._prepared[index]

    def with_points(self, count: int) -> Self:
        """The same clouds with another number of points."""
        other = copy(self)
        other.preparation, other._prepared = Preparation(count, self.preparation.unit), {}
        return other

    def target(self, index: int) -> dict[str, Tensor]:
        """`label`: int64 []."""
        return {"label": torch.tensor(self.labels[index])}

    def __getitem__(self, index: int) -> Cloud:
        points, target, conditions = self.prepared(index)[0], self.target(index), self.conditions(index)
        return Cloud(self.ids[index], points, target, conditions, prepared=self.preparation.name)


class CloudDataModule(DataModule):
    """Splits of clouds with N points each.

    Attributes:
        up: the axis that points up.
        unit: clouds are scaled into the unit sphere.

    Args:
        points: N.
        augment: augmentations of training clouds, drawn again in every epoch.
    """

    sample = Cloud
    readable, refused = READABLE, tuple(REFUSED)
    settings: tuple[str, ...] = ("up",)
    own_files = "data_modules.folder_clouds.CloudFolder"
    preparation = f"clouds {VERSION}"
    former = "copies of a point were kept, and sampling began at the first point stored"
    up: Axis = "y"
    unit: bool = True

    def __init__(
        self,
        *,
        points: Annotated[int, ">= 1"] = 1024,
        augment: tuple[Augmentation, ...] = (),
    ) -> None:
        super().__init__()
        if unknown := set(augment) - set(get_args(Augmentation)):
            raise SettingError(f"augment: {', '.join(sorted(unknown))}: expected {', '.join(get_args(Augmentation))}")
        self.points, self.augmentations = points, tuple(augment)
        self.deterministic = not self.augmentations
        self.mended: Counter[str] = Counter()

    def count(self, split: str) -> int:
        """Points of a split's clouds: more than N where training takes a random N of them."""
        return math.ceil(SURPLUS * self.points) if split == "train" and "subset" in self.augmentations else self.points

    def report(self) -> dict[str, Any]:
        """Counts for the manifest, among them clouds that were mended."""
        self.remarks |= self.mended
        return super().report()

    def augment(self, batch: Batch, epoch: int) -> Batch:
        """A training batch shuffled, turned, scaled and thinned, by numbers drawn from (seed, epoch, ids)."""
        if self.augmentations and batch.inputs:
            drawn = f"{self.seed} {epoch} {' '.join(batch.ids)}".encode()
            generator = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(drawn).digest()[:7], "big"))
            for name, clouds in batch.inputs.items():
                flat, rows = augment(
                    clouds.flatten(0, 1), self.augmentations, count=self.points, up=AXES[self.up], generator=generator
                )
                batch.inputs[name] = flat.unflatten(0, clouds.shape[:2])
                if rows is not None:
                    moved = {k: batch.target[k].gather(1, rows) for k in POINT_LABELS if k in batch.target}
                    batch.target.update(moved)
                if "points" in batch.conditions:
                    batch.conditions["points"] = flat
        return batch

    def views(self) -> SampleSet[Cloud]:
        """The test split with as many points a cloud as training has before its augmentations."""
        samples = self.sets["test"]
        return samples.with_points(self.count("train")) if isinstance(samples, CloudSet) else samples

    def require(self, settings: Mapping[str, str]) -> None:
        """Refuse an up axis that is none."""
        super().require(settings)
        if (up := settings.get("up", self.up)) not in AXES:
            raise DataError(f"up={up}: expected the axis that points up in the file, one of {', '.join(AXES)}")

    def samples_in(self, path: Path, settings: Mapping[str, str]) -> list[Path]:
        """Every cloud of a stack by its number."""
        return clouds_in(path)

    def read(self, path: Path, settings: dict[str, str]) -> tuple[Cloud, list[str]]:
        """A cloud from any file that `point_files` reads; `up=x|y|z` says which axis points up in it.

        Raises:
            DataError: another kind of file, or one that is no cloud.
        """
        values, notes = standing(path, settings.pop("up", None), self.up)
        preparation = Preparation(self.points, self.unit)
        ready, _, distinct = preparation(values, str(path))
        notes += ["columns after the third are not used"] if values.shape[1] > 3 else []
        if copies := len(values) - distinct:
            notes.append(f"{copies:,} of {len(values):,} points are copies of others and are left out")
        if distinct > MOST_SAMPLED:
            notes.append(f"of more than {MOST_SAMPLED:,} points a random {MOST_SAMPLED:,} are used")
        if distinct < self.points:
            notes.append(f"{distinct} points are repeated to {self.points}")
        return Cloud(str(path), ready, {}, prepared=preparation.name), notes

    def prepare(self, sample: Cloud) -> Cloud:
        """Prepare a cloud of any number of points like the data's own, together with its per-point conditions.

        Raises:
            DataError: it is no cloud.
        """
        preparation = Preparation(self.points, self.unit)
        if sample.prepared == preparation.name:
            return sample
        points, rows, _ = preparation(np.asarray(sample.points), sample.id)
        picked = torch.from_numpy(rows)
        of_points = {n: t[picked] for n, t in sample.target.items() if t.ndim and len(t) == len(sample.points)}
        # Where features are spread to points, these are the points.
        spread = {"points": torch.from_numpy(points)} if "category" in sample.conditions else {}
        return Cloud(
            sample.id, points, sample.target | of_points, sample.conditions | spread, prepared=preparation.name
        )
