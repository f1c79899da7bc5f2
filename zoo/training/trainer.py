"""Lightning's Trainer, built from a recipe's `trainer` block, and callbacks for cost and history."""

import importlib.metadata
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from zoo.errors import SettingError
from zoo.training.checkpoints import AtomicCheckpointIO, Best, Last
from zoo.training.precision import choose
from zoo.training.processes import Sharded
from zoo.training.progress import EpochLines, ProgressBar

KEPT = 1000
"""Number of step times that a checkpoint keeps: enough for a median."""


class CostMonitor(Callback):
    """Measures seconds per training step and per epoch, and peak memory."""

    state_key = "Cost"
    """Its name in checkpoints, of runs begun under the former class name as well."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.epochs: list[float] = []
        self._last = self._epoch = 0.0

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

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the epoch, without validation, which runs before this hook."""
        self.epochs.append(self._last - self._epoch)

    def state_dict(self) -> dict[str, Any]:
        """Saved in the checkpoint: a run may be interrupted after its training and before the cost is written."""
        return {"steps": self.steps[-KEPT:], "epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from the interrupted run's measurements."""
        self.steps, self.epochs = list(state_dict["steps"]), list(state_dict["epochs"])

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
    """Collects the metrics of every epoch for the learning curves."""

    state_key = "History"
    """Its name in checkpoints, of runs begun under the former class name as well."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Copy the logged metrics."""
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.rows.append({"epoch": trainer.current_epoch, **metrics})

    def state_dict(self) -> dict[str, Any]:
        """Saved in the checkpoint, so that a resumed run draws whole curves."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from the interrupted run's rows."""
        self.rows = list(state_dict["rows"])


def build_trainer(
    run_dir: Path,
    *,
    max_epochs: Annotated[int, ">= 1"] = 10,
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto",
    devices: int | str = "auto",
    num_nodes: Annotated[int, ">= 1"] = 1,
    strategy: Literal["auto", "ddp", "fsdp"] = "auto",
    precision: Literal["auto", "32-true", "16-mixed", "bf16-mixed"] = "32-true",
    accumulate_grad_batches: Annotated[int, ">= 1"] = 1,
    gradient_clip_val: Annotated[float, "> 0"] | None = 1.0,
    patience: Annotated[int, ">= 1"] | None = None,
    limit_train_batches: Annotated[int, ">= 1"] | Annotated[float, "> 0"] | None = None,
    deterministic: bool = True,
    progress: bool = True,
) -> L.Trainer:
    """A Trainer that writes only below `run_dir`.

    Args:
        run_dir: the run folder.
        max_epochs: training length, over which the learning-rate schedule is spread. A run resumed with more epochs
            continues under the schedule of the longer training, from the epoch it has reached.
        accelerator: where to run.
        devices: how many devices of each machine, or "auto".
        num_nodes: machines.
        strategy: of several devices: ddp gives each the whole pairing, fsdp shares its weights out within a machine;
            auto is ddp.
        precision: arithmetic of the forward pass; auto is bf16-mixed on a GPU, and on a processor that gains by it.
        accumulate_grad_batches: batches per optimizer step.
        gradient_clip_val: largest gradient norm; null switches clipping off.
        patience: stop after so many epochs without a better validation metric; null never stops early.
        limit_train_batches: train on so many batches (or such a share) per epoch.
        deterministic: ask torch for deterministic kernels, warning where there is none.
        progress: show a progress bar where the output is a terminal.

    Raises:
        SettingError: this machine or Lightning does not support a setting.
    """
    callbacks: list[Callback] = [Best(run_dir), Last(run_dir), CostMonitor(), MetricHistory()]
    if patience is not None:
        callbacks.append(EarlyStopping("val/selected", mode="max", patience=patience))
    chosen, why = choose(precision, accelerator)
    bar = progress and sys.stderr.isatty()
    callbacks.append(ProgressBar() if bar else EpochLines())
    try:
        trainer = L.Trainer(
            default_root_dir=run_dir,
            max_epochs=max_epochs,
            accelerator=accelerator,
            devices=devices,
            num_nodes=num_nodes,
            strategy=Sharded(save_distributed_checkpoint=False) if strategy == "fsdp" else strategy,
            use_distributed_sampler=False,
            precision=chosen,
            accumulate_grad_batches=accumulate_grad_batches,
            gradient_clip_val=gradient_clip_val,
            limit_train_batches=limit_train_batches,
            deterministic="warn" if deterministic else False,
            callbacks=callbacks,
            logger=loggers(run_dir),
            plugins=[AtomicCheckpointIO()],
            log_every_n_steps=1,
            num_sanity_val_steps=0,
            enable_progress_bar=bar,
            enable_model_summary=False,
        )
    except (MisconfigurationException, ValueError) as error:
        raise SettingError(f"trainer: {str(error).splitlines()[0]}") from error
    started = int(os.environ["WORLD_SIZE"]) if torch.distributed.is_torchelastic_launched() else trainer.world_size
    if started != trainer.world_size:
        raise SettingError(
            f"trainer: torchrun started {started} processes, but trainer.devices x trainer.num_nodes is "
            f"{trainer.world_size}: each process would train alone"
        )
    if why and trainer.is_global_zero:
        print(why, flush=True)
    return trainer


def loggers(run_dir: Path) -> list[Logger]:
    """CSV and TensorBoard always; Weights & Biases if installed: offline, unless its WANDB_MODE says `online`.

    A run that goes on writes its CSV beside the earlier one (`csv-2`, ...), which Lightning would delete.
    """
    earlier = len(list((run_dir / "logs").glob("csv*")))
    found: list[Logger] = [
        CSVLogger(run_dir, name="logs", version=f"csv-{earlier + 1}" if earlier else "csv"),
        TensorBoardLogger(run_dir, name="logs", version="tensorboard"),
    ]
    # By the package's metadata: W&B's own `wandb/` folder in the working directory imports as a package too.
    if any(importlib.metadata.distributions(name="wandb")):
        from lightning.pytorch.loggers import WandbLogger

        offline = os.environ.get("WANDB_MODE", "offline") != "online"
        found.append(WandbLogger(save_dir=run_dir, project="multimodal-peft-zoo", offline=offline))
    return found
