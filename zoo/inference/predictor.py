"""Ask a pairing: decoded samples in a batch, or a whole list of inputs, read ahead and answered a batch at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from zoo import ground
from zoo.batch import Clip, Question
from zoo.errors import SettingError
from zoo.familiarity import UNLIKE
from zoo.pairing import Pairing
from zoo.tasks.language import LanguageTask

if TYPE_CHECKING:
    from zoo.tasks.base import Task

LONGEST = 240
"""Bytes of a name, which together with those of a temporary one are what file systems take."""


@dataclass(frozen=True)
class Answered:
    """A sample and its answer.

    Attributes:
        sample: as it was asked about, prepared.
        record: `id` and the answer in plain values.
        prediction: the task's decoded output, without the batch dimension.
        observed: what the method shows of it, one row a segment.
    """

    sample: Any
    record: dict[str, Any]
    prediction: dict[str, Tensor]
    observed: dict[str, Tensor]


def answered(pairing: Pairing, samples: Sequence[Any]) -> list[Answered]:
    """Answer decoded samples in one batch, with the tensors that answers come from.

    Raises:
        SettingError: there is no question where one is needed, or no choices.
    """
    if not samples:
        return []
    samples = [pairing.prepare(sample) for sample in samples]
    questions = [getattr(sample, "question", None) for sample in samples]
    for question in questions:
        require_question(pairing.task, question)
    with torch.no_grad():
        output = pairing.predict(pairing.batch(samples))
    observed = pairing.method.observations()
    found = []
    for row, (sample, question) in enumerate(zip(samples, questions, strict=True)):
        prediction = {name: value[row] for name, value in output.items()}
        own = {name: value.unflatten(0, (len(samples), -1))[row] for name, value in observed.items()}
        place = {"start": round(sample.start, 6), "end": round(sample.end, 6)} if isinstance(sample, Clip) else {}
        record = {"id": sample.id, **place, **pairing.task.answer(prediction)}
        if isinstance(pairing.task, LanguageTask) and question is not None:
            record |= pairing.task.remarks(prediction, question)
        record |= ground.remarks(pairing, sample, own)
        notes = [*ground.unseen(pairing, sample), *pairing.caveats]
        if pairing.unlike is not None:
            record["unlike_training"] = float(f"{pairing.unlike[row].item():.3g}")
            notes += _foreign(record)
        record |= {"notes": notes} if notes else {}
        record |= {"forced": pairing.forced} if pairing.forced else {}
        found.append(Answered(sample, record, prediction, own))
    return found


def _foreign(record: Mapping[str, Any]) -> list[str]:
    """What an answer says where its sample is unlike training."""
    if record["unlike_training"] <= 1:
        return []
    default = record.get("gsd_from") == "default" and "gsd_estimate" in record
    return [UNLIKE, *(["the estimate of its scale is not trusted there: the default is used"] if default else [])]


def require_question(task: "Task", question: Question | None) -> None:
    """Whether a task can answer about a sample.

    Raises:
        SettingError: it needs a question, or choices.
    """
    if isinstance(task, LanguageTask) and (lacking := task.lacks(question)):
        raise SettingError(f"this adapter answers questions: say {' and '.join(lacking)}")


def predict(pairing: Pairing, samples: Sequence[Any]) -> list[dict[str, Any]]:
    """Answer decoded samples in one batch, one dictionary each; raw ones are prepared as the adapter's data are.

    Raises:
        SettingError: there is no question where one is needed, or no choices.
    """
    return [one.record for one in answered(pairing, samples)]
