"""How far a mean over samples can be trusted: Wilson's interval of a share, a percentile bootstrap otherwise."""

import torch
from torch import Tensor

from zoo.metrics.wilson import wilson


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


def mean_interval(per_sample: Tensor, *, whole: float = 1.0) -> tuple[float, float]:
    """95 % interval of a mean over samples: [N] per-sample values -> (low, high).

    Where every sample is right or wrong, or all are equally right, a bootstrap tells too little: nine right ones of
    nine would be 100 to 100 %. Wilson's interval is taken there.

    Args:
        per_sample: from 0 to `whole`.
        whole: what a sample counts that is wholly right.
    """
    shares = per_sample.double() / whole
    if bool(((shares == 0) | (shares == 1)).all()):
        low, high = wilson(float(shares.mean()), len(shares))
        return low * whole, high * whole
    return bootstrap_interval(per_sample)
