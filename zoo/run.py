"""The run folder `runs/<recipe>/<time>/` and its manifest: what ran, on what, from which code and data."""

import datetime
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import zoo
from zoo.files import json_text, write_whole

PACKAGES = ("torch", "lightning", "torchmetrics", "timm", "transformers", "open_clip_torch", "peft", "numpy", "av")
FOLDER = "ZOO_RUN_FOLDER"
"""Environment variable through which the processes of a distributed run share one run folder."""


def create(root: Path, name: str) -> Path:
    """A fresh folder `root/name/<UTC time>`, never one that exists."""
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
    for attempt in range(100):
        folder = root / name / (stamp if not attempt else f"{stamp}-{attempt}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(f"{root / name / stamp} and 99 more exist already")


def shared_folder() -> Path | None:
    """The run folder of a process that a launcher started: on one machine it inherits it, else the user tells all.

    Raises:
        FileNotFoundError: a launcher such as torchrun started this process without telling where.
    """
    if not {"RANK", "LOCAL_RANK", "NODE_RANK"} & os.environ.keys():
        return None
    if FOLDER not in os.environ:
        raise FileNotFoundError(f"several processes need one run folder: set {FOLDER}=DIR, the same for all")
    return Path(os.environ[FOLDER])


def git_state() -> dict[str, Any]:
    """Commit and dirty flag of the source checkout; both null for an installed wheel."""
    source = Path(zoo.__file__).parents[1]

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
    return {"zoo": zoo.__version__, "python": platform.python_version(), **installed(PACKAGES)}


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


def command() -> list[str]:
    """The running command as a user would type it."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return [spec.name if spec else Path(sys.argv[0]).name, *sys.argv[1:]]


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON, whole or not at all."""
    write_whole(path, json_text(value, indent=2) + "\n")
