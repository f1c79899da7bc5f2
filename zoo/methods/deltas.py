"""What a method changed of frozen layers, the same for every input: to merge it, to export it, to measure it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


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
        dense: makes the change of its tensors, by name (`weight`, always, and `bias`) and of their shapes.
        factors: the change of its weight, where the method makes it of two matrices and changes nothing else.
    """

    layer: nn.Module
    dense: Callable[[], Mapping[str, Tensor]]
    factors: Factors | None = None


def low_rank(layer: nn.Module, down: Tensor, up: Tensor, scaling: float) -> Delta:
    """The change of a layer that two matrices make, see `Factors`; multiplied in float64."""

    @torch.no_grad()
    def dense() -> dict[str, Tensor]:
        return {"weight": scaling * torch.einsum("or,r...->o...", up.double().flatten(1), down.double())}

    return Delta(layer, dense, Factors(down, up, scaling))


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
    found = held[name].original if name in held else getattr(layer, name)
    assert isinstance(found, Tensor)
    return found


def plain_state(module: nn.Module) -> dict[str, Tensor]:
    """A backbone's frozen tensors, by the names that they have where no method is attached."""
    paths = list(module.named_modules(remove_duplicate=False))
    wrapped = {path: f"{path}.base_layer." for path, each in paths if frozen(each) is not each}
    held = {f"{path}.parametrizations" for path, each in paths if hasattr(each, "parametrizations")}
    found = {}
    for key, tensor in module.state_dict().items():
        name: str | None = key
        for path, inner in wrapped.items():
            if key.startswith(f"{path}."):
                name = f"{path}.{key.removeprefix(inner)}" if key.startswith(inner) else None
        for path in held:
            if key.startswith(f"{path}."):
                own, _, part = key.removeprefix(f"{path}.").partition(".")
                name = f"{path.removesuffix('parametrizations')}{own}" if part == "original" else None
        if name is not None:
            found[name] = tensor.detach()
    return found
