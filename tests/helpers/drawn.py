"""What pictures of a run are drawn from, and what is on them."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from zoo.batch import Batch
from zoo.predictions import Predictions
from zoo.tasks.base import Task

HISTORY = [{"epoch": e, "train/loss": 1 / (e + 1), "val/loss": 1 / (e + 1), "val/accuracy": 0.3 * e} for e in range(3)]


RNG = np.random.default_rng(0)


def pixels(path: Path) -> np.ndarray:
    """Of a PNG that is not blank."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        values = np.asarray(image.convert("RGB")).astype(float)
    assert values.std() > 5, path.name
    return values


def near(values: np.ndarray, colour: str) -> int:
    """Pixels of exactly this colour."""
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return int((values == wanted).all(-1).sum())


def counted(task: Task, prediction: dict[str, Any], batch: Batch, observed: dict[str, Any]) -> Predictions:
    """What a test run over one batch leaves."""
    task.update(prediction, batch)
    collect = Predictions()
    collect.ids, collect.questions = batch.ids, batch.questions
    for store, values in (
        (collect.prediction, prediction),
        (collect.target, batch.target),
        (collect.conditions, batch.conditions),
        (collect.observed, observed),
    ):
        store.update({name: [value.float()] for name, value in values.items()})
    return collect
