"""The samples that a page answers: a handful out of the test split, the files of a folder, or a visitor's own file."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_modules.errors import DataError
from zoo.inference.inputs import find, passed_over, read

if TYPE_CHECKING:
    from data_modules.base import DataModule

MOST = 9
"""Samples offered."""


@dataclass(frozen=True)
class Offer:
    """A decoded sample.

    Attributes:
        sample: a Clip, a Cloud or a Picture.
        path: the file it was read from, which is read again with what is told about it; None for one of a split.
    """

    sample: Any
    path: Path | None = None


def from_split(data: "DataModule") -> list[Offer]:
    """Samples spread evenly over the test split.

    Raises:
        DataError: the split cannot be read.
    """
    data.setup("test")
    samples = data.sets["test"]
    chosen = np.unique(np.linspace(0, len(samples) - 1, MOST).astype(int))
    return [Offer(samples[index]) for index in chosen.tolist()]


def from_folder(data: "DataModule", folder: Path, settings: Mapping[str, str]) -> list[Offer]:
    """The first samples in a folder that can be read; a file that cannot is named on standard error.

    Raises:
        InputError: no such folder, or no file of it is an input.
        DataError: none can be read.
    """
    inputs, found = find(str(folder), data, settings), list[Offer]()
    notes = [passed_over(inputs)] if inputs.others else []
    for item in inputs.items:
        if len(found) == MOST:
            break
        one = read(data, item)
        if one.error:
            notes.append(f"not offered: {one.error}")
        else:
            found.append(Offer(one.sample, item.path))
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    if not found:
        raise DataError(f"samples={folder}: none of its files can be read as a sample of {data.name}")
    return found


def own(data: "DataModule", path: Path, settings: Mapping[str, str]) -> tuple[Any, list[str]]:
    """The first sample of a visitor's file, and notes.

    Raises:
        DataError: it is none, or a setting does not fit.
    """
    item, *others = find(str(path), data, settings).items
    one = read(data, item)
    if one.error:
        raise DataError(one.error)
    return one.sample, [*one.notes, *([f"the first of {len(others) + 1} samples in the file"] if others else [])]
