"""Percentile bootstrap over samples: how far a mean over so many samples can be trusted."""

import torch
from torch import Tensor


def bootstrap_interval(
    per_sample: Tensor, *, samples: int = 2000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap of a mean over samples: [N] per-sample values -> (low, high).

    Whole videos are drawn, because the segments of one video are not independent.
    """
    generator = torch.Generator().manual_seed(seed)
    values = per_sample.double()
    draws = torch.randint(len(values), (samples, len(values)), generator=generator)
    means = values[draws].mean(1)
    tail = (1 - level) / 2
    low, high = torch.quantile(means, torch.tensor([tail, 1 - tail], dtype=torch.double))
    return float(low), float(high)
