"""JSON lines of a user or a benchmark: read one at a time, and all that is wrong with them said at once."""

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


class Mistakes:
    """Collects what is wrong with files, so that a user hears of all of it at once."""

    def __init__(self) -> None:
        self.found: list[str] = []

    @contextmanager
    def catch(self) -> Iterator[None]:
        """Keep what a DataError inside says, and go on after it."""
        try:
            yield
        except DataError as error:
            self.found.append(str(error))

    def settle(self, hint: str = "") -> None:
        """Go on where nothing was found.

        Args:
            hint: said after the mistakes.

        Raises:
            DataError: the first ten mistakes.
        """
        if not self.found:
            return
        left = [f"and {len(self.found) - SHOWN} more"] if len(self.found) > SHOWN else []
        lines = [*self.found[:SHOWN], *left, *([hint] if hint else [])]
        raise DataError("\n  ".join(lines if len(self.found) == 1 else [f"{len(self.found)} mistakes:", *lines]))


class Line(NamedTuple):
    """An object of a JSONL file: file, line from 1 on, its first byte, and what it holds."""

    path: Path
    number: int
    offset: int
    row: dict[str, Any]

    @property
    def where(self) -> str:
        """For messages."""
        return f"{self.path}, line {self.number}"


def json_lines(path: Path, mistakes: Mistakes) -> Iterator[Line]:
    """The objects of a file, one at a time; lines that are none go to the mistakes.

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
                    with mistakes.catch():
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
