"""Checks for untrusted files: only regular files of a bounded size are opened, and any decoder error becomes one line.

Pipes and devices have no end: opening them would block for ever or fill the memory.
"""

import os
import stat
from pathlib import Path

from data_modules.errors import DataError

KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}

LARGEST = 2 << 30
"""Largest size in bytes of a file that is read whole, and of an array inside a file."""

LARGEST_TEXT = 256 << 20
"""Largest size in bytes of a list of files or questions."""


def require_file(path: Path, *, most: int | None = None, empty: bool = False) -> None:
    """Refuse anything but a regular file that is not empty and not too large. Follows links; does not open the file.

    Args:
        path: of the file.
        most: largest size in bytes; None if it is read piece by piece.
        empty: whether it may be empty.

    Raises:
        FileNotFoundError: it does not exist.
        DataError: it is no regular file, empty or too large.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not stat.S_ISREG(found.st_mode):
        kind = KINDS.get(stat.S_IFMT(found.st_mode), "no file")
        raise DataError(f"{path} is {kind}; expected a file")
    if not found.st_size and not empty:
        raise DataError(f"{path} is empty")
    if most is not None and found.st_size > most:
        raise DataError(f"{path} has {found.st_size:,} bytes; at most {most:,} are read")


def is_irregular(path: Path) -> bool:
    """Whether a path is a pipe, a device or a socket."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def read_text(path: Path, *, most: int = LARGEST_TEXT) -> str:
    """The text of a user's list, in UTF-8 with or without a byte-order mark.

    Raises:
        DataError: no regular file, too large, unreadable, or not UTF-8, naming the line.
    """
    try:
        require_file(path, most=most, empty=True)
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: byte 0x{error.object[error.start]:02x} is no UTF-8; save the file as UTF-8"
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def reason(error: Exception) -> str:
    """A decoder's error as one short line that is never empty."""
    if isinstance(error, MemoryError):
        return "it is too large for the memory"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    text = " ".join((getattr(error, "strerror", None) or str(error)).split())
    return (text if len(text) <= 300 else f"{text[:300]}...") or "it is damaged"
