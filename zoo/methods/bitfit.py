"""BitFit (Ben Zaken, Goldberg and Ravfogel 2022, arXiv 2106.10199): the biases train, and nothing else.

    y = W x + b + c         c = 0: step 0 is the frozen model, exactly

The paper trains every bias of the model, those of norms as well, or those of queries and of the MLP's first layer. Here
targets name the layers, among them norms; a layer without bias has nothing to train, and is refused.
"""

import torch
from torch import Tensor, nn

from zoo.errors import SettingError
from zoo.methods.base import Backbones, Method
from zoo.methods.deltas import Delta, add_to
from zoo.methods.sites import ahead, describe, find, first_blocks, has_channels


class BitFit(Method):
    """Changes of biases inside the last blocks of each backbone.

    Args:
        targets: suffixes of the names of linear layers, convolutions and layer norms, by tower, e.g.
            `{vision: [norm1, attn.qkv, norm2, mlp.fc1]}`.
        last: only the last so many blocks by tower.
    """

    removable = True

    def __init__(self, *, targets: dict[str, list[str]], last: dict[str, int] | None = None) -> None:
        super().__init__()
        self.targets, self.last = dict(targets), dict(last or {})

    def attach(self, backbones: Backbones) -> None:
        """Parametrise the biases.

        Raises:
            SettingError: a tower without backbone, a suffix that matches no layer (those found are listed), or a layer
                without bias.
        """
        super().attach(backbones)
        sites = find(backbones, self.targets, self.last, fits=has_channels)
        self.matched = describe(sites)
        self.changes = nn.ParameterDict()
        self.layers: dict[str, nn.Module] = {}
        for site in sites:
            for path, layer in site.layers.items():
                bias = layer.bias
                if not isinstance(bias, Tensor):
                    raise SettingError(f"method.targets.{site.target}, block {site.index}: {path} has no bias")
                place = f"{site.target}/{site.index:02d}/{path}".replace(".", "_")
                self.changes[place] = change = nn.Parameter(torch.zeros_like(bias, dtype=torch.float32))
                self.layers[place] = layer
                self._add(layer, change)
        first = first_blocks(sites, backbones)
        self.depths = {name: backbone.prefix_depth(first[name]) for name, backbone in backbones.items()}
        self.ahead = ahead(first, backbones)

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
