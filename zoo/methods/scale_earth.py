"""ScaleEarth: one adapter for every resolution (Zhang et al. 2026, arXiv 2605.07562).

    z = log10(GSD)                                      one a sample, in the unit and pixels of `zoo.methods.ground`
    g_j = sigmoid(k_j (tau_j - z)),  j = 1..r           CS-HLoRA: rank dimensions opened and closed by scale
    y = W x + (alpha / r) B (g * A x)                   A drawn, B = 0: step 0 is the frozen model, exactly
    (mu, s) = MLP(pooled frozen vision features)        SSE-U: log10(GSD) with its log-variance
    z = told, else mu where exp(s / 2) is small enough and the picture like training's, else a neutral default

The paper is known through abstracts and reading notes, its code is not released. Established are the gates of
log10(GSD) on the rank dimensions of one LoRA, thresholds that start at the scales of objects, structures and semantics,
the head with a Gaussian variance on pooled vision features, and the rule of three branches. Our choices: which layers,
ranks, slopes of alternating sign at the start, thresholds and slopes learned at every layer, mean and deviation as
pooling, the middle of the scales seen in training as default.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, cast

import torch
from torch import Tensor, nn

from zoo.backbones.base import Backbone, TextEncoder
from zoo.backbones.vision_language import VisionLanguage
from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.methods.base import Backbones, Branches, Features, Group, Method
from zoo.methods.condition import Condition
from zoo.methods.deltas import Delta
from zoo.methods.scale_estimate import BRANCHES, METADATA, MOVED, ScaleEstimate, logarithm, observe, resolve, widen
from zoo.methods.scale_gate import GatedLowRank, GatedUpdates, Gates
from zoo.methods.scale_token import rest_with_token, scale_token, worded
from zoo.methods.signals import Controlled, Signal
from zoo.methods.sites import ahead, describe, find, first_blocks

GSD = "gsd"

log = logging.getLogger(__name__)


class ScaleEarth(Method):
    """Scale-gated low-rank updates inside one backbone, and an estimate of the scale where nobody tells it.

    The backbone is an image encoder or a vision-language model.

    Args:
        targets: suffixes of linear layers by tower, e.g. `{vision: [attn.qkv]}` or `{language: [q_proj, v_proj]}`.
        last: adapt only the last so many blocks, by tower.
        rank: r of every update.
        alpha: updates are scaled by alpha / rank.
        scale: how the GSD comes in: `gate` (the method), `none` (LoRA of the same size), or `token`: a token of the
            encoder, a sentence before the question of a language model.
        thresholds: GSDs in metres at which gates start half open: objects, structures, semantics.
        slope: of the gates at the start, per decade of GSD.
        gates: at `thresholds`, or `generated` by a small network of z in every layer.
        shared: so many ranks are open at every scale.
        full: gates reach 2, so that one half open lets its rank act as LoRA would: gates at thresholds are half open at
            their own, generated ones everywhere at the start.
        gate_lr: learning rate of thresholds, slopes and generators, in those of the updates. At 1 they hardly move.
        estimate: learn to estimate the GSD (SSE-U).
        estimate_at: block of the frozen encoder whose tokens the estimate reads; the first adapted one when null.
        estimate_weight: of its loss.
        trust: an estimate is used where its deviation is below so many octaves.
        drop_gsd: share of training samples whose GSD is withheld, so that the other branches are trained as well.
        default_gsd: the neutral default in metres; the middle of what training saw, in log scale, when null.
    """

    removable = True
    branches = Branches("gsd/branch", BRANCHES)
    low: Tensor
    high: Tensor

    def __init__(
        self,
        *,
        targets: dict[str, list[str]],
        last: dict[str, int] | None = None,
        rank: Annotated[int, ">= 1"] = 9,
        alpha: Annotated[float, "> 0"] = 9.0,
        scale: Literal["gate", "none", "token"] = "gate",
        thresholds: tuple[float, ...] = (0.5, 2.0, 10.0),
        slope: Annotated[float, "> 0"] = 4.0,
        gates: Literal["thresholds", "generated"] = "thresholds",
        shared: Annotated[int, ">= 0"] = 0,
        full: bool = False,
        gate_lr: Annotated[float, "> 0"] = 1.0,
        estimate: bool = True,
        estimate_at: Annotated[int, ">= 0"] | None = None,
        estimate_weight: Annotated[float, ">= 0"] = 0.1,
        trust: Annotated[float, "> 0"] = 0.75,
        drop_gsd: Annotated[float, ">= 0", "< 1"] = 0.0,
        default_gsd: Annotated[float, "> 0"] | None = None,
    ) -> None:
        super().__init__()
        if not thresholds or min(thresholds) <= 0:
            raise SettingError(f"method.thresholds = {list(thresholds)}: expected GSDs in metres, all positive")
        if shared >= rank:
            raise SettingError(f"method.shared = {shared}: expected less than the {rank} of method.rank")
        self.targets, self.last = dict(targets), dict(last or {})
        self.gates: Gates = gates if scale == "gate" else "none"
        self.shared, self.most, self.gate_lr = shared, 2.0 if full else 1.0, gate_lr
        self.rank, self.alpha, self.scale, self.slope = rank, alpha, scale, slope
        self.thresholds = [math.log10(gsd) for gsd in thresholds]
        self.estimating, self.estimate_at, self.estimate_weight = estimate, estimate_at, estimate_weight
        self.trust, self.drop_gsd = trust * math.log10(2), drop_gsd
        self.default = None if default_gsd is None else math.log10(default_gsd)
        self.conditions = (GSD,) if scale != "none" or estimate else ()
        # The scales that training saw: outside of them gates have learned nothing.
        self.register_buffer("low", torch.tensor(math.inf))
        self.register_buffer("high", torch.tensor(-math.inf))
        self.condition = Condition()
        self.passing = Signal()
        self._warned = False

    # --- putting it in place --------------------------------------------------------------------------------------

    def attach(self, backbones: Backbones, text: TextEncoder | None = None, classes: Sequence[str] = ()) -> None:
        """Hook the target layers.

        Raises:
            SettingError: more than one backbone, a target that is missing or not linear, or a scale token that the
                encoder has no room for.
        """
        if len(backbones) != 1:
            raise SettingError(f"ScaleEarth adapts one backbone; the recipe has {sorted(backbones)}")
        self.name, backbone = next(iter(backbones.items()))
        sites = find(backbones, self.targets, self.last)
        self.matched = describe(sites)
        self.updates = GatedUpdates(
            sites,
            self.condition,
            rank=self.rank,
            scaling=self.alpha / self.rank,
            thresholds=self.thresholds,
            gates=self.gates,
            slope=self.slope,
            shared=self.shared,
            most=self.most,
        )
        self.feature_dims = self.widths(backbones)
        first = first_blocks(sites, backbones)
        self.depth = backbone.prefix_depth(first[self.name])
        self.depths, self.ahead = {self.name: self.depth}, ahead(first, backbones)
        if self.ahead and self.scale == "token":  # what a question says changes with the batch's scales
            self.ahead, self.matched = None, f"{self.matched}; all language blocks run at every step"
        self.sees = isinstance(backbone, VisionLanguage) and "vision" in first[self.name]
        if isinstance(backbone, VisionLanguage):
            backbone.recompute = self.condition.contexts
        if self.scale == "token" and not isinstance(backbone, VisionLanguage):
            self.token = scale_token(backbone, self.depth or 0, maps=bool(self.maps))
        if self.estimating:
            self.estimate = ScaleEstimate(self._width(backbone))

    def _width(self, backbone: Backbone) -> int:
        if isinstance(backbone, VisionLanguage):
            return backbone.image_dim
        at = self.depth or 0 if self.estimate_at is None else self.estimate_at
        if not (self.depth or 0) <= at <= backbone.depth:
            raise SettingError(f"method.estimate_at = {at}: expected {self.depth or 0} to {backbone.depth}")
        self.estimate_depth = at
        return 2 * backbone.dims[at]

    def describe(self) -> str:
        """Which layers are adapted."""
        return self.matched

    # --- running --------------------------------------------------------------------------------------------------

    def forward(self, backbones: Backbones, prefix: Mapping[str, Tensor], batch: Batch) -> Features:
        """Tokens after the prefix {stream: [B, T, L, D]} -> what the backbone makes of them."""
        backbone, tokens, depth = backbones[self.name], prefix[self.name], self.depth
        owners = {}
        if isinstance(backbone, VisionLanguage):
            if depth is None and self.sees:
                found = backbone.owners(tokens, "vision")
                owners = {} if found is None else {"vision": found}
            elif depth is None:
                with torch.no_grad():
                    tokens, depth = backbone.look(tokens), 0
        maps = self.maps.get(self.name, ())
        prefix = {**prefix, self.name: tokens}
        if not self.acts:
            return backbone.features(self.name, prefix, depth, batch, maps=maps)
        z = self.passing(self._log_gsd(backbone, tokens, batch)[:, None])[:, 0]
        if self.scale == "token" and isinstance(backbone, VisionLanguage):
            batch = replace(batch, questions=worded(batch.questions, z))
        with self.condition.given(z, owners):
            if self.scale == "token" and not isinstance(backbone, VisionLanguage):
                return {self.name: rest_with_token(self.token, backbone, tokens, self.depth or 0, z)}
            return backbone.features(self.name, prefix, depth, batch, maps=maps)

    def _log_gsd(self, backbone: Backbone, tokens: Any, batch: Batch) -> Tensor:
        """log10(GSD) that the gates are told, [B], by the rule of three branches; keeps what losses need."""
        metres = batch.conditions.get(GSD, torch.full((len(batch),), math.nan))
        told = logarithm(metres.to(self.low.device, torch.float32), batch.ids)
        if self.training:
            widen(self.low, self.high, told)
        withheld = (
            torch.rand(len(told)).to(told.device) < self.drop_gsd if self.training else torch.zeros_like(told) > 0
        )
        mean = log_variance = None
        if self.estimating:
            mean, log_variance = self.estimate(self._pooled(backbone, tokens))
        shown, default = torch.where(withheld, math.nan, told), self._default()
        z, branch = resolve(shown, mean, log_variance, trust=self.trust, default=default, unlike=batch.unlike)
        if not self.training:
            z = self._clamp(z, told=branch == METADATA)
        self._last = (told, mean, log_variance)
        self._observed = observe(told, z, branch, mean, log_variance)
        return z

    @torch.no_grad()
    def _pooled(self, backbone: Backbone, tokens: Any) -> Tensor:
        """Frozen vision features of every sample, [B, W]: no adapter acts outside of the condition."""
        if isinstance(backbone, VisionLanguage):
            seen = backbone.look(tokens) if self.depth is None and self.sees else tokens
            return backbone.pooled(seen).float()
        flat = tokens.flatten(0, 1)
        for block in backbone.blocks[self.depth or 0 : self.estimate_depth]:
            flat = block(flat)
        every = flat.unflatten(0, tokens.shape[:2]).flatten(1, 2)
        return torch.cat([every.mean(1), every.std(1)], dim=-1)

    def _default(self) -> Tensor:
        if self.default is not None:
            return torch.full_like(self.low, self.default)
        return torch.where(self.low <= self.high, (self.low + self.high) / 2, 0.0)

    def _at(self, gsd: float) -> Tensor:
        z = torch.tensor(math.log10(gsd), device=self.low.device)
        return self._clamp(z, told=torch.ones_like(z, dtype=torch.bool))

    def _clamp(self, z: Tensor, *, told: Tensor) -> Tensor:
        """Within the scales of training; said once, where it was not an estimate that left them."""
        inside = torch.where(self.low <= self.high, z.clamp(self.low, self.high), z)
        if not (self._warned or torch.compiler.is_exporting()) and bool((told & ((inside - z).abs() > MOVED)).any()):
            self._warned = True
            low, high, unit = 10 ** float(self.low), 10 ** float(self.high), self.ground.unit
            log.warning("a GSD outside of the %.3g to %.3g %s of training is moved to their border", low, high, unit)
        return inside

    # --- losses, reports, updates ---------------------------------------------------------------------------------

    def losses(self, head: Callable[[Features], Tensor]) -> dict[str, Tensor]:
        """`estimate`: Gaussian negative log-likelihood of the told GSDs, weighted."""
        told, mean, log_variance = self._last
        if mean is None or log_variance is None or not self.estimate_weight:
            return {}
        return {"estimate": self.estimate_weight * ScaleEstimate.loss(told, mean, log_variance)}

    def parameter_groups(self) -> Mapping[nn.Parameter, Group]:
        """What gates are made of learns `gate_lr` times as fast as the rest."""
        updates = [cast(GatedLowRank, update) for update in self.updates.values()]
        return {own: Group(lr=self.gate_lr) for update in updates for own in update.gate_parameters()}

    def controlled(self) -> dict[str, Controlled]:
        """`scale`: log10(GSD) as the rule gave it; `gate`: openness of the ranks in every layer."""
        if self.scale == "none":
            return {}
        found = {"scale": Controlled([self.passing])}
        if self.scale == "gate":
            gates = [cast(GatedLowRank, update).signal for update in self.updates.values()]
            found["gate"] = Controlled(gates, ("mean", "open"))
        return found

    def observations(self) -> dict[str, Tensor]:
        """What the rule saw and did, one row a sample: see `scale_estimate.observe`."""
        return self._observed

    def measure(self, observed: Mapping[str, Tensor]) -> dict[str, float]:
        """Calibration of the estimate and shares of the three branches."""
        return ScaleEstimate.measure(observed)

    def remarks(self, observed: Mapping[str, Tensor]) -> dict[str, Any]:
        """The GSD that an answer used, where it came from, and the estimate with its 90 % interval."""
        return ScaleEstimate.remarks(observed)

    def curves(self) -> dict[str, tuple[Tensor, Tensor]]:
        """`openness`: of the gates over log10(GSD), half a decade beyond what training saw, where they stay."""
        if self.scale != "gate":
            return {}
        low, high = (float(self.low), float(self.high)) if bool(self.low <= self.high) else (-1.0, 1.0)
        z = torch.linspace(low - 0.5, high + 0.5, 200, device=self.low.device)
        with torch.no_grad():
            return {"openness": (z, self.updates.openness(z.clamp(low, high)))}

    def deltas(self, *, gsd: float | None = None) -> list[Delta]:
        """The updates at one GSD in metres; without gates, those of every GSD.

        Raises:
            SettingError: the gates are told no GSD, or the scale comes in as a token.
        """
        if self.scale == "token":
            raise SettingError("method.scale=token: what the scale token does cannot be folded into frozen weights")
        if self.scale == "gate" and gsd is None:
            raise SettingError("the gates of ScaleEarth depend on the ground sampling distance: say gsd=METRES")
        return self.updates.deltas(None if self.scale == "none" or gsd is None else self._at(gsd))
