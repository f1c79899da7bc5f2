"""From collected test predictions to the pictures of a run; what to draw depends on the task's output alone."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo import report
from zoo.evaluate import Collect
from zoo.pairing import Pairing

if TYPE_CHECKING:
    from data_modules.base import ClipDataModule

SHOWN = 4


def pictures(
    folder: Path, history: list[dict[str, float]], collect: Collect, data: "ClipDataModule", pairing: Pairing
) -> None:
    """Write curves, and for segment labels the confusion matrix, timelines of some test clips, and the gates."""
    folder.mkdir(parents=True, exist_ok=True)
    report.curves(history, folder / "curves.png")
    prediction, target = collect.gathered(collect.prediction), collect.gathered(collect.target)
    names = [*pairing.classes, "background"]
    if "segments" not in target:
        return
    truth = target["segments"].long().numpy()  # [N, T]
    report.confusion(truth.ravel(), prediction["segments"].long().numpy().ravel(), names, folder / "confusion.png")
    timelines = [_timeline(i, truth, prediction, collect, data) for i in _spread(truth, len(pairing.classes))]
    report.timelines(timelines, names, folder / "timelines.png")
    observed = collect.gathered(collect.observed)
    if observed:
        flat = truth.ravel()
        present = [k for k in range(len(names)) if (flat == k).any()]
        openness = {
            name: np.stack([value.numpy()[flat == k].mean(0) for k in present]) for name, value in observed.items()
        }
        report.gates(openness, [names[k] for k in present], folder / "gates.png")


def _spread(truth: np.ndarray, background: int) -> list[int]:
    """A few clips of different classes whose event neither fills the clip nor is absent, in data order."""
    share = (truth != background).mean(1)
    chosen: dict[int, int] = {}
    for index in np.flatnonzero((share > 0) & (share < 1)):
        chosen.setdefault(int(truth[index][truth[index] != background][0]), int(index))
    return sorted(chosen.values())[:SHOWN] or list(range(min(SHOWN, len(truth))))


def _timeline(
    index: int, truth: np.ndarray, prediction: dict[str, Any], collect: Collect, data: Any
) -> report.Timeline:
    clip = data.sets["test"][index]
    assert clip.id == collect.ids[index]
    return report.Timeline(
        id=clip.id,
        truth=truth[index],
        prediction=prediction["segments"][index].long().numpy(),
        probabilities=prediction["probabilities"][index].numpy(),
        frames=clip.frames,
        segment_seconds=data.segment_seconds,
    )
