"""Random changes of training clouds, as Point-MAE's fine-tuning and Mantis make them."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Augmentation = Literal["subset", "shuffle", "rotate", "scale_translate", "jitter"]


def rotation(angles: Tensor, axis: int) -> Tensor:
    """Rotation matrices [B, 3, 3] about a coordinate axis, from angles [B] in radians."""
    sine, cosine = angles.sin(), angles.cos()
    matrix = torch.zeros(len(angles), 3, 3, device=angles.device)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix[:, axis, axis] = 1
    matrix[:, first, first] = matrix[:, second, second] = cosine
    matrix[:, first, second], matrix[:, second, first] = -sine, sine
    return matrix


def augment(
    points: Tensor, kinds: Sequence[str], *, count: int, up: int, generator: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    """Random copies of clouds [B, M, 3].

    Args:
        points: clouds; M > count only with `subset`.
        kinds: of `Augmentation`: `subset` (a random `count` of the points in a random order), `shuffle` (all of them in
            a random order: farthest point sampling begins at the first one, so a network that groups points has other
            centres), `rotate` (about the up axis), `scale_translate` (per axis by 2/3 to 3/2, then by up to 0.2),
            `jitter` (normal, 0.01, cut at 0.05).
        count: points to keep.
        up: the up axis.
        generator: of the CPU, so that numbers are the same on every device.

    Returns:
        Clouds [B, count, 3], and which points they are, int64 [B, count]; None where all stand in their places.
    """
    batch, rows = len(points), None

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    if {"subset", "shuffle"} & {*kinds}:
        rows = uniform(batch, points.shape[1]).argsort(1)[:, :count].to(points.device)
        points = points.gather(1, rows[..., None].expand(-1, -1, 3))
    if "rotate" in kinds:
        points = points @ rotation(uniform(batch) * 2 * math.pi, up).to(points)
    if "scale_translate" in kinds:
        scale = 2 / 3 + uniform(batch, 1, 3) * (3 / 2 - 2 / 3)
        points = points * scale.to(points) + ((uniform(batch, 1, 3) * 2 - 1) * 0.2).to(points)
    if "jitter" in kinds:
        points = points + (torch.randn(points.shape, generator=generator) * 0.01).clamp(-0.05, 0.05).to(points)
    return points, rows
