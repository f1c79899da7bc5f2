"""Interventions on a split of clips: without sound, without pictures, with another clip's sound, and with noise."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from torch import Tensor

from zoo.batch import Clip, SampleSet

MOST = 64
"""Clips of a split that are probed, drawn where there are more: their frozen features are computed anew."""

NOISE = (10, 0)
"""Decibels by which the sound lies above white noise that is added."""

GREY = 128

Spoil = Callable[[Clip, Clip], Clip]
"""A clip, and the next one of the probe, as it is shown."""


class ClipProbe(SampleSet[Clip]):
    """Clips of a split seen or heard otherwise.

    Args:
        samples: the split.
        rows: which of its clips, in which order.
        name: of the probe.
        spoil: makes of a clip what is shown of it; labels stay.
    """

    def __init__(self, samples: SampleSet[Clip], rows: Sequence[int], name: str, spoil: Spoil) -> None:
        self.samples, self.rows, self.name, self.spoil = samples, list(rows), name, spoil

    def __len__(self) -> int:
        return len(self.rows)

    def _next(self, index: int) -> int:
        return self.rows[(index + 1) % len(self.rows)]

    def id(self, index: int) -> str:
        """Name of the clip."""
        return self.samples.id(self.rows[index])

    def key(self, index: int) -> str:
        """Key of the clip and of the one whose sound it may have, with the probe's name."""
        return f"{self.name} {self.samples.key(self.rows[index])} {self.samples.key(self._next(index))}"

    def target(self, index: int) -> dict[str, Tensor]:
        """As in the original clip."""
        return self.samples.target(self.rows[index])

    def conditions(self, index: int) -> dict[str, Tensor]:
        """As of the original clip."""
        return self.samples.conditions(self.rows[index])

    def __getitem__(self, index: int) -> Clip:
        return self.spoil(self.samples[self.rows[index]], self.samples[self._next(index)])


def silent(clip: Clip, _: Clip) -> Clip:
    """Without sound."""
    return replace(clip, audio=np.zeros_like(clip.audio))


def blank(clip: Clip, _: Clip) -> Clip:
    """Grey pictures of the same size."""
    return replace(clip, frames=np.full_like(clip.frames, GREY))


def dubbed(clip: Clip, other: Clip) -> Clip:
    """With another clip's sound."""
    return replace(clip, audio=other.audio)


def noisy(clip: Clip, _: Clip, *, decibels: float) -> Clip:
    """With white noise, `decibels` below the mean power of its sound; the same noise in every reading."""
    noise = np.random.default_rng(zlib.crc32(clip.id.encode())).normal(size=clip.audio.shape)
    level = np.sqrt(np.mean(np.square(clip.audio, dtype=np.float64)) / 10 ** (decibels / 10))
    return replace(clip, audio=np.clip(clip.audio + level * noise, -1, 1).astype(np.float32))


def probes(samples: SampleSet[Clip], *, sound_alone: bool = False) -> dict[str, SampleSet[Clip]]:
    """`silence`, `blank_pictures`, `other_sound` (where there are two clips), `noise_10_db` and `noise_0_db`; of sound
    alone `silence` and noise.

    The order is drawn, so that another clip is seldom of the same class.
    """
    rows = np.random.default_rng(0).permutation(len(samples))[:MOST].tolist()
    spoils: dict[str, Spoil] = {"silence": silent}
    if not sound_alone:
        spoils["blank_pictures"] = blank
        spoils |= {"other_sound": dubbed} if len(rows) > 1 else {}
    spoils |= {f"noise_{decibels}_db": partial(noisy, decibels=decibels) for decibels in NOISE}
    return {name: ClipProbe(samples, rows, name, spoil) for name, spoil in spoils.items()}
