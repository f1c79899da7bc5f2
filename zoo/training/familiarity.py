"""Let a trained pairing learn what its training looked like: see `zoo.ops.familiarity`."""

import lightning as L
import torch
from torch import Tensor

from zoo.adapter.directory import AdapterError
from zoo.batch import Batch
from zoo.ops.familiarity import LEAST, MOST, Familiarity, described, widths
from zoo.pairing import Pairing
from zoo.training.loaders import Loaders
from zoo.training.measure import fires


def learn(loaders: Loaders, trainer: L.Trainer) -> None:
    """Let a pairing tell what is unlike the training split of its data; it stays without where samples are too few.

    Args:
        loaders: of the pairing, and of the data whose training and validation splits are looked at.
        trainer: of one process.
    """
    loaders.pairing.familiarity = Familiarity.fitted(*(features(loaders, split, trainer) for split in ("train", "val")))


def features(loaders: Loaders, split: str, trainer: L.Trainer) -> dict[str, Tensor]:
    """Described samples of a split, or `MOST` of them spread over it, {stream: [N, F]}: as files are, not augmented."""
    samples = loaders.data.sets[split]
    chosen = torch.linspace(0, len(samples) - 1, min(len(samples), MOST)).round().int().tolist()
    rows = trainer.predict(_Described(loaders.pairing), loaders.loader(samples, sampler=chosen))
    found: list[dict[str, Tensor]] = rows or []  # type: ignore[assignment]
    return {name: torch.cat([row[name] for row in found]) for name in widths(loaders.pairing)}


def false_alarms(loaders: Loaders, trainer: L.Trainer) -> dict[str, float]:
    """Share of flagged samples on the test split; a pairing without it learns it first.

    Raises:
        AdapterError: the validation split is too small, or the method leaves no frozen features of one shape.
    """
    pairing = loaders.pairing
    if pairing.familiarity is None:
        learn(loaders, trainer)
    if pairing.familiarity is None:
        raise AdapterError(
            f"{loaders.data.name}: nothing was learnt of what is unlike its training: that takes {LEAST} samples "
            "to train, as many to validate, and frozen features of one shape before the first adapted block"
        )
    return fires([pairing.familiarity.distances(features(loaders, "test", trainer)).amax(0)])


class _Described(L.LightningModule):
    """A pairing's frozen prefix alone."""

    def __init__(self, pairing: Pairing) -> None:
        super().__init__()
        self.pairing = pairing

    def predict_step(self, batch: Batch, batch_idx: int = 0) -> dict[str, Tensor]:
        """A batch's samples, described {stream: [B, F]}."""
        tokens = self.pairing.prefix(batch)
        return {name: described(tokens[name]).cpu() for name in widths(self.pairing)}
