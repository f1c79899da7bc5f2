"""One trial of a sweep: `zoo.train` in a process of its own, without the test split, until it has been fitted.

A trial may be attempted again, by another worker or by a later sweep: a finished one is read, an interrupted one goes
on from its last checkpoint. The folder is locked while a process trains in it, so that one whose worker has died is
waited for, and no two write.
"""

import contextlib
import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zoo.errors import UserError
from zoo.records.run_folder import RECORD

CONFIG, LOG, FITTED, MEASURED = "config.yaml", "train.log", "fit.json", "metrics.json"

ATTEMPT = "--- attempt "

TERMINATED = 143
"""Exit code of a training that SIGTERM ended."""


class KilledError(RuntimeError):
    """The training was killed from outside: worth another attempt."""


class TrialError(UserError):
    """The training ended with an error of its own, which it would meet again."""


def attempt(folder: Path, card: str, *, where: Path, test: bool = False) -> dict[str, Any]:
    """Train in `folder`, which holds CONFIG, unless that is done.

    Args:
        folder: of the trial; the run folder too.
        card: recipe whose model card an adapter takes.
        where: working directory, to which paths of the recipe are relative.
        test: also measure the test split, once.

    Returns:
        What FITTED holds, or MEASURED with `test`.

    Raises:
        KilledError: a signal ended the training.
        TrialError: it ended by itself; the message is its last line.
    """
    outcome = folder / (MEASURED if test else FITTED)
    with _locked(folder) as lock:
        if not outcome.exists():
            resume = (folder / RECORD).exists()
            words = [f"recipe={folder / CONFIG}", f"into={folder}", f"card={card}"]
            words += [f"resume={str(resume).lower()}", f"test={str(test).lower()}"]
            with (folder / LOG).open("a", encoding="utf-8") as log:
                head = "--- test" if test else f"{ATTEMPT}{attempts(folder) + 1}"
                print(f"{head}: zoo.train {' '.join(words)}", file=log, flush=True)
                command = [sys.executable, "-m", "zoo.train", *words]
                # The lock is inherited: it is held until the training ends, whatever becomes of this process.
                code = subprocess.run(
                    command, cwd=where, stdout=log, stderr=log, stdin=subprocess.DEVNULL, pass_fds=[lock], check=False
                ).returncode
                number = 15 if code == TERMINATED else -code
                if number >= 0 and not outcome.exists():
                    print(f"killed by signal {number}", file=log)
                    raise KilledError(f"{folder.name}: killed by signal {number}")
            if code:
                raise TrialError(last_error(folder))
    read: dict[str, Any] = json.loads(outcome.read_text(encoding="utf-8"))
    return read


def attempts(folder: Path) -> int:
    """Number of trainings started in a trial's folder."""
    log = folder / LOG
    return log.read_text(encoding="utf-8", errors="replace").count(ATTEMPT) if log.exists() else 0


def last_error(folder: Path) -> str:
    """The last line of a trial's log."""
    lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").split("\n") if attempts(folder) else []
    return next((line for line in reversed(lines) if line.strip()), "not started")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[int]:
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()
