"""Installs untrusted files as an adapter in the cache: verified as a whole, then renamed into place."""

import contextlib
import os
import re
from pathlib import Path

from zoo import files
from zoo.adapter import directory, places, soundness
from zoo.adapter.exchange import exchanged
from zoo.adapter.links import copy_plain
from zoo.adapter.unpack import LIMITS
from zoo.errors import UserError
from zoo.files import cache_dir, file_hash
from zoo.recipe.compose import RecipeError, compose

NAME = re.compile(r"[A-Za-z0-9_][\w.\-]*", re.ASCII)

MOST_BACKBONE = LIMITS["adapter.safetensors"]


class InstallError(UserError):
    """The files are no sound adapter, or the name is taken."""


def staging() -> contextlib.AbstractContextManager[Path]:
    """A folder on the cache's disk that vanishes, for files on their way to `install`; with it what killed processes
    left of theirs."""
    (cache_dir() / "downloads").mkdir(parents=True, exist_ok=True)
    return files.scratch(cache_dir() / "downloads", "unpack-")


def copy(source: Path, target: Path, *, cache: Path | None = None) -> None:
    """Copy an adapter's own files, no others, and nothing that a link leads to.

    Args:
        source: an adapter directory.
        target: a folder.
        cache: the hub's cache, where `source` lies in one: its snapshots are links to files of it.

    Raises:
        InstallError: a file is missing.
        LinkError: one is a link or too large.
    """
    for name, limit in LIMITS.items():
        path = source / name
        if not path.is_symlink() and not path.exists():
            raise InstallError(f"{source} is no adapter directory: it has no {name}")
        copy_plain(path, target / name, most=limit, cache=cache)
    if (source / directory.BACKBONE).exists():
        copy_plain(source / directory.BACKBONE, target / directory.BACKBONE, most=MOST_BACKBONE, cache=cache)


def inspect(folder: Path) -> None:
    """Check an adapter directory as far as it can be without torch: checksums, tensors, recipe, metrics.

    Raises:
        UserError: of which file is wrong, and how.
    """
    directory.verify(folder)
    try:
        compose(str(folder / "recipe.yaml"))
    except RecipeError as error:
        more = f" (and {len(error.problems) - 1} more)" if len(error.problems) > 1 else ""
        raise InstallError(
            f"{folder / 'recipe.yaml'} does not fit this version of the zoo: {error.problems[0]}{more}"
        ) from None
    soundness.require_metrics(folder / "metrics.json")


def install(staged: Path, name: str, *, source: str, replace: bool = False) -> bool:
    """Check a staged adapter and rename it into the cache.

    Args:
        staged: from `staging`; gone afterwards.
        name: what the adapter is called from now on.
        source: where it came from, for messages.
        replace: take the place of another adapter of this name.

    Returns:
        Whether it is new; False where the same adapter was there already.

    Raises:
        InstallError: not sound, or the name belongs to another adapter.
    """
    check_name(name)
    try:
        inspect(staged)
    except UserError as error:
        raise InstallError(f"{str(error).replace(str(staged), source)}; nothing was installed") from None
    target = cache_dir() / "adapters" / name
    taken = places.bundled().get(name)
    if taken and not target.exists() and not replace:
        if _same(staged, taken):
            return False
        raise InstallError(
            f"{name!r} is the name of an adapter that comes with the zoo, and this one differs: choose another with "
            "name=..., or put it before the zoo's with replace=true"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    staged.chmod(0o755)  # a temporary folder is its owner's alone; an adapter is for all who may read the cache
    while True:
        try:
            os.rename(staged, target)
            return True
        except OSError:
            if not target.exists():
                raise
        if _same(staged, target):
            return False
        if not replace and _sound(target):
            raise InstallError(
                f"{name!r} is installed already, with other content: choose another name with name=..., or take its "
                "place with replace=true"
            )
        with exchanged(target) as new:
            for path in staged.iterdir():
                os.rename(path, new / path.name)
        return True


def check_name(name: str) -> None:
    """Refuse what could not stand in a command or a file name.

    Raises:
        InstallError: with what a name may be.
    """
    if not NAME.fullmatch(name) or len(name) > 100:
        raise InstallError(f"{name!r} is no name for an adapter: letters, digits, and - _ . inside; say name=...")


def _same(one: Path, other: Path) -> bool:
    """Whether both hold the same adapter; what is damaged is not the same."""
    return _sound(other) and file_hash(one / "SHA256SUMS") == file_hash(other / "SHA256SUMS")


def _sound(folder: Path) -> bool:
    try:
        directory.verify(folder)
    except (UserError, OSError, ValueError):
        return False
    return True
