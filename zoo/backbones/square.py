"""Encoders that see the central square of a picture, resized: what that means for its borders and for its scale."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.backbones.base import Backbone

IMAGENET_MEAN = (0.485, 0.456, 0.406)

IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of red, green and blue in ImageNet's training split, by which most encoders norm their pictures."""

NEARLY = 0.98
"""Share of a picture from which on it counts as seen whole."""

TIMES = 8
"""Pixels of a picture, along a side, that may become one before that is said."""


class SquareBackbone(Backbone):
    """Resizes the shorter side to `image_size` and crops at the centre.

    Attributes:
        image_size: side of the square, in pixels.
    """

    image_size: int

    def coarsens(self, height: int, width: int, side: int | None) -> float:
        """Shorter side as given / that of the training's pictures; 1 where that is not known."""
        return coarsens(height, width, side)

    def unseen(self, height: int, width: int) -> list[str]:
        """Borders of a wide or high picture, and what is smaller than a pixel of the square."""
        return unseen(height, width, self.image_size)


def coarsens(height: int, width: int, side: int | None) -> float:
    """See `Backbone.coarsens`."""
    return min(height, width) / side if side else 1.0


def unseen(height: int, width: int, size: int) -> list[str]:
    """See `Backbone.unseen`."""
    short, long = sorted((height, width))
    notes = []
    if short < NEARLY * long:
        share = f"{100 * short / long:.0f} %"
        notes.append(f"only the central square is seen, {share} of it: cut it into squares where its ends matter")
    if short > TIMES * size:
        notes.append(f"{short / size:.0f} x {short / size:.0f} pixels of it are seen as one: cut it into smaller tiles")
    return notes


def square(
    frames: Tensor, size: int, mean: Sequence[float], std: Sequence[float], *, interpolation: str = "bilinear"
) -> Tensor:
    """[T, 3, H, W] in [0, 1] -> [T, 3, size, size], resized (bilinear or bicubic), centre-cropped, normalised."""
    height, width = frames.shape[-2:]
    scale = size / min(height, width)
    shape = (max(size, round(height * scale)), max(size, round(width * scale)))
    if shape != (height, width):
        frames = F.interpolate(frames, shape, mode=interpolation, antialias=True, align_corners=False)
        frames = frames.clamp(0, 1) if interpolation == "bicubic" else frames  # which swings over at edges
    top, left = (shape[0] - size) // 2, (shape[1] - size) // 2
    frames = frames[..., top : top + size, left : left + size]
    return (frames - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
