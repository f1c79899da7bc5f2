"""A data set of twelve made-up samples, and trainings on it of a second."""

from pathlib import Path
from typing import Any

import point_tiny
import tiny
import torch
from torch import nn

from data_modules.base import DataModule
from zoo.batch import Clip, Cloud, SampleSet
from zoo.methods.mantis import Mantis
from zoo.methods.tb_ava import TBAVA
from zoo.pairing import Pairing
from zoo.tasks.classification import Classification
from zoo.training.loaders import Loaders
from zoo.training.module import TrainingModule
from zoo.training.optimizer import Optimizer
from zoo.training.trainer import build_trainer


class Some(SampleSet[Any]):
    """Rows of made-up samples, from a first one on."""

    def __init__(self, kind: str, first: int, count: int) -> None:
        self.kind, self.first, self.count = kind, first, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Clip | Cloud:
        if self.kind == "clips":
            return tiny.clip(self.first + index)
        cloud = point_tiny.clouds(self.first + index)[0, 0].numpy()
        return Cloud(self.id(index), cloud, self.target(index))

    def id(self, index: int) -> str:
        return f"sample{self.first + index}"

    def key(self, index: int) -> str:
        return self.id(index)

    def target(self, index: int) -> dict[str, torch.Tensor]:
        if self.kind == "clips":
            return tiny.clip(self.first + index).target
        return {"label": torch.tensor((self.first + index) % 3)}


class Tiny(DataModule):
    """Twelve samples to train on and an odd number to validate on."""

    name = "tiny"
    segment_seconds = 1.0

    def __init__(self, *, kind: str = "clips") -> None:
        super().__init__()
        self.kind, self.classes = kind, tiny.CLASSES

    def splits(self) -> dict[str, SampleSet[Any]]:
        return {"train": Some(self.kind, 0, 12), "val": Some(self.kind, 12, 5), "test": Some(self.kind, 17, 3)}


def pairing_of(kind: str) -> Pairing:
    if kind == "clips":
        return tiny.pairing(
            TBAVA(rank=4, last=1),
        )
    return point_tiny.pairing(Mantis(rank=2, drop_path=0.0), Classification(hidden=(8,), dropout=0.0))


class Plain(Optimizer):
    """Gradient descent: before batch norm gradients may be rounding errors, which AdamW makes as large as any."""

    def build(self, module: nn.Module, total_steps: int) -> torch.optim.Optimizer:
        return torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=self.lr)


def fit(folder: Path, kind: str, batch: int, settings: dict[str, Any], resume: bool = False) -> None:
    """Train as `zoo.train` does; what one process sees of it lies in `folder`."""
    pairing = pairing_of(kind)
    loaders = Loaders(Tiny(kind=kind), pairing, batch_size=batch)
    module = TrainingModule(pairing, optimizer=Optimizer(lr=0.01) if kind == "clips" else Plain(lr=0.1))
    settings = {"max_epochs": 2, "accelerator": "cpu", "devices": 1, "progress": False} | settings
    trainer = build_trainer(folder, **settings)
    last = str(folder / "checkpoints" / "last.ckpt") if resume else None
    trainer.fit(module, datamodule=loaders, ckpt_path=last, weights_only=resume or None)
    seen = {name: float(value) for name, value in trainer.callback_metrics.items()}
    torch.save({"seen": seen, "counted": pairing.task.per_sample()}, folder / f"rank{trainer.global_rank}.pt")
