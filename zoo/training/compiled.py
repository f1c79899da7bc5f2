"""`torch.compile` of what is trained: the method's forward pass, with the backbones' blocks that it calls.

What stands before it, the frozen prefix, is cached or runs without gradients, and the heads are small.
"""

import os
import shutil
from importlib.util import find_spec

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from zoo.pairing import Pairing


class Compiled(Callback):
    """Trains with a compiled method; what is measured after the training is computed as every user's is."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compile; it happens at the first batch, and again for batches of another size."""
        pairing = pl_module.pairing
        assert isinstance(pairing, Pairing)
        pairing.method.forward = torch.compile(pairing.method.forward)  # type: ignore[method-assign]

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The method's own forward pass again."""
        pairing = pl_module.pairing
        assert isinstance(pairing, Pairing)
        del pairing.method.forward


def missing(accelerator: str) -> str:
    """What compiling needs and this machine lacks, with what to do; empty where nothing.

    Args:
        accelerator: `trainer.accelerator`.
    """
    if accelerator in ("gpu", "cuda") or (accelerator == "auto" and torch.cuda.is_available()):
        return "" if find_spec("triton") else "Triton: pip install triton"
    compiler = os.environ.get("CXX", "g++")  # as torch's inductor looks for it
    return "" if shutil.which(compiler) else f"a C++ compiler, and {compiler} is not there: install g++, or set CXX"
