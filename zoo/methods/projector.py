"""The first stage of LLaVA (Liu et al. 2023, arXiv 2304.08485): train the projector alone between two frozen ends."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from zoo.backbones.vision_language import VisionLanguage
from zoo.errors import SettingError
from zoo.methods.base import Backbones, Method
from zoo.methods.deltas import Delta


class Projector(Method):
    """A trainable copy takes the place of the frozen projector of a vision-language model."""

    def attach(self, backbones: Backbones) -> None:
        """Copy the projector.

        Raises:
            SettingError: not exactly one backbone, or one that has no `projector`.
        """
        found = {name: getattr(backbone, "projector", None) for name, backbone in backbones.items()}
        if len(found) != 1 or not isinstance(next(iter(found.values())), nn.Module):
            raise SettingError(f"method: needs one backbone with a projector; the recipe has {sorted(backbones)}")
        super().attach(backbones)
        (frozen,) = found.values()
        assert isinstance(frozen, nn.Module)
        self.projector = copy.deepcopy(frozen).requires_grad_(True)
        frozen.register_forward_hook(self._instead)

    def _instead(self, _: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        out: Tensor = self.projector(*inputs)
        return out


class Projectors(nn.ModuleList):
    """Trainable copies in float32, each in the place of one of the frozen modules between the towers of a model.

    Args:
        backbones: of the recipe, one of them a vision-language model.

    Raises:
        SettingError: no backbone has a projector.
    """

    enabled = True
    """False leaves the frozen ones in their places."""

    def __init__(self, backbones: Backbones) -> None:
        found = [each for b in backbones.values() if isinstance(b, VisionLanguage) for each in b.projectors]
        if not found:
            raise SettingError(
                "method.projector_lr: needs a vision-language model with a projector; the recipe has "
                f"{sorted(backbones)}"
            )
        super().__init__(copy.deepcopy(each).float().requires_grad_(True) for each in found)
        self.frozen = found
        for frozen, made in zip(found, self, strict=True):
            frozen.register_forward_hook(partial(self._instead, made))

    def deltas(self) -> list[Delta]:
        """Of every layer with weights: the trained ones minus the frozen ones."""
        return [
            _moved(layer, made)
            for frozen, copied in zip(self.frozen, self, strict=True)
            for layer, made in zip(frozen.modules(), copied.modules(), strict=True)
            if dict(layer.named_parameters(recurse=False))
        ]

    def _instead(self, made: Callable[[Tensor], Tensor], _: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        if not self.enabled:
            return output
        (tokens,) = inputs
        return made(tokens.to(torch.float32)).to(output.dtype)


def _moved(layer: nn.Module, made: nn.Module) -> Delta:
    """The change of one layer to its trained copy."""

    @torch.no_grad()
    def dense() -> dict[str, Tensor]:
        own = dict(made.named_parameters(recurse=False))
        return {name: own[name].double() - value.double() for name, value in layer.named_parameters(recurse=False)}

    return Delta(layer, dense)
