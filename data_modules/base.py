"""What every data module shares: three splits of clips, seeded loaders, and a fingerprint of what was read."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from data_modules.errors import DataError
from zoo.batch import ClipSet


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


class ClipDataModule(L.LightningDataModule):
    """Train, val and test splits of clips.

    Subclasses set the attributes below and implement `splits`.

    Attributes:
        name: of the data set.
        classes: K class names in label order, without background.
        segments: T, segments of a clip.
        segment_seconds: length of one.
        sample_rate: of the clips' sound, in Hz.
        synthetic: whether the data were made by a program; said wherever a number stands.
        deterministic: whether a sample is the same every time it is read (else frozen features cannot be cached).
        license: of the data.
        remarks: how many samples were left out or have something made up, by reason; stands in the manifest.

    Args:
        batch_size: clips in a batch.
        num_workers: loader processes.
    """

    name: str
    classes: list[str]
    segments: int
    segment_seconds: float
    sample_rate: int
    synthetic: bool = False
    deterministic: bool = True
    license: str = "not stated"

    def __init__(self, *, batch_size: int = 8, num_workers: int = 0) -> None:
        super().__init__()
        self.batch_size, self.num_workers = batch_size, num_workers
        self.seed = 0
        self.sets: dict[str, ClipSet] = {}
        self.remarks: dict[str, int] = {}
        self.wrap: Callable[[ClipSet, str], Dataset[Any]] | None = None
        self.collate: Callable[[Any], Any] | None = None

    def splits(self) -> dict[str, ClipSet]:
        """The splits `train`, `val` and `test`."""
        raise NotImplementedError

    def setup(self, stage: str | None = None) -> None:
        """Read the splits once.

        Raises:
            DataError: a split is empty.
        """
        if self.sets:
            return
        self.sets = self.splits()
        empty = [split for split, clips in self.sets.items() if not len(clips)]
        if empty:
            raise DataError(f"{self.name}: split {', '.join(empty)} is empty, so nothing can be trained or measured")

    def fingerprint(self) -> str:
        """sha256 over content keys and labels of every sample of every split."""
        digest = hashlib.sha256()
        for split, clips in sorted(self.sets.items()):
            for line in sorted(f"{split}|{clips.key(i)}|{_hash(clips.target(i))}" for i in range(len(clips))):
                digest.update(f"{line}\n".encode())
        return digest.hexdigest()

    def report(self) -> dict[str, Any]:
        """Counts for the manifest: clips by split, samples left out or mended by reason, licence."""
        counts = {split: len(clips) for split, clips in self.sets.items()}
        return {**counts, "remarks": self.remarks, "license": self.license}

    def _loader(self, split: str, *, shuffle: bool) -> DataLoader[Any]:
        clips = self.sets[split]
        data: Any = self.wrap(clips, split) if self.wrap else clips
        return DataLoader(
            data,
            batch_size=self.batch_size,
            sampler=EpochSampler(len(clips), self.seed) if shuffle else None,
            collate_fn=self.collate,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled by (seed, epoch)."""
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """In order."""
        return self._loader("val", shuffle=False)

    def test_dataloader(self) -> DataLoader[Any]:
        """In order."""
        return self._loader("test", shuffle=False)


def _hash(target: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, values in sorted(target.items()):
        digest.update(name.encode() + values.numpy().tobytes())
    return digest.hexdigest()
