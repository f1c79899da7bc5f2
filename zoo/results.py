"""From test predictions to the pictures of a run; what to draw depends on the task's output alone."""

from pathlib import Path
from typing import TYPE_CHECKING

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

    def examples(indices: list[int]) -> list[plots.Example]:
        chosen = indices[:SHOWN] or range(min(SHOWN, len(truth)))
        return [
            plots.Example(
                id=collect.ids[i],
                truth=truth[i],
                prediction=said[i],
                probabilities=prediction["probabilities"][i],
                frames=data.sets["test"][i].frames,
                segment_seconds=data.segment_seconds,
            )
            for i in chosen
        ]

    if "segments" in target:
        truth, said = target["segments"].astype(int), prediction["segments"].astype(int)  # [N, T]
        plots.confusion(truth.ravel(), said.ravel(), names, folder / "confusion.png")
        plots.timelines(examples(_of_different_classes(truth, len(pairing.classes))), names, folder / "timelines.png")
        present = np.eye(len(names), dtype=bool)[truth]  # [N, T, K + 1]
    else:
        truth, said = (
            np.stack([part["audio"], part["visual"]], axis=1).astype(bool)  # [N, 2, T, K]
            for part in (target, prediction)
        )
        within = (truth.any(2) & ~truth.all(2)).reshape(len(truth), -1).any(1)  # some event starts or ends in the clip
        plots.parsed(examples(np.flatnonzero(within).tolist()), names, folder / "timelines.png")
        either = truth.any(1)
        present = np.concatenate([either, ~either.any(-1, keepdims=True)], axis=-1)  # [N, T, K + 1]
    observed = {name: value.numpy() for name, value in collect.gathered(collect.observed).items()}
    if observed:
        rows = present.reshape(-1, len(names))
        shown = [k for k in range(len(names)) if rows[:, k].any()]
        openness = {name: np.stack([value[rows[:, k]].mean(0) for k in shown]) for name, value in observed.items()}
        plots.gates(openness, [names[k] for k in shown], folder / "gates.png")


def _of_different_classes(truth: NDArray[np.int64], background: int) -> list[int]:
    """The first clip of each class whose event neither fills the clip nor is absent, in data order."""
    share = (truth != background).mean(1)
    chosen: dict[int, int] = {}
    for index in np.flatnonzero((share > 0) & (share < 1)):
        chosen.setdefault(int(truth[index][truth[index] != background][0]), int(index))
    return sorted(chosen.values())
