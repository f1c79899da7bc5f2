"""Clouds as text: a table of numbers between commas, semicolons or blanks, x y z first.

Comments (#, //) and a line of names may stand on top; the names say which columns are x, y and z. So may a line with
the number of points, as PTS files and many programs write it (PTS: before each of several scans). Where commas cannot
be between numbers, as semicolons or blanks are, they are decimal points, as much of Europe writes them.
"""

import io
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_modules.errors import DamagedError

GRID = ("ncols", "nrows")
"""How a raster in ESRI's text format begins, which ends in .asc too."""

SHOWN = 40

COMMENTS = ("#", "//")

CALLED = {
    "x": "x", "easting": "x", "east": "x",
    "y": "y", "northing": "y", "north": "y",
    "z": "z", "elevation": "z", "height": "z", "altitude": "z",
}  # fmt: skip
"""Names of columns, without their units, and the axis that they are."""

DECIMAL = re.compile(r"[+-]?\d+(,\d+)?([eE][+-]?\d+)?")

COMMAS = "commas are read as decimal points"


class Top(NamedTuple):
    """What stands above the numbers.

    Attributes:
        skip: lines.
        names: of the columns, or words of a comment; in lower case, without units.
        strict: it is a line of names and no comment.
        first: line of numbers.
        number: of points that are announced there.
    """

    skip: int
    names: list[str]
    strict: bool
    first: str
    number: bool


def read_numbers(path: Path) -> tuple[NDArray[np.float64], list[str]]:
    """Rows [M, columns], with x, y and z in front where a line of names says which they are, and notes.

    Raises:
        DamagedError: naming the line that is no row of numbers, or fewer rows than are announced.
    """
    encoding = _encoding(path)
    try:
        top = _top(path, encoding)
        if top.number:
            return _counted(path.read_text(encoding), top.skip)
    except UnicodeError:
        raise DamagedError("it is no text") from None
    notes: list[str] = []
    separator = next((mark for mark in ",;" if mark in top.first), None)
    try:
        table = np.loadtxt(path, delimiter=separator, ndmin=2, skiprows=top.skip, encoding=encoding, quotechar='"')
    except ValueError:
        text = path.read_text(encoding)
        if (found := _european(text, top.skip)) is None:
            raise DamagedError(_first_mistake(text, skip=top.skip)) from None
        table, notes = found
    return _in_order(table, top, notes)


def _encoding(path: Path) -> str:
    with path.open("rb") as file:
        return "utf-16" if file.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def _top(path: Path, encoding: str) -> Top:
    """The lines before the first row of numbers."""
    names: list[str] = []
    skip, strict = 0, False
    with path.open(encoding=encoding) as file:
        for line in file:
            words = _split(line)
            if words and words[0].lower() in GRID:
                raise DamagedError(
                    "it is a raster in ESRI's text format, no table of points; save its cells as lines of x y z"
                )
            comment = line.lstrip().startswith(COMMENTS)
            if words and not comment and (strict or any(map(_is_number, words))):
                second = next((parts for later in file if (parts := _split(later))), [])
                return Top(skip, names, strict, line, len(words) == 1 and words[0].isdecimal() and len(second) > 1)
            skip += 1
            if words:
                names, strict = _names(line), not comment
    raise DamagedError("it holds no row of numbers")


def _names(line: str) -> list[str]:
    plain = re.sub(r"\[.*?\]|\(.*?\)|\"", "", line.strip().lstrip("#/ ")).lower()
    return [
        name.strip() for name in re.split(r"[,;\t]" if re.search(r"[,;\t]", plain) else r"\s+", plain) if name.strip()
    ]


def _in_order(table: NDArray[np.float64], top: Top, notes: list[str]) -> tuple[NDArray[np.float64], list[str]]:
    """x, y and z in front, where the names say which they are."""
    if len(top.names) != table.shape[1]:
        if top.strict and top.names and len(table):
            raise DamagedError(
                f"its line of names has {len(top.names)} columns, its rows have {table.shape[1]} numbers; expected as "
                "many (between commas, a decimal point is no comma)"
            )
        return table, notes
    axes = [CALLED.get(name, "") for name in top.names]
    if any(axes.count(axis) != 1 for axis in "xyz"):
        if len(axes) >= 3 and top.strict:
            notes = [*notes, f"columns called {', '.join(top.names[:3])} are taken for x, y and z"]
        return table, notes
    front = [axes.index(axis) for axis in "xyz"]
    return table[:, [*front, *(k for k in range(len(axes)) if k not in front)]], notes


def _european(text: str, skip: int) -> tuple[NDArray[np.float64], list[str]] | None:
    """A table with commas in its numbers, or with separators at the ends of its lines; None where it is neither."""
    lines = [line.strip().rstrip(",; \t") for line in text.splitlines()[skip:]]
    lines = [line for line in lines if line and not line.startswith(COMMENTS)]
    notes: list[str] = []
    if all(DECIMAL.fullmatch(word) for line in lines for word in re.split(r"[;\s]+", line)) and "," in text:
        lines, notes = [line.replace(",", ".") for line in lines], [COMMAS]
    separator = next((mark for mark in ",;" if lines and mark in lines[0]), None)
    try:
        return np.loadtxt(io.StringIO("\n".join(lines)), delimiter=separator, ndmin=2), notes
    except ValueError:
        return None


def _counted(text: str, skip: int) -> tuple[NDArray[np.float64], list[str]]:
    """Scans one after the other, each with its number of points on top."""
    lines = [line for line in text.splitlines()[skip:] if line.strip()]
    rows: list[str] = []
    at = 0
    while at < len(lines):
        if not (count := lines[at].strip()).isdecimal():
            raise DamagedError(
                f"after {len(rows):,} points, expected the end or a number of points, not {count[:SHOWN]!r}"
            )
        scan = lines[at + 1 : at + 1 + int(count)]
        if len(scan) < int(count) or any(len(_split(line)) < 2 for line in scan):
            raise DamagedError(f"it ends early: a line says {int(count):,} points, {len(scan):,} lines follow")
        rows += scan
        at += 1 + int(count)
    notes: list[str] = []
    if any("," in row for row in rows) and all(DECIMAL.fullmatch(word) for row in rows for word in row.split()):
        rows, notes = [row.replace(",", ".") for row in rows], [COMMAS]
    width = min(len(_split(row)) for row in rows)  # where some points have a colour, those of others are not needed
    try:
        return np.array([_split(row)[:width] for row in rows], np.float64), notes
    except ValueError:
        raise DamagedError(_first_mistake(text, skip=skip + 1)) from None


def _first_mistake(text: str, *, skip: int) -> str:
    """A sentence about the first line that is no row of numbers like those before it."""
    width = 0
    for number, line in enumerate(text.splitlines(), 1):
        parts = _split(line.partition("#")[0])
        if number <= skip or not parts:
            continue
        shown = line.strip()
        shown = f"{shown[:SHOWN]}..." if len(shown) > SHOWN else shown
        if not all(map(_is_number, parts)):
            return f"line {number} ({shown!r}) is no row of numbers; expected numbers alone, x y z first"
        width = width or len(parts)
        if len(parts) != width:
            return f"line {number} ({shown!r}) has {len(parts)} numbers; the lines before it have {width}"
    return "it is no table of numbers between commas, semicolons or blanks"


def _split(line: str) -> list[str]:
    return [word for word in re.split(r"[,;\s\"]+", line) if word]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
