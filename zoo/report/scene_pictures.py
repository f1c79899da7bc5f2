"""From test predictions to the pictures of a run about pictures seen from above: answers, and what concerns scale."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from zoo.backbones.vision_language import decode
from zoo.batch import Picture
from zoo.metrics.by_scale import accuracy_by_gsd
from zoo.pairing import Pairing
from zoo.predictions import Predictions
from zoo.report import plots_answers, plots_scenes
from zoo.report.chosen import telling
from zoo.report.plots_answers import Scale, SceneExample

if TYPE_CHECKING:
    from data_modules.base import DataModule

LABELLED, ASKED = 9, 8
"""How many answers a picture shows."""


def scenes(folder: Path, predictions: Predictions, data: "DataModule", pairing: Pairing) -> None:
    """Write what the names of conditions, observations and predictions allow.

    The gates' openness where a method has gates by scale, the calibration of its estimate of the scale, accuracy by
    scale, and examples of answers.
    """
    # Only some data sets have a unit of their own.
    unit: str = getattr(data, "gsd_unit", "m")
    observed = predictions.concatenated(
        {name: v for name, v in predictions.observed.items() if name.startswith("gsd/")}
    )
    if "gsd" in predictions.conditions:
        gsd = predictions.concatenated({"gsd": predictions.conditions["gsd"]})["gsd"].numpy()
        if curve := pairing.method.curves().get("openness"):
            z, gates = (values.detach().float().cpu().numpy() for values in curve)
            plots_scenes.openness(z, gates, np.log10(gsd), folder / "openness.png", unit=unit)
        if pairing.task.monitor == "accuracy":
            right = pairing.task.per_sample().numpy()
            if len(accuracy_by_gsd(gsd, right)) > 1:
                plots_scenes.by_gsd(gsd, right, folder / "accuracy_by_gsd.png", unit=unit)
    if "gsd/mean" in observed and not bool(observed["gsd/told"].isnan().all()):
        told, mean, deviation = (observed[f"gsd/{name}"].numpy() for name in ("told", "mean", "deviation"))
        plots_scenes.calibration(told, mean, deviation, folder / "calibration.png", unit=unit)
    if examples := _examples(predictions, data, pairing, observed):
        plots_answers.answers(examples, folder / "examples.png", unit=unit)


def _examples(
    predictions: Predictions, data: "DataModule", pairing: Pairing, observed: Mapping[str, Tensor]
) -> list[SceneExample]:
    """Some answers about pictures; none where the task is another, or the samples are."""
    labelled = "label" in predictions.prediction and "label" in predictions.target
    if not (labelled or "written" in predictions.prediction) or not isinstance(data.sets["test"][0], Picture):
        return []
    said = predictions.concatenated(predictions.prediction)
    right = pairing.task.per_sample().numpy() == 1
    found = []
    if labelled:
        truth: NDArray[np.int64] = predictions.concatenated(predictions.target)["label"].numpy().astype(int)
    else:
        kinds = [question.kind for question in predictions.questions]
        truth = np.array([sorted(set(kinds)).index(kind) for kind in kinds])
    # Shuffled, as sets are often in order of class or scale, and all mistakes shown would be of the first one.
    order = np.random.default_rng(0).permutation(len(truth))
    for i in order[telling(truth[order], np.flatnonzero(~right[order]), LABELLED if labelled else ASKED)].tolist():
        sample: Picture = data.sets["test"][i]
        if labelled:
            words: dict[str, Any] = {
                "truth": pairing.classes[truth[i]],
                "said": pairing.classes[int(said["label"][i])],
                "probability": float(said["probabilities"][i].max()),
            }
        else:
            question = predictions.questions[i]
            words = {"truth": question.answer, "said": decode(said["written"][i : i + 1])[0], "question": question}
        found.append(
            SceneExample(
                id=sample.id,
                image=sample.images[0],
                right=bool(right[i]),
                scale=_scale(pairing.method.remarks({name: value[i : i + 1] for name, value in observed.items()}))
                if observed
                else None,
                further=len(sample.images) - 1,
                **words,
            )
        )
    return found


def _scale(remarks: Mapping[str, Any]) -> Scale:
    estimate = remarks.get("gsd_estimate")
    return Scale(remarks["gsd"], remarks["gsd_from"], (estimate["low"], estimate["high"]) if estimate else None)
