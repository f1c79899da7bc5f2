"""Segmentation: how well predicted regions cover the labelled ones, pooled over a split and picture by picture.

Published numbers differ by what they do with a class that a picture lacks. Here all are of counts of pixels: pooled IoU
and Dice sum them over the split; a picture's own leave out a class that neither label nor prediction has, give 0 to one
that is predicted where there is none, and count both cases. What lies under `IGNORE` counts nowhere.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

TP, FP, FN = 0, 1, 2
"""Columns of counts: pixels of a class that are found, wrongly claimed, missed."""


def counts(predicted: Tensor, truth: Tensor, classes: int, *, ignore: int) -> Tensor:
    """Pixels by class and outcome.

    Args:
        predicted: class of every pixel, integers [...].
        truth: likewise, or `ignore`.
        classes: K.
        ignore: label of pixels that count nowhere.

    Returns:
        int64 [K, 3]: found, wrongly claimed, missed.
    """
    valid = truth != ignore
    pairs = truth[valid].long() * classes + predicted[valid].long()
    table = torch.bincount(pairs, minlength=classes * classes).view(classes, classes)
    found = table.diagonal()
    return torch.stack([found, table.sum(0) - found, table.sum(1) - found], dim=-1)


def iou(counted: Tensor) -> Tensor:
    """Counts [..., 3] -> intersection over union [...]; NaN of a class that is neither labelled nor predicted."""
    found, claimed, missed = counted.double().unbind(-1)
    return found / (found + claimed + missed)


def dice(counted: Tensor) -> Tensor:
    """Counts [..., 3] -> Dice's coefficient [...]; NaN as `iou` has it."""
    found, claimed, missed = counted.double().unbind(-1)
    return 2 * found / (2 * found + claimed + missed)


def mean_iou(counted: Tensor) -> Tensor:
    """Pooled counts [..., K, 3] -> mean IoU over the classes that there are or that were predicted, [...]."""
    return iou(counted).nanmean(-1).nan_to_num(0.0)


def foreground_iou(counted: Tensor) -> Tensor:
    """As `mean_iou`, without the first class, which is what surrounds the others."""
    return mean_iou(counted[..., 1:, :])


def foreground_dice(counted: Tensor) -> Tensor:
    """Pooled counts [..., K, 3] -> mean Dice over the classes but the first, [...]."""
    return dice(counted[..., 1:, :]).nanmean(-1).nan_to_num(0.0)


MONITORED: Mapping[str, Callable[[Tensor], Tensor]] = {
    "mean_iou": mean_iou,
    "foreground_iou": foreground_iou,
    "foreground_dice": foreground_dice,
}
"""Metrics that may select a checkpoint."""


def pooled(per_picture: Tensor, names: Sequence[str]) -> dict[str, float]:
    """Metrics of a split from the counts of its pictures.

    Args:
        per_picture: [N, K, 3].
        names: of the K classes; the first is what surrounds the others and stands in no `foreground` mean.

    Returns:
        `mean_iou`, `foreground_iou`, `foreground_dice`, `pixel_accuracy`, the IoU of every class, and over pictures
        `picture_dice` (mean over pictures and foreground classes), with the shares of these cases that are left out
        (`neither`: no such region in label or prediction) and that count 0 (`false_regions`: none in the label).
    """
    whole = per_picture.sum(0)
    each, own = iou(whole), dice(per_picture)[:, 1:]
    labelled = per_picture[:, 1:, TP] + per_picture[:, 1:, FN]
    claimed = per_picture[:, 1:, TP] + per_picture[:, 1:, FP]
    found = whole[:, TP].sum().double()
    return {
        **{name: float(metric(whole)) for name, metric in MONITORED.items()},
        "pixel_accuracy": float(found / (found + whole[:, FN].sum()).clamp(min=1)),
        "picture_dice": _zero(own.nanmean()),
        "neither": float(((labelled == 0) & (claimed == 0)).double().mean()),
        "false_regions": float(((labelled == 0) & (claimed > 0)).double().mean()),
        **{f"iou/{name}": _zero(value) for name, value in zip(names, each, strict=True)},
    }


def pseudo_values(per_picture: Tensor, metric: Callable[[Tensor], Tensor] = mean_iou) -> Tensor:
    """What every picture adds to a metric of pooled counts: its jackknife pseudo-value (Tukey 1958), without the bias.

    With m of all pictures, w_i of all but one, and their mean w: m + (N - 1) (w - w_i). Their mean is the metric, so
    that differences of two models may be paired by picture although the metric is a ratio of sums.

    Args:
        per_picture: [N, K, 3].
        metric: of summed counts [..., K, 3].

    Returns:
        float64 [N].
    """
    whole = per_picture.sum(0)
    without = metric(whole - per_picture)
    return metric(whole) + (len(per_picture) - 1) * (without.mean() - without)


def grouped_interval(
    per_picture: Tensor, groups: Sequence[int], metric: Callable[[Tensor], Tensor] = mean_iou, *, samples: int = 2000
) -> tuple[float, float]:
    """95 % bootstrap interval of a metric of pooled counts; whole groups are drawn, for slices of one are alike.

    Args:
        per_picture: [N, ...], counts that are summed: [N, K, 3] for a metric of classes.
        groups: of every picture (a patient, a stack).
        metric: of summed counts, with one dimension before them.
        samples: that are drawn.
    """
    members = sorted(set(groups))
    place = torch.tensor([members.index(group) for group in groups])
    summed = torch.zeros(len(members), *per_picture.shape[1:], dtype=torch.double)
    summed.index_add_(0, place, per_picture.double())
    generator = torch.Generator().manual_seed(0)
    draws = torch.randint(len(members), (samples, len(members)), generator=generator)
    times = torch.zeros(draws.shape, dtype=torch.double)
    times.scatter_add_(1, draws, torch.ones_like(times))
    values = metric((times @ summed.flatten(1)).unflatten(1, summed.shape[1:]))
    low, high = torch.quantile(values, torch.tensor([0.025, 0.975], dtype=torch.double))
    return float(low), float(high)


def _zero(value: Tensor) -> float:
    """0 where there was nothing to measure."""
    return float(value.nan_to_num(0.0))
