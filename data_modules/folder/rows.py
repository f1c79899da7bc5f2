"""A user's own files as entries, found in class folders or listed by a manifest.

    DIR/<class>/...                   class folders, at any depth below
    DIR/train|val|test/<class>/...    the same inside splits that are kept as they are
    DIR/manifest.csv                  or manifest.jsonl: in UTF-8, paths relative to DIR, a header of column names

A manifest takes precedence over folders (`data_modules.readers.manifest` reads it). No file is decoded here; all errors
of a manifest are reported at once.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from data_modules.errors import DataError
from data_modules.readers.lines import FEW, ErrorCollector
from data_modules.readers.manifest import ManifestRow, manifest_rows
from zoo import wording

SPLITS = ("train", "val", "test")

MANIFESTS = ("manifest.csv", "manifest.jsonl")


class Columns(NamedTuple):
    """Columns of a manifest beside `path`, `split` and `group`.

    Attributes:
        kind: what the listed files are, for messages.
        required: columns that every manifest must have.
        optional: columns that a manifest may have.
        blank: required columns whose cells may be empty.
        files: required columns that name further files of the same sample.
    """

    kind: str
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    blank: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    @property
    def known(self) -> tuple[str, ...]:
        """All of them."""
        return ("path", *self.required, *self.optional, "split", "group")


class Kinds(NamedTuple):
    """Which files are read, by suffix in lower case.

    Attributes:
        kind: what they are, for messages.
        readable: suffixes of files that are read.
        beside: suffixes of files that belong to a readable one and are not counted as left out.
        refused: suffixes of files that are listed, so that reading them raises an error with advice.
    """

    kind: str
    readable: tuple[str, ...]
    beside: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    @property
    def named(self) -> str:
        """For messages."""
        return f"{self.kind} ({', '.join(self.readable)})"


@dataclass
class FileEntry:
    """A file and its rows in the manifest.

    Attributes:
        name: path relative to the root, with slashes; unique.
        path: of the file.
        rows: one for each line; one, with `label`, in class folders.
        split: train, val or test; empty if it is not given.
        group: name of the group of files that must stay in one split; empty if the file has none.
    """

    name: str
    path: Path
    rows: list[ManifestRow] = field(default_factory=list)
    split: str = ""
    group: str = ""


def read_entries(
    root: Path, manifest: str | None, columns: Columns, kinds: Kinds, remarks: dict[str, int]
) -> list[FileEntry]:
    """Every file with its rows, sorted by name.

    Args:
        root: the user's folder.
        manifest: a file, relative to the root; None takes `manifest.csv` or `manifest.jsonl` if one exists, else class
            folders.
        columns: columns of a manifest.
        kinds: which files are read.
        remarks: counts the files that are left out, by reason.

    Raises:
        DataError: the folder does not exist or is empty, or all errors of the manifest.
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


def _in_folders(root: Path, kinds: Kinds, remarks: dict[str, int]) -> list[FileEntry]:
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
            raise DataError(
                f"{root}: {', '.join(strange)} beside splits, which are called {', '.join(SPLITS)}; rename or move "
                "what is called otherwise"
            )
        entries: list[FileEntry] = []
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
) -> list[FileEntry]:
    entries, empty = [], []
    for folder in folders:
        files, others = _media(folder, kinds)
        for suffix, number in Counter(path.suffix.lower() or "no ending" for path in others).items():
            _count(remarks, f"files of another kind ({suffix}): left out", number)
        if not files:
            empty.append(str(folder))
        for path in files:
            row = ManifestRow(str(path), {"label": folder.name})
            entries.append(FileEntry(path.relative_to(root).as_posix(), path, [row], split))
    if empty:
        raise DataError(f"{', '.join(empty[:FEW])}: no file that can be read; expected {kinds.named}")
    return entries


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _loose(folder: Path) -> int:
    return sum(path.is_file() and not path.name.startswith(".") for path in folder.iterdir())


def _media(folder: Path, kinds: Kinds) -> tuple[list[Path], list[Path]]:
    """Readable files below a folder, and others; hidden files are in neither list."""
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


def _listed(root: Path, manifest: Path, columns: Columns, kinds: Kinds, remarks: dict[str, int]) -> list[FileEntry]:
    errors, entries = ErrorCollector(), dict[str, FileEntry]()

    def header(where: str, found: Sequence[str]) -> None:
        _require_columns(where, found, columns, required=("path", *columns.required))

    def keys(where: str, found: Sequence[str]) -> None:
        _require_columns(where, found, columns, required=("path",))

    for row in manifest_rows(manifest, errors, header=header, keys=keys):
        with errors.catch():
            _add(entries, root, row, columns, kinds)
    errors.raise_all()
    if not entries:
        raise DataError(f"{manifest} lists no file")
    files, _ = _media(root, kinds)
    listed = {manifest, *(entry.path for entry in entries.values())}
    listed |= {root / row.values[name] for entry in entries.values() for row in entry.rows for name in columns.files}
    _count(remarks, f"files that {manifest.name} does not list: left out", sum(path not in listed for path in files))
    return [entries[name] for name in sorted(entries)]


def _add(entries: dict[str, FileEntry], root: Path, row: ManifestRow, columns: Columns, kinds: Kinds) -> None:
    """Add a row to its file's entry, which is made if this is the file's first row.

    Raises:
        DataError: a required cell is empty, the path leaves the root or does not exist, or split or group differ from
            an earlier row of the same file.
    """
    cells = row.values
    if empty := [name for name in ("path", *columns.required) if not cells.get(name) and name not in columns.blank]:
        raise DataError(f"{row.where}: {', '.join(empty)} is empty")
    if (split := cells.get("split", "")) not in ("", *SPLITS):
        raise DataError(f"{row.where}: split {split!r} is none of {', '.join(SPLITS)}")
    # Links are not resolved: the user may let them lead anywhere.
    name = Path(os.path.relpath(root / cells["path"], root)).as_posix()
    path = root / name
    if name.startswith("../"):
        raise DataError(f"{row.where}: {cells['path']!r} lies outside of {root}; expected a path below it")
    try:
        there = path.is_file()
    except OSError as error:  # a name of hundreds of letters, for instance
        raise DataError(f"{row.where}: {cells['path'][:80]!r} cannot be read: {error.strerror}") from None
    if not there:
        raise DataError(f"{row.where}: {path} does not exist")
    if path.suffix.lower() not in (*kinds.readable, *kinds.refused):
        raise DataError(f"{row.where}: {cells['path']!r} is of another kind; expected {kinds.named}")
    entry = entries.setdefault(name, FileEntry(name, path, [], split, cells.get("group", "")))
    for key, before in (("split", entry.split), ("group", entry.group)):
        if cells.get(key, "") != before:
            raise DataError(
                f"{row.where}: {key} {cells.get(key, '')!r} of {name}, which has {before!r} in {entry.rows[0].where}"
            )
    entry.rows.append(row)


def _require_columns(where: str, found: Sequence[str], columns: Columns, required: Sequence[str]) -> None:
    """Raises DataError: a column is unknown (the nearest is suggested), repeated or missing."""
    for name in found:
        if name not in columns.known:
            known = f" A list of {columns.kind} has the columns {', '.join(columns.known)}."
            raise DataError(f"{where}: unknown column {name!r}.{wording.close(name, columns.known) or known}")
    if repeated := [name for name, number in Counter(found).items() if number > 1]:
        raise DataError(f"{where}: column {repeated[0]!r} stands twice")
    if missing := [name for name in required if name not in found]:
        expected = ", ".join(("path", *columns.required))
        raise DataError(f"{where}: no column {', '.join(missing)}; expected {expected} of {columns.kind}")


def _count(remarks: dict[str, int], reason: str, number: int) -> None:
    if number:
        remarks[reason] = remarks.get(reason, 0) + number


def repeated_files(entries: Sequence[FileEntry]) -> list[str]:
    """Messages about files that have two rows, where a file has one label."""
    return [f"{e.rows[1].where}: {e.name} is listed also in {e.rows[0].where}" for e in entries if len(e.rows) > 1]
