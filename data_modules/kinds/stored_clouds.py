"""Clouds as they lie on the disk: arrays in HDF5 or npz files, or one table a cloud; what is wrong is one `DataError`.

Nothing is unpickled: NumPy files are read with `allow_pickle=False`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_modules.errors import DataError
from data_modules.kinds.clouds import CloudDataModule, CloudSet
from data_modules.readers.arrays import Clouds
from zoo.batch import Cloud, SampleSet


@dataclass(frozen=True)
class CloudRecords:
    """Clouds with a name, a class and a place (file, or file and row) each."""

    clouds: Clouds
    ids: list[str]
    labels: list[int]
    places: list[str]


class StoredSet(CloudSet):
    """Some of the stored clouds as a split.

    Args:
        data: its N, unit and remarks are used.
        split: name of the split.
        stored: the clouds.
        rows: which of them; all when None.
        labels: class of each row, where it is not the stored one.
    """

    def __init__(
        self,
        data: CloudDataModule,
        split: str,
        stored: CloudRecords,
        rows: Sequence[int] | None = None,
        *,
        labels: Sequence[int] | None = None,
    ) -> None:
        self.stored, self.rows = stored, list(range(len(stored.ids)) if rows is None else rows)
        super().__init__(
            [stored.ids[row] for row in self.rows],
            [stored.labels[row] for row in self.rows] if labels is None else labels,
            count=data.count(split),
            unit=data.unit,
            remarks=data.mended,
        )

    def raw(self, index: int) -> NDArray[Any]:
        """Cloud `index` as stored."""
        return self.stored.clouds[self.rows[index]]

    def where(self, index: int) -> str:
        """File of the cloud, with its row where the file holds many."""
        return self.stored.places[self.rows[index]]


def make_splits(
    data: CloudDataModule, train: CloudRecords, test: CloudRecords, held: Sequence[bool]
) -> dict[str, SampleSet[Cloud]]:
    """Splits: `train` without what is held out of it, this as `val`, and `test` as it stands."""
    return {
        "train": StoredSet(data, "train", train, [row for row, out in enumerate(held) if not out]),
        "val": StoredSet(data, "val", train, [row for row, out in enumerate(held) if out]),
        "test": StoredSet(data, "test", test),
    }


def labelled(
    points: NDArray[Any], labels: NDArray[Any], *, classes: int, where: str, columns: int = 3
) -> tuple[NDArray[Any], list[int]]:
    """Points [n, M, 3] and labels [n] or [n, 1], checked against each other and the number of classes.

    Args:
        points: coordinates first.
        labels: whole numbers.
        classes: K.
        where: file, and keys if it has several such pairs.
        columns: the most a point may have.

    Raises:
        DataError: shapes that do not fit, values that are no numbers, or a label outside 0..K-1, with its row.
    """
    if points.ndim != 3 or not 3 <= points.shape[2] <= columns or points.dtype.kind not in "fiu":
        expected = "3" if columns == 3 else f"3 to {columns}"
        raise DataError(
            f"{where}: clouds of shape {list(points.shape)} and type {points.dtype}; expected numbers "
            f"[clouds, points, {expected}]"
        )
    flat = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if flat.shape != points.shape[:1] or flat.dtype.kind not in "fiu":
        raise DataError(
            f"{where}: labels of shape {list(labels.shape)} and type {labels.dtype} beside {len(points)} clouds; "
            "expected one whole number a cloud"
        )
    wrong = (flat < 0) | (flat >= classes) | (flat != np.floor(flat))
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(f"{where}, row {row}: label {flat[row]} is none of 0 to {classes - 1}")
    return points, flat.astype(np.int64).tolist()


def compared(found: int, published: int, what: str) -> str:
    """A line of `--check`: a count beside the published one."""
    return f"{what}: {found} clouds" + (", as published" if found == published else f"; published are {published}")
