"""The run folder `runs/<recipe>/<time>/` and its manifest: what ran, on what, from which code and data."""

import contextlib
import datetime
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from zoo.files import PACKAGE
from zoo.version import __version__

PACKAGES = ("torch", "lightning", "torchmetrics", "timm", "transformers", "open_clip_torch", "peft", "numpy", "av")

CONVERTED = "converted"
"""Key of a manifest whose tensors others trained: the file that they were converted from. Nothing was measured then."""


def git_state() -> dict[str, Any]:
    """Commit and dirty flag of the source checkout; both null for an installed wheel."""
    source = PACKAGE.parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(source), *words], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    # A wheel inside somebody else's repository must not take that repository's commit for its own.
    if not (source / "pyproject.toml").exists() or (commit := git("rev-parse", "HEAD")) is None:
        return {"commit": None, "dirty": None}
    return {"commit": commit, "dirty": bool(git("status", "--porcelain", "--untracked-files=no"))}


def versions() -> dict[str, str]:
    """Versions of this project, Python and the packages that shape a number."""
    return {"zoo": __version__, "python": platform.python_version(), **installed(PACKAGES)}


def installed(packages: Iterable[str]) -> dict[str, str]:
    """Versions of those packages that are there."""
    import importlib.metadata  # a tenth of the start of commands that only read, which need no versions

    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def hardware() -> str:
    """One line: GPU if one is used, else processor and cores."""
    import torch

    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()}x {torch.cuda.get_device_name()}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"CPU {platform.machine()}, {cores} cores"


def manifest(**facts: Any) -> dict[str, Any]:
    """Facts of a run beside those every run shares."""
    return {
        "command": " ".join(["python -m", *command()]),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "hardware": hardware(),
        "versions": versions(),
        **git_state(),
        **facts,
    }


_standing_for: ContextVar[list[str] | None] = ContextVar("command that a call in Python does the same as", default=None)


@contextlib.contextmanager
def standing_for(words: list[str]) -> Iterator[None]:
    """What happens inside is recorded as this command, which does the same; module and words."""
    token = _standing_for.set(words)
    try:
        yield
    finally:
        _standing_for.reset(token)


def command() -> list[str]:
    """The running command as a user would type it."""
    if (words := _standing_for.get()) is not None:
        return words
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return [spec.name if spec else Path(sys.argv[0]).name, *sys.argv[1:]]
