"""Lists of a user's files or questions: CSV (any suffix but the next two) or JSON lines (.jsonl, .json), row by row.

Cells of CSV are separated by commas, semicolons or tabs, whichever the header has most of. Both formats give the same
rows: JSON values become the text of a cell.
"""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from data_modules.errors import DataError
from data_modules.readers.foreign import read_text
from data_modules.readers.lines import ErrorCollector, json_lines

JSON = (".jsonl", ".json")


class ManifestRow(NamedTuple):
    """One row: its place for messages, and text by column, empty for an empty cell."""

    where: str
    values: Mapping[str, str]


Check = Callable[[str, Sequence[str]], None]
"""Takes a place and the columns found there; raises DataError for columns that are not as expected."""


def manifest_rows(path: Path, errors: ErrorCollector, *, header: Check, keys: Check) -> Iterator[ManifestRow]:
    """The rows of a file, one at a time; malformed ones go to `errors`.

    Args:
        path: of the file; `.jsonl` and `.json` are read as JSON lines, everything else as CSV.
        errors: collects malformed rows.
        header: checks the header of CSV.
        keys: checks the keys of every JSON object, which may leave columns out.

    Raises:
        DataError: the file cannot be read, or its header is refused.
    """
    return _json_rows(path, errors, keys) if path.suffix.lower() in JSON else _csv_rows(path, errors, header)


def _csv_rows(path: Path, errors: ErrorCollector, header: Check) -> Iterator[ManifestRow]:
    text = read_text(path)
    separator = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        columns = [name.strip() for name in reader.fieldnames or ()]
        header(str(path), columns)
        reader.fieldnames = columns
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if None in row or None in row.values():
                errors.messages.append(
                    f"{where}: expected {len(columns)} cells; quote text that contains {separator!r}"
                )
            else:
                yield ManifestRow(where, {name: (value or "").strip() for name, value in row.items()})
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: no CSV ({error})") from None


def _json_rows(path: Path, errors: ErrorCollector, keys: Check) -> Iterator[ManifestRow]:
    for line in json_lines(path, errors):
        with errors.catch():
            keys(line.where, list(line.row))
            yield ManifestRow(line.where, {name: _cell(value, name, line.where) for name, value in line.row.items()})


def _cell(value: Any, name: str, where: str) -> str:
    """A JSON value as the text of a CSV cell; a list of texts is joined with bars."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(value)
    if isinstance(value, list) and all(isinstance(part, str) and "|" not in part for part in value):
        return "|".join(value)
    raise DataError(f"{where}: {name} = {value!r}; expected a text, a number, null, or a list of texts without bars")
