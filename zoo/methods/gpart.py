"""GPart (Mandica et al. 2026, arXiv 2605.14841): all changes of all targeted weights out of one short vector.

    W_i = W0_i + theta[g(i)] / sqrt(n_g(i))        i counts through every weight of every target, one after the other
    g(i) = hash(seed + i) mod d                    n_j: weights in group j

Every weight belongs to one of d groups by a hash of its place, so that no index is stored, and the root of the group's
size makes theta -> change an isometry: ||change|| = ||theta||. theta = 0: step 0 is the frozen model, exactly. Of all
this an adapter holds d numbers.

As released (SamsungLabs/GPart, its `stateless` backend), number by number: SplitMix64, unsigned modulo, seed 42, groups
drawn independently of each other and not balanced. Not taken over: dropout of the change, since frozen backbones stay
in evaluation mode here, a partition for every block, and its `materialized` backend, which is another partition. Ours:
it stands in parametrisations, so that convolutions, grouped ones too, and PyTorch's fused attention take it as linear
layers do.

Which weights are targeted, in which order, and their number decide what theta means: its name among the tensors of an
adapter ends in a fingerprint of that, so that it is refused where these differ.
"""

import hashlib
from collections.abc import Callable
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from zoo.errors import SettingError
from zoo.methods.base import Backbones
from zoo.methods.deltas import Delta, add_to
from zoo.methods.sites import is_layer
from zoo.methods.targeted import Targeted

STEP, FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
"""Of SplitMix64 (Steele, Lea and Flood 2014)."""


class GPart(Targeted):
    """One vector for the weights of layers inside the last blocks of each backbone.

    Args:
        dim: d, what trains; at most as many as there are weights. Published: 72,000 for ViT-B, 23,040 for RoBERTa.
        targets: module-name suffixes by tower, e.g. `{vision: [attn.qkv], audio: [conv1]}`; a fused attention by its
            own name, for its query, key and value projection.
        last: only the last so many blocks by tower.
        seed: of the hash.
    """

    def __init__(
        self,
        *,
        dim: Annotated[int, ">= 1"],
        targets: dict[str, list[str]],
        last: dict[str, int] | None = None,
        seed: Annotated[int, ">= 0"] = 42,
    ) -> None:
        super().__init__(targets=targets, last=last)
        self.dim, self.seed = dim, seed

    def attach(self, backbones: Backbones) -> None:
        """Parametrise the targets.

        Raises:
            SettingError: a tower without backbone, a suffix that matches no layer (those found are listed), a quantised
                layer, or more groups than weights.
        """
        super().attach(backbones)
        found = self.places(backbones, fits=has_weight)
        layers = {f"{place.site.target}/{place.site.index}/{place.path}": place.layer for place in found}
        shapes = {place: _weight(layer).shape for place, layer in layers.items()}
        total = sum(shape.numel() for shape in shapes.values())
        if not total:
            raise SettingError("method.targets, method.last: they name no layer, and GPart changes nothing else")
        if self.dim > total:
            raise SettingError(f"method.dim = {self.dim:,}: there are {total:,} weights to divide into groups")
        print_ = hashlib.sha256(f"{self.seed} {[(place, list(shape)) for place, shape in shapes.items()]}".encode())
        self.theta = nn.ParameterDict({f"of_{print_.hexdigest()[:12]}": nn.Parameter(torch.zeros(self.dim))})
        every = groups(0, total, self.seed, self.dim)
        sizes = torch.bincount(every, minlength=self.dim).clamp(min=1)
        self.register_buffer("scale", sizes.double().rsqrt().float(), persistent=False)
        self.changes: dict[nn.Module, Callable[[], Tensor]] = {}
        start = 0
        for place, layer in layers.items():
            self.changes[layer] = change = self._change(start, shapes[place])
            add_to(layer, weight_name(layer), self._acting(change))
            start += shapes[place].numel()

    def _change(self, start: int, shape: torch.Size) -> Callable[[], Tensor]:
        """What makes the change of one weight, whose first number has this place among all."""

        def change() -> Tensor:
            (theta,) = self.theta.values()
            return spread(theta * self.scale, start, shape.numel(), self.seed).view(shape)

        return change

    def _acting(self, change: Callable[[], Tensor]) -> Callable[[], Tensor | None]:
        return lambda: change() if self.acts else None

    def describe(self) -> str:
        """What is divided into how many groups."""
        return f"{self.matched} in {self.dim:,} groups"

    def deltas(self, *, gsd: float | None = None) -> list[Delta]:
        """Of every target; no side input matters."""

        def of(layer: nn.Module, change: Callable[[], Tensor]) -> Delta:
            name = weight_name(layer)
            return Delta(layer, lambda: {name: change().detach()}, weight=name)

        return [of(layer, change) for layer, change in self.changes.items()]


class Spread(torch.autograd.Function):
    """[d] -> [count], each place the number of its group; groups are hashed again on the way back, and not kept."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, start: int, count: int, seed: int) -> Tensor:
        """The number of the group of every place from `start` on."""
        ctx.about = start, count, seed, values.shape[0]
        found: Tensor = values[groups(start, count, seed, values.shape[0], values.device)]
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, None, None, None]:
        """Sums over groups, [d]."""
        start, count, seed, dim = ctx.about
        index = groups(start, count, seed, dim, grads[0].device)
        summed: Tensor = grads[0].new_zeros(dim).index_add_(0, index, grads[0])
        return summed, None, None, None


def spread(values: Tensor, start: int, count: int, seed: int) -> Tensor:
    """[d] -> [count]: to every place from `start` on, the number of its group."""
    found: Tensor = Spread.apply(values, start, count, seed)
    return found


def groups(start: int, count: int, seed: int, dim: int, device: torch.device | None = None) -> Tensor:
    """Groups of so many places from `start` on, int64 [count] in [0, dim): SplitMix64 of seed + place, mod dim."""
    value = torch.arange(start, start + count, dtype=torch.int64, device=device) + _signed(seed + STEP)
    value = (value ^ _shifted(value, 30)) * _signed(FIRST)
    value = (value ^ _shifted(value, 27)) * _signed(SECOND)
    value = value ^ _shifted(value, 31)
    # 64 bits without sign, of which PyTorch knows no remainder.
    rest = value % dim
    return torch.where(value < 0, (rest + 2**64 % dim) % dim, rest)


def _signed(value: int) -> int:
    """The 64 bits of an integer, read with a sign."""
    value %= 2**64
    return value - 2**64 if value >= 2**63 else value


def _shifted(value: Tensor, bits: int) -> Tensor:
    """To the right, zeros coming in."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def has_weight(module: nn.Module) -> bool:
    """Whether a module is a layer or a fused attention."""
    return is_layer(module) or isinstance(module, nn.MultiheadAttention)


def weight_name(layer: nn.Module) -> str:
    """Of the weight that a layer, or a fused attention, multiplies its input with.

    Raises:
        SettingError: a fused attention with a weight each for query, key and value.
    """
    if not isinstance(layer, nn.MultiheadAttention):
        return "weight"
    if layer.in_proj_weight is None:
        raise SettingError("a fused attention whose query, key and value differ in width has no weight of its own")
    return "in_proj_weight"


def _weight(layer: nn.Module) -> Tensor:
    weight = getattr(layer, weight_name(layer))
    assert isinstance(weight, Tensor)
    return weight
