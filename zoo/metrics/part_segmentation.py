"""ShapeNetPart's intersection over union (Yi et al. 2016), as PointNet's evaluation defines it.

A shape's IoU is the mean over the parts of its category; a part absent in truth and prediction counts 1. Instance mIoU
is the mean over shapes, class mIoU the mean over categories of their shapes' mean.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def shape_iou(said: Tensor, truth: Tensor, parts: Sequence[int]) -> float:
    """IoU of one shape, [P] part labels each, over the parts of its category."""
    found = []
    for part in parts:
        a, b = said == part, truth == part
        union = (a | b).sum().item()
        found.append((a & b).sum().item() / union if union else 1.0)
    return sum(found) / len(found)


def mean_ious(ious: Tensor, categories: Tensor) -> dict[str, float]:
    """`instance_miou` and `class_miou` of shape IoUs [N] and categories [N]."""
    by_category = [ious[categories == category].mean() for category in categories.unique()]
    return {"instance_miou": ious.mean().item(), "class_miou": torch.stack(by_category).mean().item()}
