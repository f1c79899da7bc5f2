"""MatryoshkaLoRA (Modoranu, Safaryan and Alistarh 2026, arXiv 2605.07850): one LoRA that works at every rank.

    training    y = W x + sum_k s_k B_k A_k x = W x + B (p * A x)       A_k, B_k: the first k rows and columns, k of S
    at rank k   y = W x + s_k B_k A_k x                                  p_i = sum over k >= i of s_k
    s_k = 1, 1 / k or 1 / sqrt(k)                                        B = 0: step 0 is the frozen model, exactly

An adapter holds what a LoRA of rank max S holds; any smaller rank of S is its first rows, chosen when it is used
(`method.rank=4` with evaluate, predict and export). `aurac` is the area under accuracy over rank, divided by the range:
over the rank itself, and over its logarithm.

As released (IST-DASLab/MatryoshkaLoRA): training sees the sum over ranks and a measurement one rank, so that their
updates differ in size by construction; validation, which selects, sees the largest. s_k = 1 / sqrt(k) is that of the
authors' script. Ours is `average`, which divides the sum in training by the number of ranks: here a head learns beside the
updates, at the size that they have in training, and at one rank of a plain sum it reads updates of another size.
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
from zoo.methods.base import Backbones, Method
from zoo.methods.deltas import Delta, low_rank
from zoo.methods.sites import ahead, describe, find, first_blocks

Scaling = Literal["none", "rank", "sqrt"]


class MatryoshkaLoRA(Method):
    """Nested low-rank updates of linear layers inside the last blocks of each backbone.

    Args:
        targets: module-name suffixes by tower, e.g. `{vision: [attn.qkv, attn.proj]}`.
        last: only the last so many blocks by tower.
        ranks: S, increasing.
        rank: which of them acts outside of training; 0 is the largest.
        scaling: s_k, 1, 1 / k or 1 / sqrt(k).
        average: whether training divides the sum over ranks by their number.
    """

    removable = True
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
        super().__init__()
        self.targets, self.last, self.average = dict(targets), dict(last or {}), average
        self.ranks, self.scaling = tuple(ranks), scaling
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
        if settings["rank"] not in self.ranks:
            raise SettingError(f"method.rank = {settings['rank']}: trained were {', '.join(map(str, self.ranks))}")
        self.rank = settings["rank"]

    def attach(self, backbones: Backbones) -> None:
        """Hook the target layers.

        Raises:
            SettingError: a tower without backbone, a suffix that matches no layer, or a layer that is not linear.
        """
        super().attach(backbones)
        sites = find(backbones, self.targets, self.last)
        self.matched = describe(sites)
        self.weights = nn.ModuleDict()
        self.layers: dict[str, nn.Linear] = {}
        for site in sites:
            for path, layer in site.layers.items():
                where = f"method.targets.{site.target}, block {site.index}: {path}"
                if not isinstance(layer, nn.Linear):
                    raise SettingError(f"{where} is no linear layer, but {layer}")
                place = f"{site.target}/{site.index:02d}/{path}".replace(".", "_")
                self.weights[place] = pair = Pair(layer.in_features, layer.out_features, self.ranks[-1])
                self.layers[place] = layer
                layer.register_forward_hook(self._hook(pair))
        share = 1 / len(self.ranks) if self.average else 1.0
        self.register_buffer("diagonal", share * diagonal(self.ranks, self.scaling), persistent=False)
        first = first_blocks(sites, backbones)
        self.depths = {name: backbone.prefix_depth(first[name]) for name, backbone in backbones.items()}
        self.ahead = ahead(first, backbones)

    def _hook(self, pair: "Pair") -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor | None]:
        def add(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor | None:
            if not self.acts:
                return None
            down, up = (pair.down, pair.up) if self.training else (pair.down[: self.rank], pair.up[:, : self.rank])
            scale = self.diagonal if self.training else factor(self.rank, self.scaling)
            more = F.linear(F.linear(inputs[0].to(down.dtype), down) * scale, up)
            return output + more.to(output.dtype)

        return add

    def describe(self) -> str:
        """What is adapted, and at which ranks it will work."""
        return f"{self.matched} at ranks {', '.join(map(str, self.ranks))}"

    def deltas(self, *, gsd: float | None = None) -> list[Delta]:
        """Of every layer at the rank that acts; no side input matters."""
        rank = self.rank
        pairs = [(layer, cast(Pair, self.weights[place])) for place, layer in self.layers.items()]
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


class Pair(nn.Module):
    """A [r, inputs] and B [outputs, r]."""

    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(rank, inputs))
        self.up = nn.Parameter(torch.zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))


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
