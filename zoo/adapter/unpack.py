"""Extract an adapter from an untrusted archive: .zip, .tar or .tar.gz.

An archive may hold the files of one adapter directory, at its top or in one folder, and nothing else: no other name, no
link, no device, no name twice, no absolute or upward path, no more bytes than an adapter's files may have. Each name is
checked before the first byte is written, and only the last part of it is ever used.
"""

import errno
import gzip
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from data_modules.readers.foreign import reason
from zoo.adapter.directory import FILES
from zoo.errors import UserError

SUFFIXES = (".zip", ".tar.gz", ".tgz", ".tar")

PICKLES = (".bin", ".ckpt", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth")

LIMITS = {
    "adapter.safetensors": 4 << 30,
    "recipe.yaml": 1 << 20,
    "metrics.json": 64 << 20,
    "README.md": 4 << 20,
    "SHA256SUMS": 64 << 10,
}
"""Most bytes of each file. A rank-64 LoRA of an 8-billion-parameter model has 0.7 GB in float32."""

RATIO, ALLOWANCE = 100, 1 << 20
"""An archive may grow to so many times its size, and so many bytes; trained numbers hardly shrink at all."""

FOLDERS = 4
"""Entries that are folders; an archive of one adapter has one or two."""

GULP = 1 << 20

EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
"""Kinds of headers that tarfile reads into memory."""


class ArchiveError(UserError):
    """An archive is damaged, or holds what no adapter does; nothing of it was used."""


@dataclass(frozen=True)
class _Entry:
    """One file of an archive."""

    name: str
    size: int
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, folder: Path, *, shown: str = "") -> None:
    """Write an archive's adapter files into a folder that exists and is empty.

    Args:
        archive: its suffix is not looked at; its first bytes say what it is.
        folder: filled.
        shown: what messages call the archive.

    Raises:
        ArchiveError: naming the entry that does not belong there.
    """
    label, room = shown or str(archive), RATIO * archive.stat().st_size + ALLOWANCE
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                _write(_zipped(opened, label), folder, label, room)
        else:
            with archive.open("rb") as raw:
                zipped = raw.read(2) == b"\x1f\x8b"
                raw.seek(0)
                plain: Any = gzip.GzipFile(fileobj=raw) if zipped else raw
                with tarfile.TarFile(fileobj=plain, tarinfo=_bounded(label)) as tar:
                    _write(_tarred(tar, label), folder, label, room)
    except ArchiveError:
        raise
    except Exception as error:  # tarfile alone raises ValueError, OverflowError and others over headers that lie
        # An entry said to lie before the file's beginning is an invalid argument; the rest is the disk's.
        if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile) and error.errno != errno.EINVAL:
            raise
        raise ArchiveError(f"{label} is damaged, or none of {', '.join(SUFFIXES)}: {reason(error)}") from None


def _bounded(label: str) -> type[tarfile.TarInfo]:
    """Headers whose own length is looked at first: tarfile reads an extended one whole, and its length is a claim."""

    class Bounded(tarfile.TarInfo):
        def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
            """What tarfile offers to be overridden, in its source."""
            if self.type in EXTENDED and not 0 <= self.size <= GULP:
                raise ArchiveError(f"{label}: a header claims {self.size:,} bytes; nothing was unpacked")
            member: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]
            return member

    return Bounded


def _zipped(archive: zipfile.ZipFile, label: str) -> Iterator[_Entry]:
    for info in archive.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if info.is_dir():
            yield _Entry(info.filename, -1, lambda: None)
            continue
        if kind not in (0, stat.S_IFREG):
            raise ArchiveError(f"{label}: {info.filename!r} is a link or a device; nothing was unpacked")
        if info.flag_bits & 1:
            raise ArchiveError(f"{label}: {info.filename!r} is encrypted; nothing was unpacked")
        yield _Entry(info.filename, info.file_size, lambda info=info: archive.open(info))  # type: ignore[misc]


def _tarred(archive: tarfile.TarFile, label: str) -> Iterator[_Entry]:
    for member in archive:
        if member.isdir():
            yield _Entry(f"{member.name}/", -1, lambda: None)
            continue
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
            raise ArchiveError(f"{label}: {member.name!r} is a link or a device; nothing was unpacked")
        yield _Entry(member.name, member.size, lambda member=member: archive.extractfile(member))  # type: ignore[misc]


def _write(entries: Iterator[_Entry], folder: Path, label: str, room: int) -> None:
    """Check every entry (which reads headers only), then copy."""
    files: dict[str, _Entry] = {}
    parents: set[PurePosixPath] = set()
    folders = 0
    for entry in entries:
        path = _inside(entry.name, label)
        if entry.size < 0:
            folders += 1
            if len(path.parts) > 1 or folders > FOLDERS:
                raise ArchiveError(f"{label}: folder {entry.name!r} belongs to no adapter; nothing was unpacked")
            continue
        if path.name not in LIMITS or len(path.parts) > 2:
            why = ": a pickle can run code and is never loaded" if path.suffix in PICKLES else ""
            raise ArchiveError(
                f"{label}: {entry.name!r} is no file of an adapter ({', '.join(LIMITS)}){why}; nothing was unpacked"
            )
        if path.name in files:
            raise ArchiveError(f"{label}: {path.name} is there twice; nothing was unpacked")
        room -= entry.size
        if entry.size > LIMITS[path.name] or room < 0:
            raise ArchiveError(
                f"{label}: {path.name} claims {entry.size:,} bytes, which is absurd; nothing was unpacked"
            )
        files[path.name] = entry
        parents.add(path.parent)
    if len(parents) > 1:
        raise ArchiveError(f"{label}: its files lie in several folders; an archive holds one adapter")
    if missing := [name for name in (*FILES, "SHA256SUMS") if name not in files]:
        raise ArchiveError(f"{label} holds no adapter: missing {', '.join(missing)}")
    for name, entry in files.items():
        _copy(entry, folder / name, label)


def _inside(name: str, label: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name:
        raise ArchiveError(f"{label}: {name!r} would leave its folder; nothing was unpacked")
    return path


def _copy(entry: _Entry, target: Path, label: str) -> None:
    """Copy as many bytes as were announced, whatever the archive goes on to give."""
    source, left = entry.open(), entry.size
    assert source is not None
    with source, target.open("xb") as file:
        while left > 0 and (chunk := source.read(min(left, GULP))):
            left -= len(chunk)
            file.write(chunk)
        if left or source.read(1):
            raise ArchiveError(f"{label}: {target.name} has another length than it claims")
