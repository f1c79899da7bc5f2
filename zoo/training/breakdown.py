"""Accuracy of a split by what its samples have in common: class or kind, scale, and the way a method took.

What is broken down depends on names alone: the label, questions, the condition `gsd`, and what a method names.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from zoo.metrics.by_scale import accuracy_by_gsd
from zoo.metrics.grouped import accuracy_by

if TYPE_CHECKING:
    from zoo.methods.base import Method
    from zoo.predictions import Predictions
    from zoo.tasks.base import Task

Parts = dict[str, dict[str, float]]


def breakdown(predictions: "Predictions", task: "Task", classes: Sequence[str]) -> dict[str, Parts]:
    """Accuracy and number of samples by group: {"gsd" or "class" or "kind": {group: {"accuracy": ..., "n": ...}}}.

    Empty where the task's monitored metric is no accuracy of samples; one group alone is left out, as it is the whole.

    Args:
        predictions: what a run over a split gave.
        task: as that run left it.
        classes: names of the labels.
    """
    if task.monitor != "accuracy":
        return {}
    right = task.per_sample()
    found: dict[str, Parts] = {}
    if gsd := predictions.conditions.get("gsd"):
        scales = accuracy_by_gsd(predictions.concatenated({"gsd": gsd})["gsd"].numpy(), right.numpy())
        found["gsd"] = {scale.name: {"accuracy": scale.accuracy, "n": scale.n} for scale in scales}
    # Where questions are asked, classes are their kinds, whatever labels the pictures have.
    if "label" in predictions.prediction and (label := predictions.target.get("label")):
        names = [classes[int(k)] for k in predictions.concatenated({"label": label})["label"]]
        # In label order, as the confusion matrix has them.
        found["class"] = dict(sorted(_grouped(names, right).items(), key=lambda part: classes.index(part[0])))
    if predictions.questions:
        found["kind"] = _grouped([question.kind for question in predictions.questions], right)
    return {what: parts for what, parts in found.items() if len(parts) > 1}


def branches(observed: Mapping[str, Tensor], method: "Method", task: "Task") -> Parts:
    """Share of the samples and accuracy on them by branch that the method names: {branch: {"share", "accuracy"}}.

    Branches that no sample took are left out, and all where the method has none, or the task no accuracy.
    """
    if method.branches is None or method.branches.observed not in observed or task.monitor != "accuracy":
        return {}
    names = method.branches.names
    taken = [names[int(k)] for k in observed[method.branches.observed]]
    parts = accuracy_by(taken, task.per_sample().tolist())
    return {name: {"share": parts[name][1] / len(taken), "accuracy": parts[name][0]} for name in names if name in parts}


def _grouped(names: Sequence[str], right: Tensor) -> Parts:
    return {name: {"accuracy": accuracy, "n": n} for name, (accuracy, n) in accuracy_by(names, right.tolist()).items()}
