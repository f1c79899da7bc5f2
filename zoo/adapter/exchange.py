"""One folder takes the place of another, and at every moment one of both stands whole."""

import contextlib
import functools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from zoo import files
from zoo.errors import UserError
from zoo.files import readable

Result = TypeVar("Result")


@contextlib.contextmanager
def exchanged(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder` that takes its place at the end; one process at a time.

    At every moment one of both stands whole: the old one under a name of its own, `.NAME.old`, for the instant between
    two renames. An exception puts it back; after a kill in that instant, `recover` does.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    holder = None
    while holder is None:
        recover(folder)
        try:
            holder = files.lock(folder, wait=True)
        except FileNotFoundError:
            if not _aside(folder).exists():
                raise
    try:
        with files.scratch(folder.parent, f".{folder.name}-") as space:
            new, old = space / "new", _aside(folder)
            new.mkdir()
            yield new
            readable(new)
            if old.exists():  # of a process that was killed when the new one was in place
                os.rename(old, space / "older")
            next_holder = files.lock(new)  # later processes wait for the last step as well
            assert next_holder is not None
            try:
                os.rename(folder, old)
                os.rename(new, folder)
                os.rename(old, space / "old")
            except BaseException:
                if folder.exists():  # it was all but done
                    shutil.rmtree(old, ignore_errors=True)
                else:
                    os.rename(old, folder)
                raise
            finally:
                files.unlock(next_holder)
    finally:
        files.unlock(holder)


def recover(folder: Path) -> None:
    """Put a folder back that a process was killed in exchanging; where one is at it, wait until it is done."""
    if not folder.name or folder.exists() or not (old := _aside(folder)).exists():
        return
    with contextlib.suppress(FileNotFoundError):
        holder = files.lock(old, wait=True)
        assert holder is not None
        try:
            if not folder.exists():
                os.rename(old, folder)
        finally:
            files.unlock(holder)


def as_it_stands(look: Callable[[Path], Result]) -> Callable[[Path], Result]:
    """Retry a reading of a folder if another process exchanges the folder meanwhile."""

    @functools.wraps(look)
    def again(folder: Path) -> Result:
        while True:
            recover(folder)
            before = _identity(folder)
            try:
                return look(folder)
            except (UserError, OSError):
                recover(folder)
                if _identity(folder) == before:
                    raise

    return again


def _identity(folder: Path) -> tuple[int, int] | None:
    """Identity of the file at a path; a rename changes it."""
    try:
        stat = folder.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_ctime_ns


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")
