"""One place where TB-AVA's two streams meet through text: adapters, relevance of every text, gates."""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from zoo.backbones.base import Backbone, tap
from zoo.errors import SettingError
from zoo.methods.signals import Signal
from zoo.methods.tb_ava_relevance import STREAMS, Relevance, Shared

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


class Site(nn.Module):
    """One place where the two streams meet through text.

    Args:
        dims: token width of each stream here.
        rank: bottleneck width r.
        relevance: makes that of every text; None without GSM.
        direction: which stream hears the other; a stream that does not hears its own summary twice.

    Attributes:
        logits: of the last forward's relevance, {stream: [N, K]}; none without GSM.
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        rank: int,
        relevance: Callable[[], Relevance] | None,
        direction: str,
    ) -> None:
        super().__init__()
        adapters = {name: StreamAdapter(dims[name], rank, gate=relevance is not None) for name in STREAMS}
        self.streams = cast(Mapping[str, StreamAdapter], nn.ModuleDict(adapters))
        self.text = relevance() if relevance is not None else None
        self.messages = {name: Signal() for name in STREAMS}
        self.listens = {
            "vision": direction in ("both", "audio_to_vision"),
            "audio": direction in ("both", "vision_to_audio"),
        }
        self.logits: dict[str, Tensor] = {}

    def forward(
        self, tokens: Mapping[str, Tensor], anchors: Tensor, segments: int, similar: Mapping[str, Tensor] | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Adapted tokens, and gates {stream: [N, r]} (none without GSM).

        Args:
            tokens: {stream: [N, L, D]}.
            anchors: [K, d_t].
            segments: T consecutive rows of the N belong to one sample.
            similar: frozen similarities to every text of the streams that have some, [N, K]; for `Shared`.
        """
        hidden = {name: self.streams[name].bottleneck(tokens[name]) for name in STREAMS}
        summary: dict[str, Tensor] = {}
        if self.text is not None:
            bridge = self.text.bridge(anchors)
            self.logits = {name: self._relevant(name, hidden[name], bridge, similar or {}) for name in STREAMS}
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

    def _relevant(self, name: str, hidden: Tensor, bridge: Tensor, similar: Mapping[str, Tensor]) -> Tensor:
        """Logits of every text's relevance [N, K]."""
        if isinstance(self.text, Shared):
            return self.text.logits(name, hidden, bridge, similar.get(name))
        assert self.text is not None
        return self.text.logits(name, hidden, bridge)


class Walk:
    """One stream's tokens on their way through its blocks, and what is kept of them for maps.

    A tap is taken when the walk leaves the place behind its block, so that what a site there adds is in it.

    Args:
        name: of the stream.
        backbone: of the stream.
        prefix: tokens {name: [B, T, L, D]} after `at` blocks, beside those of maps that precede them.
        at: blocks that the tokens have passed.
        maps: that are read of the stream, by the blocks before them; () for pooled features.

    Attributes:
        tokens: [N, L, D].
    """

    def __init__(
        self, name: str, backbone: Backbone, prefix: Mapping[str, Tensor], at: int, maps: Sequence[int]
    ) -> None:
        self.name, self.backbone, self.at, self.maps = name, backbone, at, tuple(maps)
        self.tokens = prefix[name].flatten(0, 1)
        self.taps = {after: prefix[tap(name, after)].flatten(0, 1) for after in self.maps if after < at}

    def to(self, stop: int) -> Tensor:
        """Tokens after so many blocks."""
        blocks = self.backbone.blocks
        while self.at < stop:
            self._tap()
            self.tokens = blocks[self.at](self.tokens)
            self.at += 1
        return self.tokens

    def features(self) -> dict[str, Tensor]:
        """Pooled features {name: [N, dim]}, or maps {name@after: [N, width, H, W]}; the walk goes no further."""
        self.to(max(self.maps) if self.maps else self.backbone.depth)
        self._tap()
        if self.maps:
            return {tap(self.name, after): each for after, each in self.backbone.maps(self.taps).items()}
        return {self.name: self.backbone.pool(self.backbone.finish(self.tokens))}

    def _tap(self) -> None:
        if self.at in self.maps:
            self.taps[self.at] = self.tokens


def place(sites: dict[str, list[int]] | None, depths: Mapping[str, int], last: int | None) -> dict[str, list[int]]:
    """Where adapters act: block counts by stream, as many entries for either stream.

    Raises:
        SettingError: unequal lists, an entry outside 1..depth, not increasing, or `last` out of range.
    """
    count = min(depths.values())
    chosen = sites or {name: [-(-(i + 1) * depth // count) for i in range(count)] for name, depth in depths.items()}
    for name, depth in depths.items():
        after = chosen.get(name)
        if not after or sorted(set(after)) != after or after[0] < 1 or after[-1] > depth:
            raise SettingError(
                f"method.sites.{name} = {after}: expected increasing block counts between 1 and {depth}, "
                f"the depth of the {name} backbone"
            )
    lengths = {name: len(chosen[name]) for name in depths}
    if len(set(lengths.values())) != 1:
        raise SettingError(
            f"method.sites pairs the streams one to one, so its lists must be equally long; got {lengths}"
        )
    total = next(iter(lengths.values()))
    if last is not None and not 1 <= last <= total:
        raise SettingError(f"method.last = {last}: expected 1 to {total}, the number of sites")
    return {name: chosen[name][-last:] if last else chosen[name] for name in depths}
