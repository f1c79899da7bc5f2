"""What a user reads of JSON: names as they are spelled, and each failed file once."""

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from zoo.files import json_text
from zoo.inference.contents import Content
from zoo.inference.job import Run
from zoo.inference.output import PredictionsFile

NAMES = {"id": "Müller/Größe 東京.mp4", "label": "Fußgänger"}


def test_names_are_spelled_as_their_owner_spells_them() -> None:
    assert json_text(NAMES) == '{"id": "Müller/Größe 東京.mp4", "label": "Fußgänger"}'
    assert json.loads(json_text(NAMES, indent=2)) == NAMES


@pytest.mark.parametrize(
    ("value", "encoding"),
    [(NAMES, "ascii"), (NAMES, "latin-1"), ({"id": b"caf\xe9.wav".decode(errors="surrogateescape")}, None)],
)
def test_what_an_encoding_cannot_hold_is_escaped(value: dict[str, str], encoding: str | None) -> None:
    text = json_text(value, encoding=encoding)
    text.encode(encoding or "utf-8")
    assert json.loads(text) == value


def test_answers_on_the_disk_are_readable(tmp_path: Path) -> None:
    run: dict[str, Any] = {"adapter": "a", "settings": {}}
    with PredictionsFile(tmp_path / "out.jsonl", run, restart=False) as answers:
        answers.begin([NAMES["id"]])
        answers.write([NAMES], [Content("", "")])
        answers.close()
    assert (tmp_path / "out.jsonl").read_text(encoding="utf-8") == json_text(NAMES) + "\n"


@pytest.mark.parametrize(("terminal", "output", "times"), [(True, False, 0), (False, False, 1), (True, True, 1)])
def test_a_failed_file_is_told_once_where_its_reader_looks(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, output: bool, times: int
) -> None:
    """On a terminal its record says it; beside a file or a pipe, a line does."""
    said = io.StringIO()
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: terminal))
    bar = SimpleNamespace(console=Console(file=said))
    run = Run(None, None, object() if output else None, None, None, 8, bar)  # type: ignore[arg-type]
    failed = SimpleNamespace(error="a.wav is empty", item=SimpleNamespace(id="a.wav"))
    record = run._record((failed, None))  # type: ignore[arg-type]
    assert record == {"id": "a.wav", "error": "a.wav is empty"}
    assert said.getvalue().count("a.wav is empty") == times
