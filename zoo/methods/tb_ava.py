"""TB-AVA: audio and vision adapters that speak to each other through text (arXiv 2605.11572).

A *reconstruction from the abstract and a secondary summary*: neither the full text nor code was to be had. Theirs, by
those sources: frozen encoders, class-name text as the only bridge between the streams, and Gated Semantic Modulation
(GSM), a channel gate that text controls. Ours: every formula, width, place and initialisation below. For stream m and
the other stream m', at one site with tokens x [N, L, D], anchors T [K, d_t] and rank r:

    h_m  = act(LN(x_m) W_down^m)                                  bottleneck              [N, L, r]
    P    = unit((T - mean_K T) W_t)                               anchors of this site    [K, r]
    s_m  = softmax(<unit(centred(mean_L(h_m))), P> / tau)         relevance of each text  [N, K]
    c_m  = sqrt(r) s_m P                                          semantic summary        [N, r]
    g_m  = sigmoid(W_g^m [c_m ; c_m'] + b_g^m)                    the gate                [N, r]
    x_m <- x_m + (h_m * (1 + g_m * tanh(W_s^m c_m'))) W_up^m      with W_up = 0 at start

so that the attached model equals the frozen backbones exactly at step 0. No audio token ever meets a picture token:
what crosses is a mixture of text anchors. `relevance: dot` is the first form of P and s, uncentred and at a fixed
temperature: trained so, every sample has nearly the same summary, and gates are constants (`Dot` says why). With
`relevance_weight` the relevance of the right text is trained as well, by its cross entropy. The anchors enter as a set,
so permuting which class owns which anchor changes nothing; the `shuffled` control therefore permutes the coordinates
inside each anchor.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Literal, cast

import torch
from torch import Tensor, nn

from zoo.backbones.base import TextEncoder
from zoo.backbones.embedded import embedded
from zoo.backbones.kept_text import KeptText
from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.methods.base import Backbones, Features, Method
from zoo.methods.signals import Controlled, Intervention
from zoo.methods.tb_ava_site import STREAMS, Site

BACKGROUND = "background, nothing happens"

STARTS = {"dot": 1.0, "cosine": 0.1}
"""Temperature of either relevance where none is set."""


class TBAVA(Method):
    """Text-bridged audio-visual adapters.

    Args:
        rank: bottleneck width r of every adapter.
        sites: block counts after which adapters act, by stream, e.g. `{vision: [9, 12], audio: [3, 4]}`; both lists
            have one entry per site. Without it, sites lie at equal relative depth, one per block of the shallower
            encoder.
        last: keep only the last so many sites (late layers only; earlier blocks become a cacheable prefix).
        relevance: `cosine` of centred vectors at a learned temperature, or `dot`, the first form, which is also that
            of adapters whose recipe does not say.
        temperature: tau of the relevance softmax, of `cosine` at the start; null is 1 for `dot`, 0.1 for `cosine`.
        relevance_weight: of the cross entropy of every site's relevance against the label of the segment or clip.
        gate: Gated Semantic Modulation on or off.
        text: `class` uses class names, `shuffled` permutes the coordinates inside each anchor, `random` draws
            unit vectors: the two controls keep the shapes and lose the meaning.
        direction: which stream hears the other.
        templates: prompts averaged into one anchor per class; `{}` stands for the class name.
        seed: of the two text controls.
    """

    anchors: Tensor
    removable = True
    dense = False
    unmergeable = "its gates are opened by what both streams of a sample hold"

    def __init__(
        self,
        *,
        rank: Annotated[int, ">= 1"] = 64,
        sites: dict[str, list[int]] | None = None,
        last: Annotated[int, ">= 1"] | None = None,
        relevance: Literal["dot", "cosine"] = "dot",
        temperature: Annotated[float, "> 0"] | None = None,
        relevance_weight: Annotated[float, ">= 0"] = 0.0,
        gate: bool = True,
        text: Literal["class", "shuffled", "random"] = "class",
        direction: Literal["both", "audio_to_vision", "vision_to_audio"] = "both",
        templates: tuple[str, ...] = ("a photo of {}", "a sound of {}"),
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.rank, self.last, self.relevance, self.relevance_weight = rank, last, relevance, relevance_weight
        self.temperature = temperature or STARTS[relevance]
        self.gate, self.text_control, self.direction = gate, text, direction
        self.templates, self.seed = tuple(templates), seed
        self.placement = {name: list(sites[name]) for name in sites} if sites else None
        self._labels: Tensor | None = None
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
                relevance=self.relevance,
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
        if self.text_control == "random":
            anchors = torch.randn(anchors.shape, generator=torch.Generator().manual_seed(self.seed))
        if self.text_control == "shuffled":
            anchors = shuffled(anchors, self.seed)
        return nn.functional.normalize(anchors, dim=-1)

    def forward(self, backbones: Backbones, prefix: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Tokens after the prefix, {stream: [B, T, L, D]} -> pooled features {stream: [B, T, dim]}."""
        assert self.placement is not None
        tokens, segments = {name: prefix[name].flatten(0, 1) for name in STREAMS}, prefix[STREAMS[0]].shape[1]
        depth = {name: after[0] for name, after in self.placement.items()}
        self.gates = []
        for i, site in enumerate(self.sites):
            for name in STREAMS:
                for block in backbones[name].blocks[depth[name] : self.placement[name][i]]:
                    tokens[name] = block(tokens[name])
                depth[name] = self.placement[name][i]
            if self.acts:
                tokens, gates = site(tokens, self.anchors, segments)
                self.gates.append(gates)
        self._labels = self._wanted(batch, segments) if self.training and self.relevance_weight else None
        features = {}
        for name in STREAMS:
            for block in backbones[name].blocks[depth[name] :]:
                tokens[name] = block(tokens[name])
            pooled = backbones[name].pool(backbones[name].finish(tokens[name]))
            features[name] = pooled.unflatten(0, prefix[name].shape[:2])
        return features

    def _wanted(self, batch: Batch, segments: int) -> Tensor:
        """The anchor of every segment's label, int64 [B * T].

        Raises:
            SettingError: the data label neither segments nor samples with one class.
        """
        for name in ("segments", "label"):
            if name in batch.target:
                label = batch.target[name].reshape(len(batch), -1)
                return label.expand(-1, segments).flatten()
        raise SettingError(
            "method.relevance_weight: relevance is trained on one class a segment or clip; these data have the labels "
            f"{', '.join(batch.target) or 'none'}: set it to 0"
        )

    def losses(self, head: Callable[[Features], Tensor]) -> dict[str, Tensor]:
        """`relevance`: cross entropy of every site's relevance in either stream, averaged and weighted."""
        every = [logits for site in self.sites for logits in cast(Site, site).logits.values()]
        if self._labels is None or not every:
            return {}
        loss = torch.stack([nn.functional.cross_entropy(logits, self._labels) for logits in every]).mean()
        return {"relevance": self.relevance_weight * loss}

    # --- what it does ---------------------------------------------------------------------------------------------

    def controlled(self) -> dict[str, Controlled]:
        """`message`: what a stream hears of the other; `gate`: how far it opens to it. None without GSM."""
        if not self.gate:
            return {}
        every = [(cast(Site, site), name) for site in self.sites for name in STREAMS]
        messages = [site.messages[name] for site, name in every]
        gates = [site.streams[name].opened for site, name in every]
        return {"message": Controlled(messages), "gate": Controlled(gates, ("mean", "other", "open"))}

    def interventions(self) -> dict[str, Intervention]:
        """Those of the signals; and the text of all classes by their mean, or by text without meaning.

        Which class owns which text is no question to ask: the anchors enter as a set.
        """
        if not self.gate:
            return super().interventions()
        return {
            "text_alike": partial(self._told, _mean),
            "text_meaningless": partial(self._told, partial(shuffled, seed=1)),
            **super().interventions(),
        }

    @contextlib.contextmanager
    def _told(self, instead: Callable[[Tensor], Tensor]) -> Iterator[None]:
        right = self.anchors
        self.anchors = instead(right)
        try:
            yield
        finally:
            self.anchors = right

    def observations(self) -> dict[str, Tensor]:
        """The gates: `gate/vision/after_block_9` and so on, [B * T, r]."""
        assert self.placement is not None
        return {
            f"gate/{name}/after_block_{self.placement[name][i]}": gate
            for i, gates in enumerate(self.gates)
            for name, gate in gates.items()
        }


def _mean(anchors: Tensor) -> Tensor:
    """The mean of the anchors in the place of each: [K, d_t] -> [K, d_t]."""
    return anchors.mean(0, keepdim=True).expand_as(anchors)


def shuffled(anchors: Tensor, seed: int) -> Tensor:
    """Anchors [K, d_t] with their coordinates in another order, another one in each: lengths stay, meaning goes."""
    order = torch.rand(anchors.shape, generator=torch.Generator().manual_seed(seed)).argsort(-1)
    return anchors.cpu().gather(-1, order).to(anchors.device)


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
