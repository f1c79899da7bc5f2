"""Files and folders appear whole or not at all, are known by their sha256, and are locked while they are in use."""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import platformdirs

if sys.platform != "win32":
    import fcntl

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
    sweep(path.parent, rf"\.{re.escape(path.name)}\.\d+\.tmp")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = lock_new(temporary, wait=True)
        assert descriptor is not None
        try:
            with temporary.open("wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            unlock(descriptor)
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
    with scratch(folder.parent, f".{folder.name}-") as temporary:
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


def machine_memory() -> int:
    """Bytes of memory, or the container's limit where that is lower."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text(encoding="utf-8").strip() if limit.is_file() else ""
    return min(total, int(text)) if text.isdigit() else total


# --- locks ------------------------------------------------------------------------------------------------------------
#
# They end with their process, however it ends, and distinguish leftovers of killed processes from files in use. A lock
# is `flock` on a file or folder that is there anyway, so it leaves nothing behind. It belongs to what the path led to
# when it was taken: once that was renamed or removed, the path is looked up again. Where the system has no `flock`
# (Windows) nothing is locked, and nothing that another process may have left is removed.

UNLOCKED = -1
"""In the place of a descriptor where there are no locks."""


def lock(path: Path, *, wait: bool = False) -> int | None:
    """Lock a file or folder.

    Args:
        path: exists.
        wait: for the holder; otherwise the result is None if another process holds it.

    Returns:
        A descriptor for `unlock`.

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


def lock_new(path: Path, *, wait: bool = False) -> int | None:
    """Lock a file like `lock`, creating it if needed; its holder may remove it."""
    while True:
        path.touch()
        with contextlib.suppress(FileNotFoundError):
            return lock(path, wait=wait)


def unlock(descriptor: int) -> None:
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
                if (descriptor := lock(path)) is not None:
                    try:
                        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
                    finally:
                        unlock(descriptor)


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
                descriptor = lock(folder)
        yield folder
    finally:
        try:
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            if descriptor is not None:
                unlock(descriptor)
