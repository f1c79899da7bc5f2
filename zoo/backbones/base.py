"""The contract of a frozen backbone: embed, step block by block, finish.

Stepping lets a method act between blocks and across two encoders. A block maps tokens to tokens and may change both
their number and their width, so that a four-stage CNN and a twelve-block transformer offer the same interface.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from zoo.backbones import prints
from zoo.batch import Batch

_FORMAT = ContextVar("format of fingerprints", default=3)


@dataclass(frozen=True)
class Fingerprint:
    """What a frozen backbone is: sha256 of its weights, and of the settings that decide what it makes of a sample.

    Adapters of format 1 have one hash of both, which stands as `weights`; `settings` is empty then.
    """

    weights: str
    settings: str = ""

    def __str__(self) -> str:
        """Both in one, as part of a cache key."""
        return f"{self.weights}+{self.settings}" if self.settings else self.weights

    def also(self, setting: Any) -> "Fingerprint":
        """The same with one more setting."""
        if self.settings:
            return Fingerprint(self.weights, _sha256(f"{self.settings}|{setting}"))
        return Fingerprint(_sha256(f"{self.weights}|{setting}"))


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
        space: what the space of its pooled features is called, where texts lie in it as well: that of its text tower.
    """

    stream: str
    file_prefix: str | None = None
    vocabulary: tuple[str, ...] = ()
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

    def scores(self, pooled: Tensor) -> Tensor:
        """Pooled features [..., dim] -> what its own classifier gives each name of `vocabulary`, [..., V] in 0 to 1."""
        raise NotImplementedError

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


def fingerprint(module: nn.Module, settings: dict[str, Any], *, of: Sequence[Path] = ()) -> Fingerprint:
    """Of every tensor of `module.state_dict()` (name, dtype, shape, bytes), and of the sorted `settings`.

    Args:
        module: the frozen weights.
        settings: that decide what is made of a sample.
        of: the files that all of its tensors were read from, where nothing else decides what they are. The hash is then
            kept for these contents, and tensors of hundreds of megabytes are not hashed at every start.
    """
    told = json.dumps(settings, sort_keys=True, default=str)
    one_hash = _FORMAT.get() == 1
    if one_hash:
        return Fingerprint(_of_tensors(module, told))
    if not of or _FORMAT.get() < 3:  # up to format 2 tensors hang on the processor as well
        return Fingerprint(_of_tensors(module), _sha256(told))
    kept = prints.kept(module, of, told, lambda: _of_tensors(module))
    return Fingerprint(kept, _sha256(told))


def _of_tensors(module: nn.Module, first: str = "") -> str:
    """sha256 of a text and of every tensor, in the order of their names."""
    digest = hashlib.sha256(first.encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        if tensor.ndim:
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().reshape(-1).data)
        else:
            digest.update(np.asarray(tensor.item()).tobytes())
    return digest.hexdigest()


@contextlib.contextmanager
def fingerprints_of_format(number: int) -> Iterator[None]:
    """Backbones built inside have fingerprints as adapters of this format keep them.

    Format 1 has one hash of weights and settings. Up to format 2, weights that are computed when a backbone is built
    (random ones, resampled positions) are torch's, whose last bits hang on the processor.
    """
    token = _FORMAT.set(number)
    try:
        yield
    finally:
        _FORMAT.reset(token)


def exact_by_processor() -> bool:
    """Whether weights that are computed must be those of adapters before format 3."""
    return _FORMAT.get() < 3


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
