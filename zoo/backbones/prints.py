"""Fingerprints of weights that are kept: sha256 of a backbone's tensors, by the files that they were read from.

A fingerprint is of tensors as they stand in memory, after reading, converting and renaming: of a language model that is
read as float16 and computes in float32, most of a second. What these tensors are follows from the files' contents and
from code, so a record is named by both: the files' sha256 (`hashes`, which looks at times before it reads), the class,
names, types and shapes of the tensors, the settings, the source of every backbone of the zoo, and the versions of the
libraries that read.
"""

import hashlib
import json
import logging
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from torch import nn

from zoo.backbones import hashes
from zoo.files import cache_dir, write_whole

LIBRARIES = ("torch", "transformers", "timm", "open_clip", "safetensors")
log = logging.getLogger(__name__)


def kept(module: nn.Module, files: Sequence[Path], settings: str, compute: Callable[[], str]) -> str:
    """The sha256 that `compute` makes of a module's tensors, from the cache folder where it is known.

    Args:
        module: whose tensors these are.
        files: that all of them were read from.
        settings: that may have decided how.
        compute: hashes the tensors.
    """
    if hashes.asked_anew():
        return compute()
    folder = cache_dir()
    shapes = [(name, str(t.dtype), list(t.shape)) for name, t in sorted(module.state_dict().items())]
    versions = [(name, getattr(sys.modules.get(name), "__version__", "")) for name in LIBRARIES]
    read = [hashes.hash_of(file, folder) for file in files]
    told = json.dumps([type(module).__qualname__, read, settings, shapes, versions, _code()])
    record = folder / "hashes" / f"{hashlib.sha256(told.encode()).hexdigest()}.weights"
    try:
        found = record.read_text(encoding="utf-8").strip()
        if len(found) == 64 and set(found) <= set("0123456789abcdef"):
            return found
    except (OSError, UnicodeDecodeError):
        pass
    made = compute()
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        write_whole(record, made + "\n")
    except OSError as error:  # a cache that only reads: hashed at every start
        log.debug("fingerprints: %s cannot be written (%s)", record, error)
    return made


@cache
def _code() -> str:
    """sha256 of the source of all backbones: whatever reads and converts weights is among it."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
