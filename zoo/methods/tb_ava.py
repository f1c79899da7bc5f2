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
temperature: trained so, every sample has nearly the same summary, and gates are constants (`Dot` says why).

`relevance: shared` takes s from what is frozen. An encoder that shares a space with the text tower (SigLIP, CLIP), or
has a vocabulary (YAMNet, EfficientNet-Lite0), says what a segment is before anything is trained:

    s_m  = softmax(centred_K(l_m) / (sigma tau_m))                sigma: deviation of l_m over the texts, by training
    l_mk = cos(v_m, T_k)                                          v_m: the frozen, pooled features, in a shared space
    l_mk = log sum_n p_m(n) w(n, k)                               p_m: frozen scores of names n (`backbones.vocabulary`)

v_m and p_m are those of the encoder without adapters, whose blocks behind the first site run once more for it; tau_m is
learned, one a site and stream, and starts at 1, where logits deviate by 1 over the texts: neither uniform nor one-hot.
P, c_m and the gate are those of `cosine`, and so is s_m of a stream that shares nothing with the text. Names are
embedded in the prompts of the anchors. All of it is read off the anchors T: the controls `shuffled` and `random` leave
the names where they are, so that w and the cosines to v_m lose their meaning with the anchors.

With `relevance_weight` the relevance of the right text is trained as well, by its cross entropy. The anchors enter as a
set, so permuting which class owns which anchor changes nothing; the `shuffled` control therefore permutes the
coordinates inside each anchor.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Literal, cast

import torch
from torch import Tensor, nn

from zoo.backbones.base import TextEncoder
from zoo.backbones.kept_text import KeptText
from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.methods import tb_ava_text as texts
from zoo.methods.base import Backbones, Features, Method
from zoo.methods.signals import Controlled, Intervention
from zoo.methods.tb_ava_relevance import STREAMS, Way, knowing, relevance_of, similarities, ways
from zoo.methods.tb_ava_site import Site, Walk, place


class TBAVA(Method):
    """Text-bridged audio-visual adapters.

    Args:
        rank: bottleneck width r of every adapter.
        sites: block counts after which adapters act, by stream, e.g. `{vision: [9, 12], audio: [3, 4]}`; both lists
            have one entry per site. Without it, sites lie at equal relative depth, one per block of the shallower
            encoder.
        last: keep only the last so many sites (late layers only; earlier blocks become a cacheable prefix).
        relevance: `cosine` of centred vectors at a learned temperature; `shared`, by what frozen encoders that share a
            space with the text, or have a vocabulary, say of it; or `dot`, the first form, which is also that of
            adapters whose recipe does not say.
        temperature: tau of the relevance softmax, of `cosine` and `shared` at the start; null is 1 for `dot`, 0.1 for
            `cosine`, 1 for `shared`, whose streams that share nothing start at 0.1 in any case.
        relevance_weight: of the cross entropy of every site's relevance against the label of the segment or clip.
        gate: Gated Semantic Modulation on or off.
        text: `class` uses class names, `shuffled` permutes the coordinates inside each anchor, `random` draws
            unit vectors: the two controls keep the shapes and lose the meaning.
        direction: which stream hears the other.
        templates: prompts averaged into one anchor per class; `{}` stands for the class name.
        seed: of the two text controls.
    """

    anchors: Tensor
    words: Tensor
    removable = True
    unmergeable = "its gates are opened by what both streams of a sample hold"

    def __init__(
        self,
        *,
        rank: Annotated[int, ">= 1"] = 64,
        sites: dict[str, list[int]] | None = None,
        last: Annotated[int, ">= 1"] | None = None,
        relevance: Literal["dot", "cosine", "shared"] = "dot",
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
        self.temperature = temperature
        self.gate, self.text_control, self.direction = gate, text, direction
        self.templates, self.seed = tuple(templates), seed
        self.placement = {name: list(sites[name]) for name in sites} if sites else None
        self.shared: dict[str, Way] = {}
        """Streams whose frozen encoders tell relevance, and how; known after `attach`."""
        self._labels: Tensor | None = None
        self.gates: list[dict[str, Tensor]] = []
        """Gates of the last forward, one dictionary per site, {stream: [B * T, r]}."""

    def attach(self, backbones: Backbones, text: TextEncoder | None = None, classes: Sequence[str] = ()) -> None:
        """Create one `Site` per fusion point and embed the class names.

        Raises:
            SettingError: a stream or the text encoder is missing, `sites`/`last` do not fit the backbones' depths, or
                relevance is to be shared and no encoder shares anything with the text.
        """
        missing = [name for name in STREAMS if name not in backbones]
        if missing or text is None:
            lacking = [*missing, *(["text"] if text is None else [])]
            raise SettingError(f"TB-AVA needs backbones vision, audio and text; the recipe lacks {', '.join(lacking)}")
        self.placement = place(self.placement, {name: backbones[name].depth for name in STREAMS}, self.last)
        shared = self._shared(backbones, text)
        self.shared = shared if self.gate else {}
        names, count = knowing(backbones, self.shared).words, len(classes) + 1
        with torch.no_grad():
            kept = text.of(count + len(names)) if isinstance(text, KeptText) else None
            told = self._told_by(text, classes, names) if kept is None else kept
        self.register_buffer("anchors", told[:count], persistent=False)
        self.register_buffer("words", told[count:], persistent=False)
        relevance = partial(relevance_of, self.relevance, text.dim, self.rank, self.temperature, tuple(self.shared))
        self.sites = nn.ModuleList(
            Site(
                {name: backbones[name].dims[self.placement[name][i]] for name in STREAMS},
                rank=self.rank,
                relevance=relevance if self.gate else None,
                direction=self.direction,
            )
            for i in range(len(self.placement["vision"]))
        )
        super().attach({name: backbones[name] for name in STREAMS})
        self.depths = {name: self.placement[name][0] for name in STREAMS}

    def _shared(self, backbones: Backbones, text: TextEncoder) -> dict[str, Way]:
        """How every stream's frozen encoder tells relevance, where it is to.

        Raises:
            SettingError: none does.
        """
        if self.relevance != "shared" or (found := ways({name: backbones[name] for name in STREAMS}, text)):
            return found if self.relevance == "shared" else {}
        raise SettingError(
            "method.relevance: shared: neither the vision nor the audio backbone shares a space with the text backbone "
            "or has a vocabulary; take both towers of one model (zoo.backbones.siglip) or an encoder that knows names "
            "(zoo.backbones.yamnet.YAMNet), or set cosine"
        )

    def anchored(self) -> Tensor:
        """The anchors, and the vectors of the vocabularies' names behind them, [K + 1 + V, d_t]."""
        return torch.cat([self.anchors, self.words])

    def _told_by(self, text: TextEncoder, classes: Sequence[str], names: Sequence[str]) -> Tensor:
        """What `anchored` gives, of a text tower."""
        anchors = texts.anchors(text, classes, self.templates)
        if self.text_control == "random":
            anchors = torch.randn(anchors.shape, generator=torch.Generator().manual_seed(self.seed))
        if self.text_control == "shuffled":
            anchors = texts.shuffled(anchors, self.seed)
        return nn.functional.normalize(torch.cat([anchors, texts.named(text, names, self.templates)]), dim=-1)

    def describe(self) -> str:
        """What every stream's relevance is, where an encoder may share something with the text."""
        if not self.shared:
            return ""
        said = {"space": "the text tower's space", "vocabulary": "its encoder's names"}
        parts = [
            f"{name} by {said[self.shared[name]]}" if name in self.shared else f"{name}, which shares none, by cosine"
            for name in STREAMS
        ]
        return f"relevance of texts: {'; '.join(parts)}"

    def forward(self, backbones: Backbones, prefix: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Tokens after the prefix, {stream: [B, T, L, D]} -> pooled features {stream: [B, T, dim]}.

        Of a stream whose maps a dense task reads, {stream@after: [B, T, width, H, W]}, adapted up to there: a site
        after so many blocks acts before the map that is taken after as many.
        """
        assert self.placement is not None
        tokens, segments = {name: prefix[name].flatten(0, 1) for name in STREAMS}, prefix[STREAMS[0]].shape[1]
        depth = {name: after[0] for name, after in self.placement.items()}
        walks = {name: Walk(name, backbones[name], prefix, depth[name], self.maps.get(name, ())) for name in STREAMS}
        similar = self._similar(backbones, tokens) if self.acts and self.shared else None
        self.gates = []
        for i, site in enumerate(self.sites):
            tokens = {name: walks[name].to(self.placement[name][i]) for name in STREAMS}
            if self.acts:
                tokens, gates = site(tokens, self.anchors, segments, similar)
                self.gates.append(gates)
                for name in STREAMS:
                    walks[name].tokens = tokens[name]
        self._labels = self._wanted(batch, segments) if self.training and self.relevance_weight else None
        features: Features = {}
        for name in STREAMS:
            found = walks[name].features()
            features |= {key: each.unflatten(0, prefix[name].shape[:2]) for key, each in found.items()}
        return features

    @torch.no_grad()
    def _similar(self, backbones: Backbones, tokens: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the frozen encoders say of every text, {shared stream: [N, K + 1]}, from the prefix [N, L, D] on."""
        assert self.placement is not None
        pooled = {}
        for name in self.shared:
            last = backbones[name].through(tokens[name], self.placement[name][0])
            pooled[name] = backbones[name].pool(backbones[name].finish(last))
        return similarities(backbones, self.shared, pooled, self.anchors, self.words)

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
            "text_alike": partial(self._told, texts.mean),
            "text_meaningless": partial(self._told, partial(texts.shuffled, seed=1)),
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
