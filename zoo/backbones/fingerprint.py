"""What a frozen backbone is, as two hashes: part of cache keys and of adapters."""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from zoo.backbones import prints

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
