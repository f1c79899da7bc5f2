"""A user's own files as entries: what lies in class folders, or what a manifest says, a line at a time.

    DIR/<class>/...                   class folders, at any depth below
    DIR/train|val|test/<class>/...    the same inside splits that are kept as they are
    DIR/manifest.csv                  or manifest.jsonl: in UTF-8, paths relative to DIR, a header of column names

A manifest goes before folders. Cells of CSV are separated by commas, semicolons or tabs, whichever the header has most
of. Nothing is decoded here; every mistake of a manifest is said at once.
"""

import csv
import difflib
import io
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from data_modules.errors import DataError
from data_modules.readers.foreign import read_text
from data_modules.readers.lines import Mistakes, json_lines

SPLITS = ("train", "val", "test")

MANIFESTS = ("manifest.csv", "manifest.jsonl")

SHOWN = 5


class Columns(NamedTuple):
    """Columns of a manifest beside `path`, `split` and `group`.

    Attributes:
        kind: of files that it lists, in words.
        required: that every manifest has.
        optional: that it may have.
        blank: required ones of which a cell may be empty.
    """

    kind: str
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    blank: tuple[str, ...] = ()

    @property
    def known(self) -> tuple[str, ...]:
        """All of them."""
        return ("path", *self.required, *self.optional, "split", "group")


class Kinds(NamedTuple):
    """What files are in words, and suffixes in lower case: of those that are read, that lie beside them, and that are
    refused with what to do."""

    kind: str
    readable: tuple[str, ...]
    beside: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    @property
    def named(self) -> str:
        """For messages."""
        return f"{self.kind} ({', '.join(self.readable)})"


class Said(NamedTuple):
    """What one line says of a file: the place for messages, and text by column, empty where nothing stands."""

    where: str
    values: Mapping[str, str]


@dataclass
class Entry:
    """A file and all that is said of it.

    Attributes:
        name: path relative to the root, with slashes; unique.
        path: of the file.
        said: a line each; of class folders one, with `label`.
        split: train, val or test; empty where nobody says.
        group: of files that must stay together; empty for a file of its own.
    """

    name: str
    path: Path
    said: list[Said] = field(default_factory=list)
    split: str = ""
    group: str = ""


def read_entries(
    root: Path, manifest: str | None, columns: Columns, kinds: Kinds, remarks: dict[str, int]
) -> list[Entry]:
    """Every file with what is said of it, sorted by name.

    Args:
        root: the user's folder.
        manifest: a file, relative to the root; None takes `manifest.csv` or `manifest.jsonl` where one is there, and
            class folders elsewhere.
        columns: of a manifest.
        kinds: of files that can be read.
        remarks: counts what is passed over.

    Raises:
        DataError: no such folder, nothing in it, or everything that is wrong with the manifest.
    """
    if not root.is_dir():
        raise DataError(f"data.root: {root} is no folder; expected one of class folders, or with a manifest.csv")
    there = [root / name for name in MANIFESTS if (root / name).is_file()]
    if manifest is None and len(there) > 1:
        raise DataError(f"{root} holds both {' and '.join(MANIFESTS)}; data.manifest=NAME says which")
    if manifest is not None or there:
        return _listed(root, there[0] if manifest is None else root / manifest, columns, kinds, remarks)
    if columns.required and columns.required != ("label",):
        needed = ", ".join(("path", *columns.required))
        raise DataError(
            f"{root} has no {' or '.join(MANIFESTS)}; expected one with the columns {needed} of {columns.kind}"
        )
    return _in_folders(root, kinds, remarks)


# --- class folders ----------------------------------------------------------------------------------------------------


def _in_folders(root: Path, kinds: Kinds, remarks: dict[str, int]) -> list[Entry]:
    folders = _folders(root)
    if not folders:
        raise DataError(
            f"{root} holds no folders; expected one a class (or train, val and test, with one a class in each), "
            f"or a {' or '.join(MANIFESTS)}"
        )
    _count(remarks, "files outside of class folders: left out", _loose(root))
    if any(folder.name in SPLITS and _folders(folder) for folder in folders):
        strange = [folder.name for folder in folders if folder.name not in SPLITS]
        if strange:
            told = f"{', '.join(strange)} beside splits, which are called {', '.join(SPLITS)}"
            raise DataError(f"{root}: {told}; rename or move what is called otherwise")
        entries: list[Entry] = []
        for folder in folders:
            _count(remarks, "files outside of class folders: left out", _loose(folder))
            entries += _of_classes(root, _folders(folder), kinds, remarks, split=folder.name)
    else:
        if all(folder.name in SPLITS for folder in folders):
            raise DataError(f"{folders[0]} holds files, but no class folders; expected {folders[0]}/<class>/<file>")
        entries = _of_classes(root, folders, kinds, remarks)
    return sorted(entries, key=lambda entry: entry.name)


def _of_classes(
    root: Path, folders: Sequence[Path], kinds: Kinds, remarks: dict[str, int], split: str = ""
) -> list[Entry]:
    entries, empty = [], []
    for folder in folders:
        files, others = _media(folder, kinds)
        for suffix, number in Counter(path.suffix.lower() or "no ending" for path in others).items():
            _count(remarks, f"files of another kind ({suffix}): left out", number)
        if not files:
            empty.append(str(folder))
        for path in files:
            said = Said(str(path), {"label": folder.name})
            entries.append(Entry(path.relative_to(root).as_posix(), path, [said], split))
    if empty:
        raise DataError(f"{', '.join(empty[:SHOWN])}: no file that can be read; expected {kinds.named}")
    return entries


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _loose(folder: Path) -> int:
    return sum(path.is_file() and not path.name.startswith(".") for path in folder.iterdir())


def _media(folder: Path, kinds: Kinds) -> tuple[list[Path], list[Path]]:
    """Files below a folder that can be read, and others; hidden ones are neither."""
    found: list[Path] = []
    others: list[Path] = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            suffix = path.suffix.lower()
            if suffix in (*kinds.readable, *kinds.refused):
                found.append(path)
            elif suffix not in kinds.beside:
                others.append(path)
    return found, others


# --- a manifest -------------------------------------------------------------------------------------------------------


def _listed(root: Path, manifest: Path, columns: Columns, kinds: Kinds, remarks: dict[str, int]) -> list[Entry]:
    mistakes, entries = Mistakes(), dict[str, Entry]()
    reader = _json_rows if manifest.suffix.lower() in (".jsonl", ".json") else _csv_rows
    for said in reader(manifest, columns, mistakes):
        with mistakes.catch():
            _add(entries, root, said, columns, kinds)
    mistakes.settle()
    if not entries:
        raise DataError(f"{manifest} lists no file")
    files, _ = _media(root, kinds)
    listed = {manifest, *(entry.path for entry in entries.values())}
    _count(remarks, f"files that {manifest.name} does not list: left out", sum(path not in listed for path in files))
    return [entries[name] for name in sorted(entries)]


def _add(entries: dict[str, Entry], root: Path, said: Said, columns: Columns, kinds: Kinds) -> None:
    """One line: a new file, or more of one that is known.

    Raises:
        DataError: a cell that is empty, a path that leaves the root, no such file, or another split or group.
    """
    given = said.values
    if empty := [name for name in ("path", *columns.required) if not given.get(name) and name not in columns.blank]:
        raise DataError(f"{said.where}: {', '.join(empty)} is empty")
    if (split := given.get("split", "")) not in ("", *SPLITS):
        raise DataError(f"{said.where}: split {split!r} is none of {', '.join(SPLITS)}")
    # By its words alone: where links lead is the user's own affair.
    name = Path(os.path.relpath(root / given["path"], root)).as_posix()
    path = root / name
    if name.startswith("../"):
        raise DataError(f"{said.where}: {given['path']!r} lies outside of {root}; expected a path below it")
    try:
        there = path.is_file()
    except OSError as error:  # a name of hundreds of letters, for instance
        raise DataError(f"{said.where}: {given['path'][:80]!r} cannot be read: {error.strerror}") from None
    if not there:
        raise DataError(f"{said.where}: {path} does not exist")
    if path.suffix.lower() not in (*kinds.readable, *kinds.refused):
        raise DataError(f"{said.where}: {given['path']!r} is of another kind; expected {kinds.named}")
    entry = entries.setdefault(name, Entry(name, path, [], split, given.get("group", "")))
    for key, before in (("split", entry.split), ("group", entry.group)):
        if given.get(key, "") != before:
            raise DataError(
                f"{said.where}: {key} {given.get(key, '')!r} of {name}, which has {before!r} in {entry.said[0].where}"
            )
    entry.said.append(said)


def _csv_rows(path: Path, columns: Columns, mistakes: Mistakes) -> Iterator[Said]:
    text = read_text(path)
    head = text.partition("\n")[0]
    separator = max(",;\t", key=head.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    _require_columns(path, [name.strip() for name in reader.fieldnames or ()], columns)
    reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
    try:
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if None in row or None in row.values():
                number = len(reader.fieldnames)
                mistakes.found.append(f"{where}: expected {number} cells; quote text that contains {separator!r}")
            else:
                yield Said(where, {name: (value or "").strip() for name, value in row.items()})
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: no CSV ({error})") from None


def _json_rows(path: Path, columns: Columns, mistakes: Mistakes) -> Iterator[Said]:
    for line in json_lines(path, mistakes):
        with mistakes.catch():
            _require_columns(line.where, list(line.row), columns, required=("path",))
            yield Said(line.where, {name: _cell(value, name, line.where) for name, value in line.row.items()})


def _cell(value: Any, name: str, where: str) -> str:
    """A value of JSON as it would stand in CSV; a list of texts has bars between them."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(value)
    if isinstance(value, list) and all(isinstance(part, str) and "|" not in part for part in value):
        return "|".join(value)
    raise DataError(f"{where}: {name} = {value!r}; expected a text, a number, null, or a list of texts without bars")


def _require_columns(
    where: Path | str, found: Sequence[str], columns: Columns, required: Sequence[str] | None = None
) -> None:
    """Raises DataError: a column that nobody knows, with the nearest, one twice, or one that is missing."""
    for name in found:
        if name not in columns.known:
            close = difflib.get_close_matches(name, columns.known, n=1)
            known = f"a list of {columns.kind} has the columns {', '.join(columns.known)}"
            hint = f"did you mean {close[0]!r}?" if close else known
            raise DataError(f"{where}: unknown column {name!r}; {hint}")
    if repeated := [name for name, number in Counter(found).items() if number > 1]:
        raise DataError(f"{where}: column {repeated[0]!r} stands twice")
    needed = ("path", *columns.required) if required is None else required
    if lacking := [name for name in needed if name not in found]:
        expected = ", ".join(("path", *columns.required))
        raise DataError(f"{where}: no column {', '.join(lacking)}; expected {expected} of {columns.kind}")


def _count(remarks: dict[str, int], reason: str, number: int) -> None:
    if number:
        remarks[reason] = remarks.get(reason, 0) + number


def twice(entries: Sequence[Entry]) -> list[str]:
    """Mistakes: files that stand in two lines, though one label is all they have."""
    return [f"{e.said[1].where}: {e.name} stands also in {e.said[0].where}" for e in entries if len(e.said) > 1]
