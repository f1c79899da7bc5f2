"""TB-AVA: audio and vision adapters that speak to each other through text (arXiv 2605.11572).

A *reconstruction from the abstract and a secondary summary*: neither the full text nor code was to be had. Theirs, by
those sources: frozen encoders, class-name text as the only bridge between the streams, and Gated Semantic Modulation
(GSM), a channel gate that text controls. Ours: every formula, width, place and initialisation below. For stream m and
the other stream m', at one site with tokens x [N, L, D], anchors T [K, d_t] and rank r:

    h_m  = act(LN(x_m) W_down^m)                                  bottleneck              [N, L, r]
    P    = LN(T W_t)                                              anchors of this site    [K, r]
    s_m  = softmax(<LN(mean_L(h_m)), P> / (tau sqrt(r)))          relevance of each text  [N, K]
    c_m  = s_m P                                                  semantic summary        [N, r]
    g_m  = sigmoid(W_g^m [c_m ; c_m'] + b_g^m)                    the gate                [N, r]
    x_m <- x_m + (h_m * (1 + g_m * tanh(W_s^m c_m'))) W_up^m      with W_up = 0 at start

so that the attached model equals the frozen backbones exactly at step 0. No audio token ever meets a picture token:
what crosses is a mixture of text anchors. The anchors enter as a set, so permuting which class owns which anchor
changes nothing; the `shuffled` control therefore permutes the coordinates inside each anchor.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, cast

import torch
from torch import Tensor, nn

from zoo.backbones.base import TextEncoder
from zoo.backbones.embedded import embedded
from zoo.backbones.kept_text import KeptText
from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.methods.base import Backbones, Method

STREAMS = ("vision", "audio")

OTHER = {"vision": "audio", "audio": "vision"}

BACKGROUND = "background, nothing happens"


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

    def bottleneck(self, tokens: Tensor) -> Tensor:
        """[N, L, D] -> h [N, L, r]."""
        return nn.functional.gelu(self.down(self.norm(tokens)))

    def openness(self, own: Tensor, other: Tensor) -> Tensor:
        """Summaries c_m, c_m' [N, r] -> gate g [N, r] in (0, 1)."""
        assert self.gate is not None
        return torch.sigmoid(self.gate(torch.cat([own, other], dim=-1)))

    def delta(self, hidden: Tensor, summaries: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor | None]:
        """h [N, L, r] and (c_m, c_m') -> what is added to the tokens [N, L, D], and the gate [N, r]."""
        if self.shift is None or summaries is None:
            return self.up(hidden), None
        own, other = summaries
        gate = self.openness(own, other)
        modulation = 1 + gate * torch.tanh(self.shift(other))  # [N, r]
        return self.up(hidden * modulation[:, None]), gate


class Site(nn.Module):
    """One place where the two streams meet through text.

    Args:
        dims: token width of each stream here.
        text_dim: width d_t of the anchors.
        rank: bottleneck width r.
        temperature: tau of the relevance softmax.
        direction: which stream hears the other; a stream that does not hears its own summary twice.
        gate: see `StreamAdapter`.
    """

    def __init__(
        self, dims: Mapping[str, int], text_dim: int, *, rank: int, temperature: float, direction: str, gate: bool
    ) -> None:
        super().__init__()
        adapters = {name: StreamAdapter(dims[name], rank, gate=gate) for name in STREAMS}
        self.streams = cast(Mapping[str, StreamAdapter], nn.ModuleDict(adapters))
        self.text = nn.Sequential(nn.Linear(text_dim, rank, bias=False), nn.LayerNorm(rank)) if gate else None
        self.scale = 1 / (temperature * rank**0.5)
        self.listens = {
            "vision": direction in ("both", "audio_to_vision"),
            "audio": direction in ("both", "vision_to_audio"),
        }

    def forward(self, tokens: Mapping[str, Tensor], anchors: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Tokens {stream: [N, L, D]}, anchors [K, d_t] -> adapted tokens, gates {stream: [N, r]} (none without GSM)."""
        hidden = {name: self.streams[name].bottleneck(tokens[name]) for name in STREAMS}
        summary: dict[str, Tensor] = {}
        if self.text is not None:
            bridge = self.text(anchors)  # P [K, r]
            for name in STREAMS:
                # Unnormalised, the mean of GELU outputs is so small that every text would be equally relevant.
                query = nn.functional.layer_norm(hidden[name].mean(1), bridge.shape[-1:])
                relevance = torch.softmax(query @ bridge.T * self.scale, dim=-1)  # [N, K]
                summary[name] = relevance @ bridge
        adapted: dict[str, Tensor] = {}
        gates: dict[str, Tensor] = {}
        for name in STREAMS:
            heard = summary.get(OTHER[name] if self.listens[name] else name)
            pair = None if heard is None else (summary[name], heard)
            delta, gate = self.streams[name].delta(hidden[name], pair)
            adapted[name] = tokens[name] + delta
            if gate is not None:
                gates[name] = gate.detach()
        return adapted, gates


class TBAVA(Method):
    """Text-bridged audio-visual adapters.

    Args:
        rank: bottleneck width r of every adapter.
        sites: block counts after which adapters act, by stream, e.g. `{vision: [9, 12], audio: [3, 4]}`; both lists
            have one entry per site. Without it, sites lie at equal relative depth, one per block of the shallower
            encoder.
        last: keep only the last so many sites (late layers only; earlier blocks become a cacheable prefix).
        temperature: tau of the relevance softmax.
        gate: Gated Semantic Modulation on or off.
        text: `class` uses class names, `shuffled` permutes the coordinates inside each anchor, `random` draws
            unit vectors: the two controls keep the shapes and lose the meaning.
        direction: which stream hears the other.
        templates: prompts averaged into one anchor per class; `{}` stands for the class name.
        seed: of the two text controls.
    """

    anchors: Tensor
    unmergeable = "its gates are opened by what both streams of a sample hold"

    def __init__(
        self,
        *,
        rank: Annotated[int, ">= 1"] = 64,
        sites: dict[str, list[int]] | None = None,
        last: Annotated[int, ">= 1"] | None = None,
        temperature: Annotated[float, "> 0"] = 1.0,
        gate: bool = True,
        text: Literal["class", "shuffled", "random"] = "class",
        direction: Literal["both", "audio_to_vision", "vision_to_audio"] = "both",
        templates: tuple[str, ...] = ("a photo of {}", "a sound of {}"),
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.rank, self.last, self.temperature = rank, last, temperature
        self.gate, self.text_control, self.direction = gate, text, direction
        self.templates, self.seed = tuple(templates), seed
        self.placement = {name: list(sites[name]) for name in sites} if sites else None
        self.gates: list[dict[str, Tensor]] = []
        """Gates of the last forward, one dictionary per site, {stream: [B * T, r]}."""

    def attach(self, backbones: Backbones, text: TextEncoder | None = None, classes: Sequence[str] = ()) -> None:
        """Create one `Site` per fusion point and embed the class names.

        Raises:
            SettingError: a stream or the text encoder is missing, or `sites`/`last` do not fit the backbones' depths.
        """
        missing = [name for name in STREAMS if name not in backbones]
        if missing or text is None:
            lacking = [*missing, *(["text"] if text is None else [])]
            raise SettingError(f"TB-AVA needs backbones vision, audio and text; the recipe lacks {', '.join(lacking)}")
        self.placement = place(self.placement, {name: backbones[name].depth for name in STREAMS}, self.last)
        with torch.no_grad():
            kept = text.of(len(classes) + 1) if isinstance(text, KeptText) else None
            self.register_buffer("anchors", self._anchors(text, classes) if kept is None else kept, persistent=False)
        self.sites = nn.ModuleList(
            Site(
                {name: backbones[name].dims[self.placement[name][i]] for name in STREAMS},
                text.dim,
                rank=self.rank,
                temperature=self.temperature,
                direction=self.direction,
                gate=self.gate,
            )
            for i in range(len(self.placement["vision"]))
        )
        super().attach({name: backbones[name] for name in STREAMS})
        self.depths = {name: self.placement[name][0] for name in STREAMS}

    def anchored(self) -> Tensor:
        """The anchors [K + 1, d_t]."""
        return self.anchors

    def _anchors(self, text: TextEncoder, classes: Sequence[str]) -> Tensor:
        """[K + 1, d_t] unit-norm anchors, the last one the background's."""
        words = [name.replace("_", " ") for name in classes]
        prompts = [[t.format(name) for t in self.templates] for name in words] + [[BACKGROUND] * len(self.templates)]
        flat = embedded(text, [prompt for row in prompts for prompt in row])
        anchors = flat.reshape(len(prompts), len(self.templates), -1).mean(1)
        generator = torch.Generator().manual_seed(self.seed)
        if self.text_control == "random":
            anchors = torch.randn(anchors.shape, generator=generator)
        if self.text_control == "shuffled":
            order = torch.rand(anchors.shape, generator=generator).argsort(-1)
            anchors = anchors.cpu().gather(-1, order)
        return nn.functional.normalize(anchors, dim=-1)

    def forward(self, backbones: Backbones, prefix: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Tokens after the prefix, {stream: [B, T, L, D]} -> pooled features {stream: [B, T, dim]}."""
        assert self.placement is not None
        tokens = {name: prefix[name].flatten(0, 1) for name in STREAMS}
        depth = {name: after[0] for name, after in self.placement.items()}
        self.gates = []
        for i, site in enumerate(self.sites):
            for name in STREAMS:
                for block in backbones[name].blocks[depth[name] : self.placement[name][i]]:
                    tokens[name] = block(tokens[name])
                depth[name] = self.placement[name][i]
            tokens, gates = site(tokens, self.anchors)
            self.gates.append(gates)
        features = {}
        for name in STREAMS:
            for block in backbones[name].blocks[depth[name] :]:
                tokens[name] = block(tokens[name])
            pooled = backbones[name].pool(backbones[name].finish(tokens[name]))
            features[name] = pooled.unflatten(0, prefix[name].shape[:2])
        return features

    def observations(self) -> dict[str, Tensor]:
        """The gates: `gate/vision/after_block_9` and so on, [B * T, r]."""
        assert self.placement is not None
        return {
            f"gate/{name}/after_block_{self.placement[name][i]}": gate
            for i, gates in enumerate(self.gates)
            for name, gate in gates.items()
        }


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
