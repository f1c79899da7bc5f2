"""SSF (Lian et al., NeurIPS 2022, arXiv 2210.08823): what layers give, scaled and shifted, channel by channel.

    y = gamma * (W x + b) + beta        gamma = 1, beta = 0: step 0 is the frozen model, exactly

As published it stands after every linear layer, norm and convolution of the encoder, and can be folded into them:
gamma W and gamma b + beta. Ours: the start, which the released code draws around 1 and 0 with a deviation of 0.02, and
that targets name the layers. The shift of a layer without bias has nowhere to go, so that such layers do not merge.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from zoo.errors import SettingError
from zoo.methods.base import Backbones
from zoo.methods.deltas import Delta, frozen_tensor
from zoo.methods.sites import has_channels
from zoo.methods.targeted import Targeted


class SSF(Targeted):
    """Scales and shifts after layers inside the last blocks of each backbone.

    Args:
        targets: suffixes of the names of linear layers, convolutions and layer norms, by tower, e.g.
            `{vision: [norm1, attn.qkv, attn.proj, norm2, mlp.fc1, mlp.fc2]}`.
        last: only the last so many blocks by tower.
    """

    def attach(self, backbones: Backbones) -> None:
        """Hook the layers.

        Raises:
            SettingError: a tower without backbone, or a suffix that matches no layer (those found are listed).
        """
        super().attach(backbones)
        self.scales, self.shifts = nn.ParameterDict(), nn.ParameterDict()
        self.layers: dict[str, nn.Module] = {}
        for place in self.places(backbones, fits=has_channels):
            channels = len(frozen_tensor(place.layer, "weight"))
            self.scales[place.key], self.shifts[place.key] = torch.ones(channels), torch.zeros(channels)
            self.layers[place.key] = place.layer
            place.layer.register_forward_hook(self._hook(place.key))

    def _hook(self, place: str) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor | None]:
        def modulate(layer: nn.Module, _: tuple[Any, ...], output: Tensor) -> Tensor | None:
            if not self.acts:
                return None
            # Channels are the last dimension, but before the places of a convolution.
            behind = len(layer.kernel_size) if isinstance(layer, nn.Conv1d | nn.Conv2d) else 0
            scale, shift = (each[place].view(-1, *[1] * behind) for each in (self.scales, self.shifts))
            found: Tensor = output * scale + shift
            return found.to(output.dtype)

        return modulate

    def describe(self) -> str:
        """Which layers are followed by a scale and a shift."""
        return f"scales and shifts: {self.matched}"

    def deltas(self, *, gsd: float | None = None) -> list[Delta]:
        """Of every layer; no side input matters.

        Raises:
            SettingError: a layer has no bias that could take its shift.
        """
        if bare := [place for place, layer in self.layers.items() if layer.bias is None]:
            raise SettingError(f"the method cannot be folded into frozen weights: {bare[0]} has no bias for its shift")
        return [Delta(layer, self._dense(place)) for place, layer in self.layers.items()]

    def _dense(self, place: str) -> Callable[[], Mapping[str, Tensor]]:
        @torch.no_grad()
        def dense() -> dict[str, Tensor]:
            weight, bias = (frozen_tensor(self.layers[place], name).double() for name in ("weight", "bias"))
            more = self.scales[place].double() - 1
            return {
                "weight": weight * more.view(-1, *[1] * (weight.ndim - 1)),
                "bias": bias * more + self.shifts[place].double(),
            }

        return dense
