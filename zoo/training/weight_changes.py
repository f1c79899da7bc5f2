"""How large the changes of frozen weights are beside the weights.

How far an adapter may move a model from what it knew is bounded by these norms (Koubbi et al., arXiv 2402.15415: of
LoRA on the matrices of an attention).
"""

import torch
from torch import Tensor

from zoo.errors import SettingError
from zoo.methods.deltas import Delta, by_place, frozen_tensor
from zoo.pairing import Pairing

ROUNDS = 50
"""Of power iteration; a largest singular value that stands out by a tenth is then found to four digits."""


def weight_changes(pairing: Pairing) -> dict[str, dict[str, dict[str, float]]]:
    """By backbone and path of the layer, `frobenius` and `spectral`: norms of the change over those of the weight.

    Nothing of a method that cannot be folded into frozen weights, or that needs to be told a side input for it, and of
    quantised layers.
    """
    try:
        deltas = pairing.method.deltas()
    except SettingError:
        return {}
    found = {
        name: {path: one for path, delta in own.items() if (one := ratios(delta))}
        for name, own in by_place(pairing.backbones, deltas).items()
    }
    return {name: own for name, own in found.items() if own}


@torch.no_grad()
def ratios(delta: Delta) -> dict[str, float]:
    """Both norms of the change of one weight over those of the weight; nothing of a quantised or unchanged one."""
    weight = frozen_tensor(delta.layer, delta.weight)
    if not weight.is_floating_point() or (change := delta.dense().get(delta.weight)) is None:
        return {}
    before = weight.float().reshape(len(weight), -1)
    after = change.to(weight.device).float().reshape(len(weight), -1)
    return {"frobenius": float(after.norm() / before.norm()), "spectral": largest(after) / largest(before)}


def largest(matrix: Tensor) -> float:
    """The largest singular value of [m, n], by power iteration from one start."""
    vector = torch.randn(matrix.shape[1], generator=torch.Generator().manual_seed(0)).to(matrix.device)
    for _ in range(ROUNDS):
        vector = matrix.T @ (matrix @ vector)
        vector = vector / vector.norm().clamp(min=1e-30)
    return float((matrix @ vector).norm())
