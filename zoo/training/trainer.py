"""Lightning's Trainer, built from a recipe's `trainer` block."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, EarlyStopping

from zoo.errors import SettingError
from zoo.records.run_folder import HISTORY
from zoo.training import loggers
from zoo.training.average import Average
from zoo.training.callbacks import CostMonitor, MetricHistory
from zoo.training.checkpoints import AtomicCheckpointIO, Best, Last
from zoo.training.compiled import Compiled
from zoo.training.length import Length
from zoo.training.precision import MatmulPrecision, choose
from zoo.training.processes import Sharded
from zoo.training.progress import EpochLines, ProgressBar


def build_trainer(
    run_dir: Path,
    callbacks: Sequence[Callback] = (),
    *,
    max_epochs: Annotated[int, ">= 1"] | None = 10,
    max_steps: Annotated[int, ">= 1"] | None = None,
    val_check_interval: Annotated[int, ">= 1"] | Annotated[float, "> 0", "<= 1"] = 1.0,
    save_every: Annotated[int, ">= 1"] | None = None,
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto",
    devices: int | str = "auto",
    num_nodes: Annotated[int, ">= 1"] = 1,
    strategy: Literal["auto", "ddp", "fsdp"] = "auto",
    precision: Literal["auto", "32-true", "16-mixed", "bf16-mixed"] = "32-true",
    matmul_precision: Literal["highest", "high", "medium"] | None = None,
    accumulate_grad_batches: Annotated[int, ">= 1"] = 1,
    gradient_clip_val: Annotated[float, "> 0"] | None = 1.0,
    patience: Annotated[int, ">= 1"] | None = None,
    limit_train_batches: Annotated[int, ">= 1"] | Annotated[float, "> 0"] | None = None,
    ema: Annotated[float, "> 0", "< 1"] | None = None,
    compile: bool = False,
    logger: Sequence[Literal["csv", "tensorboard", "wandb", "mlflow", "trackio"]] = ("csv", "tensorboard"),
    deterministic: bool = True,
    progress: bool = True,
) -> L.Trainer:
    """A Trainer that writes only below `run_dir`.

    Args:
        run_dir: the run folder.
        callbacks: of the recipe's own.
        max_epochs: training length, over which the learning-rate schedule is spread. A run resumed with more epochs
            continues under the schedule of the longer training, from the epoch it has reached. null: as max_steps says.
        max_steps: training length in optimizer steps; whichever of both ends first. null: as max_epochs says. A run
            resumed with more steps begins its next epoch.
        val_check_interval: validate, and select, after such a share of an epoch (1.0 is its end) or after so many
            optimizer steps (1 is every step), and at the end.
        save_every: keep a checkpoint to resume from after so many optimizer steps, beside those after every epoch and
            validation. The resumed run ends as an uninterrupted one would.
        accelerator: where to run.
        devices: how many devices of each machine, or "auto".
        num_nodes: machines.
        strategy: of several devices: ddp gives each the whole pairing, fsdp shares its weights out within a machine;
            auto is ddp.
        precision: arithmetic of the forward pass; auto is bf16-mixed on a GPU, and on a processor that gains by it.
        matmul_precision: of products and convolutions that stay float32, on a GPU while it trains; high takes TF32,
            which keeps 10 bits of the factors, medium may take bfloat16, which keeps 7. null: as torch is set.
        accumulate_grad_batches: batches per optimizer step.
        gradient_clip_val: largest gradient norm; null switches clipping off.
        patience: stop after so many validations without a better metric; null never stops early.
        limit_train_batches: train on so many batches (or such a share) per epoch.
        ema: decay of an exponential moving average of what is trained, e.g. 0.999; it is validated, selected and saved.
        compile: run the method through torch.compile while training; the first step of every batch size waits for the
            compiler, on a processor for a minute or more. A small vision transformer gains a tenth of a step by it;
            Mamba on a processor loses, as its scan has a kernel of its own that a compiled graph does without.
        logger: where metrics are written below the run folder: csv, tensorboard, wandb (offline, unless WANDB_MODE is
            online), mlflow, trackio.
        deterministic: ask torch for deterministic kernels, warning where there is none.
        progress: show a progress bar where the output is a terminal.

    Raises:
        SettingError: this machine or Lightning does not support a setting.
    """
    own: list[Callback] = [Best(run_dir), Last(run_dir, save_every), CostMonitor()]
    own += [MatmulPrecision(matmul_precision)] if matmul_precision is not None else []
    if max_steps is not None or val_check_interval != 1.0 or isinstance(val_check_interval, int):
        own.append(Length(max_steps))
    own += [Compiled()] if compile else []
    own += [Average(ema)] if ema is not None else []
    own.append(MetricHistory(run_dir / HISTORY))
    if patience is not None:
        own.append(EarlyStopping("val/selected", mode="max", patience=patience))
    chosen, why = choose(precision, accelerator)
    bar = progress and sys.stderr.isatty()
    own.append(ProgressBar() if bar else EpochLines())
    by_steps = isinstance(val_check_interval, int)
    try:
        trainer = L.Trainer(
            default_root_dir=run_dir,
            max_epochs=-1 if max_epochs is None else max_epochs,
            # Lightning counts batches, and so many of an epoch unless told of no epochs.
            val_check_interval=val_check_interval * accumulate_grad_batches if by_steps else val_check_interval,
            check_val_every_n_epoch=None if by_steps else 1,
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
            callbacks=[*own, *callbacks],
            logger=loggers.build(logger, run_dir) or False,
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
