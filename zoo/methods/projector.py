"""The first stage of LLaVA (Liu et al. 2023, arXiv 2304.08485): train the projector alone between two frozen ends."""

import copy
from typing import Any

from torch import Tensor, nn

from zoo.errors import SettingError
from zoo.methods.base import Backbones, Method


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
