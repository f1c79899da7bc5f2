"""The output file of predictions: JSON lines in the order of the inputs, appended batch by batch, and resumable.

    out.jsonl                one record a line: `id` and the prediction, or `id` and `error`
    out.jsonl.run.json       the adapter and settings that made them
    out.jsonl.inputs.jsonl   the contents of every predicted input's files (`zoo.inference.contents`)

A run with the same adapter and settings resumes: inputs with a prediction are skipped unless their files changed,
and errors are tried again. A line that a killed run left half-written is dropped. Predictions of inputs outside this
run are kept, in front. One run writes at a time.
"""

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from zoo import files
from zoo.errors import UserError
from zoo.files import json_text, write_whole
from zoo.inference.contents import Content, content, glance


class OutputError(UserError):
    """The output file cannot be used or resumed by this run."""


class PredictionsFile:
    """An open output file of predictions, locked for this process; a context manager.

    Args:
        path: of the JSON lines; a missing folder is made.
        run: what predictions depend on beside the input, in plain values; must equal that of the file's earlier runs.
        restart: discard the file's content.

    Raises:
        OutputError: the file holds predictions of another run, was not written by this command, or is being
            written.
    """

    def __init__(self, path: Path, run: dict[str, Any], *, restart: bool = False) -> None:
        self.path, self.run = path, run
        self.beside = path.with_name(f"{path.name}.run.json")
        self.inputs = path.with_name(f"{path.name}.inputs.jsonl")
        self.lines: dict[str, str] = {}
        """By id, without errors."""
        if path.is_dir():
            raise OutputError(f"output={path} is a folder; expected a file, like {path / 'answers.jsonl'}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"output={path}: {error.strerror}") from None
        self.restart = restart
        self.contents: dict[str, Content] = {}
        """Contents of the inputs' files by id, if they were read whole."""
        self._lock = path.with_name(f".{path.name}.lock")
        try:
            self._held = files.lock_new(self._lock)
        except OSError as error:
            raise OutputError(f"output={path}: {error.strerror}") from None
        if self._held is None:
            raise OutputError(f"output={path} is being written by another prediction: name another file, or wait")
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
            files.unlock(self._held)
            self._held = None

    def _check(self) -> None:
        try:
            before = dict(json.loads(self.beside.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            raise OutputError(
                f"output={self.path} exists, but not as an output of this command ({self.beside.name} is not there): "
                "name another file, or add --restart to write over it"
            ) from None
        # Some keys are there only where a command named them.
        if other := [key for key in {**before, **self.run} if before.get(key) != self.run.get(key)]:
            differences = "; ".join(
                f"{key} {_short(before.get(key))} there, {_short(self.run.get(key))} here" for key in other
            )
            raise OutputError(
                f"output={self.path} holds answers of another run ({differences}): name another file, or add "
                "--restart to write over it"
            )

    def _read(self) -> None:
        # Text after the last newline is a half-written line.
        for number, line in enumerate(self.path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1], 1):
            try:
                record = json.loads(line)
                name, failed = record["id"], "error" in record
            except (ValueError, TypeError, KeyError):
                raise OutputError(f"{self.path}, line {number} is no prediction; --restart starts over") from None
            if not failed:
                self.lines[name] = line
        with contextlib.suppress(FileNotFoundError):  # of a version that kept none
            for line in self.inputs.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]:
                with contextlib.suppress(ValueError, TypeError, KeyError):
                    entry = json.loads(line)
                    self.contents[entry["id"]] = Content(entry["sha256"], entry["seen"])

    def has(self, name: str, source: Path) -> bool:
        """Whether an input has a prediction and its files have not changed since."""
        known = self.contents.get(name)
        if name not in self.lines or known is None or not known.sha256:
            return False
        try:
            if known.seen and known.seen == glance(source)[0]:
                return True
            now = content(source)
        except OSError:  # it cannot be predicted again either
            return True
        self.contents[name] = now if now.sha256 == known.sha256 else known
        return now.sha256 == known.sha256

    def begin(self, again: Sequence[str]) -> None:
        """Open for writing, without the predictions of inputs that are predicted again.

        The settings are written first, so that a kill never leaves predictions beside settings of another run.
        """
        for name in again:
            self.lines.pop(name, None)
        if self.restart:
            self.path.unlink(missing_ok=True)
        write_whole(self.beside, json.dumps(self.run, indent=2) + "\n")
        known = {name: one for name, one in self.contents.items() if name in self.lines}
        write_whole(self.inputs, "".join(_content_line(name, one) for name, one in known.items()))
        write_whole(self.path, "".join(f"{line}\n" for line in self.lines.values()))
        self.file, self.noted = self.path.open("a", encoding="utf-8"), self.inputs.open("a", encoding="utf-8")

    def write(self, records: Sequence[dict[str, Any]], contents: Sequence[Content]) -> None:
        """Append records and the contents of their inputs; both are flushed when this returns."""
        for record, one in zip(records, contents, strict=True):
            self.noted.write(_content_line(record["id"], one))
        self.noted.flush()
        for record in records:
            self.lines[record["id"]] = line = json_text(record)
            self.file.write(line + "\n")
        self.file.flush()

    def sort(self, order: Sequence[str]) -> None:
        """Sort the lines by the order of the inputs; other predictions come first."""
        place = {name: k for k, name in enumerate(order)}
        ordered = sorted(self.lines, key=lambda name: place.get(name, -1))
        if ordered != list(self.lines):
            write_whole(self.path, "".join(f"{self.lines[name]}\n" for name in ordered))

    def close(self) -> None:
        """Close after `begin`; everything is on the disk when this returns."""
        for file in (self.noted, self.file):
            file.flush()
            os.fsync(file.fileno())
            file.close()


def _content_line(name: str, one: Content) -> str:
    return json_text({"id": name, **one._asdict()}) + "\n"


def _short(value: Any) -> Any:
    """A digest shortened to its first characters."""
    return value[:12] if isinstance(value, str) and len(value) == 64 else value
