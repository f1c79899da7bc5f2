"""What every data module shares: three splits of samples, seeded loaders, and a fingerprint of what was read."""

import hashlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from data_modules.errors import DataError
from zoo.batch import SampleSet


class EpochSampler(Sampler[int]):
    """A permutation drawn from (seed, epoch) alone, so that a resumed run sees the order of an uninterrupted one."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed, self.epoch = size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        return iter(torch.randperm(self.size, generator=generator).tolist())


class DataModule(L.LightningDataModule):
    """Train, val and test splits of samples.

    Subclasses set the attributes below and implement `splits`.

    Attributes:
        name: of the data set.
        classes: K class names in label order, without background.
        synthetic: whether the data were made by a program; said wherever a number stands.
        deterministic: whether a sample is the same every time it is read (else frozen features cannot be cached).
        license: of the data.
        conditions: side inputs that its samples carry.
        remarks: how many samples were left out or have something made up, by reason; stands in the manifest.

    Args:
        batch_size: samples in a batch.
        num_workers: loader processes.
    """

    name: str
    classes: list[str]
    synthetic: bool = False
    deterministic: bool = True
    license: str = "not stated"
    conditions: tuple[str, ...] = ()

    def __init__(self, *, batch_size: int = 8, num_workers: int = 0) -> None:
        super().__init__()
        self.batch_size, self.num_workers = batch_size, num_workers
        self.seed = 0
        self.sets: dict[str, SampleSet[Any]] = {}
        self.remarks: dict[str, int] = {}
        self.wrap: Callable[[SampleSet[Any], str], Dataset[Any]] | None = None
        self.collate: Callable[[Any], Any] | None = None

    def splits(self) -> dict[str, SampleSet[Any]]:
        """The splits `train`, `val` and `test`."""
        raise NotImplementedError

    def probes(self, conditions: Collection[str]) -> dict[str, SampleSet[Any]]:
        """The test split seen otherwise, by name, to measure what answers rest on: once `setup` has run.

        Args:
            conditions: the side inputs that the method uses.
        """
        return {}

    def read(self, path: Path, settings: dict[str, str]) -> tuple[Any, list[str]]:
        """A user's own file as this data set would give it, and notes on what had to be made up.

        Args:
            path: the file.
            settings: further words of the command line; those used are taken out.

        Raises:
            DataError: the file is no such sample.
        """
        raise NotImplementedError

    def setup(self, stage: str | None = None) -> None:
        """Read the splits once.

        Raises:
            DataError: a split is empty.
        """
        if self.sets:
            return
        self.sets = self.splits()
        empty = [split for split, samples in self.sets.items() if not len(samples)]
        if empty:
            raise DataError(f"{self.name}: split {', '.join(empty)} is empty, so nothing can be trained or measured")

    def fingerprint(self) -> str:
        """sha256 over content keys, labels, conditions and questions of every sample of every split."""
        digest = hashlib.sha256()
        for split, samples in sorted(self.sets.items()):
            for line in sorted(f"{split}|{samples.key(i)}|{_told(samples, i)}" for i in range(len(samples))):
                digest.update(f"{line}\n".encode())
        return digest.hexdigest()

    def report(self) -> dict[str, Any]:
        """Counts for the manifest: samples by split, samples left out or mended by reason, licence."""
        counts = {split: len(samples) for split, samples in self.sets.items()}
        return {**counts, "remarks": self.remarks, "license": self.license}

    def loader(self, samples: SampleSet[Any], split: str, *, shuffle: bool = False) -> DataLoader[Any]:
        """Batches of a split, or of a probe of it."""
        data: Any = self.wrap(samples, split) if self.wrap else samples
        return DataLoader(
            data,
            batch_size=self.batch_size,
            sampler=EpochSampler(len(samples), self.seed) if shuffle else None,
            collate_fn=self.collate,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled by (seed, epoch)."""
        return self.loader(self.sets["train"], "train", shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """In order."""
        return self.loader(self.sets["val"], "val")

    def test_dataloader(self) -> DataLoader[Any]:
        """In order."""
        return self.loader(self.sets["test"], "test")


def _told(samples: SampleSet[Any], index: int) -> str:
    """Hash of a sample's labels, conditions and question."""
    asked = samples.question(index)
    return _hash(samples.target(index) | samples.conditions(index)) + ("" if asked is None else repr(asked))


def _hash(target: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, values in sorted(target.items()):
        digest.update(name.encode() + values.numpy().tobytes())
    return digest.hexdigest()
