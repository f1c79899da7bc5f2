"""Predict a batch of decoded samples, with the tensors behind each prediction."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from zoo.batch import Batch, Clip, Question
from zoo.errors import SettingError
from zoo.inference.settings import PROMPTS
from zoo.methods import ground
from zoo.ops.familiarity import UNLIKE
from zoo.pairing import Pairing
from zoo.tasks.language import LanguageTask
from zoo.tasks.promptable import PromptableSegmentation
from zoo.tasks.results import Prediction

if TYPE_CHECKING:
    from zoo.tasks.base import Task

LONGEST = 240
"""Longest file name in bytes that leaves room for the suffix of a temporary one."""


def predict_batch(pairing: Pairing, samples: Sequence[Any], *, batch: Batch | None = None) -> list[Prediction]:
    """Predict decoded samples in one batch, with the tensors behind each prediction.

    Args:
        pairing: predicts.
        samples: raw or prepared.
        batch: what `Pairing.batch` makes of them, where it was made already.

    Raises:
        SettingError: a required question or its choices are missing.
    """
    if not samples:
        return []
    samples = [pairing.prepare(sample) for sample in samples]
    if samples[0].kind == "masks":
        return [_of_surface(pairing, sample) for sample in samples]
    questions = [getattr(sample, "question", None) for sample in samples]
    for question in questions:
        require_question(pairing.task, question)
    with torch.no_grad():
        output = pairing.predict(pairing.batch(samples) if batch is None else batch)
    observed = pairing.method.observations()
    predictions = []
    for row, (sample, question) in enumerate(zip(samples, questions, strict=True)):
        decoded = {name: value[row] for name, value in output.items()}
        own = {name: value.unflatten(0, (len(samples), -1))[row] for name, value in observed.items()}
        place = {"start": round(sample.start, 6), "end": round(sample.end, 6)} if isinstance(sample, Clip) else {}
        record = {"id": sample.id, **place, **pairing.task.answer(decoded)}
        if isinstance(pairing.task, LanguageTask) and question is not None:
            record |= pairing.task.remarks(decoded, question)
        record |= ground.remarks(pairing, sample, own)
        unlike = None if pairing.unlike is None else pairing.unlike[row]
        _note(record, pairing, ground.unseen(pairing, sample), unlike)
        predictions.append(pairing.task.result(record, sample, decoded, own, getattr(pairing.task, "names", ())))
    return predictions


def _of_surface(pairing: Pairing, sample: Any) -> Prediction:
    """The prediction of a whole picture, from its squares."""
    from zoo.inference import surfaces

    require_prompts(pairing.task, sample.conditions)
    decoded = surfaces.predict(pairing, sample)
    record = {"id": sample.id, **pairing.task.answer(decoded)}
    _note(record, pairing, [], decoded.pop("unlike", None))
    return pairing.task.result(record, sample, decoded, {}, getattr(pairing.task, "names", ()))


def _note(record: dict[str, Any], pairing: Pairing, notes: Sequence[str], unlike: Tensor | None) -> None:
    """Add to a record what is said beside a prediction: notes, how unlike training the sample is, what was forced."""
    every = [*notes, *pairing.caveats]
    if unlike is not None:
        record["unlike_training"] = float(f"{unlike.item():.3g}")
        every += _foreign(record)
    record |= {"notes": every} if every else {}
    record |= {"forced": pairing.forced} if pairing.forced else {}


def _foreign(record: Mapping[str, Any]) -> list[str]:
    """Notes for a sample that is unlike training."""
    if record["unlike_training"] <= 1:
        return []
    default = record.get("gsd_from") == "default" and "gsd_estimate" in record
    return [UNLIKE, *(["the estimate of its scale is not trusted there: the default is used"] if default else [])]


def require_question(task: "Task", question: Question | None) -> None:
    """Refuse a sample without the question or choices that its task needs.

    Raises:
        SettingError: naming what is missing.
    """
    if isinstance(task, LanguageTask) and (missing := task.lacks(question)):
        raise SettingError(f"this adapter answers questions: say {' and '.join(missing)}")


def require_prompts(task: "Task", given: Mapping[str, Any]) -> None:
    """Refuse a prompt that its task does not take, and a sample without the one that it needs.

    Args:
        task: that answers.
        given: settings, or conditions, by name.

    Raises:
        SettingError: naming what is missing, or of no use.
    """
    if isinstance(task, PromptableSegmentation):
        task.require(given)
    elif own := [f"{name}=" for name in PROMPTS if name in given]:
        raise SettingError(f"{', '.join(own)}: this adapter takes no prompts; its task is {task.kind}")


def predict(pairing: Pairing, samples: Sequence[Any]) -> list[dict[str, Any]]:
    """Predict decoded samples in one batch, one dictionary each; raw samples are prepared like the adapter's data.

    Raises:
        SettingError: a required question or its choices are missing.
    """
    return [one.record for one in predict_batch(pairing, samples)]
