"""A backbone run block by block, with something done at every one."""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from zoo.backbones.base import Backbone, tap
from zoo.methods.base import Features


def features(
    name: str,
    backbone: Backbone,
    prefix: Mapping[str, Tensor],
    depth: int,
    step: Callable[[Tensor, int], Tensor],
    *,
    maps: Sequence[int] = (),
) -> Features:
    """As `Backbone.features`, every block run by `step`.

    Args:
        name: of the stream.
        backbone: whose embedding, last norm, pooling and maps stand as they are.
        prefix: tokens {name: [B, T, L, D]} after `depth` blocks, beside those of the maps that precede them.
        depth: of the prefix.
        step: tokens [N, L, D] before a block and its index -> those behind it.
        maps: levels that a dense task reads, by the blocks that precede them.
    """
    tokens = prefix[name]
    flat = tokens.flatten(0, 1)
    taps = {after: prefix[tap(name, after)].flatten(0, 1) for after in maps if after < depth}
    if depth in maps:
        taps[depth] = flat
    for index in range(depth, max(maps) if maps else backbone.depth):
        flat = step(flat, index)
        if index + 1 in maps:
            taps[index + 1] = flat
    if maps:
        return {tap(name, after): each.unflatten(0, tokens.shape[:2]) for after, each in backbone.maps(taps).items()}
    return {name: backbone.pool(backbone.finish(flat)).unflatten(0, tokens.shape[:2])}
