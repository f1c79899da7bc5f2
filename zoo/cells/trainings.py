"""The trainings of a matrix: every cell with each learning rate and the first seed, then the best rate with all seeds.

Each is a trial in a folder of its own, named by what it trains, so that a matrix that was stopped, or whose plan has
changed, keeps what it has. The test split is measured with the chosen rate alone.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.cells.budget import Size
from zoo.cells.plan import Contender, Plan, Setting, configuration
from zoo.files import write_whole
from zoo.recipe import compose
from zoo.search import record, trial
from zoo.search.trial import AGAIN, CONFIG, KilledError, TrialError


@dataclass(frozen=True)
class Cell:
    """One method on one pairing at one budget.

    Attributes:
        setting: the pairing.
        contender: the method.
        budget: share of the backbone's weights, or `own`.
        size: of the method.
    """

    setting: Setting
    contender: Contender
    budget: str
    size: Size

    @property
    def name(self) -> str:
        """For a reader."""
        return f"{self.setting.name}, {self.contender.name}, {self.budget}"


class Trainings:
    """What a matrix trains.

    Args:
        plan: of the matrix.
        folder: below which the trainings lie.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan, self.folder = plan, folder

    def place(self, cell: Cell, rate: float, seed: int) -> Path:
        """Folder of one training, with its recipe in it."""
        config = configuration(cell.setting, cell.contender, size=cell.size["size"], rate=rate, seed=seed)
        text = compose.to_yaml(config)
        identity = hashlib.sha256(text.encode()).hexdigest()[:8]
        parts = (cell.setting.name, f"{cell.contender.name}-{cell.budget}", f"seed{seed}-lr{rate}-{identity}")
        folder = self.folder.joinpath(*parts)
        if not (folder / CONFIG).exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / CONFIG, text)
        return folder

    def tried(self, cell: Cell) -> dict[float, Path]:
        """Folders of the trainings that choose the learning rate, by it."""
        return {rate: self.place(cell, rate, self.plan.seeds[0]) for rate in self.plan.rates}

    def chosen(self, cell: Cell) -> float | None:
        """The learning rate whose training is best on validation, the first of equals; None before all are done."""
        reached = {rate: record.outcome(folder)["val"] for rate, folder in self.tried(cell).items()}
        done = {rate: value for rate, value in reached.items() if value is not None}
        if len(done) + len([1 for folder in self.tried(cell).values() if failed(folder)]) < len(reached) or not done:
            return None
        return max(done, key=lambda rate: done[rate])

    def measured(self, cell: Cell) -> list[Path]:
        """Folders of the trainings whose test split counts, a seed each; empty before the rate is chosen."""
        rate = self.chosen(cell)
        return [] if rate is None else [self.place(cell, rate, seed) for seed in self.plan.seeds]

    def failures(self, cell: Cell) -> dict[str, str]:
        """Why trainings of a cell ended with an error of their own, by the learning rate and the seed."""
        folders = {f"lr {rate:g}, seed {self.plan.seeds[0]}": folder for rate, folder in self.tried(cell).items()}
        for seed, folder in zip(self.plan.seeds, self.measured(cell), strict=False):
            folders[f"lr {self.chosen(cell):g}, seed {seed}"] = folder
        return {what: why for what, folder in folders.items() if (why := failed(folder))}

    def run(self, cell: Cell) -> Iterator[str]:
        """Train what is missing of a cell; a line for every training that has ended.

        Raises:
            KilledError: a training was killed, again and again.
        """
        for rate, folder in self.tried(cell).items():
            if why := failed(folder):
                yield _kept(cell, f"lr {rate}", folder, why)
            elif not (folder / trial.FITTED).exists():
                yield self._attempt(folder, cell, f"lr {rate}", test=False)
        for seed, folder in zip(self.plan.seeds, self.measured(cell), strict=False):
            if (why := failed(folder)) and folder not in self.tried(cell).values():
                yield _kept(cell, f"seed {seed}", folder, why)
            elif not why and not (folder / trial.MEASURED).exists():
                yield self._attempt(folder, cell, f"seed {seed}, test", test=True)

    def _attempt(self, folder: Path, cell: Cell, what: str, *, test: bool) -> str:
        for left in reversed(range(AGAIN + 1)):
            try:
                trial.attempt(folder, _card(cell.setting.recipe), where=Path.cwd(), test=test)
                break
            except TrialError as error:
                why = str(error).removeprefix("error: ")
                write_whole(folder / FAILED, f"{why}\n")
                return f"{cell.name}, {what}: ended with an error: {why} (log: {folder / trial.LOG})"
            except KilledError:
                if not left:
                    raise
        found: dict[str, Any] = record.outcome(folder)
        return f"{cell.name}, {what}: val {found['val']:.4f}, {found['seconds']:.0f} s"


FAILED = "failed.txt"
"""Why a training ended with an error of its own, which it would meet again: a cell says so, and others go on."""


def failed(folder: Path) -> str:
    """Why a training ended; empty where it did not."""
    file = folder / FAILED
    return file.read_text(encoding="utf-8").strip() if file.exists() else ""


def _kept(cell: Cell, what: str, folder: Path, why: str) -> str:
    return f"{cell.name}, {what}: ended before with an error: {why}; to try it again, delete {folder / FAILED}"


def _card(recipe: str) -> str:
    return Path(recipe).stem
