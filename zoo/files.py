"""Files and folders appear whole or not at all, and are known by their sha256."""

import contextlib
import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from zoo import locks
from zoo.errors import UserError


def file_hash(path: Path) -> str:
    """sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class LinkError(UserError):
    """A file that should lie in a folder itself leads elsewhere, or is no file."""


def copy_plain(source: Path, target: Path, *, most: int, cache: Path | None = None) -> None:
    """Copy a file that lies where it says, never what a link or a pipe of that name would give.

    What a folder from elsewhere calls README.md may lead to any file that its reader may read.

    Args:
        source: the file.
        target: the copy.
        most: bytes that it may have.
        cache: a folder into which links may lead, as those of the hub's own cache do.

    Raises:
        FileNotFoundError: there is none.
        LinkError: a link, or no regular file; or it is larger.
    """
    if source.is_symlink():
        place = source.resolve()
        if cache is None or not place.is_relative_to(cache.resolve()):
            raise LinkError(f"{source} is a link, which is not followed; put the file itself there")
        source = place
    # Between the look and the opening the name may be given to a link or to a pipe, whose opening would wait.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(source, flags), "rb") as file, target.open("wb") as out:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise LinkError(f"{source} is no regular file")
        left = most
        while chunk := file.read(min(left + 1, 1 << 20)):
            left -= len(chunk)
            if left < 0:
                raise LinkError(f"{source} has {found.st_size:,} bytes; at most {most:,} are taken")
            out.write(chunk)


def write_whole(path: Path, content: bytes | str) -> None:
    """Write beside `path` under a temporary name, then rename; an existing file survives a full disk and a kill.

    What a killed process left half-written for `path` is removed.

    Raises:
        OSError: with the path that could not be written; nothing is left behind.
    """
    locks.sweep(path.parent, rf"\.{re.escape(path.name)}\.\d+\.tmp")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = locks.take_new(temporary, wait=True)
        assert descriptor is not None
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
        readable(temporary)
        try:
            os.rename(temporary, folder)
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise FileExistsError(error.errno, "exists already", str(folder)) from None
            raise


def readable(folder: Path) -> None:
    """Temporary files are their owner's alone; what is shared should be readable."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def checksum_lines(folder: Path) -> str:
    """What stands in a folder's SHA256SUMS: `hash  path` of every file below it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    return "".join(f"{file_hash(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)
