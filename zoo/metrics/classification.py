"""One label a sample: accuracy over samples, and averaged over classes as ModelNet40 and ScanObjectNN report it."""

from collections.abc import Sequence

import torch
from torch import Tensor


def accuracies(said: Tensor, truth: Tensor) -> dict[str, float]:
    """`accuracy` over samples and `mean_class_accuracy` over the classes that occur, of int64 [N] labels, in [0, 1]."""
    right = (said == truth).double()
    classes = [right[truth == label].mean() for label in truth.unique()]
    return {"accuracy": right.mean().item(), "mean_class_accuracy": torch.stack(classes).mean().item()}


def unclaimed(names: Sequence[str], truth: Tensor, said: Tensor) -> list[str]:
    """Classes that labels have and predictions do not, of int64 labels of one shape."""
    return [names[label] for label in truth.unique().tolist() if not (said == label).any()]
