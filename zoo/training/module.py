"""The LightningModule that trains a pairing: steps, what is logged, and which tensors a checkpoint keeps.

    loss = sum(task.loss(features, batch)) + sum(method.losses(head))

`L.Trainer().fit(TrainingModule(pairing, optimizer=Optimizer()), datamodule=Loaders(data, pairing))` is all that it
takes; `zoo.training.trainer` makes the Trainer of a recipe.
"""

from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor
from torch.distributed.fsdp import FSDPModule

from zoo.batch import Batch
from zoo.errors import UserError
from zoo.methods.base import Features
from zoo.pairing import Pairing
from zoo.predictions import Predictions
from zoo.records.cautions import NEVER
from zoo.training import length, processes
from zoo.training.optimizer import Optimizer
from zoo.training.processes import Counted

OWN = "pairing."
"""Prefix of a pairing's tensor names in Lightning; checkpoints and adapters store them without it."""


class NonFiniteLossError(UserError):
    """A loss became NaN or infinite; the message names the samples of the batch."""


class TrainingModule(L.LightningModule):
    """A pairing in training.

    Attributes:
        predictions: of the last test split that was measured.

    Args:
        pairing: its trainable parts are trained; its task counts.
        optimizer: needed to train, not to measure.
        seed: of the run; every batch's random numbers follow from it.
    """

    def __init__(self, pairing: Pairing, *, optimizer: Optimizer | None = None, seed: int = 0) -> None:
        super().__init__()
        self.pairing, self.optimizer_settings, self.seed = pairing, optimizer, seed
        # Lightning compares checkpoint keys with all of the module's, backbones included; ours are checked exactly
        # in `on_load_checkpoint`.
        self.strict_loading = False
        # Frozen, or kept equal by who owns them: DDP need not send buffers before every forward, which processes with
        # differing numbers of batches (validation) could not answer.
        self._ddp_params_and_buffers_to_ignore = [name for name, _ in self.named_buffers()]
        self.predictions = Predictions()
        self.never: list[str] = []  # classes that labels of the last validation have, and no prediction
        self._counted: list[Counted] = []
        self._losses: list[Tensor] = []
        self._means: dict[str, tuple[Tensor, Tensor]] = {}  # of an interrupted epoch, until it is gone on with

    def configure_model(self) -> None:
        """Under `fsdp`, share the weights out."""
        if self.device_mesh is not None and not isinstance(self.pairing, FSDPModule):
            processes.shard(self.pairing, self.pairing.backbones.values(), self.device_mesh)

    def configure_optimizers(self) -> Any:
        """Optimizer and schedule over the trainable parameters alone.

        Raises:
            ValueError: there is no optimizer.
        """
        if self.optimizer_settings is None:
            raise ValueError("this module was made without an optimizer, so it can measure a pairing but not train it")
        return self.optimizer_settings.build(self.pairing, length.total_steps(self.trainer))

    # --- training -------------------------------------------------------------------------------------------------

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed by epoch and batch, so that a resumed run draws what the uninterrupted one would have drawn.

        By epoch alone is not enough: Lightning makes a loader's iterator, which draws a number, before the epoch starts
        in a resumed run and after it in others. Every process draws its own: the same dropout on the rows of all would
        make their noise add up where it should average out.
        """
        step = batch_idx * self.trainer.world_size + self.trainer.global_rank
        torch.manual_seed(hash_seed(self.seed, self.current_epoch, step))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Mean loss over the batch, logged by term.

        Raises:
            NonFiniteLossError: naming the batch's samples.
        """
        terms = self.pairing.losses(batch)
        loss = terms.pop("task")
        for name, value in terms.items():
            loss = loss + value
            self._log_mean(f"train/{name}", value, batch)
        if not torch.isfinite(loss):
            raise NonFiniteLossError(
                f"loss is {loss.item()} at epoch {self.current_epoch}, batch {batch_idx}, "
                f"samples {', '.join(batch.ids)}. "
                "Lower optimizer.lr, set trainer.gradient_clip_val, or look at these samples; "
                "the last good checkpoint is kept (resume=true)"
            )
        self._log_mean("train/loss", loss, batch, prog_bar=True)
        return loss

    def _log_mean(self, name: str, value: Tensor, batch: Batch, *, prog_bar: bool = False) -> None:
        """Log a mean over the samples of all processes."""
        self.log(name, value, prog_bar=prog_bar, batch_size=len(batch), on_step=False, on_epoch=True, sync_dist=True)
        if name in self._means:
            running, (total, count) = self._running()[name], self._means.pop(name)
            running.value += total.to(running.value.device)
            running.cumulated_batch_size += count.to(running.value.device)

    def _running(self) -> dict[str, Any]:
        """Lightning's running means of this epoch by name; it keeps none of them in checkpoints."""
        return {metric.meta.name: metric for metric in self.trainer.fit_loop.epoch_loop._results.values()}

    # --- measuring ------------------------------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        """Start counting."""
        self.pairing.task.reset()
        processes.set_unsharded(self.pairing, whole=True)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count one validation batch, or keep it until all processes count together.

        By the task's own probabilities: see `Method.probabilities`.
        """
        batch = self.pairing.task.asked(batch)
        prediction = self.pairing.task.predict(self._features(batch), batch)
        if processes.is_distributed():
            self._counted.append(processes.to_cpu(prediction, batch))
        else:
            self.pairing.task.update(prediction, batch)

    def on_validation_epoch_end(self) -> None:
        """Log the validation metrics; `task.monitor` selects the checkpoint."""
        task = self.pairing.task
        processes.set_unsharded(self.pairing, whole=False)
        if processes.is_distributed():
            for prediction, batch in move_data_to_device(processes.all_gather_objects(self._counted), self.device):
                task.update(prediction, batch)
            self._counted = []
        self._log_loss("val")
        metrics, self.never = task.compute(), task.never_predicted()
        self.log_dict({f"val/{name}": value for name, value in metrics.items()}, prog_bar=False)
        self.log("val/selected", metrics[task.monitor], prog_bar=True)

    def on_test_epoch_start(self) -> None:
        """Start counting."""
        self.pairing.task.reset()
        self.predictions = Predictions()

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Count one test batch, and keep its predictions."""
        batch = self.pairing.asked(batch)
        prediction = self.pairing.decide(self._features(batch), batch)
        self.pairing.task.update(prediction, batch)
        self.predictions.add(self.pairing, prediction, batch)
        return prediction

    def on_test_epoch_end(self) -> None:
        """Log the test metrics."""
        self._log_loss("test")
        self.log_dict({f"test/{name}": value for name, value in self.pairing.task.compute().items()})

    def predict_step(self, batch: Batch, batch_idx: int = 0) -> dict[str, Tensor]:
        """The task's decoded output for one batch."""
        return self.pairing.predict(batch)

    def _features(self, batch: Batch) -> Features:
        """Of a batch as the task asks it, whose loss is kept where it has one."""
        features: Features = self.pairing(batch)
        if not batch.write:
            terms = self.pairing.task.loss(features, batch)
            self._losses.append(torch.stack(list(terms.values())).sum(0).detach().cpu())
        return features

    def _log_loss(self, split: str) -> None:
        """Mean over samples: Lightning's own synchronised mean is wrong where processes have different numbers."""
        if losses := processes.all_gather_objects(self._losses):
            self.log(f"{split}/loss", torch.cat(losses).double().mean().float())
        self._losses = []

    # --- what is saved --------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep, of what the strategy gathered, the trainable tensors only; under `fsdp` one process has gathered. And
        the classes that the last validation never predicted."""
        checkpoint[NEVER] = self.never
        gathered = checkpoint["state_dict"]
        names = self.pairing.trainable if gathered else []
        checkpoint["state_dict"] = {name: gathered[OWN + name].cpu() for name in names}
        if length.within_epoch(self.trainer):
            own = {name: (mean.value.cpu(), mean.cumulated_batch_size.cpu()) for name, mean in self._running().items()}
            checkpoint["means"] = processes.all_gather_objects([own])

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check names and shapes, for Lightning copies without a word; under `fsdp` it has copied before.

        Raises:
            ValueError: naming the tensors that do not fit.
        """
        if "state_dict" in checkpoint:
            self.pairing.check(checkpoint["state_dict"], source="the checkpoint")
            checkpoint["state_dict"] = {OWN + name: tensor for name, tensor in checkpoint["state_dict"].items()}
        if "means" in checkpoint:
            self._means = dict(checkpoint["means"][self.trainer.global_rank])


def hash_seed(seed: int, epoch: int, step: int) -> int:
    """One 63-bit seed from a run's seed, an epoch and a step of it."""
    return (seed * 1_000_003 + epoch * 7_919 + step * 15_485_863 + 12_345) % (2**63)
