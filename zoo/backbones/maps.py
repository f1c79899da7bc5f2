"""Maps for dense heads out of tokens: what stands behind some blocks, laid out as the square that it was cut from."""

import math
from collections.abc import Callable, Mapping

from torch import Tensor

from zoo.backbones.base import Level


def square_map(tokens: Tensor) -> Tensor:
    """Tokens of a square, row by row, [N, S * S, D] -> [N, D, S, S], channels last in memory."""
    side = math.isqrt(tokens.shape[1])
    grid: Tensor = tokens.transpose(1, 2).unflatten(2, (side, side))
    return grid


def quarters(stride: int, width: int, depth: int) -> tuple[Level, ...]:
    """Levels of a plain transformer, whose maps are all of one stride: a quarter, a half, ... of the way, and the end.

    Args:
        stride: side of a patch, in pixels.
        width: of its tokens.
        depth: number of its blocks; with fewer than four there are fewer levels.
    """
    return tuple(Level(stride, width, after) for after in sorted({math.ceil(depth * k / 4) for k in range(1, 5)}))


def plain(taps: Mapping[int, Tensor], norm: Callable[[Tensor], Tensor], prefix: int) -> dict[int, Tensor]:
    """Maps of a plain transformer, each through the encoder's last norm.

    Args:
        taps: tokens {after: [N, prefix + S * S, D]}.
        norm: the last one, token by token.
        prefix: class and register tokens in front of the patches.

    Returns:
        {after: [N, D, S, S]}.
    """
    return {after: square_map(norm(tokens)[:, prefix:]) for after, tokens in taps.items()}
