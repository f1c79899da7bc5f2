"""What a method may see outside of training steps: before training, and once the checkpoint is selected."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from zoo.batch import Batch
from zoo.pairing import Pairing


class Look:
    """Batches of the training split, always the same ones in the same order, and what the pairing makes of them.

    Both functions are differentiable in the tensors that train, wherever they are called.

    Args:
        pairing: in evaluation mode, so that nothing is drawn.
        batches: neither shuffled nor augmented; gone through anew by every `batches()`.
    """

    def __init__(self, pairing: Pairing, batches: Iterable[Batch]) -> None:
        self.pairing, self._batches = pairing, batches

    def batches(self) -> Iterator[Batch]:
        """From the first one on, on the pairing's device."""
        for batch in self._batches:
            yield batch.to(self.pairing.device)

    def logits(self, batch: Batch) -> Tensor:
        """The head's raw scores, [B, ..., K]."""
        with torch.enable_grad():
            return self.pairing.logits(batch)

    def loss(self, batch: Batch) -> Tensor:
        """The task's loss of every sample, [B]; the method's own terms are left out."""
        with torch.enable_grad():
            return torch.stack(list(self.pairing.task.loss(self.pairing(batch), batch).values())).sum(0)
