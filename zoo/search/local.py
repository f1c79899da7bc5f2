"""Run the trials of a sweep on this machine, each a training in a process of its own, and test the best.

A thread for each of the trials at a time waits for one training after another. What becomes of each stands in its
folder, so that a sweep that was killed goes on with what is left.
"""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from zoo import files
from zoo.search import adaptive, record
from zoo.search import trial as search_trial
from zoo.search.plan import Plan
from zoo.search.record import Record
from zoo.search.trial import AGAIN, FITTED, PRUNED, KilledError, TrialError


class PrunedError(Exception):
    """A trial was stopped, as its validations promised too little."""


class StoppedError(Exception):
    """The sweep was stopped."""


class Local:
    """The trials of a sweep on this machine.

    Args:
        folder: of the sweep.
        card: recipe whose model card an adapter takes.
        plan: what to do.
        known: the sweep's record; points that Optuna proposes are added.
        trainer: the recipe's block.
        configure: makes the folders of a further point from its number and values.
    """

    def __init__(
        self,
        folder: Path,
        card: str,
        plan: Plan,
        known: Record,
        trainer: dict[str, Any],
        configure: Callable[[int, dict[str, Any]], None],
    ) -> None:
        self.folder, self.card, self.plan, self.record, self.configure = folder, card, plan, known, configure
        self.environments = [environment(slot, plan, trainer) for slot in range(plan.parallel)]
        self.lock, self.stop = threading.Lock(), threading.Event()
        self.taken, self.running = set[int](), set[int]()

    def run(self) -> None:
        """Attempt every unfinished trial."""
        with ThreadPoolExecutor(self.plan.parallel) as pool:
            workers = [pool.submit(self._work, slot) for slot in range(self.plan.parallel)]
            try:
                for worker in workers:
                    worker.result()
            except KeyboardInterrupt:
                self.stop.set()
                print("stopped: resume=true goes on", file=sys.stderr)
                sys.exit(130)
            finally:
                self.stop.set()

    def test(self, trials: list[str]) -> None:
        """Measure the test split with the winner's checkpoints.

        Raises:
            UserError: a measurement failed.
        """
        for one in trials:
            for left in reversed(range(AGAIN + 1)):
                try:
                    search_trial.attempt(self.folder / "trials" / one, self.card, where=Path.cwd(), test=True)
                    break
                except KilledError:
                    if not left:
                        raise

    def _work(self, slot: int) -> None:
        while (number := self._next()) is not None:
            try:
                self._point(number, slot)
            finally:
                self.running.discard(number)

    def _next(self) -> int | None:
        """The number of a point that no thread has taken; of tpe a new one, where none is left."""
        with self.lock:
            points = self.record["points"]
            left = [number for number in range(len(points)) if number not in self.taken]
            if self.stop.is_set():
                return None
            if not left and self.plan.sampler == "tpe" and len(points) < self.plan.count:
                values = adaptive.propose(self.folder, self.record, self.plan, self.running)
                if values is not None:
                    left = [len(points)]
                    self.configure(left[0], values)
                    record.add(self.folder, self.record, values)
            if not left:
                return None
            self.taken.add(left[0])
            self.running.add(left[0])
            return left[0]

    def _point(self, number: int, slot: int) -> None:
        """Train with every seed, until one fails or is pruned: the point cannot win any more."""
        count = self.plan.count if self.plan.sampler == "tpe" else len(self.record["points"])
        for seed in self.plan.seeds:
            one = record.name(number, seed)
            folder = self.folder / "trials" / one
            if (folder / FITTED).exists():
                continue
            if not (folder / PRUNED).exists():
                self._attempt(folder, number, slot, prunes=seed == self.plan.seeds[0])
                if self.stop.is_set():
                    return
                print(record.line(self.folder, one, count * len(self.plan.seeds)), flush=True)
            if not (folder / FITTED).exists():
                return

    def _attempt(self, folder: Path, number: int, slot: int, *, prunes: bool) -> None:
        seen = 0

        def watch() -> None:
            nonlocal seen
            if self.stop.is_set():
                raise StoppedError
            if not prunes or self.plan.pruner == "none" or len(curve := search_trial.curve(folder)) == seen:
                return
            seen = len(curve)
            with self.lock:
                poor = adaptive.hopeless(self.folder, self.record, self.plan, self.running, number)
            if poor:
                files.write_json(folder / PRUNED, curve)
                raise PrunedError

        for _ in range(AGAIN + 1):
            try:
                search_trial.attempt(
                    folder, self.card, where=Path.cwd(), environment=self.environments[slot], watch=watch
                )
            except KilledError:
                continue
            except (TrialError, PrunedError, StoppedError):  # it would fail again in the same way
                return
            return


def environment(slot: int, plan: Plan, trainer: dict[str, Any]) -> dict[str, str]:
    """Cores and GPUs of one of the trials at a time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    mine = {"OMP_NUM_THREADS": str(plan.cpus or max(1, cores // plan.parallel))}
    if trainer.get("accelerator", "auto") == "cpu" or plan.parallel == 1 or not (gpus := _gpus()):
        return mine
    each = devices if type(devices := trainer.get("devices")) is int else 1
    chosen = [gpus[(slot * each + k) % len(gpus)] for k in range(min(each, len(gpus)))]
    return mine | {"CUDA_VISIBLE_DEVICES": ",".join(chosen)}


def _gpus() -> list[str]:
    """Names of the GPUs that this process may use, without asking torch."""
    if (allowed := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [one for one in allowed.split(",") if one]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    return [str(k) for k, line in enumerate(listed.splitlines()) if line.startswith("GPU ")]
