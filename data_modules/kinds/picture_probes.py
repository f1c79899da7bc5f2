"""Interventions on a split of pictures: blank pictures, or a wrong or withheld scale."""

import math
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from zoo.batch import Picture, Question, SampleSet

GSD = "gsd"


class Probe(SampleSet[Picture]):
    """A split seen otherwise, to measure what a model takes its answers from.

    Args:
        samples: the split.
        rows: which of its samples, in which order; one may stand several times.
        gsd: replaces the right one, one a row; None keeps it.
        blank: show a grey picture of the same size.
    """

    def __init__(
        self, samples: SampleSet[Picture], rows: Sequence[int], *, gsd: Sequence[float] | None, blank: bool = False
    ) -> None:
        self.samples, self.rows, self.gsd, self.blank = samples, list(rows), gsd, blank

    def __len__(self) -> int:
        return len(self.rows)

    def id(self, index: int) -> str:
        """Name of the sample behind."""
        return self.samples.id(self.rows[index])

    def key(self, index: int) -> str:
        """Key of the original sample, marked if it is blank."""
        return ("blank " if self.blank else "") + self.samples.key(self.rows[index])

    def picture_size(self, index: int) -> tuple[int, int] | None:
        """Size of the original picture."""
        return self.samples.picture_size(self.rows[index])

    def target(self, index: int) -> dict[str, Tensor]:
        """As in the original sample."""
        return self.samples.target(self.rows[index])

    def conditions(self, index: int) -> dict[str, Tensor]:
        """Conditions of the original sample, with the replaced GSD."""
        right = self.samples.conditions(self.rows[index])
        return right if self.gsd is None else {**right, GSD: torch.tensor(self.gsd[index], dtype=torch.float32)}

    def question(self, index: int) -> Question | None:
        """As in the original sample."""
        return self.samples.question(self.rows[index])

    def __getitem__(self, index: int) -> Picture:
        sample = replace(self.samples[self.rows[index]], conditions=self.conditions(index))
        if not self.blank:
            return sample
        return replace(sample, images=tuple(np.full_like(image, 128) for image in sample.images))


def probes(samples: SampleSet[Picture], conditions: Collection[str]) -> dict[str, SampleSet[Picture]]:
    """The probes of a test split.

    `blank_image` for questions. For methods that use a known GSD: `wrong_gsd`, three copies of the split, each with the
    GSD of another sample a quarter of the ranking further on, and `unknown_gsd`. Four equally frequent scales are
    thereby exchanged in a circle; a copy that would get its own GSD is left out.
    """
    every = range(len(samples))
    found: dict[str, SampleSet[Picture]] = {}
    if samples.question(0) is not None:
        found["blank_image"] = Probe(samples, every, gsd=None, blank=True)
    if GSD not in conditions:
        return found
    gsds = [float(samples.conditions(i)[GSD]) for i in every]
    known = sorted((i for i in every if not math.isnan(gsds[i])), key=lambda i: (gsds[i], samples.id(i)))
    ranking = [gsds[i] for i in known]
    shifted = [
        (i, ranking[(rank + quarter * len(known) // 4) % len(known)])
        for quarter in (1, 2, 3)
        for rank, i in enumerate(known)
    ]
    if wrong := [(i, gsd) for i, gsd in shifted if gsd != gsds[i]]:
        found["wrong_gsd"] = Probe(samples, [i for i, _ in wrong], gsd=[gsd for _, gsd in wrong])
    if known:
        found["unknown_gsd"] = Probe(samples, every, gsd=[math.nan] * len(samples))
    return found
