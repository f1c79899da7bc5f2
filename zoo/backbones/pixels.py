"""Pixels as they are: what a head learns without any pretrained encoder, the control of every adapter of masks."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.backbones.base import Level
from zoo.backbones.fingerprint import fingerprint
from zoo.backbones.maps import square_map
from zoo.backbones.square import SquareBackbone, square
from zoo.batch import Framed, tensor_of


class Pixels(SquareBackbone):
    """Gives a picture's pixels as its one map, of stride 1; there are no weights.

    With `grey` and a linear head it is a threshold of the grey value, fitted on the training split; with the head
    `unet` a network from scratch.

    Args:
        image_size: side of the square input.
        grey: the mean of red, green and blue alone.
        blur: deviation of a Gaussian before that, in pixels.
    """

    stream = "vision"

    def __init__(
        self, *, image_size: Annotated[int, ">= 1"] = 256, grey: bool = False, blur: Annotated[float, ">= 0"] = 0.0
    ) -> None:
        super().__init__()
        self.image_size, self.grey, self.blur = image_size, grey, blur
        self.dims = (1 if grey else 3,)
        self.levels = (Level(1, self.dims[0], 0),)
        self.fingerprint = fingerprint(self, {"image_size": image_size, "grey": grey, "blur": blur})
        self.freeze()

    def transform(self, clip: Framed) -> Tensor:
        """Frames to [T, 3, S, S] in -0.5 to 0.5 (or [T, 1, S, S]): shorter side resized to S, centre crop."""
        frames = tensor_of(clip.frames).permute(0, 3, 1, 2).float() / 255
        seen = square(frames, self.image_size, (0.5,) * 3, (1.0,) * 3)
        return smoothed(seen.mean(1, keepdim=True) if self.grey else seen, self.blur)

    def embed(self, inputs: Tensor) -> Tensor:
        """[N, C, S, S] -> [N, S^2, C]."""
        return inputs.flatten(2).transpose(1, 2)

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """None."""
        return []

    def finish(self, tokens: Tensor) -> Tensor:
        """The same."""
        return tokens

    def pool(self, tokens: Tensor) -> Tensor:
        """The mean pixel."""
        return tokens.mean(1)

    def maps(self, taps: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """[N, S^2, C] -> [N, C, S, S]."""
        return {after: square_map(tokens) for after, tokens in taps.items()}


def smoothed(pictures: Tensor, deviation: float) -> Tensor:
    """Pictures [N, C, H, W] behind a Gaussian, the pixels at the border repeated beyond it."""
    if not deviation:
        return pictures
    reach = int(3 * deviation + 0.5)
    steps = torch.arange(-reach, reach + 1, dtype=pictures.dtype)
    kernel = torch.exp(-0.5 * (steps / deviation) ** 2)
    kernel = (kernel / kernel.sum()).view(1, 1, -1, 1)
    channels = pictures.shape[1]
    padded = F.pad(pictures, (reach,) * 4, mode="replicate")
    down = F.conv2d(padded, kernel.expand(channels, 1, -1, 1), groups=channels)
    return F.conv2d(down, kernel.transpose(2, 3).expand(channels, 1, 1, -1), groups=channels)
