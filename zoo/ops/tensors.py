"""Comparison of the names and shapes of two sets of tensors."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def mismatches(own: Mapping[str, "Tensor"], state: Mapping[str, "Tensor"]) -> dict[str, str]:
    """By name, what is wrong with a tensor: missing, unexpected or of another shape.

    Args:
        own: the expected tensors.
        state: the tensors to compare with them.
    """
    problems = {name: f"missing {name}" for name in own if name not in state}
    problems |= {name: f"unexpected {name}" for name in state if name not in own}
    shapes = {name: (list(state[name].shape), list(own[name].shape)) for name in own if name in state}
    return problems | {n: f"{n} has shape {a}, expected {b}" for n, (a, b) in shapes.items() if a != b}
