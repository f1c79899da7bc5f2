"""Exponential moving average of what is trained (Polyak & Juditsky 1992), measured, selected and saved in its place.

Lightning's `EMAWeightAveraging` keeps a copy of the whole module, frozen backbones included, and turns a checkpoint's
tensors around, of which ours hold the trained ones alone; so this is an own one. A checkpoint keeps the trained
tensors, from which training goes on, and beside them their average.
"""

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from zoo.pairing import Pairing


class Average(Callback):
    """average <- d * average + (1 - d) * tensor after the n-th optimizer step, d = min(decay, (1 + n) / (10 + n)).

    The smaller d of the first steps forgets the initial tensors, as TensorFlow's `ExponentialMovingAverage` does.
    Counters, which are no floating-point tensors, are copied.

    Args:
        decay: between 0 and 1.
    """

    state_key = "Average"

    def __init__(self, decay: float) -> None:
        self.decay, self.taken = decay, 0
        self.average: dict[str, Tensor] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin with the initial tensors, or go on with the average of the checkpoint."""
        own = _pairing(pl_module).trainable_state()
        kept = self.average or own
        self.average = {name: kept[name].to(tensor.device, copy=True) for name, tensor in own.items()}

    @torch.no_grad()
    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Take in the tensors of every optimizer step."""
        if trainer.global_step == self.taken:
            return
        self.taken = trainer.global_step
        decay = min(self.decay, (1 + self.taken) / (10 + self.taken))
        for name, tensor in _pairing(pl_module).trainable_state().items():
            if tensor.is_floating_point():
                self.average[name].lerp_(tensor, 1 - decay)
            else:
                self.average[name].copy_(tensor)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Validate the average."""
        self._exchange(pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Train on from the tensors themselves."""
        self._exchange(pl_module)

    @torch.no_grad()
    def _exchange(self, pl_module: L.LightningModule) -> None:
        for name, tensor in _pairing(pl_module).trainable_state().items():
            kept = tensor.clone()
            tensor.copy_(self.average[name])
            self.average[name] = kept

    def state_dict(self) -> dict[str, Any]:
        """The average, and up to which step."""
        return {"taken": self.taken, "average": {name: tensor.cpu() for name, tensor in self.average.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with it."""
        self.taken, self.average = state_dict["taken"], dict(state_dict["average"])


def _pairing(pl_module: L.LightningModule) -> Pairing:
    pairing = pl_module.pairing
    assert isinstance(pairing, Pairing)
    return pairing
