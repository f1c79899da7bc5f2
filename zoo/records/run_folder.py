"""A run folder is one run: who writes into it, what the run began with, and whether it may go on.

    run.json       written first: the run's id, and what it began with: command, versions, backbones, a starting adapter
    samples.json   a digest of every sample, by split and id
    earlier/       results of a finished run that went on with a larger trainer.max_epochs: earlier/10_epochs/, or with
                   a larger trainer.max_steps: earlier/500_steps/

A folder that holds anything of a run takes no other. A run goes on (resume=true) with the same recipe, on the same data
and backbones; only `trainer.max_epochs` and `trainer.max_steps` may be larger.
"""

import contextlib
import json
import os
import shutil
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig

from zoo import files
from zoo.errors import UserError
from zoo.files import file_hash, write_whole
from zoo.recipe import compose, schema
from zoo.recipe.compose import RecipeError
from zoo.recipe.schema import TARGET
from zoo.records import provenance
from zoo.records.run_changes import differing, differing_samples, differing_settings

RECORD, SAMPLES, RECIPE, FITTED, EARLIER = "run.json", "samples.json", "recipe.yaml", "fit.json", "earlier"

HISTORY = "history.json"
"""Metrics of a training so far, row by row; FITTED holds them when it has ended."""

BEST, LAST = "checkpoints/best.ckpt", "checkpoints/last.ckpt"

RESULT = ("adapter", "metrics.json", "per_sample.json", "report", FITTED)
"""Results of a finished run; the adapter marks it as finished, so it is written last and moved first."""

PARTS = (RECORD, SAMPLES, RECIPE, "splits.json", "checkpoints", "logs", HISTORY, EARLIER, *RESULT)

LENGTHS = {"epochs": "trainer.max_epochs", "steps": "trainer.max_steps"}
"""Limits of a training, by their unit; null is none."""

LONGER = " or ".join(LENGTHS.values())


@dataclass
class RunFolder:
    """A run folder that this process may write into.

    Attributes:
        folder: the run folder.
        record: what `run.json` holds; empty before the run has begun.
        begun: whether the run goes on, rather than begins.
        longer: length that it was to have, and has now, where that changed; None where nothing limits it.
        unit: of it: epochs, or steps.
    """

    folder: Path
    record: dict[str, Any] = field(default_factory=dict)
    begun: bool = False
    longer: tuple[int, int | None] | None = None
    unit: str = "epochs"

    @property
    def id(self) -> str:
        """Id of the run, which its checkpoints carry."""
        return str(self.record.get("id", ""))

    def check_data(self, digests: Mapping[str, Mapping[str, str]]) -> None:
        """Whether a run goes on with the data that it began with.

        Args:
            digests: of every sample, by split and id.

        Raises:
            RecipeError: naming the samples that differ, by split.
        """
        if self.begun and (differences := differing_samples(_read(self.folder / SAMPLES), digests)):
            raise RecipeError(
                [f"resume=true: {self.folder} began with other data: {differences}. Restore them, or begin a new run"]
            )

    def check_start(self, backbones: Mapping[str, Any], init: dict[str, Any] | None) -> dict[str, Any] | None:
        """Whether a run goes on with the backbones and from the adapter that it began with; the latter's record.

        Raises:
            RecipeError: naming what differs.
        """
        if not self.begun:
            return init
        stored: dict[str, Any] | None = self.record["init"]
        if other := [name for name, known in backbones.items() if known != self.record["backbones"].get(name)]:
            raise RecipeError([f"resume=true: {self.folder} began with other weights or settings: {', '.join(other)}"])
        if init and (not stored or stored["sha256"] != init["sha256"]):
            began = f"from {stored['adapter']}" if stored else "without one"
            raise RecipeError([f"resume=true: init={init['adapter']}, but {self.folder} began {began}"])
        if stored and not init and not (self.folder / LAST).exists():
            raise RecipeError([f"resume=true: {self.folder} began with init={stored['adapter']}: say that again"])
        return stored

    def begin(
        self,
        config: DictConfig,
        digests: Mapping[str, Mapping[str, str]],
        *,
        name: str,
        backbones: Mapping[str, Any],
        init: Mapping[str, Any] | None,
    ) -> None:
        """Write what the run begins with; of one that goes on, that it now is longer."""
        if not self.begun:
            known = {"id": uuid.uuid4().hex, "recipe": name, "seed": config.seed, "backbones": backbones, "init": init}
            self.record |= {**known, **provenance.manifest(), "extended": []}
            files.write_json(self.folder / RECORD, self.record)
            files.write_json(self.folder / SAMPLES, digests)
        elif self.longer:
            self._set_aside(f"{self.longer[0]}_{self.unit}")
            if list(self.longer) not in self.record["extended"]:
                self.record["extended"].append(list(self.longer))
                files.write_json(self.folder / RECORD, self.record)
        write_whole(self.folder / RECIPE, compose.to_yaml(config))

    def changes(self) -> list[str]:
        """Lines that a resumed run prints at its start."""
        if self.begun and self.longer:
            then, now = self.longer
            kept = self.folder / EARLIER / f"{then}_{self.unit}"
            goal = "no limit of" if now is None else str(now)
            return [
                f"going on from {then} to {goal} {self.unit}: the learning rate follows the schedule of {goal} from "
                f"here on, so the result is not that of a training begun with {goal}"
                + (f"; the result of {then} {self.unit} is kept in {kept}" if kept.exists() else "")
            ]
        return []

    @property
    def starts_again(self) -> bool:
        """Whether a run goes on that was stopped before its first checkpoint."""
        return self.begun and not self.longer and not (self.folder / LAST).exists()

    def best(self, fitted: Mapping[str, Any]) -> Path:
        """The checkpoint to test and ship: the one that the run recorded, wherever the folder lies by now.

        Args:
            fitted: what FITTED holds.

        Raises:
            UserError: it is missing, or another file.
        """
        path, recorded = self.folder / str(fitted["best"]["file"]), fitted["best"]["sha256"]
        if not path.exists():
            raise UserError(f"{path} is missing: put it back, or begin a new run")
        if (found := file_hash(path)) != recorded:
            raise UserError(
                f"{path} has sha256 {found[:12]}, but the run recorded {recorded[:12]} as its best: put that back, or "
                "begin a new run"
            )
        return path

    def _set_aside(self, label: str) -> None:
        """Move the result of the shorter training out of the way; cut short, the same command moves the rest."""
        found = [part for part in RESULT if (self.folder / part).exists()]
        number, target = 1, self.folder / EARLIER / label
        while any((target / part).exists() for part in found):
            number += 1
            target = self.folder / EARLIER / f"{label}-{number}"
        if found:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.folder / RECIPE, target / RECIPE)
            for part in found:
                os.rename(self.folder / part, target / part)


@contextlib.contextmanager
def entered(folder: Path, config: DictConfig, *, resume: bool) -> Iterator[RunFolder]:
    """Take a run folder for one training; further processes of a distributed one only read what the first wrote.

    Args:
        folder: exists.
        config: the composed recipe.
        resume: go on with the run that is there.

    Raises:
        RecipeError: another process trains into it, or it holds a run that this one is not.
    """
    if not leads():
        yield RunFolder(folder, _read(folder / RECORD) if (folder / RECORD).exists() else {})
        return
    if resume and not (folder / RECORD).exists():
        raise RecipeError([f"resume=true: {folder} holds no run to go on with: it has no {RECORD}"])
    try:
        holder = files.lock(folder)
    except OSError as error:
        raise UserError(f"{folder} cannot be locked ({error.strerror}): name a folder on another disk") from None
    if holder is None:
        raise RecipeError([f"{folder}: another training is writing into it; name another folder, or wait for its end"])
    try:
        yield resumed(folder, config) if resume else fresh(folder)
    finally:
        files.unlock(holder)


def leads() -> bool:
    """Whether this process is the only or first one of its training."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "NODE_RANK"))


def fresh(folder: Path) -> RunFolder:
    """A folder for a new run.

    Raises:
        RecipeError: it holds something of a run.
    """
    found = [part for part in PARTS if (folder / part).exists()]
    if not found:
        return RunFolder(folder)
    if RECORD not in found:
        raise RecipeError([f"{folder} holds {', '.join(found)} of another run: name another folder with into="])
    if "adapter" in found:
        raise RecipeError(
            [
                f"{folder} holds a finished run: name another folder with into=, or train that one for longer with "
                f"resume=true and a larger {LONGER}"
            ]
        )
    raise RecipeError(
        [f"{folder} holds a run that was stopped: resume=true goes on with it; for a new one name another folder"]
    )


def resumed(folder: Path, config: DictConfig) -> RunFolder:
    """The run in a folder, to go on with.

    Raises:
        RecipeError: there is none, it has finished, or its recipe is another one.
    """
    record, last = _read(folder / RECORD), (folder / LAST).exists()
    if not (folder / RECIPE).exists():
        if last:
            raise RecipeError([f"resume=true: {folder} has no {RECIPE}, by which to tell whether this is its command"])
        return RunFolder(folder)  # stopped in the instant of beginning
    changed = differing(compose.stored(folder / RECIPE), yaml.safe_load(compose.to_yaml(config)))
    longer, unit = None, "epochs"
    defaults = schema.signature(str(config.trainer[TARGET]))
    for name, key in LENGTHS.items():
        if key not in changed:
            continue
        parameter = key.rpartition(".")[2]
        stored = compose.stored(folder / RECIPE)["trainer"]
        then, now = (one.get(parameter, defaults[parameter].value) for one in (stored, config.trainer))
        del changed[key]
        if then != now:
            if then is None or (now is not None and now < then):
                raise RecipeError([f"resume=true: {key}={then} in {folder}, {now} here: it can be made larger only"])
            longer, unit = (then, now), name
    if changed:
        differences = differing_settings(changed)
        raise RecipeError(
            [f"resume=true: this command differs from the one of {folder} ({differences}): see its {RECIPE}"]
        )
    finished = (folder / "adapter").exists()
    if finished and not longer:
        raise RecipeError(
            [f"resume=true: {folder} has finished: its adapter is there; a larger {LONGER} would train it for longer"]
        )
    if (finished or (folder / FITTED).exists()) and not (folder / LAST if longer else folder / BEST).exists():
        raise RecipeError([f"resume=true: {folder} has no {LAST if longer else BEST} to go on from"])
    versions = provenance.versions()
    other = [f"{k} {v}, now {versions.get(k)}" for k, v in record["versions"].items() if versions.get(k) != v]
    if other:
        print(f"note: {folder} began with {'; '.join(other)}", file=sys.stderr)
    return RunFolder(folder, record, begun=True, longer=longer, unit=unit)


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError([f"resume=true: {path} is missing, by which to tell whether this is the same run"]) from None
    except ValueError as error:
        raise RecipeError([f"{path} is no JSON ({error}): the run cannot go on"]) from None
    return found
