"""JSON lines of a user or a benchmark, read one at a time; all errors are reported at once."""

import json
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from data_modules.errors import DataError
from data_modules.readers.foreign import require_file

LARGEST_LINE = 16 << 20
"""Bytes of one line; a question has a few hundred."""

SHOWN = 10
"""Mistakes in a message."""

FEW = 5
"""Examples of files or names in a message."""


class ErrorCollector:
    """Collects the errors of many files or rows, so that a user sees all of them at once."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    @contextmanager
    def catch(self) -> Iterator[None]:
        """Collect the message of a DataError raised inside, and continue."""
        try:
            yield
        except DataError as error:
            self.messages.append(str(error))

    def raise_all(self, hint: str = "") -> None:
        """Raise the collected errors, if there are any.

        Args:
            hint: last line of the message.

        Raises:
            DataError: the first ten errors.
        """
        if not self.messages:
            return
        left = [f"and {len(self.messages) - SHOWN} more"] if len(self.messages) > SHOWN else []
        lines = [*self.messages[:SHOWN], *left, *([hint] if hint else [])]
        raise DataError("\n  ".join(lines if len(self.messages) == 1 else [f"{len(self.messages)} mistakes:", *lines]))


class Line(NamedTuple):
    """An object of a JSONL file: the file, its line (from 1), the offset of its first byte, and its keys and values."""

    path: Path
    number: int
    offset: int
    row: dict[str, Any]

    @property
    def where(self) -> str:
        """For messages."""
        return f"{self.path}, line {self.number}"


def json_lines(path: Path, errors: ErrorCollector) -> Iterator[Line]:
    """The objects of a file, one at a time; malformed lines go to `errors`.

    Raises:
        DataError: the file cannot be read.
    """
    offset = 0
    try:
        require_file(path, empty=True)
        with path.open("rb") as file:
            for number, text in enumerate(iter(lambda: file.readline(LARGEST_LINE + 1), b""), 1):
                if len(text) > LARGEST_LINE:
                    raise DataError(f"{path}, line {number} has {len(text):,} bytes; at most {LARGEST_LINE:,} are read")
                if text.strip():
                    row = None
                    with errors.catch():
                        row = _object(text, f"{path}, line {number}")
                    if row is not None:
                        yield Line(path, number, offset, row)
                offset += len(text)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def _object(text: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except RecursionError:
        raise DataError(f"{where}: no JSON that is read here: it is nested too deeply") from None
    except ValueError as error:
        cut = "" if text.endswith(b"\n") else "; the file ends here, so it is cut short?"
        raise DataError(f"{where}: no JSON ({error}){cut}") from None
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected an object {{...}}, got {reprlib.repr(row)}")
    return row
