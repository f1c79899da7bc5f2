"""Files and folders appear whole or not at all, take each other's place so, and are known by their sha256."""

import contextlib
import errno
import functools
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from zoo import locks
from zoo.errors import UserError

Result = TypeVar("Result")


def file_hash(path: Path) -> str:
    """sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, content: bytes | str) -> None:
    """Write beside `path` under a temporary name, then rename; an existing file survives a full disk and a kill.

    What a killed process left half-written for `path` is removed.

    Raises:
        OSError: with the path that could not be written; nothing is left behind.
    """
    locks.sweep(path.parent, rf"\.{re.escape(path.name)}\.\d+\.tmp")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = None
        while descriptor is None:  # another process may take it for a dead one's before it is locked
            temporary.touch()
            with contextlib.suppress(FileNotFoundError):
                descriptor = locks.take(temporary, wait=True)
        try:
            with temporary.open("wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            locks.release(descriptor)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder` that takes its name at the end; nothing is left of it after an error.

    Raises:
        FileExistsError: there is such a folder already, and it is not empty.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locks.scratch(folder.parent, f".{folder.name}-") as temporary:
        yield temporary
        _readable(temporary)
        try:
            os.rename(temporary, folder)
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise FileExistsError(error.errno, "exists already", str(folder)) from None
            raise


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
            holder = locks.take(folder, wait=True)
        except FileNotFoundError:
            if not _aside(folder).exists():
                raise
    try:
        with locks.scratch(folder.parent, f".{folder.name}-") as space:
            new, old = space / "new", _aside(folder)
            new.mkdir()
            yield new
            _readable(new)
            if old.exists():  # of a process that was killed when the new one was in place
                os.rename(old, space / "older")
            next_holder = locks.take(new)  # whoever comes now waits for the last step as well
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
                locks.release(next_holder)
    finally:
        locks.release(holder)


def recover(folder: Path) -> None:
    """Put a folder back that a process was killed in exchanging; where one is at it, wait until it is done."""
    if not folder.name or folder.exists() or not (old := _aside(folder)).exists():
        return
    with contextlib.suppress(FileNotFoundError):
        holder = locks.take(old, wait=True)
        assert holder is not None
        try:
            if not folder.exists():
                os.rename(old, folder)
        finally:
            locks.release(holder)


def as_it_stands(look: Callable[[Path], Result]) -> Callable[[Path], Result]:
    """Make a look at a folder begin anew where another process exchanges the folder under its eyes."""

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
    """Of what a path leads to; a rename changes it."""
    try:
        stat = folder.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_ctime_ns


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _readable(folder: Path) -> None:
    """Temporary files are their owner's alone; what is shared should be readable."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def checksum_lines(folder: Path) -> str:
    """What stands in a folder's SHA256SUMS: `hash  path` of every file below it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    return "".join(f"{file_hash(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)
