"""One place where TB-AVA's two streams meet through text: adapters, relevance of every text, gates."""

import math
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from zoo.methods.signals import Signal
from zoo.ops.batch_norm import BatchNorm1d

STREAMS = ("vision", "audio")

OTHER = {"vision": "audio", "audio": "vision"}


class StreamAdapter(nn.Module):
    """The half of one site that adapts one stream: LN, down, GSM, up.

    Args:
        dim: token width D of the stream at this site.
        rank: bottleneck width r.
        gate: whether GSM acts; without it `z = h`, a plain bottleneck adapter that hears no text.
    """

    def __init__(self, dim: int, rank: int, *, gate: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.down = nn.Linear(dim, rank)
        self.up = nn.Linear(rank, dim, bias=False)
        nn.init.zeros_(self.up.weight)
        self.gate = nn.Linear(2 * rank, rank) if gate else None
        self.shift = nn.Linear(rank, rank) if gate else None
        self.opened = Signal(span=(0.0, 1.0))

    def bottleneck(self, tokens: Tensor) -> Tensor:
        """[N, L, D] -> h [N, L, r]."""
        return nn.functional.gelu(self.down(self.norm(tokens)))

    def openness(self, own: Tensor, other: Tensor) -> Tensor:
        """Summaries c_m, c_m' [N, r] -> gate g [N, r] in (0, 1)."""
        assert self.gate is not None
        return torch.sigmoid(self.gate(torch.cat([own, other], dim=-1)))

    def delta(
        self, hidden: Tensor, summaries: tuple[Tensor, Tensor] | None, segments: int
    ) -> tuple[Tensor, Tensor | None]:
        """h [N, L, r] and (c_m, c_m') -> what is added to the tokens [N, L, D], and the gate [N, r]."""
        if self.shift is None or summaries is None:
            return self.up(hidden), None
        own, other = summaries
        gate = self.opened(self.openness(own, other), segments)
        modulation = 1 + gate * torch.tanh(self.shift(other))  # [N, r]
        return self.up(hidden * modulation[:, None]), gate


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


class Cosine(nn.Module):
    """Relevance by the cosine of centred vectors at a learned temperature.

    Anchors are centred over the classes; queries over training, channel by channel, so that a sample's answer does not
    depend on its batch.

    Args:
        text_dim: width d_t of the anchors.
        rank: r.
        temperature: tau at the start.
    """

    def __init__(self, text_dim: int, rank: int, temperature: float) -> None:
        super().__init__()
        self.project = nn.Linear(text_dim, rank, bias=False)
        self.queries = nn.ModuleDict({name: BatchNorm1d(rank, affine=False) for name in STREAMS})
        self.log_temperature = nn.Parameter(torch.tensor(temperature).log())

    def bridge(self, anchors: Tensor) -> Tensor:
        """Anchors [K, d_t] -> P [K, r], of mean square 1."""
        centred = nn.functional.normalize(anchors - anchors.mean(0), dim=-1)
        projected: Tensor = self.project(centred)
        # Not `normalize` alone: values of a unit vector of r channels would hardly move a gate.
        return nn.functional.normalize(projected, dim=-1) * math.sqrt(projected.shape[-1])

    def logits(self, name: str, hidden: Tensor, bridge: Tensor) -> Tensor:
        """h [N, L, r] of a stream, P [K, r] -> [N, K]."""
        query: Tensor = nn.functional.normalize(self.queries[name](hidden.mean(1)), dim=-1)
        return query @ nn.functional.normalize(bridge, dim=-1).T / self.log_temperature.exp()


RELEVANCE: Mapping[str, type[Dot] | type[Cosine]] = {"dot": Dot, "cosine": Cosine}


class Site(nn.Module):
    """One place where the two streams meet through text.

    Args:
        dims: token width of each stream here.
        text_dim: width d_t of the anchors.
        rank: bottleneck width r.
        relevance: `dot` or `cosine`.
        temperature: tau of the relevance softmax.
        direction: which stream hears the other; a stream that does not hears its own summary twice.
        gate: see `StreamAdapter`.

    Attributes:
        logits: of the last forward's relevance, {stream: [N, K]}; none without GSM.
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        text_dim: int,
        *,
        rank: int,
        relevance: str,
        temperature: float,
        direction: str,
        gate: bool,
    ) -> None:
        super().__init__()
        adapters = {name: StreamAdapter(dims[name], rank, gate=gate) for name in STREAMS}
        self.streams = cast(Mapping[str, StreamAdapter], nn.ModuleDict(adapters))
        self.text: Dot | Cosine | None = RELEVANCE[relevance](text_dim, rank, temperature) if gate else None
        self.messages = {name: Signal() for name in STREAMS}
        self.listens = {
            "vision": direction in ("both", "audio_to_vision"),
            "audio": direction in ("both", "vision_to_audio"),
        }
        self.logits: dict[str, Tensor] = {}

    def forward(
        self, tokens: Mapping[str, Tensor], anchors: Tensor, segments: int
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Adapted tokens, and gates {stream: [N, r]} (none without GSM).

        Args:
            tokens: {stream: [N, L, D]}.
            anchors: [K, d_t].
            segments: T consecutive rows of the N belong to one sample.
        """
        hidden = {name: self.streams[name].bottleneck(tokens[name]) for name in STREAMS}
        summary: dict[str, Tensor] = {}
        if self.text is not None:
            bridge = self.text.bridge(anchors)
            self.logits = {name: self.text.logits(name, hidden[name], bridge) for name in STREAMS}
            summary = {name: torch.softmax(self.logits[name], dim=-1) @ bridge for name in STREAMS}
        adapted: dict[str, Tensor] = {}
        gates: dict[str, Tensor] = {}
        for name in STREAMS:
            pair = None
            if summary:
                heard = summary[OTHER[name] if self.listens[name] else name]
                pair = summary[name], self.messages[name](heard, segments)
            delta, gate = self.streams[name].delta(hidden[name], pair, segments)
            adapted[name] = tokens[name] + delta
            if gate is not None:
                gates[name] = gate.detach()
        return adapted, gates
