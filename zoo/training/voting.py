"""Voting: every test sample is classified by the mean of its logits over random views, as in papers' numbers "with
voting".

Views are drawn as training draws its samples, by the data's own augmentations, from (seed, number of the view): as in
the code of Mantis, where a view is a random part of the cloud, turned or scaled. One vote is measured, not the best of
many, and it stands beside the number without voting, never in its place.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from zoo.errors import SettingError
from zoo.records import calibration
from zoo.tasks.base import Task
from zoo.tasks.classification import Classification
from zoo.training.loaders import Loaders

if TYPE_CHECKING:
    from data_modules.base import DataModule


def require(data: "DataModule", task: Task, views: int) -> None:
    """Refuse a vote that cannot be taken; before weights are fetched.

    Raises:
        SettingError: there are no views, the task gives no class a sample, or the data are not augmented.
    """
    if views < 1:
        raise SettingError(f"votes={views}: expected how many views vote")
    if not isinstance(task, Classification):
        raise SettingError(f"votes={views}: views vote on one class a sample, and this task is {task.kind}")
    if not data.augmentations:
        raise SettingError(
            f"votes={views}: {data.name} is not augmented, so that all views of a sample are alike; of clouds say how, "
            "data.augment=[shuffle,rotate] for instance"
        )


@torch.no_grad()
def vote(loaders: Loaders, device: torch.device, views: int) -> dict[str, Any]:
    """Measure the test split by votes; the task has counted these afterwards.

    Args:
        loaders: of the data and the trained pairing.
        device: to run on; the pairing is put back where it was.
        views: of every sample.

    Returns:
        `views`, `augment`, `metrics`, `calibration` of the mean logits' probabilities, and `intervals`.
    """
    pairing, data, before = loaders.pairing, loaders.data, loaders.pairing.device
    task = pairing.task
    pairing.to(device).eval()
    task.reset()
    try:
        for batch in loaders.loader(data.views()):
            batch, total = batch.to(device), torch.zeros(())
            for view in range(views):
                # Augmentation changes a batch in place.
                copy = replace(batch, inputs={**batch.inputs}, target={**batch.target}, conditions={**batch.conditions})
                drawn = data.augment(copy, view)
                total = total.to(device) + task.logits(pairing(drawn), drawn).float()
            task.update({"label": total.argmax(-1), "probabilities": (total / views).softmax(-1)}, batch)
    finally:
        pairing.to(before)
    intervals = {name: list(pair) for name, pair in task.intervals().items()}
    metrics, calibrated = calibration.apart(task.compute())
    return {
        "views": views,
        "augment": list(data.augmentations),
        "metrics": metrics,
        calibration.KEY: {calibration.RAW: calibrated},
        "intervals": intervals,
    }
