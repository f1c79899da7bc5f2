"""From test predictions to the pictures of a run; what to draw depends on the task's output alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.batch import Cloud
from zoo.metrics.part_segmentation import shape_iou
from zoo.pairing import Pairing
from zoo.predictions import Predictions
from zoo.report import plots, plots_clouds, scene_pictures
from zoo.report.chosen import of_different_classes, telling
from zoo.report.plots import Example
from zoo.report.plots_clouds import CloudExample, PartsExample, Up

if TYPE_CHECKING:
    from data_modules.base import DataModule
    from data_modules.kinds.clips import ClipDataModule

CLIPS, CLOUDS, PARTS = 4, 12, 6
"""How many samples a picture shows."""


def pictures(
    folder: Path, history: list[dict[str, float]], predictions: Predictions, data: "DataModule", pairing: Pairing
) -> None:
    """Write a run's curves and what its predictions allow.

    Segments of clips: timelines, for single labels the confusion matrix, and gates by class where a method has them.
    One label a sample: the confusion matrix, and clouds beside what was said. A part for every point: clouds by part.
    Whatever the task, the control signal of a method that has one. Of pictures seen from above: answers beside them,
    and what concerns their scale.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plots.curves(history, folder / "curves.png")
    _Pictures(folder, predictions, data, pairing.classes).draw()
    scene_pictures.scenes(folder, predictions, data, pairing)


class _Pictures:
    """The pictures of one run's test predictions; K classes, background is the last of K + 1."""

    def __init__(self, folder: Path, predictions: Predictions, data: "DataModule", classes: Sequence[str]) -> None:
        self.folder, self.predictions, self.data, self.classes = folder, predictions, data, list(classes)
        self.names = [*self.classes, "background"]
        self.samples = data.sets["test"]
        # Only clouds have it, and whether there are clouds is for their pictures to know.
        self.up: Up = getattr(data, "up", "y")

    def array(self, part: dict[str, list[Tensor]], name: str) -> NDArray[Any]:
        """Batches of one name joined; one at a time, as the probabilities of points fill a gigabyte."""
        values: NDArray[Any] = self.predictions.concatenated({name: part[name]})[name].numpy()
        return values

    def draw(self) -> None:
        """Every picture that the names of targets, predictions and observations allow."""
        said, truth = self.predictions.prediction, self.predictions.target
        present = None  # which class is in which row, [rows, K + 1]
        if "segments" in truth:
            present = self.segments(self.array(truth, "segments").astype(int), self.array(said, "segments").astype(int))
        elif {"audio", "visual"} <= set(truth):
            both = [
                np.stack([self.array(part, "audio"), self.array(part, "visual")], axis=1) > 0 for part in (truth, said)
            ]
            present = self.parsed(*both)
        elif "label" in truth and "label" in said:
            present = self.labels(self.array(truth, "label").astype(int), self.array(said, "label").astype(int))
        elif "parts" in truth and "parts" in said:
            self.parts(self.array(truth, "parts").astype(int), self.array(said, "parts").astype(int))

        observed = {name: self.array(self.predictions.observed, name) for name in self.predictions.observed}
        gates = {name: value for name, value in observed.items() if name.startswith("gate/")}
        if gates and present is not None:
            self.gates(gates, present)
        if {"control", "centres"} <= set(observed):
            control, centres = observed["control"], observed["centres"]
            path = self.folder / "control.png"
            plots_clouds.control(control, centres, self.predictions.ids, path, up=self.up)

    def clips(self, chosen: list[int], truth: NDArray[Any], said: NDArray[Any]) -> list[Example]:
        """The chosen clips, or the first ones where none was."""
        probabilities = self.array(self.predictions.prediction, "probabilities")
        seconds = cast("ClipDataModule", self.data).segment_seconds
        return [
            Example(
                id=self.predictions.ids[i],
                truth=truth[i],
                prediction=said[i],
                probabilities=probabilities[i],
                frames=self.samples[i].frames,
                segment_seconds=seconds,
            )
            for i in chosen[:CLIPS] or range(min(CLIPS, len(truth)))
        ]

    def segments(self, truth: NDArray[np.int64], said: NDArray[np.int64]) -> NDArray[np.bool_]:
        """One class or background a segment: truth and said [N, T]."""
        plots.confusion(truth.ravel(), said.ravel(), self.names, self.folder / "confusion.png", what="segments")
        clips = self.clips(of_different_classes(truth, len(self.classes)), truth, said)
        plots.timelines(clips, self.names, self.folder / "timelines.png")
        return np.eye(len(self.names), dtype=bool)[truth.ravel()]

    def parsed(self, truth: NDArray[np.bool_], said: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Any classes a segment and modality: truth and said [N, 2, T, K]."""
        within = (truth.any(2) & ~truth.all(2)).reshape(len(truth), -1).any(1)  # some event starts or ends in the clip
        clips = self.clips(np.flatnonzero(within).tolist(), truth, said)
        plots.parsed(clips, self.names, self.folder / "timelines.png")
        either = truth.any(1)
        return np.concatenate([either, ~either.any(-1, keepdims=True)], axis=-1).reshape(-1, len(self.names))

    def labels(self, truth: NDArray[np.int64], said: NDArray[np.int64]) -> NDArray[np.bool_]:
        """One class a sample: truth and said [N]."""
        plots.confusion(truth, said, self.classes, self.folder / "confusion.png", what="test samples")
        if isinstance(self.samples[0], Cloud):
            likely = self.array(self.predictions.prediction, "probabilities").max(1)
            clouds = [
                CloudExample(
                    id=self.predictions.ids[i],
                    points=self.samples[i].points,
                    truth=self.classes[truth[i]],
                    said=self.classes[said[i]],
                    probability=float(likely[i]),
                )
                for i in telling(truth, np.flatnonzero(truth != said), CLOUDS)
            ]
            plots_clouds.clouds(clouds, self.folder / "clouds.png", up=self.up)
        return np.eye(len(self.names), dtype=bool)[truth]

    def parts(self, truth: NDArray[np.int64], said: NDArray[np.int64]) -> None:
        """One part a point, of classes called Category/part: truth and said [N, P]."""
        of = [name.partition("/")[0] for name in self.classes]
        own = [[k for k, category in enumerate(of) if category == of[row[0]]] for row in truth]
        pairs = zip(torch.from_numpy(said), torch.from_numpy(truth), own, strict=True)
        ious = np.array([shape_iou(a, b, labels) for a, b, labels in pairs])
        poorest = np.argsort(ious, kind="stable")[: PARTS // 3]
        examples = [
            PartsExample(
                id=self.predictions.ids[i],
                category=of[own[i][0]],
                iou=float(ious[i]),
                points=self.samples[i].points,
                truth=np.searchsorted(own[i], truth[i]),
                said=np.searchsorted(own[i], said[i]),
            )
            for i in telling(np.array([labels[0] for labels in own]), poorest, PARTS)
        ]
        plots_clouds.parts(examples, self.folder / "parts.png", up=self.up)

    def gates(self, gates: dict[str, NDArray[np.float32]], present: NDArray[np.bool_]) -> None:
        """Mean openness by class: gates [N * T, r], and which classes are there [N * T, K + 1], or [N, K + 1]."""
        present = present.repeat(len(next(iter(gates.values()))) // len(present), axis=0)
        shown = [k for k in range(len(self.names)) if present[:, k].any()]
        openness = {name: np.stack([value[present[:, k]].mean(0) for k in shown]) for name, value in gates.items()}
        plots.gates(openness, [self.names[k] for k in shown], self.folder / "gates.png")
