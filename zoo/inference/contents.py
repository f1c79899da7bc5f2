"""What an input's files held when they were read: whether an answer is still one about them."""

import hashlib
import os
import stat
import time
from pathlib import Path
from typing import NamedTuple

from zoo.files import file_hash

FRESH = 2_000_000_000
"""Nanoseconds for which a change may leave a file's times as they are."""


class Content(NamedTuple):
    """Of one input.

    Attributes:
        sha256: over its files; empty where they are no files, or changed while they were read.
        seen: hash of their sizes, times and places; while that is the same, nothing needs to be read. Empty where they
            were too new to rely on it.
    """

    sha256: str
    seen: str


def content(file: Path) -> Content:
    """Of a file and, where there is a folder of its name without the suffix (frames of a sound), of what lies in it.

    Raises:
        OSError: a file is gone, or may not be read.
    """
    before, newest = glance(file)
    regular = all(stat.S_ISREG(path.stat().st_mode) for path in _files(file))
    digest = hashlib.sha256()
    for path in _files(file) if regular else ():
        digest.update(f"{path.relative_to(file.parent)}\0{file_hash(path)}\n".encode(errors="surrogateescape"))
    if not regular or glance(file)[0] != before:
        return Content("", "")
    return Content(digest.hexdigest(), before if time.time_ns() - newest > FRESH else "")


def glance(file: Path) -> tuple[str, int]:
    """What of the files can be seen without reading them, hashed, and when the newest changed, in nanoseconds."""
    told, newest = [], 0
    for path in _files(file):
        found = path.stat()
        told.append((str(path), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))
        newest = max(newest, found.st_mtime_ns, found.st_ctime_ns)
    return hashlib.sha256(repr(told).encode(errors="surrogateescape")).hexdigest(), newest


def _files(file: Path) -> list[Path]:
    beside = file.with_suffix("")
    return [
        file,
        *(sorted(Path(entry.path) for entry in os.scandir(beside)) if beside != file and beside.is_dir() else []),
    ]
