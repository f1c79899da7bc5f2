"""The sha256 of files of weights, read again only where a file may have changed.

For every file that was hashed a record lies in the cache folder: its path, device, inode, size, and the times at which
its content and its inode changed last. While all of them are the same, the record's hash stands. No record is made of a
file that changed within the last two seconds: a second change could leave such a file's times as they are.

Beside whatever was fetched lies a list of the sha256 that it was stored with (`sums`, `intact`).

The limit: a content that changes without any of these, as on a failing disk, or on a file system or after a clock set
back that keep both times, is not seen by loading. `python -m zoo.pull --verify` reads every byte (`anew`).
"""

import contextlib
import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path

from zoo.files import file_hash, write_whole

FRESH = 2_000_000_000
"""Nanoseconds for which a change may leave a file's times as they are."""
STORES = ("wheels", "torchaudio", "web")
"""Folders of the cache that hold what was fetched, each file or folder with its `sums`."""
_ANEW = ContextVar("hash every file anew", default=False)
log = logging.getLogger(__name__)


def hash_of(path: Path, cache: Path) -> str:
    """sha256 of a file, in hexadecimal.

    Args:
        path: of the file.
        cache: folder that keeps records, in its folder `hashes`.

    Raises:
        OSError: the file cannot be read.
    """
    seen, newest = _glance(path)
    record = (
        cache / "hashes" / f"{hashlib.sha256(str(path.absolute()).encode(errors='surrogateescape')).hexdigest()}.json"
    )
    if not _ANEW.get() and (known := _read(record, seen)):
        return known
    found = file_hash(path)
    if _glance(path)[0] == seen and time.time_ns() - newest > FRESH:
        try:
            record.parent.mkdir(parents=True, exist_ok=True)
            write_whole(record, json.dumps({"seen": seen, "sha256": found}) + "\n")
        except OSError as error:  # a cache that only reads: the file is hashed at every use, as it was before
            log.debug("hashes: %s cannot be written (%s)", record, error)
    return found


@contextlib.contextmanager
def anew() -> Iterator[None]:
    """Inside, every file is read, whatever is known of it."""
    token = _ANEW.set(True)
    try:
        yield
    finally:
        _ANEW.reset(token)


def asked_anew() -> bool:
    """Whether nothing that is known counts."""
    return _ANEW.get()


def sums(target: Path) -> Path:
    """Where the checksums of a stored file or folder lie."""
    return target.with_name(f"{target.name}.sha256")


def listing(target: Path, hashed: Callable[[Path], str]) -> str:
    """`hash  relative path` lines of a file or folder."""
    files = sorted(p for p in target.rglob("*") if p.is_file()) if target.is_dir() else [target]
    return "".join(f"{hashed(p)}  {p.relative_to(target).as_posix()}\n" for p in files)


def intact(target: Path, cache: Path) -> bool:
    """Whether a file or folder is there as it was stored; `cache` keeps records, as `hash_of` has them."""
    if not target.exists() or not sums(target).exists():
        return False
    if sums(target).read_text(encoding="utf-8") == listing(target, lambda path: hash_of(path, cache)):
        return True
    log.warning("%s is damaged (its sha256 differs) and is fetched again", target)
    return False


def stored(cache: Path) -> Iterator[tuple[Path, bool]]:
    """Everything that was fetched into a cache, and whether it still has the checksum it was stored with."""
    for store in STORES:
        for file in sorted((cache / store).glob("**/*.sha256")):
            target = file.with_suffix("")
            yield target, target.exists() and file.read_text(encoding="utf-8") == listing(target, file_hash)


def _glance(path: Path) -> tuple[list[str | int], int]:
    """What is seen of a file without reading it, and when it changed last, in nanoseconds."""
    found = path.stat()
    seen: list[str | int] = [str(path.absolute()), found.st_dev, found.st_ino, found.st_size]
    return [*seen, found.st_mtime_ns, found.st_ctime_ns], max(found.st_mtime_ns, found.st_ctime_ns)


def _read(record: Path, seen: list[str | int]) -> str:
    """The hash of a record that is about this state of the file; empty where there is none, or it is damaged."""
    try:
        told = json.loads(record.read_text(encoding="utf-8"))
        digest = told["sha256"] if told["seen"] == seen else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return digest if isinstance(digest, str) and len(digest) == 64 else ""
