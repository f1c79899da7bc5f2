"""What a run's test pass leaves for its pictures, and what all kinds of samples make of it alike."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from zoo.metrics import calibration
from zoo.pairing import Pairing
from zoo.predictions import Predictions
from zoo.report import figures
from zoo.report.reliability import Bins
from zoo.report.reliability import reliability as draw_reliability

if TYPE_CHECKING:
    from data_modules.base import DataModule
    from zoo.tasks.base import Task

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Run:
    """The test pass of a run.

    Attributes:
        folder: of the PNG files.
        predictions: of N test samples.
        data: whose test split they are.
        pairing: that made them; K classes, background is the last of K + 1.
        temperature: of their probabilities, fitted on validation; None where there is none.
    """

    folder: Path
    predictions: Predictions
    data: "DataModule"
    pairing: Pairing
    temperature: float | None = None

    @property
    def samples(self) -> Any:
        """The test split."""
        return self.data.sets["test"]

    @property
    def classes(self) -> list[str]:
        """K names."""
        return list(self.pairing.classes)

    def array(self, part: Mapping[str, list[Tensor]], name: str) -> NDArray[Any]:
        """Batches of one name joined; one at a time, as the probabilities of points fill a gigabyte."""
        values: NDArray[Any] = self.predictions.concatenated({name: part[name]})[name].numpy()
        return values

    def pair(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Targets and predictions of one name, as integers."""
        return (
            self.array(self.predictions.target, name).astype(int),
            self.array(self.predictions.prediction, name).astype(int),
        )

    def observed(self, *names: str) -> list[NDArray[Any]]:
        """What the method showed under these names; empty where it showed not all of them."""
        part = self.predictions.observed
        return [self.array(part, name) for name in names] if set(names) <= set(part) else []


@dataclass(frozen=True)
class One:
    """One prediction.

    Attributes:
        sample: a Clip, a Cloud or a Picture.
        record: the prediction in plain values, as `zoo.predict` prints it.
        prediction: the task's decoded output for it.
        observed: of the method, one row a segment.
        data: its classes, and how it cuts clips or which way is up.
        task: that predicted.
    """

    sample: Any
    record: Mapping[str, Any]
    prediction: Arrays
    observed: Arrays
    data: "DataModule"
    task: "Task"


Drawer = Callable[[Run], None]

Single = Callable[[One], Figure]


@dataclass(frozen=True)
class Example:
    """A test sample in words.

    Attributes:
        index: in the test split.
        target: as the task says it; empty where it does not.
        prediction: likewise.
        probability: of the prediction, where there is one.
    """

    index: int
    target: str
    prediction: str
    probability: float | None

    @property
    def right(self) -> bool | None:
        """Whether both are the same; None without a target."""
        return self.target == self.prediction if self.target else None


def confusion(run: Run) -> None:
    """`confusion`: one class a sample, of targets and predictions `label` [N]."""
    target, prediction = run.pair("label")
    figures.confusion(target, prediction, run.classes, run.folder / "confusion.png", what="test samples")


def reliability(run: Run) -> None:
    """`reliability`: accuracy by the probability of the likeliest class, as it is and at the run's temperature; of
    predictions `probabilities` [N, ..., K] and targets [N, ...] of the task's decision."""
    decision, parts = run.pairing.task.decided[0], run.predictions
    probabilities = parts.concatenated({decision: parts.prediction["probabilities"]})[decision]
    labels = parts.concatenated({decision: parts.target[decision]})[decision].long().flatten()
    probabilities = probabilities.reshape(len(labels), -1)
    shown = {"as they are": probabilities}
    if run.temperature is not None:
        tempered = calibration.at_temperature(probabilities, run.temperature)
        shown[f"at temperature {run.temperature:.2f}"] = tempered
    panels = []
    for title, values in shown.items():
        bins = [part.numpy() for part in calibration.reliability(values, labels, calibration.BINS[0])]
        panels.append(Bins(title, calibration.ece(values, labels, calibration.BINS[0]), *bins))
    single = decision != "segments"
    what = "test samples" if single else "test segments"
    draw_reliability(panels, run.folder / "reliability.png", what=what, intervals=single)


def examples(run: Run, number: int, *, shuffled: bool = False) -> list[Example]:
    """`examples`: samples in the task's own `words`, mistakes first, then one of every target.

    Args:
        run: the test pass.
        number: of samples at most.
        shuffled: where sets are in order of class or scale, and all mistakes shown would be of the first one.
    """
    task, predictions = run.pairing.task, run.predictions
    predicted, known = predictions.concatenated(predictions.prediction), predictions.concatenated(predictions.target)
    likely = predicted.get("probabilities")
    found = []
    for i in range(len(predictions.ids)):
        words = [task.words({name: value[i] for name, value in part.items()}) for part in (predicted, known)]
        probability = None if likely is None or likely.ndim != 2 else float(likely[i].max())
        found.append(Example(i, target=words[1], prediction=words[0], probability=probability))
    order = np.random.default_rng(0).permutation(len(found)) if shuffled else np.arange(len(found))
    targets = np.unique([found[i].target for i in order], return_inverse=True)[1]
    wrong = np.flatnonzero([found[i].right is False for i in order])
    return [found[i] for i in order[figures.select(targets, wrong, number)]]
