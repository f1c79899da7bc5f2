"""Clouds as text: a table of numbers between commas, semicolons or blanks, x y z first.

A line of names may stand on top, and then says which columns they are; so may a line with the number of points, as
PTS files and many programs write it (PTS: before each of several scans).
"""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_modules.errors import DamagedError

GRID = ("ncols", "nrows")
"""How a raster in ESRI's text format begins, which ends in .asc too."""
SHOWN = 40


def read_numbers(path: Path) -> NDArray[np.float64]:
    """Rows [M, columns], with x, y and z in front where a line of names says which they are.

    Raises:
        DamagedError: naming the line that is no row of numbers, or fewer rows than are announced.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            first, second = file.readline(), file.readline()
            more = bool(second.strip()) or any(line.strip() for line in file)
    except UnicodeDecodeError:
        raise DamagedError("it is no text") from None
    words = [word.lower() for word in re.split(r"[,;\s]+", first.strip().lstrip("#/ ")) if word]
    if words and words[0] in GRID:
        raise DamagedError("it is a raster in ESRI's text format, no table of points; save its cells as lines of x y z")
    if len(words) == 1 and words[0].isdecimal() and len(_split(second)) > 1:
        return _counted(path)
    named = bool(words) and not any(map(_is_number, words))
    if not more and (named or not words):
        raise DamagedError("it holds no row of numbers")
    line = second if named else first
    separator = next((mark for mark in ",;" if mark in line), None)
    try:
        table = np.loadtxt(path, delimiter=separator, ndmin=2, skiprows=int(named), encoding="utf-8-sig")
    except ValueError as error:
        raise DamagedError(_first_mistake(path, skip=int(named))) from error
    if not named or not {"x", "y", "z"} <= set(words) or len(words) != table.shape[1]:
        return table
    front = [words.index(axis) for axis in "xyz"]
    return table[:, [*front, *(k for k in range(len(words)) if k not in front)]]


def _counted(path: Path) -> NDArray[np.float64]:
    """Scans one after the other, each with its number of points on top."""
    lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
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
    widths = {len(_split(row)) for row in rows}
    width = min(widths)  # where some points have a colour, those of others are not needed either
    try:
        return np.array([_split(row)[:width] for row in rows], np.float64)
    except ValueError:
        raise DamagedError(_first_mistake(path, skip=1)) from None


def _first_mistake(path: Path, *, skip: int) -> str:
    """A sentence about the first line that is no row of numbers like those before it."""
    width = 0
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
            parts = _split(line.partition("#")[0])
            if number <= skip or not parts:
                continue
            shown = line.strip()
            shown = f"{shown[:SHOWN]}..." if len(shown) > SHOWN else shown
            if not all(map(_is_number, parts)):
                return f"line {number} ({shown!r}) is no row of numbers"
            width = width or len(parts)
            if len(parts) != width:
                return f"line {number} ({shown!r}) has {len(parts)} numbers; the lines before it have {width}"
    except UnicodeDecodeError:
        return "it is no text"
    return "it is no table of numbers between commas, semicolons or blanks, with a point for the decimals"


def _split(line: str) -> list[str]:
    return [word for word in re.split(r"[,;\s]+", line.strip()) if word]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
