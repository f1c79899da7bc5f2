"""One trial of a sweep: `zoo.train` in a process of its own, without the test split, until it has been fitted.

A trial may be attempted again, by another worker or by a later sweep: a finished one is read, an interrupted one goes
on from its last checkpoint. The folder is locked while a process trains in it, so that one whose worker has died is
waited for, and no two write.
"""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from zoo.errors import UserError
from zoo.records.run_folder import HISTORY, RECORD

CONFIG, LOG, FITTED, MEASURED = "config.yaml", "train.log", "fit.json", "metrics.json"

PRUNED = "pruned.json"
"""Validation metrics of a trial that was stopped early; it is not attempted again."""

AGAIN = 2
"""Largest number of further attempts at a killed trial."""

POLL = 0.2
"""Seconds between two looks at a training that is watched."""

PATIENCE = 60
"""Seconds that a training has to end when it is asked to."""

SELECTED = "val/selected"

ATTEMPT = "--- attempt "

TERMINATED = 143
"""Exit code of a training that SIGTERM ended."""


class KilledError(RuntimeError):
    """The training was killed from outside: worth another attempt."""


class TrialError(UserError):
    """The training ended with an error of its own, which it would meet again."""


def attempt(
    folder: Path,
    card: str,
    *,
    where: Path,
    test: bool = False,
    environment: Mapping[str, str] | None = None,
    watch: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Train in `folder`, which holds CONFIG, unless that is done.

    Args:
        folder: of the trial; the run folder too.
        card: recipe whose model card an adapter takes.
        where: working directory, to which paths of the recipe are relative.
        test: also measure the test split, once.
        environment: variables beside this process's own.
        watch: called again and again while the training runs; it raises to end it.

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
                settings: dict[str, Any] = {"cwd": where, "stdout": log, "stderr": log, "stdin": subprocess.DEVNULL}
                settings |= {"pass_fds": [lock], "env": {**os.environ, **(environment or {})}}
                if watch is None:
                    code = subprocess.run(command, **settings, check=False).returncode
                else:
                    code = _watched(subprocess.Popen(command, **settings), watch)
                number = 15 if code == TERMINATED else -code
                if number >= 0 and not outcome.exists():
                    print(f"killed by signal {number}", file=log)
                    raise KilledError(f"{folder.name}: killed by signal {number}")
            if code:
                raise TrialError(last_error(folder))
    read: dict[str, Any] = json.loads(outcome.read_text(encoding="utf-8"))
    return read


@contextlib.contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Within, SIGTERM ends this process as Ctrl-C does, and with it the trainings that it waits for."""
    if threading.current_thread() is not threading.main_thread():  # which alone hears signals
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _watched(training: "subprocess.Popen[bytes]", watch: Callable[[], None]) -> int:
    """Exit code of a training; asked to end where `watch` raises."""
    try:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return training.wait(POLL)
            watch()
    except BaseException:
        training.terminate()
        try:
            training.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            training.kill()
            training.wait()
        raise


def curve(folder: Path) -> list[float]:
    """The validation metric of a trial, validation by validation, as far as it is."""
    file = folder / HISTORY
    rows = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    return [row[SELECTED] for row in rows if SELECTED in row]


def pruned(folder: Path) -> list[float] | None:
    """The curve of a trial that was stopped early; None for any other."""
    file = folder / PRUNED
    if not file.exists() or (folder / FITTED).exists():
        return None
    found: list[float] = json.loads(file.read_text(encoding="utf-8"))
    return found


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
