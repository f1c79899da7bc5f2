"""The types that travel from a data module to a pairing: a decoded sample (`Clip`, `Cloud`), then a collated `Batch`.

A data module yields samples (plain numpy, as decoded). The frozen backbones' own transforms turn a sample into one
tensor per stream, and those are stacked. Nothing here knows a data set or a model.
"""

from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Clip:
    """One decoded audio-visual sample cut into T segments.

    Attributes:
        id: unique within its data set; the prefix cache and every report use it.
        frames: uint8 [T, H, W, 3] RGB, one picture per segment (taken at the segment's centre).
        audio: float32 [T, S] mono in [-1, 1], one window per segment, cut exactly at the segment borders.
        sample_rate: of `audio`, in Hz.
        target: label tensors by name, e.g. `{"segments": int64 [T]}`; what a task reads is in the task's docstring.
    """

    id: str
    frames: np.ndarray
    audio: np.ndarray
    sample_rate: int
    target: dict[str, Tensor]


@dataclass(frozen=True)
class Cloud:
    """One point cloud: a sample of a single segment (T = 1).

    Attributes:
        id: unique within its data set; the prefix cache and every report use it.
        points: float32 [N, 3].
        target: label tensors by name, e.g. `{"label": int64 []}` or `{"parts": int64 [N]}`.
        conditions: what a task is told beside the points, e.g. `{"category": int64 []}`.
    """

    id: str
    points: np.ndarray
    target: dict[str, Tensor]
    conditions: dict[str, Tensor] = field(default_factory=dict)


Sample = TypeVar("Sample", covariant=True)


class SampleSet(Protocol[Sample]):
    """A map-style data set. `key` names a sample without decoding it, so that a cache can be asked first."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def id(self, index: int) -> str:
        """Name of sample `index`, the `id` of what is decoded."""
        ...

    def key(self, index: int) -> str:
        """Content identity of sample `index`: changes when its media, or the way they are cut, change."""
        ...

    def target(self, index: int) -> dict[str, Tensor]:
        """Labels of sample `index`, without decoding its media."""
        ...

    def conditions(self, index: int) -> dict[str, Tensor]:
        """Side inputs of sample `index`; most sets have none."""
        return {}


@dataclass
class Batch:
    """A collated batch of B samples of T segments each; a point cloud is one segment.

    Attributes:
        ids: B sample ids.
        inputs: transformed tensors by stream, [B, T, ...]; empty when every sample came from the prefix cache.
        prefix: cached tokens by stream, [B, T, L, D]; empty when `inputs` is filled.
        keys: B cache keys, or empty when the samples must not be cached.
        target: label tensors by name, [B, ...].
        conditions: named side inputs (an object's category, for instance), [B, ...].
    """

    ids: list[str]
    inputs: dict[str, Tensor]
    target: dict[str, Tensor]
    prefix: dict[str, Tensor] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    conditions: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)


def stack(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Stack a list of per-sample dictionaries of equal keys and shapes into one dictionary of [B, ...] tensors."""
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]} if rows else {}
