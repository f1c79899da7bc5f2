"""A pass over many inputs: read ahead, predicted in batches, written line by line, resumable."""

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

from numpy.typing import NDArray
from rich.progress import Progress
from torch import Tensor

from zoo.adapter import directory
from zoo.files import json_text
from zoo.inference.contents import Content, content
from zoo.inference.inputs import Input, Inputs, Read, ahead
from zoo.inference.output import Answers
from zoo.inference.predictor import LONGEST, Answered, answered
from zoo.inference.settings import SETTINGS
from zoo.pairing import Pairing
from zoo.tasks.language import LanguageTask

if TYPE_CHECKING:
    from data_modules.base import DataModule


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
        from zoo.report.run import One
        from zoo.report.run_pictures import picture

        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}")
        prediction, observed = _arrays(said.prediction), _arrays(said.observed)
        picture(part, One(said.sample, said.record, prediction, observed, self.data, self.pairing.task))
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


SOME_FAILED, STOPPED = 3, 130


def open_output(words: Mapping[str, str], folder: Path) -> Answers | None:
    """The output file, if one is wanted."""
    if not (output := words.get("output")):
        return None
    sums = directory.checksums(folder)
    run = {
        "adapter": _sha256(f"{sums['adapter.safetensors']} {sums['recipe.yaml']}".encode()),
        "forced": "--force" in words,
        "settings": {key: words[key] for key in SETTINGS if key in words},
        "questions": _sha256(Path(words["questions"]).expanduser().read_bytes()) if "questions" in words else None,
    }
    return Answers(Path(output).expanduser(), run, restart="--restart" in words)


def is_done(item: Input, answers: Answers | None, pictures: Path | None) -> bool:
    """Whether an input has its answer in the output and, where they are wanted, its drawing."""
    drawn = pictures is None or picture_of(item, pictures).exists()
    return answers is not None and drawn and answers.has(item.id, item.file)


def run_through(run: Run, asked: Sequence[Input], order: Sequence[str]) -> bool:
    """Answer inputs; whether that was stopped on the way."""
    if run.answers:
        run.answers.begin([item.id for item in asked])
    try:
        run.over(asked)
    except KeyboardInterrupt:
        again = "; the same command goes on" if run.answers else ""
        run.say(f"stopped: {run.done} of {counted(asked)} are through{again}")
        return True
    except BrokenPipeError:  # who reads standard output has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    finally:
        if run.answers:
            run.answers.close()
    if run.answers:
        run.answers.sort(order)
    return False


def summarise(words: Mapping[str, str], found: Inputs, asked: Sequence[Input], run: Run, seconds: float) -> None:
    """What a run should say at its end, on standard error: notes and, of several inputs, how it went."""
    told = {"gsd": "gsd" in run.pairing.method.conditions, "question": isinstance(run.pairing.task, LanguageTask)}
    for key, used in told.items():
        if key in words and not used:
            print(f"note: this adapter makes no use of {key}=", file=sys.stderr)
    for note, ids in run.notes.items():
        where = ids[0] if len(ids) == 1 else f"{len(ids)} inputs, {ids[0]} the first"
        print(f"note: {where}: {note}", file=sys.stderr)
    if len(found.items) == 1:
        return
    earlier = len(found.items) - len(asked)
    counts = f"{len(found.items) - run.failed} answered{f' ({earlier} of them earlier)' if earlier else ''}"
    failed = f", {run.failed} could not be" if run.failed else ""
    where = f"; {words['output']}" if words.get("output") else ""
    speed = f"{seconds:.1f} s, {len(asked) / seconds:.3g} a second"
    print(f"{counted(found.items)}: {counts}{failed}; {speed}{where}", file=sys.stderr)


def counted(items: Sequence[Input]) -> str:
    """`3 inputs`."""
    return f"{len(items)} input{'s' * (len(items) != 1)}"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
