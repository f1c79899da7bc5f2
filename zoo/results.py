"""From test predictions to the pictures of a run; what to draw depends on the task's output alone."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zoo import plots
from zoo.evaluate import Collect
from zoo.pairing import Pairing

if TYPE_CHECKING:
    from data_modules.base import ClipDataModule

SHOWN = 4


def pictures(
    folder: Path, history: list[dict[str, float]], collect: Collect, data: "ClipDataModule", pairing: Pairing
) -> None:
    """Write curves, timelines of some test clips, the gates by class, and for single labels the confusion matrix."""
    folder.mkdir(parents=True, exist_ok=True)
    plots.curves(history, folder / "curves.png")
    prediction = {name: value.numpy() for name, value in collect.gathered(collect.prediction).items()}
    target = {name: value.numpy() for name, value in collect.gathered(collect.target).items()}
    names = [*pairing.classes, "background"]
    if "segments" in target:
        truth, said = target["segments"].astype(int), prediction["segments"].astype(int)  # [N, T]
        plots.confusion(truth.ravel(), said.ravel(), names, folder / "confusion.png")
        plots.timelines(_timelines(truth, said, prediction, collect, data), names, folder / "timelines.png")
        present = np.eye(len(names), dtype=bool)[truth]  # [N, T, K + 1]
    else:
        truth, said = (
            np.stack([part["audio"], part["visual"]], axis=1).astype(bool)  # [N, 2, T, K]
            for part in (target, prediction)
        )
        plots.parsed(_parsed(truth, said, prediction, collect, data), names, folder / "timelines.png")
        either = truth.any(1)
        present = np.concatenate([either, ~either.any(-1, keepdims=True)], axis=-1)  # [N, T, K + 1]
    observed = {name: value.numpy() for name, value in collect.gathered(collect.observed).items()}
    if observed:
        rows = present.reshape(-1, len(names))
        shown = [k for k in range(len(names)) if rows[:, k].any()]
        openness = {name: np.stack([value[rows[:, k]].mean(0) for k in shown]) for name, value in observed.items()}
        plots.gates(openness, [names[k] for k in shown], folder / "gates.png")


def _timelines(
    truth: NDArray[Any], said: NDArray[Any], prediction: dict[str, NDArray[Any]], collect: Collect, data: Any
) -> list[plots.Timeline]:
    """A few clips of different classes whose event neither fills the clip nor is absent, in data order."""
    background = prediction["probabilities"].shape[-1] - 1
    share = (truth != background).mean(1)
    chosen: dict[int, int] = {}
    for index in np.flatnonzero((share > 0) & (share < 1)):
        chosen.setdefault(int(truth[index][truth[index] != background][0]), int(index))
    return [
        plots.Timeline(
            id=collect.ids[i],
            truth=truth[i],
            prediction=said[i],
            probabilities=prediction["probabilities"][i],
            frames=_frames(i, collect, data),
            segment_seconds=data.segment_seconds,
        )
        for i in sorted(chosen.values())[:SHOWN] or range(min(SHOWN, len(truth)))
    ]


def _parsed(
    truth: NDArray[np.bool_],
    said: NDArray[np.bool_],
    prediction: dict[str, NDArray[Any]],
    collect: Collect,
    data: Any,
) -> list[plots.Parsed]:
    """The first clips in which some event starts or ends within the clip."""
    changing = np.flatnonzero((truth.any(2) & ~truth.all(2)).reshape(len(truth), -1).any(1))[:SHOWN]
    return [
        plots.Parsed(
            id=collect.ids[i],
            truth=truth[i],
            prediction=said[i],
            probabilities=prediction["probabilities"][i],
            frames=_frames(i, collect, data),
            segment_seconds=data.segment_seconds,
        )
        for i in (changing.tolist() or range(min(SHOWN, len(truth))))
    ]


def _frames(index: int, collect: Collect, data: Any) -> NDArray[np.uint8]:
    clip = data.sets["test"][index]
    assert clip.id == collect.ids[index]
    frames: NDArray[np.uint8] = clip.frames
    return frames
