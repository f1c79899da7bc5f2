"""A benchmark's splits in batches: what stands between plain data and Lightning.

A data module knows splits and how a file is read. Here its samples go through the backbones' transforms, or come out of
the cache of frozen features, and are dealt out to the processes of a run: in the order of the epoch for training, in
their own order for validation and test.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any

import lightning as L
import torch
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import BatchSampler, DataLoader, Sampler

from data_modules.base import DataModule
from data_modules.errors import DataError
from zoo.batch import Batch, SampleSet
from zoo.errors import SettingError
from zoo.methods.ground import GSD
from zoo.pairing import Pairing
from zoo.training.prefix_dataset import PrefixDataset, whole


class EpochSampler(Sampler[int]):
    """A permutation drawn from (seed, epoch) alone, so that a resumed run sees the order of an uninterrupted one; what
    it had seen of the epoch is left out.

    Of several processes each takes every n-th row of it, from its rank on: their batches together are the batch that
    one process with n times the batch size would take. Processes must take equally many steps, so the last
    `size % processes` rows of the permutation, other samples in every epoch, sit the epoch out.

    Args:
        size: of the split.
        seed: of the run.
        rank: this process among all.
        processes: all of them.
        seen: rows of the epoch that this process has had, when asked for the first one.
    """

    def __init__(
        self, size: int, seed: int, *, rank: int = 0, processes: int = 1, seen: Callable[[], int] = lambda: 0
    ) -> None:
        self.size, self.seed, self.epoch = size, seed, 0
        self.rank, self.processes, self.seen = rank, processes, seen

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size // self.processes

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        rows = torch.randperm(self.size, generator=generator)[self.rank :: self.processes]
        return iter(rows[self.seen() : len(self)].tolist())


class Begun(DataLoader[Batch]):
    """Begins, its workers too, when the first batch is asked for: Lightning makes a resumed run's iterator before it
    knows epoch and batch."""

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        yield from super().__iter__()


class JoinedBatches(BatchSampler):
    """Batches of a sampler, of which a last one of a single sample joins the one before it: none is left out, and none
    is alone where statistics over a batch are needed.
    """

    def __iter__(self) -> Iterator[list[int]]:
        before: list[int] = []
        for batch in super().__iter__():
            if before and len(batch) == 1 < self.batch_size:
                batch = [*before, *batch]
            elif before:
                yield before
            before = batch
        if before:
            yield before

    def __len__(self) -> int:
        return super().__len__() - lone(len(self.sampler), self.batch_size)  # type: ignore[arg-type]


def lone(size: int, batch_size: int) -> bool:
    """Whether the last of several batches would have one sample."""
    return size > batch_size > 1 == size % batch_size


class Loaders(L.LightningDataModule):
    """Batches of a data module's splits for one pairing.

    Attributes:
        joins: whether a last training batch of one sample joins the one before it, as batch norm is trained.

    Args:
        data: read where it has not been yet, when a trainer asks.
        pairing: with backbones and a cache for the samples; from now on it prepares raw samples as
            these data do.
        seed: of the run: orders of training, and augmentation.
        batch_size: samples in a batch of one process.
        num_workers: processes that read ahead.

    Raises:
        SettingError: a cache was requested although the data's samples are not deterministic, or the data have no side
            input that the method uses.
    """

    def __init__(
        self,
        data: DataModule,
        pairing: Pairing,
        seed: int = 0,
        *,
        batch_size: Annotated[int, ">= 1"] = 8,
        num_workers: Annotated[int, ">= 0"] = 0,
    ) -> None:
        super().__init__()
        if missing := [name for name in pairing.method.conditions if name not in data.conditions]:
            raise SettingError(
                f"method: it uses the condition {', '.join(missing)}; the samples of "
                f"{data.name} carry {', '.join(data.conditions) or 'none'}"
            )
        if pairing.cache is not None and not data.deterministic:
            raise SettingError(
                f"cache: {data.name} draws its samples again each time, so frozen features cannot be kept; "
                "set cache=null"
            )
        self.data, self.pairing, self.seed = data, pairing, seed
        self.batch_size, self.num_workers = batch_size, num_workers
        self.joins = any(isinstance(m, _BatchNorm) for part in (pairing.method, pairing.task) for m in part.modules())
        data.seed = seed
        data.measured_in(pairing.ground)
        pairing.prepare = data.prepare
        if pairing.preparation is None:  # it is about to be trained
            pairing.preparation = data.preparation

    def setup(self, stage: str | None = None) -> None:
        """Read the splits, once."""
        self.data.setup(stage)

    def samples(self, samples: SampleSet[Any]) -> PrefixDataset:
        """A split, or a probe of it, as the pairing's backbones take it: cached features where there are some."""
        backbones = {name: self.pairing.backbones[name] for name in self.pairing.depths}
        scale = self.pairing.ground if GSD in self.pairing.method.conditions else None
        taps = {name: self.pairing.taps(name) for name in self.pairing.depths}
        return PrefixDataset(samples, backbones, self.pairing.depths, self.pairing.cache, scale, taps)

    def loader(self, samples: SampleSet[Any], *, sampler: Iterable[int] | None = None) -> DataLoader[Batch]:
        """Batches of a split, or of a probe of it: in order, or as the sampler says; the last may be smaller."""
        return self._loader(samples, {"batch_size": self.batch_size, "sampler": sampler})

    def _loader(self, samples: SampleSet[Any], chosen: dict[str, Any]) -> DataLoader[Batch]:
        """With the choice of batches as PyTorch's loader takes it."""
        return Begun(
            self.samples(samples),
            **chosen,
            collate_fn=whole,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def train_dataloader(self) -> DataLoader[Batch]:
        """This process's rows, shuffled by (seed, epoch)."""
        samples, (rank, processes) = self.data.sets["train"], self._place("train")
        sampler = EpochSampler(len(samples), self.seed, rank=rank, processes=processes, seen=self._seen)
        # Of several processes each may have one: statistics are those of all their rows.
        if self.joins and processes == 1:
            return self._loader(samples, {"batch_sampler": JoinedBatches(sampler, self.batch_size, False)})
        return self.loader(samples, sampler=sampler)

    def val_dataloader(self) -> DataLoader[Batch]:
        """This process's rows, in order; no row is given twice to make shares equal."""
        samples, (rank, processes) = self.data.sets["val"], self._place("val")
        return self.loader(samples, sampler=range(rank, len(samples), processes))

    def test_dataloader(self) -> DataLoader[Batch]:
        """In order."""
        return self.loader(self.data.sets["test"])

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment a training batch, on its device."""
        if self.trainer is not None and self.trainer.training:
            return self.data.augment(batch, self.trainer.current_epoch)
        return batch

    def _seen(self) -> int:
        """Rows of the running epoch that this process has trained on: of a run that goes on within one."""
        if self.trainer is None or not self.trainer.training:
            return 0
        return self.trainer.fit_loop.epoch_loop.batch_progress.current.ready * self.batch_size

    def _place(self, split: str) -> tuple[int, int]:
        """Rank of this process and number of processes; one of one without a trainer."""
        rank, processes = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        if len(self.data.sets[split]) < processes:
            raise DataError(
                f"{self.data.name}: {processes} processes, but split {split} has {len(self.data.sets[split])} "
                "samples: lower trainer.devices or trainer.num_nodes"
            )
        return rank, processes
