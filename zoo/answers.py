"""The file that answers are written to: JSON lines in the order of the inputs, added to as they come, and resumable.

    out.jsonl            one record a line: `id` and the answer, or `id` and `error`
    out.jsonl.run.json   which adapter and settings they are of

A run with the same adapter and settings goes on: inputs that have their answer are not asked again, unless the file has
changed since; errors are tried again. A line that a killed run left half-written is cut off. Answers of inputs that
are not among this run's stay, in front.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoo.errors import UserError
from zoo.files import write_whole


class AnswersError(UserError):
    """A file is in the way, or holds what this run cannot go on with."""


class Answers:
    """An open file of answers.

    Args:
        path: of the JSON lines; its folder is made where it is missing.
        run: what answers depend on beside the input, in plain values; must equal that of the file's earlier runs.
        restart: forget what the file holds.

    Raises:
        AnswersError: the file holds answers of another run, or is none of ours.
    """

    def __init__(self, path: Path, run: dict[str, Any], *, restart: bool = False) -> None:
        self.path, self.run = path, run
        self.beside = path.with_name(f"{path.name}.run.json")
        self.lines: dict[str, str] = {}
        """By id, without errors."""
        if path.is_dir():
            raise AnswersError(f"output={path} is a folder; expected a file, like {path / 'answers.jsonl'}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise AnswersError(f"output={path}: {error.strerror}") from None
        self.began = 0.0
        if path.exists() and not restart:
            self._check()
            self.began = self.beside.stat().st_mtime
            self._read()

    def _check(self) -> None:
        try:
            before = dict(json.loads(self.beside.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            raise AnswersError(
                f"output={self.path} exists, but not as an output of this command ({self.beside.name} is not there): "
                "name another file, or add --restart to write over it"
            ) from None
        if other := [key for key in self.run if before.get(key) != self.run[key]]:
            told = "; ".join(f"{key} {_short(before.get(key))} there, {_short(self.run[key])} here" for key in other)
            raise AnswersError(
                f"output={self.path} holds answers of another run ({told}): name another file, or add --restart to "
                "write over it"
            )

    def _read(self) -> None:
        # What follows the last line's end is half a line.
        for number, line in enumerate(self.path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1], 1):
            try:
                record = json.loads(line)
                name, failed = record["id"], "error" in record
            except (ValueError, TypeError, KeyError):
                raise AnswersError(f"{self.path}, line {number} is no answer; --restart begins anew") from None
            if not failed:
                self.lines[name] = line

    def has(self, name: str, source: Path) -> bool:
        """Whether an input has its answer, and its file is no newer than the run that gave it."""
        if name not in self.lines:
            return False
        try:
            return source.stat().st_mtime <= self.began
        except OSError:
            return True

    def begin(self, again: Sequence[str]) -> None:
        """Open for writing, without the answers of inputs that are asked again."""
        for name in again:
            self.lines.pop(name, None)
        write_whole(self.path, "".join(f"{line}\n" for line in self.lines.values()))
        write_whole(self.beside, json.dumps(self.run, indent=2) + "\n")
        self.file = self.path.open("a", encoding="utf-8")

    def write(self, records: Sequence[dict[str, Any]]) -> None:
        """Add records; they are on their way to the disk when this returns."""
        for record in records:
            self.lines[record["id"]] = line = json.dumps(record)
            self.file.write(line + "\n")
        self.file.flush()

    def sort(self, order: Sequence[str]) -> None:
        """Put the lines in the order of the inputs, those of no input in front."""
        place = {name: k for k, name in enumerate(order)}
        ordered = sorted(self.lines, key=lambda name: place.get(name, -1))
        if ordered != list(self.lines):
            write_whole(self.path, "".join(f"{self.lines[name]}\n" for name in ordered))

    def close(self) -> None:
        """After `begin`; what was written is on the disk when this returns."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()


def _short(value: Any) -> Any:
    """A digest by its first letters."""
    return value[:12] if isinstance(value, str) and len(value) == 64 else value
