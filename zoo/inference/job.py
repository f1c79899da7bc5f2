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
from zoo.batch import Clip
from zoo.files import json_text
from zoo.inference import mask_files
from zoo.inference.contents import Content, content
from zoo.inference.inputs import Input, Inputs, Read, ahead
from zoo.inference.output import PredictionsFile
from zoo.inference.predictor import LONGEST, predict_batch
from zoo.inference.settings import CLASSES, SETTINGS
from zoo.pairing import Pairing
from zoo.tasks.language import LanguageTask
from zoo.tasks.results import Prediction

if TYPE_CHECKING:
    from data_modules.base import DataModule
    from zoo.tasks.base import Task


@dataclass
class Run:
    """A pass over inputs, with its settings and counts.

    Attributes:
        pairing: predicts.
        data: reads the inputs.
        answers: the output file; None prints.
        pictures: folder of drawings, or None.
        masks: folder of mask files, or None.
        batch_size: inputs predicted together.
        progress: shown on standard error if that is a terminal.
        done: number of inputs processed.
        failed: number of these that could not be predicted.
        notes: ids of inputs by the note they share.
    """

    pairing: Pairing
    data: "DataModule"
    answers: PredictionsFile | None
    pictures: Path | None
    masks: Path | None
    batch_size: int
    progress: Progress
    done: int = 0
    failed: int = 0
    notes: dict[str, list[str]] = field(default_factory=dict)
    _slices: dict[Path, dict[int, NDArray[Any]]] = field(default_factory=dict)
    _depths: dict[Path, int] = field(default_factory=dict)
    _contents: dict[str, Future[Content]] = field(default_factory=dict)

    def over(self, items: Sequence[Input]) -> None:
        """Predict inputs, a batch at a time."""
        bar = self.progress.add_task("predict", total=len(items))
        pool = ThreadPoolExecutor(os.cpu_count())
        try:
            reads = ahead(self.data, self._noting(items, pool), pool, most=self.batch_size)
            while group := list(islice(reads, self.batch_size)):
                self._write([self._record(one) for one in self._predicted(group)])
                self.done += len(group)
                self.progress.update(bar, advance=len(group))
            for file, slices in self._slices.items():
                depth = self._depths[file]
                self.say(f"note: {file}: {len(slices)} of {depth} slices; a mask is written of whole volumes")
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _noting(self, items: Sequence[Input], pool: ThreadPoolExecutor) -> Iterator[Input]:
        """The inputs; with an output file, the contents of each are hashed before it is read."""
        for item in items:
            if self.answers:
                self._contents[item.id] = pool.submit(content, item.file)
            yield item

    def _content(self, name: str) -> Content:
        try:
            return self._contents.pop(name).result()
        except OSError:  # reading the input reports it
            return Content("", "")

    def _predicted(self, group: Sequence[Read]) -> Iterator[tuple[Read, Prediction | None]]:
        predictions = iter(predict_batch(self.pairing, [one.sample for one in group if not one.error]))
        return ((one, None if one.error else next(predictions)) for one in group)

    def _record(self, pair: tuple[Read, Prediction | None]) -> dict[str, Any]:
        """One record of the output; its picture is drawn first."""
        one, prediction = pair
        finite = prediction is not None and _finite(prediction.record)
        error = one.error or ("" if finite else f"{one.item.id}: its answer is not a number")
        if prediction is None or error:
            self.failed += 1
            if self.answers or not sys.stdout.isatty():  # a terminal shows the record, which says the same
                self.say(f"error: {error}")
            return {"id": one.item.id, "error": error}
        notes = [*one.notes, *prediction.record.get("notes", [])]
        for note in notes:
            self.notes.setdefault(note, []).append(one.item.id)
        if self.pictures is not None:
            draw(prediction, picture_of(one.item, self.pictures), self.data, self.pairing.task)
        if self.masks is not None:
            self._write_mask(prediction, one.item, self.masks)
        return prediction.record | ({"notes": notes} if notes else {})

    def _write_mask(self, prediction: Prediction, item: Input, folder: Path) -> None:
        """A picture's mask, those of a clip; a volume's once all of its slices are there."""
        from zoo.inference import surfaces

        if isinstance(prediction.sample, Clip):
            masks = prediction.output["masks"].cpu().numpy()
            mask_files.write_clip(masks, prediction.sample, mask_files.masks_of(item, folder))
            return
        path = mask_files.mask_of(item, folder)
        surface, mask = prediction.sample, prediction.output["mask"].cpu().numpy()
        if surface.slice is None or surface.file is None:
            surfaces.write(mask, surface, path, len(self.pairing.classes))
            return
        self._depths[surface.file] = surface.depth
        slices = self._slices.setdefault(surface.file, {})
        slices[surface.slice] = mask
        if len(slices) == surface.depth:
            surfaces.write_volume(self._slices.pop(surface.file), surface.file, path)

    def _write(self, records: Sequence[dict[str, Any]]) -> None:
        if self.answers:
            self.answers.write(records, [self._content(record["id"]) for record in records])
        else:
            lines = (json_text(record, encoding=sys.stdout.encoding) + "\n" for record in records)
            print("".join(lines), end="", flush=True)

    def say(self, line: str) -> None:
        """A line on standard error, above the bar."""
        self.progress.console.print(line, markup=False, highlight=False, soft_wrap=True)


def draw(prediction: Prediction, path: Path, data: "DataModule", task: "Task") -> None:
    """Write a PNG of a prediction."""
    from zoo.report.run import One
    from zoo.report.run_pictures import picture

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}")
    values, observed = _arrays(prediction.output), _arrays(prediction.observed)
    picture(part, One(prediction.sample, prediction.record, values, observed, data, task))
    part.replace(path)


def picture_of(item: Input, folder: Path) -> Path:
    """Path of an input's drawing."""
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


def open_output(
    arguments: Mapping[str, str], folders: Sequence[Path], settings: Mapping[str, Any] | None = None
) -> PredictionsFile | None:
    """The output file named by `output=`, if any; `folders` are of the adapter, or of those that are added up, and
    `settings` those of the method that the command chose anew."""
    if not (output := arguments.get("output")):
        return None
    sums = [sums[name] for sums in map(directory.checksums, folders) for name in ("adapter.safetensors", "recipe.yaml")]
    run = {
        "adapter": _sha256(" ".join(sums).encode()),
        "forced": "--force" in arguments,
        "settings": {key: arguments[key] for key in SETTINGS if key in arguments},
        "questions": _sha256(Path(arguments["questions"]).expanduser().read_bytes())
        if "questions" in arguments
        else None,
        **({CLASSES: arguments[CLASSES]} if CLASSES in arguments else {}),
        **({"method": dict(settings)} if settings else {}),
    }
    return PredictionsFile(Path(output).expanduser(), run, restart="--restart" in arguments)


def is_done(item: Input, answers: PredictionsFile | None, pictures: Path | None, masks: Path | None) -> bool:
    """Whether an input has its prediction in the output and, where they are requested, its drawing and mask."""
    drawn = pictures is None or picture_of(item, pictures).exists()
    written = masks is None or mask_files.is_written(item, masks)
    return answers is not None and drawn and written and answers.has(item.id, item.file)


def run_through(run: Run, pending: Sequence[Input], order: Sequence[str]) -> bool:
    """Predict inputs; returns whether the run was stopped early."""
    if run.answers:
        run.answers.begin([item.id for item in pending])
    try:
        run.over(pending)
    except KeyboardInterrupt:
        again = "; the same command goes on" if run.answers else ""
        run.say(f"stopped: {run.done} of {counted(pending)} are through{again}")
        return True
    except BrokenPipeError:  # the reader of standard output has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    finally:
        if run.answers:
            run.answers.close()
    if run.answers:
        run.answers.sort(order)
    return False


def summarise(arguments: Mapping[str, str], found: Inputs, pending: Sequence[Input], run: Run, seconds: float) -> None:
    """Print notes and, for several inputs, a summary on standard error."""
    uses = {"gsd": "gsd" in run.pairing.method.conditions, "question": isinstance(run.pairing.task, LanguageTask)}
    for key, used in uses.items():
        if key in arguments and not used:
            print(f"note: this adapter makes no use of {key}=", file=sys.stderr)
    for note, ids in run.notes.items():
        where = ids[0] if len(ids) == 1 else f"{len(ids)} inputs, {ids[0]} the first"
        print(f"note: {where}: {note}", file=sys.stderr)
    if len(found.items) == 1:
        return
    earlier = len(found.items) - len(pending)
    counts = f"{len(found.items) - run.failed} answered{f' ({earlier} of them earlier)' if earlier else ''}"
    failed = f", {run.failed} could not be" if run.failed else ""
    where = f"; {arguments['output']}" if arguments.get("output") else ""
    speed = f"{seconds:.1f} s, {len(pending) / seconds:.3g} a second"
    print(f"{counted(found.items)}: {counts}{failed}; {speed}{where}", file=sys.stderr)


def counted(items: Sequence[Input]) -> str:
    """`3 inputs`."""
    return f"{len(items)} input{'s' * (len(items) != 1)}"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
