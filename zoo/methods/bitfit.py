"""BitFit (Ben Zaken, Goldberg and Ravfogel 2022, arXiv 2106.10199): the biases train, and nothing else.

    y = W x + b + c         c = 0: step 0 is the frozen model, exactly

The paper trains every bias of the model, those of norms as well, or those of queries and of the MLP's first layer. Here
targets name the layers, among them norms; a layer without bias has nothing to train, and is refused.
"""

import torch
from torch import Tensor, nn

from zoo.errors import SettingError
from zoo.methods.base import Backbones
from zoo.methods.deltas import Delta, add_to
from zoo.methods.sites import has_channels
from zoo.methods.targeted import Targeted


class BitFit(Targeted):
    """Changes of biases inside the last blocks of each backbone.

    Args:
        targets: suffixes of the names of linear layers, convolutions and layer norms, by tower, e.g.
            `{vision: [norm1, attn.qkv, norm2, mlp.fc1]}`.
        last: only the last so many blocks by tower.
    """

    def attach(self, backbones: Backbones) -> None:
        """Parametrise the biases.

        Raises:
            SettingError: a tower without backbone, a suffix that matches no layer (those found are listed), or a layer
                without bias.
        """
        super().attach(backbones)
        self.changes = nn.ParameterDict()
        self.layers: dict[str, nn.Module] = {}
        for place in self.places(backbones, fits=has_channels):
            bias = place.layer.bias
            if not isinstance(bias, Tensor):
                raise SettingError(f"method.targets.{place.where} has no bias")
            self.changes[place.key] = change = nn.Parameter(torch.zeros_like(bias, dtype=torch.float32))
            self.layers[place.key] = place.layer
            self._add(place.layer, change)

    def _add(self, layer: nn.Module, change: Tensor) -> None:
        add_to(layer, "bias", lambda: change if self.acts else None)

    def describe(self) -> str:
        """Whose biases train."""
        return f"biases: {self.matched}"

    def deltas(self, *, gsd: float | None = None) -> list[Delta]:
        """Of every bias; no side input matters."""
        return [self._delta(layer, self.changes[place]) for place, layer in self.layers.items()]

    def _delta(self, layer: nn.Module, change: Tensor) -> Delta:
        return Delta(layer, lambda: {"bias": change.detach()})
