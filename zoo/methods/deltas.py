"""What a method changed of frozen layers, the same for every input: to merge it, to export it, to measure it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from zoo.errors import SettingError


@dataclass(frozen=True)
class Factors:
    """A change of a weight as two matrices: scaling * up @ down.

    Attributes:
        down: [r, inputs], or [r, inputs, ...] of a convolution.
        up: [outputs, r], or [outputs, r, 1, ...].
        scaling: alpha / r.
    """

    down: Tensor
    up: Tensor
    scaling: float


@dataclass(frozen=True)
class Delta:
    """The change of one frozen layer.

    Attributes:
        layer: the module that stands at the layer's place in the backbone, the layer itself or what wraps it.
        dense: makes the change of its tensors, by name and of their shapes.
        factors: the change of its weight, where the method makes it of two matrices and changes nothing else.
        weight: name of the weight; a fused attention calls it otherwise.
    """

    layer: nn.Module
    dense: Callable[[], Mapping[str, Tensor]]
    factors: Factors | None = None
    weight: str = "weight"


def low_rank(layer: nn.Module, down: Tensor, up: Tensor, scaling: float) -> Delta:
    """The change of a layer that two matrices make, see `Factors`; multiplied in float64."""

    @torch.no_grad()
    def dense() -> dict[str, Tensor]:
        return {"weight": scaling * torch.einsum("or,r...->o...", up.double().flatten(1), down.double())}

    return Delta(layer, dense, Factors(down, up, scaling))


class Added(nn.Module):
    """A parametrisation: a frozen tensor with something added, wherever and however the backbone reads it.

    Args:
        change: makes what is added, of the tensor's shape; None leaves the tensor as it is.
    """

    def __init__(self, change: Callable[[], Tensor | None]) -> None:
        super().__init__()
        self.change = change

    def forward(self, frozen: Tensor) -> Tensor:
        """The tensor and its change, in the tensor's own type."""
        change = self.change()
        return frozen if change is None else (frozen.to(change.dtype) + change).to(frozen.dtype)


def add_to(layer: nn.Module, name: str, change: Callable[[], Tensor | None]) -> None:
    """Let a layer's tensor be what it was with a change added, see `Added`.

    Raises:
        SettingError: it is quantised, or parametrised already.
    """
    if parametrize.is_parametrized(layer, name):
        raise SettingError(f"{type(layer).__name__}.{name} is parametrised already: one method can change a weight")
    tensor = getattr(layer, name)
    if not tensor.is_floating_point():
        raise SettingError(f"{type(layer).__name__}.{name} is quantised: nothing can be added to it")
    # Registration would evaluate it, before the method is complete.
    parametrize.register_parametrization(layer, name, Added(change), unsafe=True)


def by_place(backbones: Mapping[str, nn.Module], deltas: Sequence[Delta]) -> dict[str, dict[str, Delta]]:
    """Changes by backbone and path of their layer inside it."""
    found: dict[str, dict[str, Delta]] = {}
    for name, backbone in backbones.items():
        paths = {module: path for path, module in backbone.named_modules()}
        own = {paths[delta.layer]: delta for delta in deltas if delta.layer in paths}
        if own:
            found[name] = own
    return found


def frozen(layer: nn.Module) -> nn.Module:
    """The frozen layer at a layer's place: what a tuner of `peft` has wrapped, or the layer itself."""
    inside = getattr(layer, "base_layer", None)
    return inside if isinstance(inside, nn.Module) else layer


def frozen_tensor(layer: nn.Module, name: str) -> Tensor:
    """A tensor of `frozen(layer)` as it was before any parametrisation."""
    layer = frozen(layer)
    held = getattr(layer, "parametrizations", {})
    found = held[name].original if name in held and isinstance(held[name][0], Added) else getattr(layer, name)
    assert isinstance(found, Tensor)
    return found


def plain_state(module: nn.Module) -> dict[str, Tensor]:
    """A backbone's frozen tensors, by the names that they have where no method is attached."""
    state = module.state_dict()
    return {name: state[key].detach() for key, name in plain_names(module, state).items()}


def plain_names(module: nn.Module, keys: Iterable[str]) -> dict[str, str]:
    """By the keys of a backbone's frozen tensors, the names that they have where no method is attached."""
    paths = list(module.named_modules(remove_duplicate=False))
    wrapped = {path: f"{path}.base_layer." for path, each in paths if frozen(each) is not each}
    held = {
        f"{path}.parametrizations.{name}": f"{path}.{name}"
        for path, each in paths
        for name, inside in getattr(each, "parametrizations", {}).items()
        if isinstance(inside[0], Added)
    }
    found = {}
    for key in keys:
        name: str | None = key
        for path, inner in wrapped.items():
            if key.startswith(f"{path}."):
                name = f"{path}.{key.removeprefix(inner)}" if key.startswith(inner) else None
        for path, own in held.items():
            if key.startswith(f"{path}."):
                name = own if key == f"{path}.original" else None
        if name is not None:
            found[key] = name
    return found
