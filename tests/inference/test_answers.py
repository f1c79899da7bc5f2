"""Answers stay with what they are answers to: one writer, whole files after any kill, and content instead of dates."""

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from steps import at_step

from zoo.files import lock_new
from zoo.inference.contents import Content, content, glance
from zoo.inference.output import OutputError, PredictionsFile

OURS, OTHER = {"adapter": "a" * 64}, {"adapter": "b" * 64}


def old(path: Path, text: str, when: float = 1e9) -> Path:
    """A file that was changed long ago, as far as its times say."""
    path.write_text(text)
    os.utime(path, (when, when))
    return path


def answer(path: Path, run: dict[str, Any], files: list[Path], *, restart: bool = False) -> list[str]:
    """Answer what has no answer; the names of what was asked."""
    with PredictionsFile(path, run, restart=restart) as answers:
        asked = [file for file in files if not answers.has(str(file), file)]
        if asked:
            answers.begin([str(file) for file in asked])
            records = [{"id": str(file), "label": f"{run['adapter'][0]} {file.read_text()}"} for file in asked]
            answers.write(records, [content(file) for file in asked])
            answers.close()
            answers.sort([str(file) for file in files])
    return [file.name for file in asked]


def said(path: Path) -> dict[str, str]:
    return {Path(one["id"]).name: one["label"] for one in map(json.loads, path.read_text().splitlines())}


@pytest.mark.parametrize("when", [5e8, 1e9, 2e9])
def test_changed_content_is_asked_again_whatever_its_date_and_the_same_is_not(tmp_path: Path, when: float) -> None:
    files, out = [old(tmp_path / name, name) for name in "abc"], tmp_path / "out.jsonl"
    assert answer(out, OURS, files) == ["a", "b", "c"]
    assert answer(out, OURS, files) == []
    old(files[1], "B", when)  # a copy that keeps its date (cp -p, rsync, unzip), or a clock that was set back
    assert answer(out, OURS, files) == ["b"]
    assert said(out) == {"a": "a a", "b": "a B", "c": "a c"}
    old(files[2], "c", when)
    assert answer(out, OURS, files) == []


def test_another_file_of_the_same_size_and_date_is_asked_about(tmp_path: Path) -> None:
    file, out = old(tmp_path / "a", "one"), tmp_path / "out.jsonl"
    answer(out, OURS, [file])
    shutil.move(old(tmp_path / "b", "two"), file)
    assert answer(out, OURS, [file]) == ["a"]
    assert said(out) == {"a": "a two"}


def test_the_frames_of_a_sound_are_part_of_what_it_holds(tmp_path: Path) -> None:
    sound = old(tmp_path / "clip.wav", "sound")
    (tmp_path / "clip").mkdir()
    frame = old(tmp_path / "clip" / "1.png", "frame")
    before = content(sound)
    old(frame, "other")
    assert content(sound).sha256 != before.sha256
    old(frame, "frame")
    assert content(sound).sha256 == before.sha256


def test_times_are_relied_on_only_where_they_are_old_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = old(tmp_path / "a", "one")
    assert content(file).seen == ""  # written just now, as the file system itself noted
    later = time.time_ns() + 10**10
    monkeypatch.setattr(time, "time_ns", lambda: later)
    assert content(file).seen == glance(file)[0] != ""
    os.mkfifo(tmp_path / "pipe")
    assert content(tmp_path / "pipe") == Content("", "")


def test_two_predictions_do_not_write_one_output(tmp_path: Path) -> None:
    file, out = old(tmp_path / "a", "one"), tmp_path / "out.jsonl"
    reader, writer = os.pipe()
    if not (child := os.fork()):
        PredictionsFile(out, OURS)
        os.write(writer, b"x")
        signal.pause()
    os.read(reader, 1)
    with pytest.raises(OutputError, match=r"out\.jsonl is being written by another prediction"):
        PredictionsFile(out, OURS)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert answer(out, OURS, [file]) == ["a"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a",
        *("out.jsonl", "out.jsonl.inputs.jsonl", "out.jsonl.run.json"),
    ]


@pytest.mark.parametrize(
    "before", ["ours", *(pytest.param(name, marks=pytest.mark.slow) for name in ("nothing", "another run"))]
)
def test_a_kill_at_any_step_leaves_what_the_same_command_goes_on_with(tmp_path: Path, before: str) -> None:
    files = [old(tmp_path / name, name) for name in "ab"]

    def prepare(folder: Path) -> Path:
        folder.mkdir()
        if before != "nothing":
            answer(folder / "out.jsonl", OURS if before == "ours" else OTHER, files[:1])
        return folder / "out.jsonl"

    def command(out: Path) -> None:
        answer(out, OURS, files, restart=before == "another run")

    whole = prepare(tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        steps = at_step(0, lambda: None, patch)
        command(whole)
    assert len(steps) > 8
    for number in range(1, len(steps) + 1):
        out = prepare(tmp_path / str(number))
        child = os.fork()
        if not child:
            with pytest.MonkeyPatch.context() as patch:
                at_step(number, lambda: os.kill(os.getpid(), signal.SIGKILL), patch)
                command(out)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        try:
            answer(out, OURS, files)
        except OutputError:
            if before != "another run":  # which is still as it was
                raise
            command(out)
        assert said(out) == {"a": "a a", "b": "a b"}, number
        assert not [path for path in out.parent.iterdir() if path.name.startswith(".")], number
    print(f"{before}: {len(steps)} kills, 0 refused, 0 answers of another run")


def test_half_a_line_of_what_inputs_held_is_no_mistake(tmp_path: Path) -> None:
    files, out = [old(tmp_path / name, name) for name in "ab"], tmp_path / "out.jsonl"
    answer(out, OURS, files)
    inputs = out.with_name("out.jsonl.inputs.jsonl")
    inputs.write_text(inputs.read_text()[:-20])
    assert answer(out, OURS, files) == ["b"]
    inputs.unlink()  # as an earlier version left it
    assert answer(out, OURS, files) == ["a", "b"]
    assert lock_new(tmp_path / ".out.jsonl.lock") is not None
