"""Mantis: Mamba-native tuning of point clouds (arXiv 2605.03438), read in the authors' repository `gzhhhhhhh/Mantis`.

State-Aware Adapter (SAA), one in every mixer; h is the mixer's input, c a control signal of r channels a token:

    c   = sigmoid(W_c SiLU(W_p h))
    dt += c Phi_dt,   B += c Phi_B,   C += c Phi_C        before bias and softplus; bases of their own in each branch

All bases start at zero, so that step 0 is the frozen backbone exactly. Published so, all channels of c start near .5,
have the same gradients, and stay one channel, mostly a constant (see the card). `start: spread` draws the bases and
starts the control at zero instead, c = tanh(...): step 0 is the frozen backbone as exactly, and channels differ from
the first step on.

Dual-Serialization Consistency Distillation (DSCD), in training only: the same tokens pass through backbone and head in
two further orders a and b, without teacher or stopped gradient.

    feature    = 1 - cos(P f_a, P f_b)                    or the mean square
    prediction = T^2 / 2 (KL(p_a || p_b) + KL(p_b || p_a)) at temperature T

What differs: the three orders run as one batch (each by itself where the backbone's `compat` is `official`, for then
what an order gives depends on its batch); SAA does not force a slow scan; no adapter of dead parameters is made for a
modulation that is switched off; and published SAA runs its second branch on the reversed sequence although the backbone
was pretrained on reversed channels, which here is the backbone's setting `second_branch`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.backbones.draws import trunc_normal_
from zoo.backbones.mamba3d import Mamba3D, Step
from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.methods.base import Backbones, Features, Group, Method
from zoo.methods.signals import Controlled, Signal
from zoo.ops.serialization import Order, order

STREAM = "points"

BASES = 0.1
"""Deviation of bases that are drawn."""


class StateAwareAdapter(nn.Module):
    """SAA of one mixer.

    Args:
        width: C of the mixer's input.
        inner: D of the scan.
        states: S of the scan.
        rank: r, channels of the control signal.
        hidden: width between the two projections.
        modulate: which of dt, B and C.
        spread: bases are drawn and the control starts at zero, instead of the other way round.
    """

    def __init__(
        self,
        width: int,
        inner: int,
        states: int,
        *,
        rank: int,
        hidden: int,
        modulate: Sequence[str],
        spread: bool = False,
    ) -> None:
        super().__init__()
        self.proj, self.controller = nn.Linear(width, hidden), nn.Linear(hidden, rank)
        for layer in (self.proj, self.controller):
            trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        if spread:
            nn.init.kaiming_uniform_(self.proj.weight, a=5**0.5)
            nn.init.zeros_(self.controller.weight)
        widths = {"dt": inner, "B": states, "C": states}
        self.bases = nn.ModuleList(
            nn.ParameterDict({name: nn.Parameter(torch.zeros(rank, widths[name])) for name in modulate})
            for _ in range(2)
        )
        if spread:
            for bases in self.bases:
                for basis in cast(Mapping[str, Tensor], bases).values():
                    nn.init.normal_(basis, std=BASES)
        self.squash = torch.tanh if spread else torch.sigmoid
        self.signal = Signal(span=(-1.0, 1.0) if spread else (0.0, 1.0))
        self.last: Tensor | None = None

    def control(self, hidden: Tensor) -> Tensor:
        """Mixer input [B, L, C] -> control signal [B, L, r] in (0, 1), or in (-1, 1) where its start is spread."""
        control = self.signal(self.squash(self.controller(F.silu(self.proj(hidden)))))
        self.last = None if self.training else control.detach()
        return control

    def modulate(self, branch: int, control: Tensor, dt: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """dt [B, L, D], B and C [B, L, S] of a branch, each moved by the control signal times its basis."""
        bases = cast(Mapping[str, Tensor], self.bases[branch])
        dt, B, C = (
            value + control @ bases[name] if name in bases else value
            for name, value in (("dt", dt), ("B", B), ("C", C))
        )
        return dt, B, C


class Mantis(Method):
    """SAA in the mixers of a frozen Mamba3D, and DSCD between two orders of its tokens.

    Args:
        rank: r, channels of the control signal.
        hidden: width of the controller's hidden layer.
        modulate: which of dt, B and C the control signal moves.
        start: `published`, also that of adapters whose recipe does not say, or `spread`.
        controller_lr: learning rate of what makes the control signal, in those of the bases.
        last: adapt only the last so many blocks; null adapts all.
        drop_path: stochastic depth, rising linearly to this in the last block.
        dscd: train with consistency between two orders.
        orders: the two orders.
        feature_weight: of the feature term; 100 for part segmentation in the source.
        prediction_weight: of the prediction term; 0.05 for part segmentation in the source.
        feature_loss: `cosine` or the mean square `l2`.
        projection: width of P.
        temperature: T of the prediction term.
    """

    removable = True
    dense = False
    unmergeable = "every token makes the control signal that moves its own dt, B and C"

    def __init__(
        self,
        *,
        rank: Annotated[int, ">= 1"] = 8,
        hidden: Annotated[int, ">= 1"] = 64,
        modulate: tuple[Literal["dt", "B", "C"], ...] = ("dt", "B", "C"),
        start: Literal["published", "spread"] = "published",
        controller_lr: Annotated[float, "> 0"] = 1.0,
        last: Annotated[int, ">= 1"] | None = None,
        drop_path: Annotated[float, ">= 0"] = 0.1,
        dscd: bool = True,
        orders: tuple[Order, ...] = ("x", "y"),
        feature_weight: Annotated[float, ">= 0"] = 1.0,
        prediction_weight: Annotated[float, ">= 0"] = 0.5,
        feature_loss: Literal["cosine", "l2"] = "cosine",
        projection: Annotated[int, ">= 1"] = 128,
        temperature: Annotated[float, "> 0"] = 2.0,
    ) -> None:
        super().__init__()
        if dscd and len(orders) != 2:
            raise SettingError(f"method.orders = {list(orders)}: consistency is between exactly two orders")
        if drop_path >= 1:
            raise SettingError(f"method.drop_path = {drop_path}: expected less than 1")
        self.rank, self.hidden, self.modulate, self.last = rank, hidden, tuple(modulate), last
        self.spread, self.controller_lr = start == "spread", controller_lr
        self.drop_path, self.dscd, self.orders = drop_path, dscd, tuple(orders)
        self.feature_weight, self.prediction_weight = feature_weight, prediction_weight
        self.feature_loss, self.projection, self.temperature = feature_loss, projection, temperature
        self._views: list[Features] = []
        self._centres: Tensor | None = None

    def attach(self, backbones: Backbones) -> None:
        """Create one adapter a mixer, and the projection P.

        Raises:
            SettingError: the recipe's backbones are not one Mamba3D called `points`, or `last` exceeds its depth.
        """
        backbone = backbones.get(STREAM)
        if not isinstance(backbone, Mamba3D):
            raise SettingError(
                f"Mantis adapts backbones.points, a Mamba3D; the recipe's backbones are {sorted(backbones)}"
            )
        if self.last is not None and self.last > backbone.depth:
            raise SettingError(f"method.last = {self.last}: expected 1 to {backbone.depth}, the backbone's blocks")
        self.first = 0 if self.last is None else backbone.depth - self.last
        super().attach({STREAM: backbone})
        self.depths = {STREAM: self.first}  # with all mixers adapted, only the patch encoder precedes
        net, self.width = backbone.net, backbone.net.width
        self.adapters = nn.ModuleList(
            StateAwareAdapter(
                self.width,
                net.inner,
                net.states,
                rank=self.rank,
                hidden=self.hidden,
                modulate=self.modulate,
                spread=self.spread,
            )
            for _ in range(self.first, backbone.depth)
        )
        self.rates = [self.drop_path * i / max(1, backbone.depth - 1) for i in range(self.first, backbone.depth)]
        if self.dscd:
            summary = 2 * (backbone.dim - 3) if backbone.taps else backbone.dim
            self.project = nn.Sequential(
                nn.Linear(summary, self.projection), nn.GELU(), nn.Linear(self.projection, self.projection)
            )

    def forward(self, backbones: Backbones, prefix: Mapping[str, Tensor], batch: Batch) -> Features:
        """Tokens {points: [B, 1, 1 + G, C + 3]} after the prefix -> features {points: [B, 1, ...]}."""
        backbone, tokens = cast(Mamba3D, backbones[STREAM]), prefix[STREAM].flatten(0, 1)
        views = [tokens]
        if self.training and self.dscd:
            views += [reorder(tokens, name, self.width) for name in self.orders]
        self._centres = None if self.training else tokens[:, 1:, self.width : self.width + 3]
        # What depends on its batch must have the batch of its authors, who run every order alone.
        if backbone.compat == "official":
            pooled = [self._pooled(backbone, view) for view in views]
        else:
            pooled = list(self._pooled(backbone, torch.cat(views)).unflatten(0, (len(views), -1)).unbind())
        features: list[Features] = [{STREAM: part} for part in pooled]
        self._views = features[1:]
        return features[0]

    def _pooled(self, backbone: Mamba3D, tokens: Tensor) -> Tensor:
        """Tokens [N, 1 + G, C + 3] after the prefix -> features [N, 1, ...]."""
        blocks, near = cast(Sequence[Step], backbone.blocks[self.first :]), backbone.near(tokens)
        for block, adapter, rate in zip(blocks, self.adapters, self.rates, strict=True):
            modulation = adapter if self.acts else None
            tokens = block(tokens, modulation=modulation, drop_path=rate if self.training else 0.0, near=near)
        return backbone.pool(backbone.finish(tokens)).unsqueeze(1)

    def parameter_groups(self) -> Mapping[nn.Parameter, Group]:
        """The controllers learn `controller_lr` times as fast as the rest."""
        adapters = [cast(StateAwareAdapter, adapter) for adapter in self.adapters]
        layers = [layer for adapter in adapters for layer in (adapter.proj, adapter.controller)]
        return {parameter: Group(lr=self.controller_lr) for layer in layers for parameter in layer.parameters()}

    def controlled(self) -> dict[str, Controlled]:
        """`control`: of every mixer."""
        signals = [cast(StateAwareAdapter, adapter).signal for adapter in self.adapters]
        return {"control": Controlled(signals)}

    def losses(self, head: Callable[[Features], Tensor]) -> dict[str, Tensor]:
        """DSCD's two weighted terms of the last training forward; none without views."""
        if not self._views:
            return {}
        a, b = (self.project(summary(view[STREAM])) for view in self._views)
        feature = 1 - F.cosine_similarity(a, b, dim=-1).mean() if self.feature_loss == "cosine" else F.mse_loss(a, b)
        p, q = (head(view) for view in self._views)
        prediction = symmetric_kl(p, q, self.temperature)
        self._views = []
        return {
            "feature_consistency": self.feature_weight * feature,
            "prediction_consistency": self.prediction_weight * prediction,
        }

    def observations(self) -> dict[str, Tensor]:
        """Of the last evaluated batch: `control` [B, blocks, G, r], every mixer's signal at the group tokens, and
        `centres` [B, G, 3]."""
        signals = [cast(StateAwareAdapter, adapter).last for adapter in self.adapters]
        known = [signal[:, 1:] for signal in signals if signal is not None]
        if not known or self._centres is None:
            return {}
        return {"control": torch.stack(known, dim=1), "centres": self._centres}


def reorder(tokens: Tensor, name: Order, width: int) -> Tensor:
    """Group tokens sorted along an order of their centres, the class token still in front: [N, 1 + G, C + 3 + ...]."""
    groups = tokens[:, 1:]
    index = order(groups[..., width : width + 3], name)
    return torch.cat([tokens[:, :1], groups.gather(1, index[..., None].expand_as(groups))], dim=1)


def summary(features: Tensor) -> Tensor:
    """One vector a cloud: pooled features [B, 1, F] as they are; of dense ones [B, 1, G, F + 3] maximum beside mean."""
    features = features[:, 0]
    if features.ndim == 2:
        return features
    groups = features[..., :-3]
    return torch.cat([groups.amax(1), groups.mean(1)], dim=-1)


def symmetric_kl(p: Tensor, q: Tensor, temperature: float) -> Tensor:
    """T^2 / 2 (KL(p || q) + KL(q || p)) of logits [..., K], averaged over all but the classes."""
    log_p, log_q = (F.log_softmax(logits.float() / temperature, dim=-1) for logits in (p, q))
    both = (log_p.exp() - log_q.exp()) * (log_p - log_q)  # the two divergences added up
    return temperature**2 / 2 * both.sum(-1).mean()
