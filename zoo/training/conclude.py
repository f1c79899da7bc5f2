"""What a method makes of the training split once its checkpoint is selected: see `Method.conclude`."""

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader

from zoo.batch import Batch
from zoo.training.loaders import Loaders
from zoo.training.look import Look
from zoo.training.progress import StepLines


def conclude(loaders: Loaders, device: torch.device) -> dict[str, float]:
    """Let a trained method conclude; its numbers, finite ones, by name.

    Args:
        loaders: of the data and the trained pairing.
        device: to run on; the pairing is put back where it was.
    """
    pairing, before = loaders.pairing, loaders.pairing.device
    loaders.setup()
    look = Look(pairing.to(device).eval(), _Lines(loaders.loader(loaders.data.sets["train"])))
    try:
        # A resumed run concludes again, and must come to the same.
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(loaders.seed)
            return dict(pairing.method.conclude(look))
    finally:
        pairing.to(before)


class _Lines:
    """Batches in order; a line now and then says how far they are."""

    def __init__(self, loader: DataLoader[Batch]) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Batch]:
        lines = StepLines("the method looks at the training split", len(self.loader))
        for batch in self.loader:
            yield batch
            lines.step()
