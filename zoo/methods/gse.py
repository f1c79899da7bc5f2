"""Generalised and specialised experts (VLA-GSE, Jiang et al. 2026, arXiv 2605.06175): a mixture of low-rank updates.

    M(x) = sum_g K_g x / n_g + sum over the k likeliest of w_i(x) K_i x           K_i = c_i B_i A_i, of rank r / E
    p(x) = softmax(R x);  w: p of the k likeliest, divided by their sum           c_i = sqrt(3 eta d_in / rank of i)
    start: A_i = sqrt(S_i / (c_i rho)) V_i^T, B_i = U_i sqrt(S_i / (c_i rho))     U S V^T: svd_lowrank(W), r values

The E experts share out the r largest singular values in order, those that are always on (g) taking the first ones. The
others are chosen token by token, and a loss keeps their use even: n_s sum_i (tokens that chose i / tokens) mean(p_i),
added up over layers and weighted.

    published    y = W x - sum of all K0_i x + M(x)      K0, M0: as they are at the start
    exact        y = W x - M0(x) + M(x)                  step 0 is the frozen model

As released (YuhuaJiang2002/VLA-GSE), every expert's start is taken out of W, and training begins without the ones that
the router leaves out: `describe` says how large they are. The exact start takes off what the router puts back at the
start. Parameters, their start and the gradients that a layer hands them are the same; what stays fixed differs by the
missing part. M0 needs the first router, which an adapter holds beside M; frozen slices are computed anew. W itself is
never changed.

`balance` is the release's gradient scale balancing: c_i = balance * mean trace / trace of S_i, for specialised experts.
Its library defaults to two generalised experts, its scripts and paper to one. Not taken over: dropout (frozen backbones
stay in evaluation mode here), ranks that E does not divide, and passing over layers with a smaller rank.

SVD by the draw that the release takes on a processor, number by number, in float64 behind it. Only products of singular
vectors matter, whose signs cancel; names of tensors end in a fingerprint of the draw and of what else the start depends
on, so that they are refused where another start would stand beside them.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.backbones.vision_language import VisionLanguage
from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.methods.base import Backbones, Features
from zoo.methods.hooked import Hooked, decomposable
from zoo.methods.signals import Controlled, Signal

ITERATIONS = 2
"""Of the subspace behind the decomposition; that of the release."""


class GSE(Hooked):
    """Mixtures of low-rank experts beside linear layers inside the last blocks of each backbone.

    Args:
        targets: module-name suffixes by tower, e.g. `{vision: [attn.qkv, attn.proj]}`.
        last: only the last so many blocks by tower.
        rank: r, of all experts together.
        experts: E; they share the rank in equal parts.
        generalised: n_g, how many are always on.
        chosen: k, how many of the others a token takes.
        balance_weight: of the loss that keeps their use even.
        balance: gradient scale balancing; 0 is without, and 2 that of the release.
        start: `exact`, the frozen model, or `published`.
        rho: divides singular values at the start.
        eta: of the scale c.
        seed: of the decomposition.
    """

    unmergeable = "a router chooses experts by token"

    def __init__(
        self,
        *,
        targets: dict[str, list[str]],
        last: dict[str, int] | None = None,
        rank: Annotated[int, ">= 1"] = 16,
        experts: Annotated[int, ">= 2"] = 8,
        generalised: Annotated[int, ">= 0"] = 1,
        chosen: Annotated[int, ">= 1"] = 2,
        balance_weight: Annotated[float, ">= 0"] = 0.01,
        balance: Annotated[float, ">= 0"] = 0.0,
        start: Literal["exact", "published"] = "exact",
        rho: Annotated[float, "> 0"] = 10.0,
        eta: Annotated[float, "> 0"] = 1.0,
        seed: Annotated[int, ">= 0"] = 42,
    ) -> None:
        super().__init__(targets=targets, last=last)
        if rank % experts:
            raise SettingError(f"method.rank = {rank}: {experts} experts cannot share it equally; take a multiple")
        if generalised + chosen > experts:
            left = experts - generalised
            raise SettingError(f"method.chosen = {chosen}: {left} of {experts} experts are specialised")
        self.rank, self.experts, self.generalised, self.chosen = rank, experts, generalised, chosen
        self.balance_weight, self.balance, self.start = balance_weight, balance, start
        self.rho, self.eta, self.seed = rho, eta, seed
        self.samples = 1  # of the batch that runs
        self.uneven: list[Tensor] = []  # of the layers that it passed, in training

    def attach(self, backbones: Backbones) -> None:
        """Hook the target layers.

        Raises:
            SettingError: as `Hooked.attach`, or none is named.
        """
        super().attach(backbones)
        if not self.layers:
            raise SettingError("method.targets, method.last: they name no layer, and GSE changes nothing else")
        self.by_sample = not any(isinstance(backbone, VisionLanguage) for backbone in backbones.values())

    def update(self, layer: nn.Linear) -> nn.Module:
        """The experts of one weight.

        Raises:
            SettingError: a rank above the weight's, or a quantised layer.
        """
        return Mixture(decomposable(layer, self.rank), self)

    def describe(self) -> str:
        """Which layers are adapted by how many experts, and how far the published start is from the frozen model."""
        routed = self.experts - self.generalised
        said = f"{self.matched}, {self.generalised} + {routed} experts each, {self.chosen} of the {routed} by token"
        if self.start == "exact":
            return said
        away = [cast(Mixture, update).missing for update in self.updates.values()]
        return f"{said}; step 0 lacks {min(away):.2%} to {max(away):.2%} of the weights' norms"

    def forward(self, backbones: Backbones, prefix: Mapping[str, Tensor], batch: Batch) -> Features:
        """Tokens {stream: [B, T, L, D]} after the prefix -> what the backbones make of them."""
        self.samples, self.uneven = max(1, len(batch)), []  # an exported program knows no samples
        return super().forward(backbones, prefix, batch)

    def losses(self, head: Callable[[Features], Tensor]) -> dict[str, Tensor]:
        """`balance`: how uneven experts are used, over all layers, weighted; k a layer where their use is even."""
        if not self.uneven or not self.balance_weight:
            return {}
        return {"balance": self.balance_weight * torch.stack(self.uneven).sum()}

    def controlled(self) -> dict[str, Controlled]:
        """`router`: weights of the specialised experts in every layer; none of a vision-language model, where rows of
        hidden states are no samples, or samples differ in length."""
        if not self.by_sample:
            return {}
        return {"router": Controlled([cast(Mixture, update).signal for update in self.updates.values()])}


class Mixture(nn.Module):
    """Experts beside one layer, and what they begin as.

    Args:
        weight: W, [outputs, inputs].
        method: whose settings they follow.

    Attributes:
        missing: share of ||W|| that the published start lacks, where routing is even.
    """

    first_up: Tensor
    first_down: Tensor
    first_router: Tensor
    scales: Tensor

    def __init__(self, weight: Tensor, method: GSE) -> None:
        super().__init__()
        self.method = (method,)  # a module would be a child
        self.signal = Signal()
        inputs = weight.shape[1]
        each, specialised = method.rank // method.experts, method.experts - method.generalised
        up, values, down, drawn = decompose(weight, method.rank, method.seed)
        traces = values.unflatten(0, (method.experts, each)).sum(1)
        scales = torch.full_like(traces, math.sqrt(3 * method.eta * inputs / each))
        if method.balance:
            own = traces[method.generalised :]
            scales[method.generalised :] = method.balance * own.mean() / own
        scales = scales.repeat_interleave(each)
        root = (values / (scales * method.rho)).sqrt()
        for name, value in (("first_up", up * root), ("first_down", root[:, None] * down), ("scales", scales)):
            self.register_buffer(name, value.float().contiguous(), persistent=False)
        about = f"{drawn} {method.experts} {method.generalised} {method.start} {method.rho} {method.eta}"
        self.mark = hashlib.sha256(f"{about} {method.balance}".encode()).hexdigest()[:8]
        router = nn.Linear(inputs, specialised, bias=False).weight.detach()
        started = {"up": self.first_up, "down": self.first_down, "router": router}
        self.trained = nn.ParameterDict({f"{name}_{self.mark}": value.clone() for name, value in started.items()})
        if method.start == "exact":
            self.register_buffer("first_router", router)
        self.missing = _missing(values / method.rho, method) / float(weight.double().norm())

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] -> [..., outputs]: what is added to the layer's output."""
        (method,) = self.method
        up, down, router = (self.trained[f"{name}_{self.mark}"] for name in ("up", "down", "router"))
        x = x.to(down.dtype)
        likely = F.linear(x, router).softmax(-1)
        if method.training:
            method.uneven.append(unevenness(likely, method.chosen))
        weights = self.signal(routed(likely, method.chosen), x.shape[0] // method.samples)
        mixed = self._mixed(x, up, down, weights)
        if method.start == "published":
            return mixed - F.linear(F.linear(x, self.first_down) * self.scales, self.first_up)
        first = routed(F.linear(x, self.first_router).softmax(-1), method.chosen)
        return mixed - self._mixed(x, self.first_up, self.first_down, first)

    def _mixed(self, x: Tensor, up: Tensor, down: Tensor, weights: Tensor) -> Tensor:
        """M(x), [..., outputs], with these weights of the specialised experts, [..., n_s]."""
        (method,) = self.method
        each = method.rank // method.experts
        general = weights.new_full((*weights.shape[:-1], method.generalised), 1 / max(1, method.generalised))
        share = torch.cat([general, weights], -1).repeat_interleave(each, -1)
        return F.linear(F.linear(x, down) * share * self.scales, up)


def routed(likely: Tensor, chosen: int) -> Tensor:
    """Probabilities [..., n] -> weights of the likeliest, which add up to 1, and zeros, [..., n]."""
    top, index = likely.topk(chosen)
    return torch.zeros_like(likely).scatter(-1, index, top / top.sum(-1, keepdim=True))


def unevenness(likely: Tensor, chosen: int) -> Tensor:
    """n sum_i f_i p_i of probabilities [..., n], a scalar.

    f_i: share of the tokens that choose i, without gradient; p_i: mean probability of i.
    """
    flat = likely.flatten(0, -2)
    counts = torch.zeros_like(flat).scatter(-1, flat.topk(chosen).indices, 1.0)
    return likely.shape[-1] * (counts.mean(0) * flat.mean(0)).sum()


def decompose(weight: Tensor, rank: int, seed: int) -> tuple[Tensor, Tensor, Tensor, str]:
    """U [outputs, r], S [r] and V^T [r, inputs] of a weight [outputs, inputs], float64, and a fingerprint of the draw.

    `torch.svd_lowrank` under `torch.manual_seed(seed)` (Halko et al. 2011, algorithm 5.1), from the same float32 draw.
    Signs of the draw are its fingerprint, as processors differ in its last digits.
    """
    matrix = weight.double().cpu()
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    draw = torch.randn(tall.shape[1], rank, generator=torch.Generator().manual_seed(seed))
    basis = torch.linalg.qr(tall @ draw.double()).Q
    for _ in range(ITERATIONS):
        basis = torch.linalg.qr(tall.T @ basis).Q
        basis = torch.linalg.qr(tall @ basis).Q
    left, values, right = torch.linalg.svd(basis.T @ tall, full_matrices=False)
    left = basis @ left
    if tall is not matrix:
        left, right = right.T, left.T
    signs = hashlib.sha256(bytes((draw[0] > 0).tolist())).hexdigest()
    return left, values, right, signs


def _missing(values: Tensor, method: GSE) -> float:
    """Norm of what the published start lacks, with singular values [r] of all slices: in the root mean square over
    which specialised experts are chosen, with equal weights."""
    energy = values.square().unflatten(0, (method.experts, -1)).sum(1)
    general, special = energy[: method.generalised], energy[method.generalised :]
    taken = method.chosen / len(special)
    lacking = (1 - taken) + taken * (1 - 1 / method.chosen) ** 2
    return math.sqrt(float((1 - 1 / max(1, method.generalised)) ** 2 * general.sum() + lacking * special.sum()))
