"""The sha256 of files of weights, read again only where a file may have changed.

For every file that was hashed a record lies in the cache folder: its path, device, inode, size, and the times at which
its content and its inode changed last. While all of them are the same, the record's hash stands. No record is made of a
file that changed within the last two seconds: a second change could leave such a file's times as they are.

The limit: a content that changes without any of these, as on a failing disk, or on a file system or after a clock set
back that keep both times, is not seen by loading. `python -m zoo.pull --verify` reads every byte (`anew`).
"""

import contextlib
import hashlib
import json
import logging
import time
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

from zoo.files import file_hash, write_whole

FRESH = 2_000_000_000
"""Nanoseconds for which a change may leave a file's times as they are."""
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
