"""Percentile bootstrap over videos: how far a mean over so many videos can be trusted."""

import torch
from torch import Tensor


def bootstrap_interval(
    per_video: Tensor, *, samples: int = 2000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap of a mean over videos: [N] per-video values -> (low, high).

    Whole videos are drawn, because the segments of one video are not independent.
    """
    generator = torch.Generator().manual_seed(seed)
    values = per_video.double()
    draws = torch.randint(len(values), (samples, len(values)), generator=generator)
    means = values[draws].mean(1)
    tail = (1 - level) / 2
    low, high = torch.quantile(means, torch.tensor([tail, 1 - tail], dtype=torch.double))
    return float(low), float(high)
