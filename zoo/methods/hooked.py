"""Methods that add something to what linear layers give, through hooks: frozen modules stay as and where they are."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from zoo.errors import SettingError
from zoo.methods.base import Backbones
from zoo.methods.sites import Site
from zoo.methods.targeted import Targeted


class Hooked(Targeted):
    """Updates of linear layers inside the last blocks of each backbone; subclasses say which with `update`.

    Args:
        targets: module-name suffixes by tower, e.g. `{vision: [attn.qkv, attn.proj]}`.
        last: only the last so many blocks by tower.
    """

    def attach(self, backbones: Backbones) -> None:
        """Hook the target layers.

        Raises:
            SettingError: a tower without backbone, a suffix that matches no layer (those found are listed), or a layer
                that is not linear.
        """
        super().attach(backbones)
        self.updates = nn.ModuleDict()
        self.layers: dict[str, nn.Linear] = {}
        for place in self.places(backbones):
            self.require(place.site, backbones)
            layer = place.layer
            if not isinstance(layer, nn.Linear):
                raise SettingError(f"method.targets.{place.where} is no linear layer, but {layer}")
            self.updates[place.key] = update = self.update(layer)
            self.layers[place.key] = layer
            layer.register_forward_hook(self._hook(update))

    def require(self, site: Site, backbones: Backbones) -> None:
        """Refuse a tower that the method cannot serve.

        Raises:
            SettingError: saying which it serves.
        """

    def update(self, layer: nn.Linear) -> nn.Module:
        """What is trained for one layer: a module that gives, of the layer's input, what is added to its output."""
        raise NotImplementedError

    def describe(self) -> str:
        """Which layers are adapted."""
        return self.matched

    def _hook(self, update: nn.Module) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor | None]:
        def add(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor | None:
            if not self.acts:
                return None
            more: Tensor = update(inputs[0])
            return output + more.to(output.dtype)

        return add


def decomposable(layer: nn.Linear, rank: int) -> Tensor:
    """The frozen weight [outputs, inputs] of a layer, to be decomposed up to a rank.

    Raises:
        SettingError: a rank above the weight's, or a quantised layer.
    """
    weight = layer.weight.detach()
    if not weight.is_floating_point():
        raise SettingError(f"{type(layer).__name__}: a quantised weight cannot be decomposed")
    if rank > min(weight.shape):
        raise SettingError(f"method.rank = {rank}: a weight of {tuple(weight.shape)} has no such rank")
    return weight
