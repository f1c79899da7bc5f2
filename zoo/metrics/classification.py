"""One label a sample: accuracy over samples, and averaged over classes as ModelNet40 and ScanObjectNN report it."""

import torch
from torch import Tensor


def accuracies(said: Tensor, truth: Tensor) -> dict[str, float]:
    """`accuracy` over samples and `mean_class_accuracy` over the classes that occur, of int64 [N] labels, in [0, 1]."""
    right = (said == truth).double()
    classes = [right[truth == label].mean() for label in truth.unique()]
    return {"accuracy": right.mean().item(), "mean_class_accuracy": torch.stack(classes).mean().item()}
