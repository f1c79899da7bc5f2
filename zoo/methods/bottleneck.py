"""Bottleneck adapters between the blocks of frozen encoders: two linear layers, with what they read added.

    x_i = block_i(x_{i-1})
    x_i = x_i + scale * W_up GELU(W_down x_i + b_down) + scale * b_up        W_up = b_up = 0 at the start

Such adapters are how Med-SA (Wu et al. 2023, arXiv 2304.12620: a quarter of the width, after the attention and beside
the MLP of every block of SAM, scaled by a half beside the MLP) and SAM2-UNet (Xiong et al. 2024, arXiv 2408.08870: 32
channels, before every block of Hiera) adapt the image encoder; the form is that of Houlsby et al. (2019, arXiv
1902.00751). Both begin with layers as PyTorch draws them, so that their step 0 is not the frozen encoder.

Our choices: one adapter after every block, so that it serves any encoder whose blocks map tokens to tokens, and the
second layer at zero, so that step 0 is the frozen encoder exactly. Where one block stands several times, every use has
an adapter of its own. What the adapters cannot do, for they lie between blocks: be merged into weights.
"""

from collections.abc import Mapping
from typing import Annotated

from torch import Tensor, nn

from zoo.backbones.base import Backbone
from zoo.backbones.vision_language import VisionLanguage
from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.methods import stepwise
from zoo.methods.base import Backbones, Features, Method

TOWERS = ("image", "")
"""Whose blocks are adapted: a SAM's encoder, or all of an encoder of one tower."""


class Bottleneck(Method):
    """One adapter after each of the last blocks of every encoder.

    Args:
        width: of the bottleneck.
        scale: of what an adapter adds.
        last: adapt only the last so many blocks, by backbone; all where it is not named.
    """

    removable = True
    unmergeable = "its adapters lie between the blocks"

    def __init__(
        self, *, width: Annotated[int, ">= 1"] = 32, scale: float = 1.0, last: dict[str, int] | None = None
    ) -> None:
        super().__init__()
        self.width, self.scale, self.last = width, scale, dict(last or {})

    def attach(self, backbones: Backbones) -> None:
        """Create the adapters.

        Raises:
            SettingError: `last` names no backbone or none of its blocks, or a backbone is no plain encoder.
        """
        if unknown := sorted(set(self.last) - set(backbones)):
            raise SettingError(f"method.last: {', '.join(unknown)} are no backbones; there are {sorted(backbones)}")
        super().attach(backbones)
        self.adapters = nn.ModuleDict()
        self.spans: dict[str, tuple[int, int]] = {}
        for name, backbone in backbones.items():
            first, end = self._span(name, backbone)
            self.spans[name], self.depths[name] = (first, end), first
            for after in range(first + 1, end + 1):
                self.adapters[f"{name}/{after:02d}"] = self.adapter(name, backbone, backbone.dims[after])

    def adapter(self, name: str, backbone: Backbone, width: int) -> nn.Module:
        """One adapter of tokens of this width, [N, L, width] -> [N, L, width], silent at the start."""
        return nn.Sequential(nn.Linear(width, self.width), nn.GELU(), silent(self.width, width))

    def _span(self, name: str, backbone: Backbone) -> tuple[int, int]:
        """Blocks before the first adapted one, and up to the last."""
        tower = next((tower for tower in TOWERS if tower in backbone.towers), None)
        if tower is None or isinstance(backbone, VisionLanguage):
            raise SettingError(
                f"method {type(self).__name__} adapts plain encoders; backbones.{name} is {type(backbone).__name__}"
            )
        count = len(backbone.towers[tower])
        last = self.last.get(name, count)
        if not 1 <= last <= count:
            raise SettingError(f"method.last.{name} = {last}: expected 1 to {count}, the blocks of the encoder")
        before = backbone.prefix_depth({tower: 0})
        if before is None:
            raise SettingError(
                f"backbones.{name} has no tokens of one shape before its blocks, which {type(self).__name__} needs"
            )
        return before + count - last, before + count

    def describe(self) -> str:
        """After which blocks adapters stand."""
        parts = (f"{name} blocks {first} to {end - 1}" for name, (first, end) in self.spans.items())
        return f"adapters of width {self.width} after {', '.join(parts)}"

    def run(self, name: str, backbones: Backbones, prefix: Mapping[str, Tensor], batch: Batch) -> Features:
        """As `Backbone.features`, with what the adapters add behind every block."""
        backbone, (first, end) = backbones[name], self.spans[name]

        def step(tokens: Tensor, index: int) -> Tensor:
            tokens = backbone.through(tokens, index, index + 1)
            if self.acts and index < end:
                tokens = tokens + self.scale * self.adapters[f"{name}/{index + 1:02d}"](tokens)
            return tokens

        return stepwise.features(name, backbone, prefix, first, step, maps=self.maps.get(name, ()))


def silent(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer that gives zeros at the start."""
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
