"""Losses of masks of single objects, each against everything else."""

import torch
from torch import Tensor
from torch.nn import functional as F


def binary(logits: Tensor, truth: Tensor, valid: Tensor, focal: float = 0.0) -> Tensor:
    """Mean cross entropy over valid pixels, of every object; with `focal` > 0 each pixel's times (1 - p)^focal, p being
    the probability of what is right there (Lin et al. 2017, arXiv 1708.02002, without their balance of classes).

    Args:
        logits: [B, K, H, W].
        truth: bool [B, K, H, W].
        valid: bool [B, K, H, W].
        focal: the exponent.

    Returns:
        [B, K]; 0 of one without valid pixels.
    """
    each = F.binary_cross_entropy_with_logits(logits, truth.to(logits.dtype), reduction="none")
    if focal:
        each = each * (1 - torch.exp(-each)) ** focal
    return (each * valid).flatten(2).sum(2) / valid.flatten(2).sum(2).clamp(min=1)


def soft_dice(probabilities: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """1 - Dice of probabilities over valid pixels, of every object: arguments and result as of `binary`."""
    given, wanted = probabilities * valid, truth & valid
    together = (given * wanted).flatten(2).sum(2)
    return 1 - (2 * together + 1) / (given.flatten(2).sum(2) + wanted.flatten(2).sum(2) + 1)
