"""The contract of a frozen backbone: embed, step block by block, finish.

Stepping lets a method act between blocks and across two encoders. A block maps tokens to tokens and may change both
their number and their width, so that a four-stage CNN and a twelve-block transformer offer the same interface.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from zoo.backbones.fingerprint import Fingerprint
from zoo.batch import Batch
from zoo.errors import SettingError


class Level(NamedTuple):
    """A map that dense heads may read.

    Attributes:
        stride: side of a cell, in pixels of the backbone's input.
        width: channels of the map.
        after: blocks that precede it; 0 is right after `embed`.
    """

    stride: int
    width: int
    after: int


def tap(stream: str, after: int) -> str:
    """Key of what stands behind so many blocks of a stream, in prefixes and in features: `vision@3`."""
    return f"{stream}@{after}"


class Backbone(nn.Module):
    """A frozen encoder of one stream.

    Subclasses set `dims` and `fingerprint` and implement `transform`, `embed`, `blocks`, `finish` and `pool`, then call
    `freeze()` at the end of their constructor.

    Attributes:
        stream: what it reads, "vision", "audio" or "points".
        dims: token width before the first block and after each block: `depth + 1` integers.
        fingerprint: of weights and transform settings; part of cache keys and adapters.
        file_prefix: what a `file:` source has before the names of `net`'s tensors; None where `source` takes no file
            of plain tensors.
        vocabulary: names, in words, of what its own classifier knows; () where it has none.
        levels: maps that it can give, fine to coarse; () where it gives none.
        leading: tokens (class token, registers) before those of a square grid, row by row, in what goes through its
            blocks; None where its tokens are no such grid.
        space: what the space of its pooled features is called, where texts lie in it as well: that of its text tower.
    """

    stream: str
    file_prefix: str | None = None
    vocabulary: tuple[str, ...] = ()
    levels: tuple[Level, ...] = ()
    leading: int | None = None
    space: str = ""
    dims: tuple[int, ...]
    fingerprint: Fingerprint

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.dims) - 1

    @property
    def dim(self) -> int:
        """Width of the pooled features."""
        return self.dims[-1]

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """`depth` modules, [N, L, D] -> [N, L', D']."""
        raise NotImplementedError

    @property
    def towers(self) -> Mapping[str, Sequence[nn.Module]]:
        """Blocks that a method may adapt, by tower; a plain encoder is one, called by its key in the recipe."""
        return {"": self.blocks}

    def prefix_depth(self, first: Mapping[str, int]) -> int | None:
        """Blocks that no trainable part precedes, where `first` names the first adapted block of every adapted tower.

        None where not even the embedding is frozen, or where its output has no fixed shape to keep.
        """
        return first.get("", self.depth)

    def describe(self, device: torch.device) -> str:
        """What a run on this device should say about it at its start, for instance which kernel it takes."""
        return ""

    def transform(self, sample: Any) -> Tensor:
        """Decoded sample (`Clip`, `Cloud`, `Picture`) -> float32 [T, ...], one row per segment.

        Pure and deterministic; runs in loader workers.
        """
        raise NotImplementedError

    def coarsens(self, height: int, width: int, side: int | None) -> float | None:
        """How many times the ground sampling distance of what it sees is that of a picture of this size.

        An encoder that resizes to one square cannot say so alone: its adapters learned for pictures of one size, and it
        compares with these.

        Args:
            height: of the picture as it is given.
            width: of the picture.
            side: shorter side of the pictures that ground sampling distances are told for, where that is known.

        Returns:
            None where it sees no pictures.
        """
        return None

    def unseen(self, height: int, width: int) -> list[str]:
        """What it does not see of a picture, or clip, of this size, in sentences for whoever reads the answer."""
        return []

    def collate(self, samples: Sequence[Any]) -> Any:
        """Transformed samples -> the batch's inputs, [B, T, ...]."""
        return torch.stack(list(samples))

    def embed(self, inputs: Tensor) -> Tensor:
        """Transformed segments [N, ...] -> tokens [N, L, D] before the first block."""
        raise NotImplementedError

    def finish(self, tokens: Tensor) -> Tensor:
        """Tokens after the last block -> final tokens [N, L, D] (the encoder's last norm, for instance)."""
        raise NotImplementedError

    def pool(self, tokens: Tensor) -> Tensor:
        """Finished tokens [N, L, D] -> one feature per segment [N, dim]."""
        raise NotImplementedError

    def maps(self, taps: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """What dense heads read of tokens.

        Args:
            taps: tokens {after: [N, L, D]} behind the blocks that `levels` name, of some levels or all of them.

        Returns:
            {after: [N, width, H, W]}, each of its level's stride.
        """
        raise NotImplementedError

    def scores(self, pooled: Tensor) -> Tensor:
        """Pooled features [..., dim] -> what its own classifier gives each name of `vocabulary`, [..., V] in 0 to 1."""
        raise NotImplementedError(f"{type(self).__name__} has no vocabulary")

    def forward(self, inputs: Tensor) -> Tensor:
        """Transformed segments [N, ...] -> finished tokens [N, L, D], with no method in between."""
        return self.finish(self.through(self.embed(inputs)))

    def through(self, tokens: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Tokens [N, L, D] before block `start` -> those before block `stop`, or after the last, nothing in between.

        A backbone whose blocks would all find out the same of their tokens finds it out once here.
        """
        for block in self.blocks[start:stop]:
            tokens = block(tokens)
        return tokens

    def rest(self, tokens: Any, depth: int | None, batch: Batch) -> Tensor:
        """What this backbone makes of a batch from its prefix on.

        Args:
            tokens: after `depth` blocks, [B, T, L, D]; the transformed inputs where `depth` is None.
            depth: from `prefix_depth`.
            batch: a language model reads its questions here.

        Returns:
            Pooled features [B, T, dim].
        """
        flat = self.through(tokens.flatten(0, 1), depth or 0)
        pooled: Tensor = self.pool(self.finish(flat)).unflatten(0, tokens.shape[:2])
        return pooled

    def features(
        self, name: str, prefix: Mapping[str, Tensor], depth: int | None, batch: Batch, *, maps: Sequence[int] = ()
    ) -> dict[str, Tensor]:
        """What a task is given of this backbone, from its prefix on.

        Args:
            name: of the stream.
            prefix: tokens {name: [B, T, L, D]} after `depth` blocks, beside those of the maps that precede them.
            depth: from `prefix_depth`.
            batch: as `rest` has it.
            maps: levels that a dense task reads, by the blocks that precede them; () asks for pooled features.

        Returns:
            {name: [B, T, dim]}, or of every map {name@after: [B, T, width, H, W]}.
        """
        if not maps:
            return {name: self.rest(prefix[name], depth, batch)}
        tokens = prefix[name]
        flat, at = tokens.flatten(0, 1), depth or 0
        taps = {after: prefix[tap(name, after)].flatten(0, 1) for after in maps if after < at}
        for after in sorted(after for after in maps if after >= at):
            flat, at = self.through(flat, at, after), after
            taps[after] = flat
        return {tap(name, after): each.unflatten(0, tokens.shape[:2]) for after, each in self.maps(taps).items()}

    def feature_dims(self, name: str, maps: Sequence[int] = ()) -> dict[str, int]:
        """Widths of what `features` returns, by the same keys.

        Raises:
            SettingError: a map that it does not give.
        """
        widths = {level.after: level.width for level in self.levels}
        if missing := [after for after in maps if after not in widths]:
            has = f"it gives maps after blocks {', '.join(map(str, widths))}" if widths else "it gives none"
            raise SettingError(f"backbones.{name} ({type(self).__name__}): no map after blocks {missing}; {has}")
        return {tap(name, after): widths[after] for after in maps} if maps else {name: self.dim}

    def freeze(self) -> None:
        """Switch every parameter to `requires_grad=False` and the module to `eval()`."""
        self.requires_grad_(False)
        super().train(False)

    def train(self, mode: bool = True) -> Self:
        """Stay in `eval()`: a frozen encoder has no dropout and no drift of batch-norm statistics."""
        return super().train(False)


class Bound(nn.Module):
    """A block together with the further inputs it needs, as a map from tokens to tokens that methods can wrap.

    Made anew at each access to `blocks`; the block inside is the backbone's own, so what wraps its layers stays.

    Args:
        block: called as `block(tokens, **inputs(tokens))`.
        inputs: further keyword inputs for these tokens [N, L, D].
    """

    def __init__(self, block: nn.Module, inputs: Callable[[Tensor], dict[str, Any]]) -> None:
        super().__init__()
        self.block, self.inputs = block, inputs

    def forward(self, tokens: Tensor) -> Tensor:
        """[N, L, D] -> [N, L', D']."""
        out: Tensor = self.block(tokens, **self.inputs(tokens))
        return out


class TextEncoder(nn.Module):
    """A frozen text tower: `encode` is all a method needs of it.

    Attributes:
        space: what the space of its embeddings is called, where pictures or sounds lie in it as well.
    """

    dim: int
    fingerprint: Fingerprint
    space: str = ""

    def encode(self, texts: Sequence[str]) -> Tensor:
        """K texts -> unit-norm embeddings [K, dim]."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> Self:
        """Stay in `eval()`, as every frozen encoder does."""
        return super().train(False)
