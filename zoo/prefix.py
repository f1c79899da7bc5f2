"""Frozen work done once: tokens before the first trainable site, cached on disk.

A backbone's prefix (transform, embed, and the blocks no trainable part precedes) is a pure function of the sample, so
its tokens may be kept. An entry is named by the content of everything that made it: backbone weights and transform
settings (the fingerprint), number of blocks, the sample's own key, stored dtype, the maps kept beside the tokens for a
dense task, and a format number. Entries are one safetensors file each, which carries a sha256 of its name and content,
written under a temporary name and renamed; their bytes are counted in one file that writers lock. So any number of
workers and runs may share a folder and its bound.

Threads, vector units and versions of torch round differently, so tokens that another run left may differ from one's own
in their last bits, and a trained adapter after them. An entry says what computed it, and a run says what computed the
entries that it used.
"""

import contextlib
import hashlib
import logging
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, BinaryIO, Literal, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from zoo import files
from zoo.backbones.fingerprint import Fingerprint
from zoo.files import cache_dir

FORMAT = 1

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

UNTOLD = "kept before caches told"
"""In place of what computed an entry, where the entry does not say."""

log = logging.getLogger(__name__)


def origin(device: torch.device) -> str:
    """What determines the last bits of results here: torch, vector units and threads, or the GPU."""
    if device.type == "cuda":
        return f"torch {torch.__version__}, {torch.cuda.get_device_name(device)}"
    if device.type != "cpu":
        return f"torch {torch.__version__}, {device.type}"
    threads = torch.get_num_threads()
    units = torch.backends.cpu.get_cpu_capability()
    return f"torch {torch.__version__}, {units}, {threads} thread{'s' * (threads > 1)}"


class Entry(NamedTuple):
    """What the cache holds of one sample.

    Attributes:
        tokens: [T, L, D] after the prefix.
        origin: what computed them.
        taps: tokens [T, L, D] behind fewer blocks, by their number, that a dense task's maps or a method read.
    """

    tokens: Tensor
    origin: str
    taps: dict[int, Tensor]


class PrefixCache:
    """A bounded folder of prefix tokens.

    Args:
        folder: where entries lie; the zoo's cache folder by default.
        max_gib: the folder never grows past this, even with several writers; when it is full, new entries are not
            stored but recomputed, which is logged once.
        dtype: of the stored tokens. Below float32 the tokens of the first epoch are rounded as well, so that a cached
            and an uncached epoch see the same numbers.
    """

    def __init__(
        self,
        *,
        folder: str | None = None,
        max_gib: Annotated[float, ">= 0"] = 8.0,
        dtype: Literal["float32", "float16", "bfloat16"] = "float32",
    ) -> None:
        self.folder = Path(folder) if folder else cache_dir() / "prefix"
        self.limit, self.dtype = int(max_gib * 2**30), dtype
        self.stored = 0
        """Entries that this process has written."""
        self.used: set[str] = set()
        """Origins of the tokens that this process has trained or measured on."""
        self._measured = self._full = False

    def key(self, fingerprint: Fingerprint, depth: int | None, sample: str, taps: Sequence[int] = ()) -> str:
        """Name of one entry: sha256 over all that determines its content."""
        told = f"{FORMAT}|{fingerprint}|{depth}|{self.dtype}|{sample}{f'|taps {list(taps)}' if taps else ''}"
        return hashlib.sha256(told.encode()).hexdigest()

    def path(self, key: str) -> Path:
        """File of an entry."""
        return self.folder / key[:2] / f"{key}.safetensors"

    def read(self, key: str) -> Tensor | None:
        """Stored tokens [T, L, D], or None if the entry is absent or altered (it is then written again).

        Entries of versions that kept no checksum count as absent.
        """
        found = self.entry(key)
        return None if found is None else found.tokens

    def entry(self, key: str) -> Entry | None:
        """Like `read`, with the origin of the tokens and what is kept beside them."""
        path = self.path(key)
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError) as error:
            log.warning("prefix cache: %s is unreadable (%s) and is recomputed", path, error)
            return None
        digest = metadata.get("sha256")
        if "tokens" not in tensors or digest != _digest(key, tensors):
            if digest is not None:
                log.warning("prefix cache: %s was altered (its checksum differs) and is recomputed", path)
            return None
        tokens = tensors.pop("tokens").float()
        taps = {int(name): tensor.float() for name, tensor in tensors.items()}
        return Entry(tokens, metadata.get("origin", UNTOLD), taps)

    def origins(self) -> list[str]:
        """Hardware and software that computed the tokens in use; several entries if they are mixed."""
        return sorted(self.used)

    def round(self, tokens: Tensor) -> Tensor:
        """The tokens as a later `read` gives them back."""
        return tokens.to(DTYPES[self.dtype]).float()

    def write(self, key: str, tokens: Tensor, taps: Mapping[int, Tensor] | None = None) -> None:
        """Store tokens [..., L, D] unless that would pass the limit or the disk refuses; training goes on either way.

        Beside them what stands behind fewer blocks, by their number. All must have been computed on the device where
        they are, by this process.
        """
        here = origin(tokens.device)
        self.used.add(here)
        if self._full:
            return
        every = {"tokens": tokens, **{str(after): each for after, each in (taps or {}).items()}}
        kept = {name: each.detach().to(DTYPES[self.dtype]).cpu().contiguous() for name, each in every.items()}
        data = save(kept, metadata={"sha256": _digest(key, kept), "origin": here})
        path = self.path(key)
        temporary = path.with_name(f".{uuid.uuid4().hex}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._counter() as counter:
                size = self._size(counter)
                grown = size + len(data) - (path.stat().st_size if path.exists() else 0)
                if grown > self.limit:
                    self._stop(f"its limit of {self.limit / 2**30:g} GiB is reached (cache.max_gib)")
                    return
                # Counted before it is there: a process that is killed here leaves the count too high, never too low.
                counter.seek(0)
                counter.write(b"%20d" % grown)
                counter.flush()
                temporary.write_bytes(data)
                os.replace(temporary, path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            self._stop(str(error))
            return
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        self.stored += 1

    @contextlib.contextmanager
    def _counter(self) -> Iterator[BinaryIO]:
        """The file in which the bytes of all entries are counted, for this process alone."""
        path = self.folder / "bytes"
        path.touch()
        descriptor = files.lock(path, wait=True)
        assert descriptor is not None
        try:
            with path.open("r+b") as file:
                yield file
        finally:
            files.unlock(descriptor)

    def _size(self, counter: BinaryIO) -> int:
        """Bytes of all entries: looked at once, then as counted by all processes; again if the count has been removed.

        Whoever holds the counter is alone in writing, so any temporary file is a killed process's.
        """
        if self._measured and (counted := counter.read(20)):
            return int(counted)
        for left in self.folder.glob("??/.*"):
            left.unlink()
        self._measured = True
        return sum(entry.stat().st_size for entry in self.folder.glob("??/*.safetensors"))

    def _stop(self, why: str) -> None:
        self._full = True
        log.warning("prefix cache: no further entries in %s: %s; the rest is recomputed each epoch", self.folder, why)


def _digest(key: str, tensors: Mapping[str, Tensor]) -> str:
    """sha256 of an entry: its name, and shape, type and bytes of the tokens and of what is kept beside them."""
    beside = sorted(name for name in tensors if name != "tokens")
    digest = hashlib.sha256(f"{key}|".encode())
    for name in ("tokens", *beside):
        tensor = tensors[name]
        told = "" if name == "tokens" else f"|{name}|"
        digest.update(f"{told}{list(tensor.shape)}|{tensor.dtype}|".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
