"""Which inputs a word of the command means, and their reading: one file, all files of a folder, those that a pattern
matches, or the rows of a list of questions.

Folders are searched at any depth, in the order of their paths; hidden files and what lies in hidden folders are passed
over. What counts is a file's suffix: others are no inputs, and are counted. A file that is named alone is always one.
"""

import csv
import json
import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_modules.errors import DataError
from data_modules.readers.foreign import is_irregular, read_text, reason, require_file
from zoo import wording
from zoo.errors import UserError

if TYPE_CHECKING:
    from data_modules.base import DataModule


class InputError(UserError):
    """Nothing there to predict, or a list that cannot be read."""


@dataclass(frozen=True)
class Input:
    """One sample to be answered.

    Attributes:
        id: its path as given, unique; with #k where a file holds several samples, or is asked several questions.
        path: what the data module reads.
        file: on the disk.
        name: path below the folder that was searched, for what is written about it.
        settings: said about it.
    """

    id: str
    path: Path
    file: Path
    name: Path
    settings: Mapping[str, str]


@dataclass
class Inputs:
    """All inputs in order, and how many files were none, by suffix."""

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
            # What is no file is not opened to be counted: it may never end. Reading it says what it is.
            parts = [file] if is_irregular(file) else data.samples_in(file, settings)
            found.items += [Input(str(p), p, file, p.relative_to(root), settings) for p in parts]
        elif file.is_file():
            found.others[file.suffix.lower() or "no suffix"] += 1
    if not found.items:
        others = f"; {passed_over(found)}" if found.others else ""
        raise InputError(f"input={word}: no file ends in {', '.join(data.readable)}{others}")
    return found


def find_questions(word: str, root: str, data: "DataModule", settings: Mapping[str, str]) -> Inputs:
    """The rows of a list: a table (.csv) or JSON lines (.jsonl) of `path`, below the folder `root`, and settings.

    Raises:
        InputError: naming the row and what is wrong with it.
    """
    file, folder = Path(word).expanduser(), Path(root).expanduser()
    if not folder.is_dir():
        raise InputError(f"input={root}: beside questions=, expected the folder that its paths start from")
    rows = list(_rows(file))
    times = Counter(row["path"] for _, row in rows)
    seen: Counter[str] = Counter()
    found = Inputs()
    for where, row in rows:
        name = row.pop("path")
        if unknown := [f"{key!r}.{wording.nearest(key, data.settings)}" for key in row if key not in data.settings]:
            raise InputError(f"{where}: unknown column {unknown[0]} Columns are path, {', '.join(data.settings)}")
        mark = f"#{seen[name]}" if times[name] > 1 else ""
        seen[name] += 1
        path = folder / name
        said = {**settings, **{key: value for key, value in row.items() if value}}
        found.items.append(Input(f"{path}{mark}", path, path, Path(f"{name}{mark}"), said))
    if not found.items:
        raise InputError(f"questions={word}: it holds no row")
    return found


@dataclass(frozen=True)
class Read:
    """An input as it was read: its sample and notes, or what is wrong with it."""

    item: Input
    sample: Any = None
    notes: list[str] = field(default_factory=list)
    error: str = ""


def ahead(data: "DataModule", items: Iterable[Input], pool: ThreadPoolExecutor, most: int) -> Iterator[Read]:
    """Read inputs in order, at most so many before they are asked for."""
    waiting: deque[Future[Read]] = deque()
    for item in items:
        waiting.append(pool.submit(read, data, item))
        if len(waiting) > most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def read(data: "DataModule", item: Input) -> Read:
    """Read one input; what is wrong with it is told, not raised: one file that a decoder trips over costs no other."""
    try:
        require_file(item.file)
        sample, notes = data.read(item.path, dict(item.settings))
    except (DataError, UserError) as error:
        return Read(item, error=" ".join(str(error).split()))
    except FileNotFoundError:
        return Read(item, error=f"{item.path} does not exist")
    except Exception as error:
        return Read(item, error=f"{item.path} cannot be read: {reason(error)}")
    return Read(item, sample if sample.id == item.id else replace(sample, id=item.id), notes)


def passed_over(found: Inputs) -> str:
    """A sentence about files that are no inputs; empty where there are none."""
    return f"passed over by their names: {_counted(found.others)}" if found.others else ""


def _walk(folder: Path) -> list[Path]:
    """Files and folders below a folder in order: a folder called like a picture is a mistake to be told."""
    found: list[Path] = []
    for here, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(here, name) for name in (*folders, *files) if not name.startswith(".")]
    return sorted(found)


def _fixed(pattern: Path) -> Path:
    """The part of a pattern before its first placeholder."""
    parts = pattern.parts[: next(k for k, part in enumerate(pattern.parts) if has_magic(part))]
    return Path(*parts)


def _rows(file: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Where a row stands, and what it says."""
    try:
        text = read_text(file)
    except DataError as error:
        raise InputError(f"questions={error}") from None
    if file.suffix.lower() not in (".csv", ".jsonl"):
        raise InputError(f"questions={file}: expected a .csv or .jsonl file")
    if file.suffix.lower() == ".csv":
        reader = csv.DictReader(text.splitlines())
        lines: Iterator[tuple[str, Any]] = ((f"{file}, line {reader.line_num}", row) for row in reader)
    else:
        lines = ((f"{file}, line {n}", _object(line)) for n, line in enumerate(text.splitlines(), 1) if line.strip())
    for where, row in _told(file, lines):
        if not isinstance(row, dict) or not row.get("path") or None in row or None in row.values():
            raise InputError(f"{where}: expected path and, where it applies, question, choices, gsd")
        choices = row.get("choices")
        row["choices"] = "|".join(map(str, choices)) if isinstance(choices, list) else choices or ""
        yield where, {key: str(value) for key, value in row.items() if value != ""}


def _told(file: Path, lines: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    try:
        yield from lines
    except csv.Error as error:
        raise InputError(f"questions={file}: no CSV ({error})") from None


def _object(line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _counted(others: Counter[str]) -> str:
    shown = ", ".join(f"{number} {suffix}" for suffix, number in others.most_common(5))
    return shown + ", ..." * (len(others) > 5)
