"""Ask a pairing: decoded samples in a batch, or a whole list of inputs, read ahead and answered a batch at a time."""

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from rich.progress import Progress
from torch import Tensor

from zoo import ground
from zoo.answers import Answers
from zoo.batch import Clip, Question
from zoo.contents import Content, content
from zoo.errors import SettingError
from zoo.familiarity import UNLIKE
from zoo.files import json_text
from zoo.inputs import Input, Read, ahead
from zoo.pairing import Pairing

if TYPE_CHECKING:
    from data_modules.base import DataModule
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
        record |= {} if question is None else pairing.task.remarks(prediction, question)
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
    if lacking := task.lacks(question):
        raise SettingError(f"this adapter answers questions: say {' and '.join(lacking)}")


@dataclass
class Run:
    """A pass over inputs: what it needs, and what it counts.

    Attributes:
        pairing: answers.
        data: reads.
        answers: the output file; None prints.
        pictures: folder of drawings, if wanted.
        batch_size: inputs answered together.
        progress: shown on standard error, where that is a terminal.
        done: inputs that are through.
        failed: of them, those that could not be answered.
        notes: by their words, the inputs they hold for.
    """

    pairing: Pairing
    data: "DataModule"
    answers: Answers | None
    pictures: Path | None
    batch_size: int
    progress: Progress
    done: int = 0
    failed: int = 0
    notes: dict[str, list[str]] = field(default_factory=dict)
    _contents: dict[str, Future[Content]] = field(default_factory=dict)

    def over(self, items: Sequence[Input]) -> None:
        """Answer inputs, a batch at a time."""
        bar = self.progress.add_task("predict", total=len(items))
        pool = ThreadPoolExecutor(os.cpu_count())
        try:
            reads = ahead(self.data, self._noting(items, pool), pool, most=self.batch_size)
            while group := list(islice(reads, self.batch_size)):
                self._write([self._record(one) for one in self._answered(group)])
                self.done += len(group)
                self.progress.update(bar, advance=len(group))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _noting(self, items: Sequence[Input], pool: ThreadPoolExecutor) -> Iterator[Input]:
        """The inputs; what each holds is looked at before it is read, where answers are kept."""
        for item in items:
            if self.answers:
                self._contents[item.id] = pool.submit(content, item.file)
            yield item

    def _content(self, name: str) -> Content:
        try:
            return self._contents.pop(name).result()
        except OSError:  # that it cannot be read is told where it is read
            return Content("", "")

    def _answered(self, group: Sequence[Read]) -> Iterator[tuple[Read, Answered | None]]:
        found = iter(answered(self.pairing, [one.sample for one in group if not one.error]))
        return ((one, None if one.error else next(found)) for one in group)

    def _record(self, pair: tuple[Read, Answered | None]) -> dict[str, Any]:
        """One line of the output; its picture is drawn first."""
        one, said = pair
        error = one.error or ("" if said and _finite(said.record) else f"{one.item.id}: its answer is not a number")
        if said is None or error:
            self.failed += 1
            if self.answers or not sys.stdout.isatty():  # a terminal shows the record, which says the same
                self.say(f"error: {error}")
            return {"id": one.item.id, "error": error}
        notes = [*one.notes, *said.record.get("notes", [])]
        for note in notes:
            self.notes.setdefault(note, []).append(one.item.id)
        if self.pictures is not None:
            self._draw(said, picture_of(one.item, self.pictures))
        return said.record | ({"notes": notes} if notes else {})

    def _draw(self, said: Answered, path: Path) -> None:
        from zoo.plots_predictions import draw

        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}")
        draw(part, said.sample, said.record, _arrays(said.prediction), _arrays(said.observed), self.data)
        part.replace(path)

    def _write(self, records: Sequence[dict[str, Any]]) -> None:
        if self.answers:
            self.answers.write(records, [self._content(record["id"]) for record in records])
        else:
            lines = (json_text(record, encoding=sys.stdout.encoding) + "\n" for record in records)
            print("".join(lines), end="", flush=True)

    def say(self, line: str) -> None:
        """A line on standard error, above the bar."""
        self.progress.console.print(line, markup=False, highlight=False, soft_wrap=True)


def picture_of(item: Input, folder: Path) -> Path:
    """Where the drawing of an input lies."""
    name, end = os.fsencode(item.name.name), ".png"
    if len(name) > LONGEST:
        end = f"-{hashlib.sha256(name).hexdigest()[:12]}.png"
        name = name[: LONGEST - len(end)]
    return folder / item.name.with_name(f"{name.decode(errors='ignore')}{end}")


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    # NumPy knows no bfloat16.
    return {n: (t.float() if t.is_floating_point() else t).cpu().numpy() for n, t in tensors.items()}


def _finite(record: Mapping[str, Any]) -> bool:
    try:
        json.dumps(record, allow_nan=False)
    except ValueError:
        return False
    return True
