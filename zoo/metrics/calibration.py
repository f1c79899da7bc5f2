"""Calibration of class probabilities: do they say how often they are right? And the temperature that mends them.

    NLL    mean over samples of -ln p_y, in nats
    Brier  mean over samples of sum_k (p_k - [k = y])^2: summed over the classes, so between 0 and 2 (Brier, 1950)
    ECE    sum over bins of the likeliest class's probability: share of the samples in it times |accuracy - mean
           probability| (Naeini et al., AAAI 2015; Guo et al., ICML 2017, arXiv 1706.04599, equation 3)

All three are lower for better probabilities. NLL and Brier are proper: nothing but the true probabilities makes them
least. ECE alone is not: whoever gives every sample the classes' shares has an ECE of 0 and tells nothing apart, so that
it is read beside the other two.

Bins are of one width, (lo, hi] as in Guo et al.: a probability on an edge belongs to the bin below, 0 to the first and
1 to the last. Float32 has few of the edges exactly: .8 is stored as .800000012, above its edge.

Temperature scaling (Guo et al., section 4.2) divides the logits by one number T, fitted on validation by NLL. It
changes no decision, and is the control that stands beside every claim of better uncertainty. It is computed from
probabilities: softmax(ln p / T) is softmax(logits / T).
"""

import torch
from torch import Tensor

BINS = (15, 20)
"""Most papers count 15 bins; Bayesian ones often 20."""

LEAST = torch.finfo(torch.float32).tiny
"""Probabilities of a label below this count as this: 87.3 nats. A softmax in float32 may give 0."""

WIDEST = 20.0
"""Temperatures are sought between its inverse and it: a validation split without mistakes would want 0."""


def scores(probabilities: Tensor, labels: Tensor) -> dict[str, float]:
    """`nll`, `brier`, `ece_15` and `ece_20` of a whole split, however it was batched.

    Args:
        probabilities: [N, K], every row adds up to 1.
        labels: int64 [N].

    Raises:
        ValueError: these are not their shapes.
    """
    own = _of_labels(probabilities, labels)
    brier = probabilities.square().sum(-1, dtype=torch.double) - 2 * own + 1
    return {
        "nll": _surprise(own).mean().item(),
        "brier": brier.mean().item(),
        **{f"ece_{count}": ece(probabilities, labels, count) for count in BINS},
    }


def reliability(probabilities: Tensor, labels: Tensor, bins: int) -> tuple[Tensor, Tensor, Tensor]:
    """By bin of the likeliest class's probability: samples int64 [bins], how many of them are right in [0, 1] and their
    mean probability, both float64 [bins] and NaN where no sample falls.

    Args:
        probabilities: [N, K]; of classes that are equally likely the first one counts.
        labels: int64 [N].
        bins: how many, all of one width.
    """
    top, likeliest = probabilities.max(-1)
    edges = torch.arange(1, bins + 1, dtype=torch.double, device=top.device) / bins
    place = torch.bucketize(top.double(), edges).clamp(max=bins - 1)  # a row may add up to a rounding more than 1
    count = place.bincount(minlength=bins)
    right, total = (
        place.bincount(weights=values.double(), minlength=bins) for values in (likeliest == labels, top.double())
    )
    return count, right / count, total / count


def ece(probabilities: Tensor, labels: Tensor, bins: int) -> float:
    """Expected calibration error over so many bins, in [0, 1]."""
    count, accuracy, confidence = reliability(probabilities, labels, bins)
    gaps = (accuracy - confidence).abs().nan_to_num()
    return (count / count.sum() * gaps).sum().item()


def at_temperature(probabilities: Tensor, temperature: float) -> Tensor:
    """softmax(ln p / T), float64 [N, K]; what is impossible (0) stays so."""
    return (probabilities.double().log() / temperature).softmax(-1)


def temperature(probabilities: Tensor, labels: Tensor) -> float:
    """The temperature of the least NLL, between 1 / `WIDEST` and `WIDEST`; 1 where none is better.

    NLL is convex in 1 / T: its slope, the mean of E_p[ln p] - ln p_y under p at that temperature, has one root.

    Args:
        probabilities: of validation, [N, K].
        labels: int64 [N].
    """
    from scipy.optimize import brentq  # a tenth of a second that predictions do not need

    known = _of_labels(probabilities, labels) >= LEAST  # the others cost the same at every temperature
    logs = probabilities[known].double().log()
    own = logs.gather(-1, labels[known, None])[:, 0]
    finite = logs.masked_fill(logs.isinf(), 0.0)  # their probability is 0

    def slope(inverse: float) -> float:
        expected = ((logs * inverse).softmax(-1) * finite).sum(-1)
        return (expected - own).mean().item()

    if len(own) == 0 or abs(slope(1.0)) < 1e-12:
        return 1.0
    if slope(1 / WIDEST) >= 0:
        return WIDEST
    if slope(WIDEST) <= 0:
        return 1 / WIDEST
    return 1 / float(brentq(slope, 1 / WIDEST, WIDEST))


def _of_labels(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Probabilities of the labels, float64 [N]."""
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise ValueError(
            f"probabilities {list(probabilities.shape)} and labels {list(labels.shape)}: expected [N, K] and [N]"
        )
    return probabilities.gather(-1, labels[:, None])[:, 0].double()


def _surprise(own: Tensor) -> Tensor:
    """-ln p, [N]."""
    return -own.clamp(min=LEAST).log()
