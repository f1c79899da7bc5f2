"""What a pass over a split leaves behind, kept for metrics' breakdowns and for pictures."""

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from zoo.batch import Question
from zoo.pairing import Pairing


class Collect(Callback):
    """Test predictions, labels, side inputs, questions and the method's observations, kept for the report."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.prediction: dict[str, list[Tensor]] = {}
        self.target: dict[str, list[Tensor]] = {}
        self.conditions: dict[str, list[Tensor]] = {}
        self.observed: dict[str, list[Tensor]] = {}
        self.questions: list[Question] = []
        self.unlike: list[Tensor] = []

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *_: Any, **__: Any
    ) -> None:
        """Keep one batch."""
        assert isinstance(pl_module, Pairing)
        self.ids += batch.ids
        self.questions += batch.questions
        if pl_module.unlike is not None:
            self.unlike.append(pl_module.unlike.cpu())
        for store, values in (
            (self.prediction, outputs),
            (self.target, batch.target),
            (self.conditions, batch.conditions),
            (self.observed, pl_module.method.observations()),
        ):
            for name, value in values.items():
                store.setdefault(name, []).append(value.detach().float().cpu())

    def gathered(self, part: dict[str, list[Tensor]]) -> dict[str, Tensor]:
        """Batches joined along the first dimension."""
        return {name: torch.cat(values) for name, values in part.items()}
