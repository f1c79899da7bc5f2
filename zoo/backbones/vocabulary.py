"""What encoders know of classes by the names of their own vocabularies.

An encoder with a vocabulary gives its names n the scores p(n) of a picture or sound. A class k is told by the names
that are close to it in meaning, in the space of a text tower's vectors:

    relevance(k) = log sum over n of p(n) w(n, k),    w(., k) = softmax over n of cos(n - c, k - c) / tau

with c the mean vector of all names: short texts share most of what a text tower makes of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.backbones.base import Backbone

MEANING = 0.1
"""tau where none is set."""

SMALLEST = 1e-6
"""Relevance below it counts as this: the logarithm of a sound in which no name is heard."""


@dataclass(frozen=True)
class Knowing:
    """Encoders with a vocabulary by stream: the pairing's own, which no task or method saves or counts as its part."""

    encoders: Mapping[str, Backbone]

    @property
    def words(self) -> list[str]:
        """Their names, one vocabulary behind the other."""
        return [name for encoder in self.encoders.values() for name in encoder.vocabulary]

    def split(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Rows [sum of V, ...] by encoder."""
        return rows.split([len(encoder.vocabulary) for encoder in self.encoders.values()]) if self.encoders else ()

    def near(self, vocabulary: Tensor, classes: Tensor, centre: Tensor, tau: float = MEANING) -> Tensor:
        """w: how much every name of an encoder tells of every class, among the names of that encoder.

        Args:
            vocabulary: vectors of `words`, [sum of V, d].
            classes: vectors of the classes, [K, d].
            centre: c, [d].
            tau: of meaning.

        Returns:
            [sum of V, K].
        """
        cosine = F.normalize(vocabulary - centre, dim=-1) @ F.normalize(classes - centre, dim=-1).T / tau
        return torch.cat([part.softmax(0) for part in self.split(cosine)]) if len(cosine) else cosine


def relevance(scores: Tensor, near: Tensor) -> Tensor:
    """Scores of names [..., V] and w [V, K] -> log relevance of the classes [..., K]."""
    return (scores @ near).clamp(min=SMALLEST).log()
