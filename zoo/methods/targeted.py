"""What methods on named layers share: settings that name them, and what follows from where the first ones lie."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from zoo.methods.base import Backbones, Method
from zoo.methods.sites import Site, ahead, describe, find, first_blocks, is_layer


@dataclass(frozen=True)
class Place:
    """A layer that a method adapts.

    Attributes:
        site: the block that it lies in.
        path: of the layer inside the block.
        layer: the module.
    """

    site: Site
    path: str
    layer: nn.Module

    @property
    def key(self) -> str:
        """For what is trained there: `vision/11/attn_qkv`."""
        return f"{self.site.target}/{self.site.index:02d}/{self.path}".replace(".", "_")

    @property
    def where(self) -> str:
        """For a reader: `vision, block 11: attn.qkv`."""
        return f"{self.site.target}, block {self.site.index}: {self.path}"


class Targeted(Method):
    """Trains something for every layer that targets name, inside the last blocks of each backbone.

    Args:
        targets: module-name suffixes by tower, e.g. `{vision: [attn.qkv, attn.proj]}`.
        last: only the last so many blocks by tower.
    """

    removable = True

    def __init__(self, *, targets: dict[str, list[str]], last: dict[str, int] | None = None) -> None:
        super().__init__()
        self.targets, self.last = dict(targets), dict(last or {})

    def places(self, backbones: Backbones, *, fits: Callable[[nn.Module], bool] = is_layer) -> list[Place]:
        """The layers, in the order in which they run; what comes before the first of them is known from here on.

        Args:
            backbones: of the recipe.
            fits: see `zoo.methods.sites.find`.

        Raises:
            SettingError: a tower without backbone, or a suffix that matches no layer (those found are listed).
        """
        sites = find(backbones, self.targets, self.last, fits=fits)
        self.matched = describe(sites)
        first = first_blocks(sites, backbones)
        self.depths = {name: backbone.prefix_depth(first[name]) for name, backbone in backbones.items()}
        self.ahead = ahead(first, backbones)
        return [Place(site, path, layer) for site in sites for path, layer in site.layers.items()]
