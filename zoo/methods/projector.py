"""The first stage of LLaVA (Liu et al. 2023, arXiv 2304.08485): train the projector alone between two frozen ends."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from zoo.backbones.base import TextEncoder
from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.methods.base import Backbones, Features, Method


class Projector(Method):
    """A trainable copy takes the place of the frozen projector of a vision-language model."""

    def attach(self, backbones: Backbones, text: TextEncoder | None, classes: Sequence[str]) -> None:
        """Copy the projector.

        Raises:
            SettingError: not exactly one backbone, or one that has no `projector`.
        """
        found = {name: getattr(backbone, "projector", None) for name, backbone in backbones.items()}
        if len(found) != 1 or not isinstance(next(iter(found.values())), nn.Module):
            raise SettingError(f"method: needs one backbone with a projector; the recipe has {sorted(backbones)}")
        ((self.name, frozen),) = found.items()
        assert isinstance(frozen, nn.Module)
        self.projector = copy.deepcopy(frozen).requires_grad_(True)
        frozen.register_forward_hook(self._instead)
        self.feature_dims = {self.name: backbones[self.name].dim}
        self.depth = backbones[self.name].prefix_depth({})

    def _instead(self, _: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        out: Tensor = self.projector(*inputs)
        return out

    def prefix_depths(self) -> dict[str, int | None]:
        """Everything before the projector."""
        return {self.name: self.depth}

    def forward(self, backbones: Backbones, prefix: Mapping[str, Tensor], batch: Batch) -> Features:
        """Vision tokens -> what the language model makes of them."""
        return {self.name: backbones[self.name].rest(prefix[self.name], self.depth, batch)}
