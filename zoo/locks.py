"""Locks that end with their process, however it ends; they distinguish leftovers of killed processes from files in use.

A lock is `flock` on a file or folder that is there anyway, so it leaves nothing behind. It belongs to what the path led
to when it was taken: once that was renamed or removed, the path is looked up again. Where the system has no `flock`
(Windows) nothing is locked, and nothing that another process may have left is removed.
"""

import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":
    import fcntl

UNLOCKED = -1
"""In the place of a descriptor where there are no locks."""


def take(path: Path, *, wait: bool = False) -> int | None:
    """Lock a file or folder.

    Args:
        path: exists.
        wait: for the holder; otherwise the result is None if another process holds it.

    Returns:
        A descriptor for `release`.

    Raises:
        OSError: there is nothing at `path`, or its disk knows no locks.
    """
    if sys.platform == "win32":
        return UNLOCKED
    while True:
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, OSError):
                raise OSError(error.errno, error.strerror, str(path)) from None
            raise
        os.close(descriptor)


def take_new(path: Path, *, wait: bool = False) -> int | None:
    """Lock a file like `take`, creating it if needed; its holder may remove it."""
    while True:
        path.touch()
        with contextlib.suppress(FileNotFoundError):
            return take(path, wait=wait)


def release(descriptor: int) -> None:
    """Let go of a lock, of the copies that forked processes have of it as well."""
    if sys.platform != "win32":
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def sweep(folder: Path, names: str) -> None:
    """Remove leftovers of killed processes in a folder: files of such names that no process holds.

    Args:
        folder: is looked through, not what lies deeper.
        names: regular expression of whole names that users do not choose.
    """
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError):
        for entry in [entry for entry in os.scandir(folder) if re.fullmatch(names, entry.name)]:
            path = Path(entry.path)
            with contextlib.suppress(OSError):  # it is gone, or somebody else's
                if (descriptor := take(path)) is not None:
                    try:
                        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
                    finally:
                        release(descriptor)


@contextlib.contextmanager
def scratch(parent: Path, prefix: str) -> Iterator[Path]:
    """A folder in `parent`, which exists, that is gone afterwards; with it goes what killed processes left of theirs.

    Args:
        parent: on the disk where what is made here shall lie.
        prefix: of its name, `PREFIXxxxxxxxx.tmp`.
    """
    sweep(parent, rf"{re.escape(prefix)}\w{{8}}\.tmp")
    folder = descriptor = None
    try:
        while folder is None or descriptor is None:  # another process may take it for a dead one's before it is locked
            folder = Path(tempfile.mkdtemp(prefix=prefix, suffix=".tmp", dir=parent))
            with contextlib.suppress(FileNotFoundError):
                descriptor = take(folder)
        yield folder
    finally:
        try:
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            if descriptor is not None:
                release(descriptor)
