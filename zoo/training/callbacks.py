"""What a training keeps of itself: its cost, and its metrics for the learning curves."""

import statistics
import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from zoo import files
from zoo.training import length

KEPT = 1000
"""Number of step times that a checkpoint keeps: enough for a median."""


class CostMonitor(Callback):
    """Measures seconds per training step and per epoch, without validation, and peak memory."""

    state_key = "Cost"
    """Its name in checkpoints, of runs begun under the former class name as well."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.epochs: list[float] = []
        self._last = self._epoch = self._validation = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note the time; a run that goes on within an epoch has spent some of it before."""
        spent = self._last - self._epoch
        self._last = time.perf_counter()
        self._epoch = self._last - spent

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note the time."""
        self._epoch = self._last = time.perf_counter()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Measure a step from the end of the one before it, so that it includes loading."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.steps.append(now - self._last)
        self._last = now

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock."""
        self._validation = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Go on with the clock."""
        taken = time.perf_counter() - self._validation
        self._last, self._epoch = self._last + taken, self._epoch + taken

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the epoch."""
        self.epochs.append(self._last - self._epoch)

    def state_dict(self) -> dict[str, Any]:
        """Saved in the checkpoint: a run may be interrupted after its training and before the cost is written."""
        return {"steps": self.steps[-KEPT:], "epochs": self.epochs, "spent": self._last - self._epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from the interrupted run's measurements."""
        self.steps, self.epochs = list(state_dict["steps"]), list(state_dict["epochs"])
        self._last, self._epoch = state_dict.get("spent", 0.0), 0.0

    def summary(self) -> dict[str, float | None]:
        """Median step, first and later epochs in seconds (null where there was none), peak memory in bytes."""
        return {
            "median_step_s": statistics.median(self.steps) if self.steps else None,
            "first_epoch_s": self.epochs[0] if self.epochs else None,
            "later_epoch_s": statistics.median(self.epochs[1:]) if len(self.epochs) > 1 else None,
            "peak_memory_bytes": float(peak_memory()),
        }


def peak_memory() -> int:
    """Peak bytes so far: allocated on the GPU where one is used, else this process's resident set."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    # getrusage's figure begins with the parent's, where a large process started this one; Linux knows this one's alone.
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class MetricHistory(Callback):
    """Collects the metrics of every epoch, and of every validation within one, for the learning curves.

    Attributes:
        rows: metrics by name, beside `epoch`, counted from 0: after a third of the first epoch it is -2/3.

    Args:
        file: JSON of the rows so far, for whoever watches the run.
    """

    state_key = "History"
    """Its name in checkpoints, of runs begun under the former class name as well."""

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self.rows: list[dict[str, float]] = []
        self._validated = -1

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Copy the validation metrics where the epoch goes on."""
        self._validated = trainer.global_step
        if length.within_epoch(trainer):
            self._add(trainer, "val/")

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Copy the logged metrics; those of an earlier validation have a row of their own."""
        self._add(trainer, "" if self._validated == trainer.global_step else "train/")

    def _add(self, trainer: L.Trainer, prefix: str) -> None:
        seen = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith(prefix)}
        row = {"epoch": length.position(trainer), **seen}
        if self.rows and self.rows[-1]["epoch"] == row["epoch"]:  # stopped early by the validation just copied
            self.rows.pop()
        self.rows.append(row)
        if self.file is not None and trainer.is_global_zero:
            files.write_json(self.file, self.rows)

    def state_dict(self) -> dict[str, Any]:
        """Saved in the checkpoint, so that a resumed run draws whole curves."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from the interrupted run's rows."""
        self.rows = list(state_dict["rows"])
