"""Finds and reads the inputs of a prediction: one file, all files of a folder, the files that a pattern matches, or the
rows of a list of questions.

Folders are searched at any depth, in the order of their paths, without hidden files and folders. Inputs are recognised
by their suffix; other files are counted. A file that is named alone is always an input.
"""

import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_modules.errors import DataError
from data_modules.readers.foreign import is_irregular, reason, require_file
from data_modules.readers.lines import ErrorCollector
from data_modules.readers.manifest import ManifestRow, manifest_rows
from zoo import wording
from zoo.errors import UserError

if TYPE_CHECKING:
    from data_modules.base import DataModule
    from zoo.tasks.results import Prediction


class InputError(UserError):
    """There is nothing to predict, or a list cannot be read."""


@dataclass(frozen=True)
class Input:
    """One sample to predict.

    Attributes:
        id: its path as given, unique; with #k where a file holds several samples, or has several questions.
        path: what the data module reads.
        file: on the disk.
        name: path below the folder that was searched, for what is written about it.
        settings: settings of this input.
    """

    id: str
    path: Path
    file: Path
    name: Path
    settings: Mapping[str, str]


@dataclass
class Inputs:
    """All inputs in order, and the numbers of other files by suffix."""

    items: list[Input] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)


def find(word: str, data: "DataModule", settings: Mapping[str, str]) -> Inputs:
    """The inputs that FILE, FOLDER or PATTERN means.

    Raises:
        InputError: there are none.
    """
    path = Path(word).expanduser()
    # FILE#k is one sample of a file.
    alone = path if path.exists() or "#" not in path.name else Path(str(path).rpartition("#")[0])
    if is_irregular(alone):
        raise InputError(f"input={word} is a pipe, a device or a socket; expected a file or a folder")
    if path.is_dir():
        root, files = path, _walk(path)
    elif alone.is_file():
        parts = data.samples_in(path, settings) if alone == path else [path]
        return Inputs([Input(str(p), p, alone, Path(p.name), settings) for p in parts])
    elif has_magic(word):
        root, files = _fixed(path), [Path(name) for name in sorted(glob(str(path), recursive=True))]
    else:
        raise InputError(f"input={word}: there is no such file or folder")
    found = Inputs()
    for file in files:
        if file.suffix.lower() in (*data.readable, *data.refused):
            # A pipe or device is not opened here, because it may never end; reading it raises an error.
            parts = [file] if is_irregular(file) else data.samples_in(file, settings)
            found.items += [Input(str(p), p, file, p.relative_to(root), settings) for p in parts]
        elif file.is_file():
            found.others[file.suffix.lower() or "no suffix"] += 1
    if not found.items:
        others = f"; {passed_over(found)}" if found.others else ""
        raise InputError(f"input={word}: no file ends in {', '.join(data.readable)}{others}")
    return found


def find_questions(word: str, root: str, data: "DataModule", settings: Mapping[str, str]) -> Inputs:
    """The rows of a list (.csv or .jsonl) with the columns `path`, relative to the folder `root`, and settings.

    Raises:
        InputError: naming the rows and their errors.
    """
    file, folder = Path(word).expanduser(), Path(root).expanduser()
    if not folder.is_dir():
        raise InputError(f"input={root}: beside questions=, expected the folder that its paths start from")
    rows = _rows(file, data.settings)
    times = Counter(row.values["path"] for row in rows)
    seen: Counter[str] = Counter()
    found = Inputs()
    for row in rows:
        name = row.values["path"]
        mark = f"#{seen[name]}" if times[name] > 1 else ""
        seen[name] += 1
        path = folder / name
        own = {key: value for key, value in row.values.items() if value and key != "path"}
        found.items.append(Input(f"{path}{mark}", path, path, Path(f"{name}{mark}"), {**settings, **own}))
    if not found.items:
        raise InputError(f"questions={word}: it holds no row")
    return found


@dataclass(frozen=True)
class Read:
    """A read input: its sample and notes, or an error."""

    item: Input
    sample: Any = None
    notes: list[str] = field(default_factory=list)
    error: str = ""

    def noted(self, prediction: "Prediction") -> "Prediction":
        """Its prediction, with what was noted when it was read in front of the prediction's own notes."""
        if notes := [*self.notes, *prediction.notes]:
            prediction.record["notes"] = notes
        return prediction


def ahead(data: "DataModule", items: Iterable[Input], pool: ThreadPoolExecutor, most: int) -> Iterator[Read]:
    """Read inputs in order, at most `most` ahead of their use."""
    waiting: deque[Future[Read]] = deque()
    for item in items:
        waiting.append(pool.submit(read, data, item))
        if len(waiting) > most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def read(data: "DataModule", item: Input) -> Read:
    """Read one input; errors are returned, not raised, so that one bad file does not stop the others."""
    try:
        require_file(item.file)
        sample, notes = data.read(item.path, dict(item.settings))
    except UserError as error:
        return Read(item, error=" ".join(str(error).split()))
    except FileNotFoundError:
        return Read(item, error=f"{item.path} does not exist")
    except Exception as error:
        return Read(item, error=f"{item.path} cannot be read: {reason(error)}")
    return Read(item, sample if sample.id == item.id else replace(sample, id=item.id), notes)


def passed_over(found: Inputs) -> str:
    """A sentence about files that are no inputs; empty if there are none."""
    return f"passed over by their names: {_counted(found.others)}" if found.others else ""


def _walk(folder: Path) -> list[Path]:
    """Files and folders below a folder in order: a folder named like a picture is reported as an error."""
    found: list[Path] = []
    for here, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(here, name) for name in (*folders, *files) if not name.startswith(".")]
    return sorted(found)


def _fixed(pattern: Path) -> Path:
    """The part of a pattern before its first placeholder."""
    parts = pattern.parts[: next(k for k, part in enumerate(pattern.parts) if has_magic(part))]
    return Path(*parts)


def _rows(file: Path, settings: Sequence[str]) -> list[ManifestRow]:
    """The rows of a list of questions.

    Raises:
        InputError: all errors of the list.
    """
    if file.suffix.lower() not in (".csv", ".jsonl"):
        raise InputError(f"questions={file}: expected a .csv or .jsonl file")

    def check(where: str, columns: Sequence[str]) -> None:
        known = f"Columns are path, {', '.join(settings)}"
        if unknown := [name for name in columns if name not in ("path", *settings)]:
            raise DataError(f"{where}: unknown column {unknown[0]!r}.{wording.close(unknown[0], settings)} {known}")
        if "path" not in columns:
            raise DataError(f"{where}: no column path. {known}")

    errors = ErrorCollector()
    try:
        rows = list(manifest_rows(file, errors, header=check, keys=check))
        errors.messages += [f"{row.where}: path is empty" for row in rows if not row.values["path"]]
        errors.raise_all()
    except DataError as error:
        raise InputError(f"questions={error}") from None
    return rows


def _counted(others: Counter[str]) -> str:
    shown = ", ".join(f"{number} {suffix}" for suffix, number in others.most_common(5))
    return shown + ", ..." * (len(others) > 5)
