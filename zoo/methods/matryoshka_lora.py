"""MatryoshkaLoRA (Modoranu, Safaryan and Alistarh 2026, arXiv 2605.07850): one LoRA that works at every rank.

    training    y = W x + sum_k s_k B_k A_k x = W x + B (p * A x)       A_k, B_k: the first k rows and columns, k of S
    at rank k   y = W x + s_k B_k A_k x                                  p_i = sum over k >= i of s_k
    s_k = 1, 1 / k or 1 / sqrt(k)                                        B = 0: step 0 is the frozen model, exactly

An adapter holds what a LoRA of rank max S holds; any smaller rank of S is its first rows, chosen when it is used
(`method.rank=4` with evaluate, predict and export). `aurac` is the area under accuracy over rank, divided by the range:
over the rank itself, and over its logarithm.

As released (IST-DASLab/MatryoshkaLoRA): training sees the sum over ranks and a measurement one rank, so that their
updates differ in size by construction; validation, which selects, sees the largest. s_k = 1 / sqrt(k) is that of the
authors' script. Ours is `average`, which divides the sum in training by the number of ranks: here a head learns beside
the updates, at the size that they have in training, and at one rank of a plain sum it reads updates of another size.
Refused here: ranks above the largest of S, whose rows would never train. A is drawn as LoRA's is.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.errors import SettingError
from zoo.methods.base import Backbones
from zoo.methods.deltas import Delta, low_rank
from zoo.methods.hooked import Hooked

Scaling = Literal["none", "rank", "sqrt"]


class MatryoshkaLoRA(Hooked):
    """Nested low-rank updates of linear layers inside the last blocks of each backbone.

    Args:
        targets: module-name suffixes by tower, e.g. `{vision: [attn.qkv, attn.proj]}`.
        last: only the last so many blocks by tower.
        ranks: S, increasing.
        rank: which of them acts outside of training; 0 is the largest.
        scaling: s_k, 1, 1 / k or 1 / sqrt(k).
        average: whether training divides the sum over ranks by their number.
    """

    diagonal: Tensor
    at_test = ("rank",)

    def __init__(
        self,
        *,
        targets: dict[str, list[str]],
        last: dict[str, int] | None = None,
        ranks: tuple[int, ...] = (1, 2, 4, 8),
        rank: Annotated[int, ">= 0"] = 0,
        scaling: Scaling = "sqrt",
        average: bool = True,
    ) -> None:
        super().__init__(targets=targets, last=last)
        self.ranks, self.scaling, self.average = tuple(ranks), scaling, average
        if not ranks or ranks[0] < 1 or any(low >= high for low, high in pairwise(ranks)):
            raise SettingError(f"method.ranks = {list(ranks)}: expected increasing numbers from 1 on")
        self.rank = ranks[-1]
        if rank:
            self.choose(rank=rank)

    def choose(self, **settings: Any) -> None:
        """Let another rank act.

        Raises:
            SettingError: one that was not trained.
        """
        super().choose(**settings)
        rank = settings.get("rank", self.rank)
        if type(rank) is not int or rank not in self.ranks:
            raise SettingError(f"method.rank = {rank}: trained were {', '.join(map(str, self.ranks))}")
        self.rank = rank

    def attach(self, backbones: Backbones) -> None:
        """Hook the target layers.

        Raises:
            SettingError: as `Hooked.attach`.
        """
        super().attach(backbones)
        share = 1 / len(self.ranks) if self.average else 1.0
        self.register_buffer("diagonal", share * diagonal(self.ranks, self.scaling), persistent=False)

    def update(self, layer: nn.Linear) -> nn.Module:
        """Matrices of the largest rank.

        Raises:
            SettingError: a rank above that of the layer's weight.
        """
        if self.ranks[-1] > min(layer.weight.shape):
            shape = tuple(layer.weight.shape)
            raise SettingError(
                f"method.ranks = {list(self.ranks)}: a weight of {shape} has no rank of {self.ranks[-1]}"
            )
        return Nested(layer.in_features, layer.out_features, self)

    def describe(self) -> str:
        """What is adapted, and at which ranks it will work."""
        return f"{self.matched} at ranks {', '.join(map(str, self.ranks))}"

    def deltas(self, *, gsd: float | None = None) -> list[Delta]:
        """Of every layer at the rank that acts; no side input matters."""
        rank = self.rank
        pairs = [(layer, cast(Nested, self.updates[place])) for place, layer in self.layers.items()]
        return [low_rank(at, own.down[:rank], own.up[:, :rank], factor(rank, self.scaling)) for at, own in pairs]

    def points(self) -> dict[str, Callable[[], contextlib.AbstractContextManager[None]]]:
        """Every smaller rank, `rank_1` and so on."""
        return {f"rank_{rank}": self._at(rank) for rank in self.ranks if rank != self.rank}

    def _at(self, rank: int) -> Callable[[], contextlib.AbstractContextManager[None]]:
        @contextlib.contextmanager
        def within() -> Iterator[None]:
            own, self.rank = self.rank, rank
            try:
                yield
            finally:
                self.rank = own

        return within

    def over_points(self, metric: Mapping[str, float]) -> dict[str, float]:
        """`aurac` and `aurac_log` of the metric by point; "" is that of the rank that acts."""
        reached = {self.rank if not name else int(name.removeprefix("rank_")): value for name, value in metric.items()}
        if len(reached) < 2:
            return {}
        ranks = sorted(reached)
        values = [reached[rank] for rank in ranks]
        return {"aurac": area(ranks, values), "aurac_log": area([math.log2(rank) for rank in ranks], values)}


class Nested(nn.Module):
    """A [r, inputs] and B [outputs, r], r being the largest rank of their method, which says what of them acts."""

    def __init__(self, inputs: int, outputs: int, method: MatryoshkaLoRA) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(method.ranks[-1], inputs))
        self.up = nn.Parameter(torch.zeros(outputs, method.ranks[-1]))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self.method = (method,)  # a module would be a child

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] -> [..., outputs]: of all ranks in training, otherwise of the one that acts."""
        (method,) = self.method
        if method.training:
            return F.linear(F.linear(x.to(self.down.dtype), self.down) * method.diagonal, self.up)
        down, up = self.down[: method.rank], self.up[:, : method.rank]
        return F.linear(F.linear(x.to(down.dtype), down), up) * factor(method.rank, method.scaling)


def factor(rank: int, scaling: Scaling) -> float:
    """s_k."""
    return {"none": 1.0, "rank": 1 / rank, "sqrt": 1 / math.sqrt(rank)}[scaling]


def diagonal(ranks: Sequence[int], scaling: Scaling) -> Tensor:
    """p, float32 [max S]."""
    rows = torch.arange(1, max(ranks) + 1)
    return torch.stack([factor(rank, scaling) * (rows <= rank) for rank in ranks]).sum(0)


def area(places: Sequence[float], values: Sequence[float]) -> float:
    """Under values over increasing places, by trapezoids, divided by the range of places."""
    whole = sum((b - a) * (x + y) / 2 for (a, b), (x, y) in zip(pairwise(places), pairwise(values), strict=True))
    return whole / (places[-1] - places[0])
