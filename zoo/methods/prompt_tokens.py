"""Learned prompts for the frozen mask decoder of a SAM (PTSAM, Prompt-Tuning SAM, 2025, arXiv 2504.16739).

    masks = decoder(maps, [prompts of the picture, if any; t_1 .. t_n])        t_i of the decoder's width are trained

Known of the paper, by its abstract and reading notes alone: tokens are trained beside those of the mask decoder, and
optionally in the image encoder; encoder and decoder stay frozen; 2,048 parameters, sixteen pictures of training, and
results on microscopy like those of heavier adaptations. Our choices: the tokens enter the decoder as its sparse prompts
do; none in the encoder; n = 8, which is 2,048 at a width of 256; and the start: the frozen prompt encoder's own
embeddings of n clicks, spread evenly over the picture, so that step 0 is, exactly, the frozen decoder asked with those
clicks. Zeros, or tokens that are equal otherwise, would stay equal to each other.

Meant for task `promptable` with `prompts: none`: one class, all of it the object. Beside a box they refine what a box
means. One set serves one class.
"""

import math
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from zoo.backbones.sam_prompts import Promptable
from zoo.errors import SettingError
from zoo.methods.base import Backbones, Method


class PromptTokens(Method):
    """n tokens beside the sparse prompts of one SAM's decoder; 256 n parameters.

    Args:
        tokens: n.
    """

    removable = True
    unmergeable = "its tokens are an input of the decoder"

    def __init__(self, *, tokens: Annotated[int, ">= 1"] = 8) -> None:
        super().__init__()
        self.count = tokens

    def attach(self, backbones: Backbones) -> None:
        """Create the tokens, and hook the decoder.

        Raises:
            SettingError: there is not one SAM.
        """
        models = [backbone for backbone in backbones.values() if isinstance(backbone, Promptable)]
        if len(models) != 1 or len(backbones) != 1:
            told = {name: type(backbone).__name__ for name, backbone in backbones.items()}
            raise SettingError(f"method PromptTokens needs one SAM (sam, sam2, lite_medsam) alone; got {told}")
        super().attach(backbones)
        self.tokens = nn.Parameter(spread(models[0], self.count))
        models[0].net.mask_decoder.register_forward_pre_hook(self._add)

    def describe(self) -> str:
        """How many tokens there are."""
        return f"{self.count} learned prompts of width {self.tokens.shape[1]}"

    def _add(self, _: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """The decoder's inputs, its sparse prompts [R, 1, P, C], or none, being [R, 1, P + n, C]."""
        if not self.acts:
            return inputs
        image, places, sparse, *rest = inputs
        own = self.tokens.expand(len(image), 1, -1, -1)
        sparse = own if sparse is None else torch.cat([sparse, own.to(sparse.dtype)], dim=2)
        return image, places, sparse, *rest


@torch.no_grad()
def spread(model: Promptable, count: int) -> Tensor:
    """The prompt encoder's embeddings of clicks on so many places, spread evenly over the picture, [count, C]."""
    across = math.ceil(math.sqrt(count))
    along = math.ceil(count / across)
    places = torch.tensor([((k % across + 0.5) / across, (k // across + 0.5) / along) for k in range(count)])
    points = (places * model.image_size - 0.5)[None, None]
    labels = torch.ones(1, 1, count, dtype=torch.long)
    device = next(model.parameters()).device
    sparse, _ = model.net.prompt_encoder(points.to(device), labels.to(device), None, None)
    found: Tensor = sparse[0, 0, :count].detach().clone()  # what follows pads
    return found
