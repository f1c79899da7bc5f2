"""Hashes of an input's files, by which a resumed run knows whether a prediction is still valid."""

import hashlib
import os
import stat
import time
from pathlib import Path
from typing import NamedTuple

from zoo.files import file_hash

FRESH = 2_000_000_000
"""Nanoseconds within which a change may leave a file's times unchanged."""


class Content(NamedTuple):
    """Hashes of one input's files.

    Attributes:
        sha256: of their contents; empty if they are not regular files or changed while they were read.
        seen: hash of their sizes, times and paths; while it is the same, nothing needs to be read again. Empty if the
            files are too new to rely on it.
    """

    sha256: str
    seen: str


def content(file: Path) -> Content:
    """The hashes of a file and of the folder named like it without the suffix (frames of a sound), if there is one.

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
    """Hash of the files' metadata, without reading them, and the newest change in nanoseconds."""
    stats, newest = [], 0
    for path in _files(file):
        found = path.stat()
        stats.append((str(path), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))
        newest = max(newest, found.st_mtime_ns, found.st_ctime_ns)
    return hashlib.sha256(repr(stats).encode(errors="surrogateescape")).hexdigest(), newest


def _files(file: Path) -> list[Path]:
    beside = file.with_suffix("")
    return [
        file,
        *(sorted(Path(entry.path) for entry in os.scandir(beside)) if beside != file and beside.is_dir() else []),
    ]
