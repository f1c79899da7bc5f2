"""Copies regular files of an untrusted folder: links are not followed, and pipes not opened."""

import os
import stat
from pathlib import Path

from zoo.errors import UserError


class LinkError(UserError):
    """A file of a folder is a link, or no regular file."""


def copy_plain(source: Path, target: Path, *, most: int, cache: Path | None = None) -> None:
    """Copy a file that lies where it says, never what a link or a pipe of that name would give.

    A README.md in an untrusted folder could link to any file that its reader may read.

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
