"""The file that answers are written to: JSON lines in the order of the inputs, added to as they come, and resumable.

    out.jsonl                one record a line: `id` and the answer, or `id` and `error`
    out.jsonl.run.json       which adapter and settings they are of
    out.jsonl.inputs.jsonl   of every answered input, what its files held (`zoo.inference.contents`)

A run with the same adapter and settings goes on: inputs that have their answer are not asked again, unless what they
hold is something else; errors are tried again. A line that a killed run left half-written is cut off. Answers of inputs
that are not among this run's stay, in front. One run writes at a time.
"""

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from zoo import locks
from zoo.errors import UserError
from zoo.files import json_text, write_whole
from zoo.inference.contents import Content, content, glance


class AnswersError(UserError):
    """A file is in the way, or holds what this run cannot go on with."""


class Answers:
    """An open file of answers, which as a context is this process's alone.

    Args:
        path: of the JSON lines; its folder is made where it is missing.
        run: what answers depend on beside the input, in plain values; must equal that of the file's earlier runs.
        restart: forget what the file holds.

    Raises:
        AnswersError: the file holds answers of another run, is none of ours, or is being written.
    """

    def __init__(self, path: Path, run: dict[str, Any], *, restart: bool = False) -> None:
        self.path, self.run = path, run
        self.beside = path.with_name(f"{path.name}.run.json")
        self.inputs = path.with_name(f"{path.name}.inputs.jsonl")
        self.lines: dict[str, str] = {}
        """By id, without errors."""
        if path.is_dir():
            raise AnswersError(f"output={path} is a folder; expected a file, like {path / 'answers.jsonl'}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise AnswersError(f"output={path}: {error.strerror}") from None
        self.restart = restart
        self.contents: dict[str, Content] = {}
        """By id, of answers whose input was read whole."""
        self._lock = path.with_name(f".{path.name}.lock")
        try:
            self._held = locks.take_new(self._lock)
        except OSError as error:
            raise AnswersError(f"output={path}: {error.strerror}") from None
        if self._held is None:
            raise AnswersError(f"output={path} is being written by another prediction: name another file, or wait")
        try:
            if path.exists() and not restart:
                self._check()
                self._read()
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._held is not None:
            self._lock.unlink(missing_ok=True)
            locks.release(self._held)
            self._held = None

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
        with contextlib.suppress(FileNotFoundError):  # of a version that kept none
            for line in self.inputs.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]:
                with contextlib.suppress(ValueError, TypeError, KeyError):
                    told = json.loads(line)
                    self.contents[told["id"]] = Content(told["sha256"], told["seen"])

    def has(self, name: str, source: Path) -> bool:
        """Whether an input has its answer, and its files hold what they held when that was given."""
        known = self.contents.get(name)
        if name not in self.lines or known is None or not known.sha256:
            return False
        try:
            if known.seen and known.seen == glance(source)[0]:
                return True
            found = content(source)
        except OSError:  # it cannot be asked again either
            return True
        self.contents[name] = found if found.sha256 == known.sha256 else known
        return found.sha256 == known.sha256

    def begin(self, again: Sequence[str]) -> None:
        """Open for writing, without the answers of inputs that are asked again.

        What the answers are of is written first: a kill never leaves answers beside what they are not of.
        """
        for name in again:
            self.lines.pop(name, None)
        if self.restart:
            self.path.unlink(missing_ok=True)
        write_whole(self.beside, json.dumps(self.run, indent=2) + "\n")
        known = {name: one for name, one in self.contents.items() if name in self.lines}
        write_whole(self.inputs, "".join(_told(name, one) for name, one in known.items()))
        write_whole(self.path, "".join(f"{line}\n" for line in self.lines.values()))
        self.file, self.noted = self.path.open("a", encoding="utf-8"), self.inputs.open("a", encoding="utf-8")

    def write(self, records: Sequence[dict[str, Any]], contents: Sequence[Content]) -> None:
        """Add records, and what their inputs held; they are on their way to the disk when this returns."""
        for record, one in zip(records, contents, strict=True):
            self.noted.write(_told(record["id"], one))
        self.noted.flush()
        for record in records:
            self.lines[record["id"]] = line = json_text(record)
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
        for file in (self.noted, self.file):
            file.flush()
            os.fsync(file.fileno())
            file.close()


def _told(name: str, one: Content) -> str:
    return json_text({"id": name, **one._asdict()}) + "\n"


def _short(value: Any) -> Any:
    """A digest by its first letters."""
    return value[:12] if isinstance(value, str) and len(value) == 64 else value
