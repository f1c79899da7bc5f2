"""Distances of a folder's files from an adapter's training data."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from zoo.inference import inputs
from zoo.pairing import Pairing

if TYPE_CHECKING:
    from data_modules.base import DataModule

BATCH = 8


def distances(pairing: Pairing, data: "DataModule", folder: Path) -> Iterator[Tensor]:
    """`Batch.unlike` of a folder's files, batch by batch; unreadable files are named and skipped."""
    samples = []
    for item in inputs.find(str(folder), data, {}).items:
        one = inputs.read(data, item)
        if one.error:
            print(f"passed over: {one.error}", file=sys.stderr)
        elif squares := getattr(one.sample, "squares", None):  # each is looked at by itself
            samples += [squares[k] for k in range(len(squares))]
        else:
            samples.append(one.sample)
    assert pairing.familiarity is not None
    for start in range(0, len(samples), BATCH):
        with torch.no_grad():
            yield pairing.familiarity(pairing.prefix(pairing.batch(samples[start : start + BATCH]))).cpu()
