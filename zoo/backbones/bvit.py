"""bViT: one block of a vision transformer, run again and again (Byra et al. 2026, arXiv 2605.10661).

    x_t = block(x_{t-1}),  t = 1..n                        one set of weights; patches, positions, last norm as ever

Trained from scratch on ImageNet-1K, twelve steps of ViT-B's block are said to come near ViT-B with a tenth of its
parameters. **No trained weights are known to be public**: here are the architecture, with weights that are drawn, and
what methods make of it (`zoo.methods.step_lora`). What it answers means nothing before somebody trains it. Sizes and
names are those of timm's networks, of which all blocks but the first are left out; which sizes, class token or pooling
the paper takes beyond that was not available to us.
"""

from collections.abc import Sequence
from typing import Annotated

from torch import nn

from zoo.backbones import timm_models, vit, weights
from zoo.backbones.draws import initialising
from zoo.backbones.square import SquareBackbone
from zoo.backbones.timm_vit import TimmViT, plain
from zoo.backbones.weights import WeightsError


class BViT(TimmViT):
    """A timm vision transformer whose first block stands at every step.

    Args:
        model: timm's name of the architecture that gives the sizes, e.g. `vit_base_patch16_224`.
        source: `random:SEED`, the only one there is.
        image_size: side of the square input.
        steps: n.

    Raises:
        SettingError: it is no plain vision transformer, or the side cuts patches.
        WeightsError: another source.
    """

    file_prefix: str | None = None

    def __init__(
        self,
        *,
        model: str = "vit_base_patch16_224",
        source: str = "random:0",
        image_size: int = 224,
        steps: Annotated[int, ">= 1"] = 12,
    ) -> None:
        SquareBackbone.__init__(self)
        self.named(model, source)
        with initialising(source, "bViT"):
            self.net = plain(model, image_size, depth=1)
        vit.whole_patches(image_size, int(self.net.patch_embed.patch_size[0]))
        self._take(image_size, steps)

    @staticmethod
    def named(model: str, source: str) -> None:
        """Refuse names that timm does not know, and sources of weights.

        Raises:
            SettingError: of the model.
            WeightsError: of the source.
        """
        timm_models.known(model)
        if weights.parse(source).kind != "random":
            raise WeightsError(f"{source}: there are no trained weights of a bViT; expected random:SEED")

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """The one block, once a step."""
        return [*super().blocks] * (len(self.dims) - 1)
