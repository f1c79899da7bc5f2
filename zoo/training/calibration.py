"""Calibration of a test split, beside its control: the same probabilities at a temperature fitted on validation.

Validation is also what selected the checkpoint, which fits it a little better than other samples therefore: the
temperature comes out a little too low, if anything. The test split has no part in it.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L

from zoo.adapter.directory import AdapterError
from zoo.metrics import calibration
from zoo.records import calibration as records
from zoo.records.calibration import KEY, RAW, SHARES, TEMPERATURE, TEMPERED
from zoo.tasks.base import Task
from zoo.training.loaders import Loaders
from zoo.training.module import TrainingModule


def fitted(loaders: Loaders, trainer: L.Trainer) -> dict[str, float]:
    """The temperature of a pairing's probabilities; the task has counted the validation split afterwards.

    Args:
        loaders: of the data and the trained pairing.
        trainer: of one process.

    Returns:
        `value`, the `n` labels that it is fitted on, and their NLL before and after. Empty without a validation split:
        own files may be of the test split alone.
    """
    loaders.setup()
    samples = loaders.data.sets.get("val")
    if samples is None or not len(samples):
        return {}
    task = loaders.pairing.task
    trainer.test(TrainingModule(loaders.pairing), dataloaders=loaders.loader(samples), verbose=False)
    probabilities, labels = task.scored()
    value = calibration.temperature(probabilities, labels)
    tempered = calibration.at_temperature(probabilities, value)
    before, after = (calibration.scores(found, labels)["nll"] for found in (probabilities, tempered))
    return {"value": value, "n": len(labels), "nll_before": before, "nll_after": after}


def measured(task: Task, temperature: Mapping[str, float]) -> dict[str, Any]:
    """Record of what a task has counted, as `zoo.records.calibration` reads it.

    Args:
        task: after its test split.
        temperature: with its `value`; empty where there is none.
    """
    probabilities, labels = task.scored()
    shares = (labels.bincount(minlength=probabilities.shape[-1]).double() / len(labels)).expand(probabilities.shape)
    found: dict[str, Any] = {"n": len(labels), RAW: calibration.scores(probabilities, labels)}
    if temperature:
        tempered = calibration.at_temperature(probabilities, temperature["value"])
        found |= {TEMPERATURE: dict(temperature), TEMPERED: calibration.scores(tempered, labels)}
    return found | {SHARES: calibration.scores(shares, labels)}


def brought(metrics: Mapping[str, Any], file: Path) -> float | None:
    """The temperature of an adapter's metrics.json; None where it has none, as those trained before.

    Args:
        metrics: what the file says.
        file: to name in errors.

    Raises:
        AdapterError: it is no positive number.
    """
    try:
        value = records.temperature(metrics)
        fits = value is None or (math.isfinite(value) and value > 0)
    except (AttributeError, TypeError):
        fits, value = False, metrics[KEY]
    if not fits:
        raise AdapterError(f"{file}: {KEY}.{TEMPERATURE}.value: expected a positive number, got {str(value)[:80]}")
    return value
