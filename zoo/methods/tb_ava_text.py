"""What TB-AVA makes of a text tower: vectors of names in prompts, and such that lost their meaning."""

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.backbones.base import TextEncoder
from zoo.backbones.embedded import embedded

BACKGROUND = "background, nothing happens"

TOGETHER = 64
"""Names of a vocabulary that go through the text tower at a time."""


def anchors(text: TextEncoder, classes: Sequence[str], templates: Sequence[str]) -> Tensor:
    """Classes in prompts, and the background, which has none, [K + 1, d_t]."""
    rows = [[template.format(name.replace("_", " ")) for template in templates] for name in classes]
    return _means(text, [*rows, [BACKGROUND] * len(templates)])


def named(text: TextEncoder, names: Sequence[str], templates: Sequence[str]) -> Tensor:
    """Names of a vocabulary in the prompts of classes, [V, d_t].

    Those of a length go through the tower together: it fills up the shorter ones of a batch, and ImageNet's longest
    names are ten times the others.
    """
    found = torch.empty(len(names), text.dim)
    order = sorted(range(len(names)), key=lambda place: len(names[place]))
    for start in range(0, len(order), TOGETHER):
        part = order[start : start + TOGETHER]
        found[part] = _means(text, [[template.format(names[place]) for template in templates] for place in part])
    return found


def _means(text: TextEncoder, rows: Sequence[Sequence[str]]) -> Tensor:
    """Mean vectors of rows of prompts, [N, d_t]; not of unit norm."""
    flat = embedded(text, [prompt for row in rows for prompt in row])
    return flat.reshape(len(rows), len(rows[0]), -1).mean(1)


def mean(vectors: Tensor) -> Tensor:
    """The mean of the anchors in the place of each: [K, d_t] -> [K, d_t]."""
    return vectors.mean(0, keepdim=True).expand_as(vectors)


def shuffled(vectors: Tensor, seed: int) -> Tensor:
    """Anchors [K, d_t] with their coordinates in another order, another one in each: lengths stay, meaning goes."""
    order = torch.rand(vectors.shape, generator=torch.Generator().manual_seed(seed)).argsort(-1)
    return vectors.cpu().gather(-1, order).to(vectors.device)
