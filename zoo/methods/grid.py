"""Tokens that lie on a square grid, row by row, behind class tokens or registers that do not."""

import math

from torch import Tensor, cat

from zoo.backbones.base import Backbone
from zoo.backbones.maps import square_map
from zoo.backbones.vision_language import VisionLanguage
from zoo.errors import SettingError


def leading(backbone: Backbone, *, where: str, method: str) -> int:
    """Tokens before the grid in what goes through an encoder's blocks.

    Raises:
        SettingError: its tokens lie on no grid, naming `where` it is and the `method` that needs one.
    """
    if isinstance(backbone, VisionLanguage) or backbone.leading is None:
        raise SettingError(
            f"{where}: method {method} needs an image encoder whose tokens lie on a grid; those of "
            f"{type(backbone).__name__} do not"
        )
    return backbone.leading


def split(tokens: Tensor, before: int) -> tuple[Tensor, Tensor]:
    """Tokens [N, before + S * S, D] -> those before the grid, and the grid as a map [N, D, S, S].

    Raises:
        SettingError: the others are no square.
    """
    count = tokens.shape[1] - before
    if count < 1 or math.isqrt(count) ** 2 != count:
        raise SettingError(f"{tokens.shape[1]} tokens, of which {before} come first, lie on no square grid")
    return tokens[:, :before], square_map(tokens[:, before:])


def joined(before: Tensor, grid: Tensor) -> Tensor:
    """The reverse of `split`: [N, before, D] and [N, D, S, S] -> [N, before + S * S, D]."""
    places = grid.flatten(2).transpose(1, 2)
    return cat([before, places], 1) if before.shape[1] else places
