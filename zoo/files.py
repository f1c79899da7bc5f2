"""Files and folders appear whole or not at all, and are known by their sha256."""

import contextlib
import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import platformdirs

from zoo import locks

PACKAGE = Path(__file__).parent
"""The installed package: shipped recipes, cards and adapters lie in it, or beside it in a checkout."""


def file_hash(path: Path) -> str:
    """sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_text(value: Any, *, indent: int | None = None, encoding: str | None = "utf-8") -> str:
    """JSON with names as they are spelled: escaped only where the encoding has no such letter, or a path none at all.

    Args:
        value: plain.
        indent: of nested values; None writes one line.
        encoding: of the file or stream that it is written to; None is UTF-8.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    try:
        text.encode(encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent)
    return text


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
    """Text of a folder's SHA256SUMS: `hash  path` of every file below it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    return "".join(f"{file_hash(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)


def cache_dir() -> Path:
    """`$ZOO_CACHE`, or the platform's cache folder."""
    return Path(os.environ.get("ZOO_CACHE") or platformdirs.user_cache_dir("multimodal-peft-zoo"))


STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON, whole or not at all."""
    write_whole(path, json_text(value, indent=2) + "\n")
