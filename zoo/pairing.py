"""The only LightningModule: frozen backbones, one method, one task.

prefix   = frozen blocks before the first trainable site     (no_grad, from the cache where it has them)
features = method(backbones, prefix, batch)
loss     = sum(task.loss(features, batch)) + sum(method.losses(head))
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import lightning as L
import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from zoo import processes
from zoo.backbones.base import Backbone, TextEncoder
from zoo.batch import Batch, GroundScale, stack
from zoo.errors import UserError
from zoo.familiarity import Familiarity
from zoo.ground import told_to
from zoo.methods.base import Method
from zoo.optimizer import Optimizer
from zoo.prefix import PrefixCache
from zoo.tasks.base import Task

CHUNK = 10
"""Segments that pass through the frozen blocks at a time on a processor."""


class NonFiniteLossError(UserError):
    """A loss became NaN or infinite; the message names the samples of the batch."""


class Pairing(L.LightningModule):
    """Frozen backbones, a method and a task, trained together.

    Args:
        backbones: frozen encoders by stream.
        method: attached here, to these backbones and classes.
        task: attached here, to the method's features.
        classes: K class names, in label order, without background.
        text: frozen text tower, where the method wants one.
        optimizer: needed to train, not to evaluate or predict.
        cache: of prefix tokens.
    """

    def __init__(
        self,
        backbones: Mapping[str, Backbone],
        method: Method,
        task: Task,
        *,
        classes: Sequence[str],
        text: TextEncoder | None = None,
        optimizer: Optimizer | None = None,
        cache: PrefixCache | None = None,
    ) -> None:
        super().__init__()
        method.attach(backbones, text, classes)
        task.attach(method.feature_dims, classes)
        self.backbones = cast(Mapping[str, Backbone], nn.ModuleDict(dict(backbones)))
        self.method, self.task = method, task
        self.classes = list(classes)
        self.optimizer_settings, self.cache = optimizer, cache
        self.depths = method.prefix_depths()
        # Named before a strategy wraps or shards the module.
        parameters = dict(self.named_parameters())
        moving = {name for name, _ in self.named_buffers() if not name.startswith("backbones.")}
        self.trainable = [
            name
            for name in self.state_dict()
            if (name in parameters and parameters[name].requires_grad) or name in moving
        ]
        self.fingerprints = {name: backbone.fingerprint for name, backbone in backbones.items()}
        if text is not None:
            self.fingerprints["text"] = text.fingerprint
        # Lightning compares checkpoint keys with all of the module's, backbones included; ours are checked exactly
        # in `on_load_checkpoint`.
        self.strict_loading = False
        self.ground = GroundScale()
        self.forced: list[str] = []
        """Why this adapter should not have been loaded, where it was all the same: stands in every result."""
        # Frozen, or kept equal by who owns them: DDP need not send buffers before every forward, which processes with
        # differing numbers of batches (validation) could not answer.
        self._ddp_params_and_buffers_to_ignore = [name for name, _ in self.named_buffers()]
        self.prepare: Callable[[Any], Any] = _as_it_is  # to what the adapter's data would give of a raw sample
        self.preparation: str | None = None  # name of that which it was trained with, once known
        self.notes: list[str] = []  # what everybody who uses its answers should know
        self.caveats: list[str] = []  # what every answer says
        self.familiarity: Familiarity | None = None
        self.unlike: Tensor | None = None  # of the last batch, as `Batch.unlike`
        self._counted: list[processes.Counted] = []
        self._losses: list[Tensor] = []

    def configure_model(self) -> None:
        """Under `fsdp`, share the weights out."""
        if self.device_mesh is not None and not isinstance(self, FSDPModule):
            processes.shard(self, self.backbones.values(), self.device_mesh)

    # --- features -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def prefix(self, batch: Batch) -> dict[str, Tensor]:
        """Tokens {stream: [B, T, L, D]} after the blocks that precede every trainable part; inputs where none does."""
        if batch.prefix:
            if self.cache is not None:
                self.cache.used.update(batch.origins)
            return batch.prefix
        tokens = {}
        for name, depth in self.depths.items():
            backbone = self.backbones[name]
            segments = batch.inputs[name]
            if depth is None:
                tokens[name] = segments
                continue
            parts = segments.flatten(0, 1)
            # A few at a time stay in a processor's caches, which is faster and takes less memory; an export is of any
            # number.
            few = segments.device.type == "cpu" and not torch.compiler.is_compiling()
            parts = parts.split(CHUNK) if few else (parts,)
            done = []
            # What is kept must not depend on a run's precision: runs share the cache.
            with torch.autocast(segments.device.type, enabled=False) if self.cache else contextlib.nullcontext():
                for part in parts:
                    flat = backbone.embed(part)
                    for block in backbone.blocks[:depth]:
                        flat = block(flat)
                    done.append(flat.float())
            flat = torch.cat(done)
            # Contiguous as tokens out of the cache are: kernels round by memory layout.
            tokens[name] = flat.unflatten(0, segments.shape[:2]).contiguous()
            if self.cache is not None and batch.keys:
                tokens[name] = self.cache.round(tokens[name])
                for sample, row in zip(batch.keys, tokens[name], strict=True):
                    self.cache.write(self.cache.key(self.fingerprints[name], depth, sample), row)
        return tokens

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Features {stream: [B, T, D]}."""
        prefix = self.prefix(batch)
        if self.familiarity is not None:
            self.unlike = self.familiarity(prefix)
            batch = replace(batch, unlike=self.unlike)
        features: dict[str, Tensor] = self.method(self.backbones, prefix, batch)
        return features

    def batch(self, samples: Sequence[Any]) -> Batch:
        """Decoded samples (`Clip`, `Cloud`, `Picture`), raw or prepared, as the backbones take them, on this device."""
        samples = [self.prepare(sample) for sample in samples]
        batch = Batch(
            ids=[sample.id for sample in samples],
            inputs={
                name: self.backbones[name].collate([self.backbones[name].transform(sample) for sample in samples])
                for name in self.depths
            },
            target={},
            conditions=stack([told_to(self, sample) for sample in samples]),
            questions=[asked for sample in samples if (asked := getattr(sample, "question", None)) is not None],
        )
        moved: Batch = self.transfer_batch_to_device(batch, self.device, 0)
        return moved

    def predict_step(self, batch: Batch, batch_idx: int = 0) -> dict[str, Tensor]:
        """The task's decoded output for one batch."""
        batch = replace(batch, write=self.task.writes)
        return self.task.predict(self(batch), batch)

    # --- training and evaluation ----------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Mean loss over the batch, logged by term.

        Raises:
            NonFiniteLossError: naming the batch's samples.
        """
        terms = self.task.loss(self(batch), batch)
        loss = torch.stack([term.mean() for term in terms.values()]).sum()
        for name, value in self.method.losses(lambda features: self.task.logits(features, batch)).items():
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

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed by epoch and batch, so that a resumed run draws what the uninterrupted one would have drawn.

        By epoch alone is not enough: Lightning makes a loader's iterator, which draws a number, before the epoch starts
        in a resumed run and after it in others. Every process draws its own: the same dropout on the rows of all would
        make their noise add up where it should average out.
        """
        step = batch_idx * self.trainer.world_size + self.trainer.global_rank
        torch.manual_seed(hash_seed(self.seed, self.current_epoch, step))

    seed: int = 0

    def on_validation_epoch_start(self) -> None:
        """Start counting."""
        self.task.reset()
        processes.hold(self, whole=True)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count one validation batch, or keep it until all processes count together."""
        prediction, batch = self._evaluate(batch)
        if processes.several():
            self._counted.append(processes.kept(prediction, batch))
        else:
            self.task.update(prediction, batch)

    def on_validation_epoch_end(self) -> None:
        """Log the validation metrics; `task.monitor` selects the checkpoint."""
        processes.hold(self, whole=False)
        if processes.several():
            for prediction, batch in move_data_to_device(processes.together(self._counted), self.device):
                self.task.update(prediction, batch)
            self._counted = []
        self._log_loss("val")
        self.log_dict({f"val/{name}": value for name, value in self.task.compute().items()}, prog_bar=False)
        self.log("val/selected", self.task.compute()[self.task.monitor], prog_bar=True)

    def on_test_epoch_start(self) -> None:
        """Start counting."""
        self.task.reset()

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Count one test batch; its predictions go to the callbacks."""
        prediction, batch = self._evaluate(batch)
        self.task.update(prediction, batch)
        return prediction

    def on_test_epoch_end(self) -> None:
        """Log the test metrics."""
        self._log_loss("test")
        self.log_dict({f"test/{name}": value for name, value in self.task.compute().items()})

    def _evaluate(self, batch: Batch) -> processes.Counted:
        batch = replace(batch, write=self.task.writes)
        features = self(batch)
        if not batch.write:
            self._losses.append(torch.stack(list(self.task.loss(features, batch).values())).sum(0).detach().cpu())
        return self.task.predict(features, batch), batch

    def _log_loss(self, split: str) -> None:
        """Mean over samples: Lightning's own synchronised mean is wrong where processes have different numbers."""
        if losses := processes.together(self._losses):
            self.log(f"{split}/loss", torch.cat(losses).double().mean().float())
        self._losses = []

    def configure_optimizers(self) -> Any:
        """Optimizer and schedule over the trainable parameters alone."""
        if self.optimizer_settings is None:
            raise ValueError(
                "this pairing was built without an optimizer block, so it can be evaluated but not trained"
            )
        return self.optimizer_settings.build(self, int(self.trainer.estimated_stepping_batches))

    # --- what is saved --------------------------------------------------------------------------------------------

    def trainable_state(self) -> dict[str, Tensor]:
        """Every tensor that training changes, by name: what a checkpoint and an adapter hold.

        Trainable parameters, and the buffers of method and task (running statistics of a head's batch norm).
        """
        tensors = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        return {name: tensors[name].detach() for name in self.trainable}

    def load_trainable(self, state: Mapping[str, Tensor], *, source: str) -> None:
        """Copy tensors in; names and shapes must match exactly, and every number must be one.

        Raises:
            ValueError: naming every missing, unexpected, misshapen or damaged tensor of `source`.
        """
        self._check(state, source)
        with torch.no_grad():
            for name, parameter in self.trainable_state().items():
                parameter.copy_(state[name])

    def _check(self, state: Mapping[str, Tensor], source: str) -> None:
        own = self.trainable_state()
        problems = [f"missing {name}" for name in own if name not in state]
        problems += [f"unexpected {name}" for name in state if name not in own]
        problems += [
            f"{name} has shape {list(state[name].shape)}, expected {list(own[name].shape)}"
            for name in own
            if name in state and state[name].shape != own[name].shape
        ]
        kinds = {name: (state[name].dtype, own[name].dtype) for name in own if name in state}
        problems += [
            f"{n} holds {a}, expected {b}" for n, (a, b) in kinds.items() if a.is_floating_point != b.is_floating_point
        ]
        problems += [f"{name} holds NaN" for name, tensor in state.items() if bool(tensor.isnan().any())]
        if problems:
            raise ValueError(f"{source} does not fit this pairing: " + "; ".join(problems))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep, of what the strategy gathered, the trainable tensors only; under `fsdp` one process has gathered."""
        gathered = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name: gathered[name].cpu() for name in self.trainable if gathered}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check names and shapes, for Lightning copies without a word; under `fsdp` it has copied before."""
        if "state_dict" in checkpoint:
            self._check(checkpoint["state_dict"], source="the checkpoint")


def _as_it_is(sample: Any) -> Any:
    return sample


def hash_seed(seed: int, epoch: int, step: int) -> int:
    """One 63-bit seed from a run's seed, an epoch and a step of it."""
    return (seed * 1_000_003 + epoch * 7_919 + step * 15_485_863 + 12_345) % (2**63)


def count_parameters(pairing: Pairing) -> tuple[int, int]:
    """(trainable, total) parameters; the total counts the frozen backbones, not the text tower, used once."""
    sizes = [(p.numel(), p.requires_grad) for p in pairing.parameters()]
    return sum(n for n, trained in sizes if trained), sum(n for n, _ in sizes)
