"""The pictures of a run and of one prediction: the one place where the kind of sample decides who draws.

A sample's class names its kind, and `zoo/report/kinds/KIND.py` draws it: `PICTURES` are those that a task may name in
`Task.pictures`, `observed` those of what a method shows, `one` that of a prediction.
"""

import importlib
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from zoo.pairing import Pairing
from zoo.predictions import Predictions
from zoo.report import figures
from zoo.report.run import Drawer, One, Run, Single
from zoo.tasks.base import Task

if TYPE_CHECKING:
    from data_modules.base import DataModule

log = logging.getLogger(__name__)


class Kind(Protocol):
    """A module of `zoo.report.kinds`."""

    PICTURES: dict[str, Drawer]
    observed: Drawer
    one: Single


def kind(name: str) -> Kind:
    """What draws samples of a kind."""
    return cast(Kind, importlib.import_module(f"zoo.report.kinds.{name}"))


def missing(task: Task, name: str) -> str:
    """A line on pictures that samples of a kind will not have, and what to do; empty where nothing is missing."""
    drawn, who = kind(name).PICTURES, type(task).__name__
    there = f"of {name} there are {', '.join(drawn)} (zoo/report/kinds/{name}.py)"
    if task.pictures is None:
        return f"no pictures of its predictions: {who} names none in `pictures`; {there}"
    unknown = [picture for picture in task.pictures if picture not in drawn]
    return f"no picture {', '.join(unknown)}, which {who} names in `pictures`; {there}" if unknown else ""


def pictures(
    folder: Path,
    history: list[dict[str, float]],
    predictions: Predictions,
    data: "DataModule",
    pairing: Pairing,
    *,
    temperature: float | None = None,
) -> None:
    """Write a run's curves, the pictures that its task names, and those of what its method shows.

    Args:
        folder: to write to.
        history: metrics by epoch.
        predictions: of the test split.
        data: whose split it is.
        pairing: that predicted.
        temperature: of probabilities, fitted on validation.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures.curves(history, folder / "curves.png")
    run = Run(folder, predictions, data, pairing, temperature)
    name = run.samples[0].kind
    drawn = kind(name)
    if line := missing(pairing.task, name):
        log.warning(line)
    for picture in pairing.task.pictures or ():
        if picture in drawn.PICTURES:
            drawn.PICTURES[picture](run)
    drawn.observed(run)


def picture(path: Path, one: One) -> None:
    """Write a PNG of one prediction."""
    figure = kind(one.sample.kind).one(one)
    forced = one.record.get("forced", ())
    title = "\n".join([figures.short(one.sample.id, 90), *(f"forced: {line}" for line in forced)])
    colour = figures.WRONG if forced else "black"
    figure.suptitle(title, fontsize=10, x=0.02, ha="left", color=colour, parse_math=False)
    with warnings.catch_warnings():
        # A model may write in any script, and files may be called in any; what the font lacks is a box.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figures.save(figure, path)
