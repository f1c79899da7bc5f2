"""Progress of a run: Lightning's bar on a terminal, lines otherwise."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, RichProgressBar

from zoo.metrics.names import logged
from zoo.report.tables import duration
from zoo.training import length

EVERY = 30.0
"""Longest time in seconds between two lines."""


class StepLines:
    """Prints a line at least every half minute of steps that no trainer takes.

    Args:
        what: is done in them.
        total: number of steps.
        first: steps that compute what the later ones read, and say nothing of their pace.
        clock: seconds since an arbitrary start.
    """

    def __init__(self, what: str, total: int, first: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self.what, self.total, self.first, self.clock, self.done = what, total, first, clock, 0
        self._since = self._printed = clock()

    def step(self) -> None:
        """One step is done; a line is printed early if the next one would end too late for it."""
        self.done, now = self.done + 1, self.clock()
        later = self.done > self.first
        pace = (now - self._since) / (self.done - self.first if later else self.done)
        if self.done < self.total and now + pace - self._printed >= EVERY:
            self._printed = now
            left = f", about {duration(pace * (self.total - self.done))} left" if later else ""
            print(f"{self.what}: step {self.done} of {self.total}{left}", flush=True)
        if self.done == self.first:
            self._since = now


class EpochLines(Callback):
    """Prints one line per epoch, and one at least every half minute within epochs and tests, if no bar is shown.

    A line is printed early if the next step would end too late for it; a longer step has its own line.

    Args:
        clock: seconds since an arbitrary start.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._epoch = self._since = self._printed = clock()
        self._stored = self._before = self._stored_at_start = 0
        self._validated = -1

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Start the half-minute clock."""
        self._printed = self.clock()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note the time: a run may go on within an epoch, whose beginning nobody is told of."""
        self._epoch, self._stored_at_start = self.clock(), _stored(pl_module)
        self._begin(pl_module, trainer.fit_loop.epoch_loop.batch_progress.current.ready)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note the time."""
        self._epoch, self._stored_at_start = self.clock(), _stored(pl_module)
        self._begin(pl_module)

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note the time."""
        self._begin(pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print what a validation within an epoch found."""
        self._validated = trainer.global_step
        if length.within_epoch(trainer):
            done = trainer.fit_loop.epoch_loop.batch_progress.current.ready
            place = f"{_place(trainer)}, step {done} of {trainer.num_training_batches}"
            self._say(trainer, f"{place}: {self._found(trainer, pl_module, 'val/loss', 'val/selected')}")
            self._begin(pl_module, done)

    def on_test_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note the time."""
        self._begin(pl_module)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """A step of training."""
        self._step(trainer, pl_module, "training", batch_idx + 1, trainer.num_training_batches)

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """A step of validation."""
        self._step(trainer, pl_module, "validation", batch_idx + 1, _of(trainer.num_val_batches, dataloader_idx))

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """A step of a test."""
        self._step(trainer, pl_module, "test", batch_idx + 1, _of(trainer.num_test_batches, dataloader_idx))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print losses, the selecting metric, the epoch's seconds, and how long the rest takes at this pace.

        An epoch that filled the cache of frozen features says nothing of the pace of those that read it.
        """
        taken = self.clock() - self._epoch
        fresh = ("val/loss", "val/selected") if self._validated == trainer.global_step else ()
        left = taken * (length.epochs(trainer) - trainer.current_epoch - 1) * (not trainer.should_stop)
        filled = _stored(pl_module) > self._stored_at_start
        rest = "later ones read the frozen features that it kept" if filled else f"at most {duration(left)} left"
        pace = f"{taken:.0f} s" + (f", {rest}" if left else "")
        self._say(trainer, f"{_place(trainer)}: {self._found(trainer, pl_module, 'train/loss', *fresh)} ({pace})")

    def _found(self, trainer: L.Trainer, pl_module: L.LightningModule, *names: str) -> str:
        seen = trainer.callback_metrics
        parts = [f"{logged(name, _monitor(pl_module))} {float(seen[name]):.4f}" for name in names if name in seen]
        return ", ".join(parts)

    def _begin(self, pl_module: L.LightningModule, before: int = 0) -> None:
        self._since, self._stored, self._before = self.clock(), _stored(pl_module), before

    def _step(self, trainer: L.Trainer, pl_module: L.LightningModule, what: str, done: int, total: int | float) -> None:
        now = self.clock()
        pace = (now - self._since) / (done - self._before)
        if now + pace - self._printed < EVERY or (done >= total and what != "training"):  # another line follows at once
            return
        place = "" if what == "test" else f"{_place(trainer)}, "
        computed = _stored(pl_module) - self._stored
        features = f"; {computed:,} frozen features computed and kept" if computed else ""
        left = f", about {duration(pace * (total - done))} left" if done < total else ""
        self._say(trainer, f"{place}{what}: step {done} of {total}{left}{features}")

    def _say(self, trainer: L.Trainer, line: str) -> None:
        self._printed = self.clock()
        if trainer.is_global_zero:
            print(line, flush=True)


def _place(trainer: L.Trainer) -> str:
    return f"epoch {trainer.current_epoch + 1}/{length.epochs(trainer)}"


def _of(numbers: Sequence[int | float], index: int) -> int | float:
    return list(numbers)[index]


def _stored(pl_module: L.LightningModule) -> int:
    """Entries that this process has written into the cache of frozen features."""
    cache = getattr(getattr(pl_module, "pairing", None), "cache", None)
    return int(cache.stored) if cache is not None else 0


def _monitor(pl_module: L.LightningModule) -> str:
    task = getattr(getattr(pl_module, "pairing", None), "task", None)
    return str(getattr(task, "monitor", "metric that selects"))


class ProgressBar(RichProgressBar):
    """Lightning's rich bar without the loggers' version."""

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        """Losses and the selecting metric."""
        metrics: dict[str, Any] = super().get_metrics(trainer, pl_module)
        monitor = _monitor(trainer.lightning_module)
        return {logged(name, monitor): value for name, value in metrics.items() if name != "v_num"}
