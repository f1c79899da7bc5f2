"""Relevance of texts to a segment, for TB-AVA: by what its tokens are trained to say, or by what is frozen.

`Shared` is for streams whose frozen encoder has something to say of a text before anything is trained:

    space        its pooled features lie in the space of the text tower (SigLIP, CLIP): their cosine to every anchor
    vocabulary   its own classifier knows names: their scores, carried to the anchors by what the names mean
                 (`zoo.backbones.vocabulary`)
"""

import math
from collections.abc import Collection, Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.backbones import vocabulary
from zoo.backbones.base import Backbone, TextEncoder
from zoo.backbones.vocabulary import Knowing
from zoo.ops.batch_norm import BatchNorm1d

STREAMS = ("vision", "audio")

STARTS = {"dot": 1.0, "cosine": 0.1, "shared": 1.0}
"""Temperature of every relevance where none is set."""

Way = Literal["space", "vocabulary"]


class Dot(nn.Sequential):
    """Relevance by the scaled product of normalised vectors, the reconstruction's first form.

    Class names share a large common part, and so do the means of GELU outputs: relevance is nearly uniform, and the
    summary of every sample nearly the mean anchor. It stays as an ablation.

    Args:
        text_dim: width d_t of the anchors.
        rank: r.
        temperature: tau.
    """

    def __init__(self, text_dim: int, rank: int, temperature: float) -> None:
        super().__init__(nn.Linear(text_dim, rank, bias=False), nn.LayerNorm(rank))
        self.scale = 1 / (temperature * rank**0.5)

    def bridge(self, anchors: Tensor) -> Tensor:
        """Anchors [K, d_t] -> P [K, r]."""
        out: Tensor = self(anchors)
        return out

    def logits(self, name: str, hidden: Tensor, bridge: Tensor) -> Tensor:
        """h [N, L, r] of a stream, P [K, r] -> [N, K]."""
        # Unnormalised, the mean of GELU outputs is so small that every text would be equally relevant.
        query = nn.functional.layer_norm(hidden.mean(1), bridge.shape[-1:])
        logits: Tensor = query @ bridge.T * self.scale
        return logits


class Bridge(nn.Module):
    """The anchors of a site, centred over the classes, and the cosine of centred queries to them.

    Args:
        text_dim: width d_t of the anchors.
        rank: r.
        widths: channels of every stream's queries, over which statistics are kept in training, so that a sample's
            answer does not depend on its batch.
    """

    def __init__(self, text_dim: int, rank: int, widths: Mapping[str, int]) -> None:
        super().__init__()
        self.project = nn.Linear(text_dim, rank, bias=False)
        self.queries = nn.ModuleDict({name: BatchNorm1d(width, affine=False) for name, width in widths.items()})

    def bridge(self, anchors: Tensor) -> Tensor:
        """Anchors [K, d_t] -> P [K, r], of mean square 1."""
        centred = nn.functional.normalize(anchors - anchors.mean(0), dim=-1)
        projected: Tensor = self.project(centred)
        # Not `normalize` alone: values of a unit vector of r channels would hardly move a gate.
        return nn.functional.normalize(projected, dim=-1) * math.sqrt(projected.shape[-1])

    def cosine(self, name: str, hidden: Tensor, bridge: Tensor) -> Tensor:
        """h [N, L, r] of a stream, P [K, r] -> [N, K]."""
        query: Tensor = nn.functional.normalize(self.queries[name](hidden.mean(1)), dim=-1)
        return query @ nn.functional.normalize(bridge, dim=-1).T


class Cosine(Bridge):
    """Relevance by the cosine of centred vectors at a learned temperature.

    Anchors are centred over the classes; queries over training, channel by channel.

    Args:
        text_dim: width d_t of the anchors.
        rank: r.
        temperature: tau at the start.
    """

    def __init__(self, text_dim: int, rank: int, temperature: float) -> None:
        super().__init__(text_dim, rank, dict.fromkeys(STREAMS, rank))
        self.log_temperature = nn.Parameter(torch.tensor(temperature).log())

    def logits(self, name: str, hidden: Tensor, bridge: Tensor) -> Tensor:
        """h [N, L, r] of a stream, P [K, r] -> [N, K]."""
        return self.cosine(name, hidden, bridge) / self.log_temperature.exp()


class Shared(Bridge):
    """Relevance by frozen similarities, at a learned temperature a stream.

    How far similarities lie apart differs a hundredfold between encoders. They are divided by their deviation over the
    classes, of which training keeps the mean over samples; so, at the temperature 1 where it starts, the logits of a
    typical sample deviate by 1, and relevance is neither uniform nor one-hot. One number scales all samples, so
    that those of which an encoder knows nothing keep a relevance near uniform. A stream that shares nothing with the
    text has the relevance of `Cosine`, at a temperature of its own.

    Args:
        text_dim: width d_t of the anchors.
        rank: r.
        temperature: tau of the shared streams at the start, in deviations.
        shared: streams that have similarities.
    """

    def __init__(self, text_dim: int, rank: int, temperature: float, shared: Collection[str]) -> None:
        super().__init__(text_dim, rank, {name: rank for name in STREAMS if name not in shared})
        # Cosines of a whole space may lie within hundredths of each other, whose square is near the usual epsilon.
        self.queries.update({name: BatchNorm1d(1, eps=1e-8, affine=False) for name in STREAMS if name in shared})
        starts = {name: temperature if name in shared else STARTS["cosine"] for name in STREAMS}
        self.log_temperatures = nn.ParameterDict(
            {name: nn.Parameter(torch.tensor(start).log()) for name, start in starts.items()}
        )

    def logits(self, name: str, hidden: Tensor, bridge: Tensor, similar: Tensor | None = None) -> Tensor:
        """h [N, L, r] of a stream, P [K, r], similarities [N, K] of a shared stream -> [N, K]."""
        if similar is None:
            logits = self.cosine(name, hidden, bridge)
        else:
            apart: Tensor = self.queries[name]((similar - similar.mean(-1, keepdim=True)).reshape(-1, 1))
            logits = apart.reshape(similar.shape)
        found: Tensor = logits / self.log_temperatures[name].exp()
        return found


Relevance = Dot | Cosine | Shared


def relevance_of(
    kind: str, text_dim: int, rank: int, temperature: float | None, shared: Collection[str] = ()
) -> Relevance:
    """The relevance of a site.

    Args:
        kind: `dot`, `cosine` or `shared`.
        text_dim: width d_t of the anchors.
        rank: r.
        temperature: tau at the start; None takes that of `STARTS`.
        shared: streams that have similarities.
    """
    start = temperature or STARTS[kind]
    if kind == "shared":
        return Shared(text_dim, rank, start, shared)
    return Dot(text_dim, rank, start) if kind == "dot" else Cosine(text_dim, rank, start)


def ways(encoders: Mapping[str, Backbone], text: TextEncoder) -> dict[str, Way]:
    """How every stream's encoder shares a space with this text tower, without the streams that do not."""
    found: dict[str, Way] = {}
    for name, encoder in encoders.items():
        if encoder.space and encoder.space == text.space and encoder.dim == text.dim:
            found[name] = "space"
        elif encoder.vocabulary:
            found[name] = "vocabulary"
    return found


def knowing(encoders: Mapping[str, Backbone], shared: Mapping[str, Way]) -> Knowing:
    """The encoders whose vocabulary tells relevance."""
    return Knowing({name: encoders[name] for name, way in shared.items() if way == "vocabulary"})


def similarities(
    encoders: Mapping[str, Backbone],
    shared: Mapping[str, Way],
    pooled: Mapping[str, Tensor],
    anchors: Tensor,
    words: Tensor,
) -> dict[str, Tensor]:
    """What frozen encoders say of every text, {stream: float32 [N, K]}.

    Args:
        encoders: by stream.
        shared: as `ways` found it.
        pooled: frozen features of the shared streams, [N, dim].
        anchors: [K, d_t].
        words: vectors of the vocabularies' names, [V, d_t], as `Knowing.words` orders them.
    """
    knows = knowing(encoders, shared)
    near = dict(zip(knows.encoders, knows.split(knows.near(words, anchors, words.mean(0))), strict=True))
    return {
        name: vocabulary.relevance(encoders[name].scores(pooled[name]).float(), near[name])
        if way == "vocabulary"
        else F.normalize(pooled[name].float(), dim=-1) @ anchors.T
        for name, way in shared.items()
    }
