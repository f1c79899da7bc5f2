"""Paths of run folders: a new one, the newest of a recipe, and the one shared with further processes."""

import contextlib
import datetime
import os
from collections.abc import Iterator
from pathlib import Path

from zoo.errors import UserError
from zoo.recipe.compose import RecipeError
from zoo.records.run_folder import RECORD

FOLDER = "ZOO_RUN_FOLDER"
"""Environment variable through which the processes of a distributed run share one run folder."""


def new_run(root: Path, name: str) -> Path:
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
    """The run folder of a process started by a launcher: inherited on one machine, else set by the user for all.

    Raises:
        FileNotFoundError: a launcher such as torchrun started this process without a run folder.
    """
    if not {"RANK", "LOCAL_RANK", "NODE_RANK"} & os.environ.keys():
        return None
    if FOLDER not in os.environ:
        raise FileNotFoundError(f"several processes need one run folder: set {FOLDER}=DIR, the same for all")
    return Path(os.environ[FOLDER])


def latest_run(root: Path, name: str) -> Path:
    """The newest run folder of a recipe.

    Raises:
        RecipeError: there is none.
    """
    runs = sorted(path.parent for path in (root / name).glob(f"*/{RECORD}"))
    if not runs:
        raise RecipeError([f"resume=true: there is no run below {root / name}"])
    return runs[-1]


def run_folder(name: str, runs: Path, into: str | Path | None, *, resume: bool) -> tuple[Path, list[Path]]:
    """A run folder, passed to the processes that a strategy starts, and the folders made for it, inner first.

    Args:
        name: of the recipe.
        runs: where new run folders go.
        into: a folder to use instead.
        resume: take the newest run of the recipe, or the one in `into`.

    Raises:
        RecipeError: there is none to go on with, or a launcher's processes have none in common.
        UserError: it cannot be made.
    """
    made: list[Path] = []
    try:
        shared = shared_folder()
    except FileNotFoundError as error:
        raise RecipeError([str(error)]) from None
    if shared or into:
        folder = shared or Path(str(into))
        made = [place for place in (folder, *folder.parents) if not place.exists()]
        if not resume:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(f"{error.filename or folder}: {error.strerror}; a run needs a folder") from None
    elif resume:
        folder = latest_run(runs, name)
    else:
        folder = new_run(runs, name)
        made = [folder, folder.parent, folder.parent.parent]
    os.environ[FOLDER] = str(folder)
    return folder, made


@contextlib.contextmanager
def not_left_empty(folders: list[Path]) -> Iterator[None]:
    """Remove folders, in this order, if their purpose fails before anything was written."""
    try:
        yield
    except BaseException:
        remove_empty(folders)
        raise


def remove_empty(folders: list[Path]) -> None:
    """Remove folders, in this order, up to the first that holds something."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()
