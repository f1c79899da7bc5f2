"""Predictions of a whole split, for breakdowns of metrics and for pictures."""

from collections.abc import Mapping

import torch
from torch import Tensor

from zoo.batch import Batch, Question
from zoo.pairing import Pairing


class Predictions:
    """Predictions and labels (of `Task.keep` samples where they are large), side inputs, questions and the method's
    observations of a split, on the CPU."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.prediction: dict[str, list[Tensor]] = {}
        self.target: dict[str, list[Tensor]] = {}
        self.conditions: dict[str, list[Tensor]] = {}
        self.observed: dict[str, list[Tensor]] = {}
        self.questions: list[Question] = []
        self.unlike: list[Tensor] = []

    def add(self, pairing: Pairing, prediction: Mapping[str, Tensor], batch: Batch) -> None:
        """Add one batch.

        Args:
            pairing: right after its forward pass over the batch.
            prediction: the task's decoded output.
            batch: with its labels.
        """
        keep = pairing.task.keep
        left = len(batch) if keep is None else max(0, keep - len(self.ids))
        self.ids += batch.ids
        self.questions += batch.questions
        if pairing.unlike is not None:
            self.unlike.append(pairing.unlike.cpu())
        for store, values, most in (
            (self.prediction, prediction, left),
            (self.target, batch.target, left),
            (self.conditions, batch.conditions, len(batch)),
            (self.observed, pairing.method.observations(), None),
        ):
            for name, value in values.items():
                store.setdefault(name, []).append(value[:most].detach().float().cpu())

    def concatenated(self, part: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
        """Batches joined along the first dimension."""
        return {name: torch.cat(values) for name, values in part.items()}
