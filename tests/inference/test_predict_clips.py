"""Clips through the command: every window of a film, and files that lack pictures or sound."""

import json
from pathlib import Path
from typing import Any

import media_files
import predict_files
import pytest
from answers_of import records, run, same
from kept import kept_encoders
from media_files import Film, Sound

__all__ = ["kept_encoders"]  # a fixture of every test here


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained adapter."""
    return predict_files.untrained("tb_ava", tmp_path_factory.mktemp("adapters") / "clips")


def notes_beside_the_crop(record: dict[str, Any]) -> list[str]:
    """What an answer says, but for the borders of a wide film that its encoder does not see."""
    return [note for note in record.get("notes", []) if "only the central square is seen" not in note]


def test_every_window_of_a_film_is_answered_and_says_from_when_to_when(
    tmp_path: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = media_files.write(tmp_path / "film.mkv", film=Film(end=25), sounds=[Sound(end=25)])
    word = f"adapter={clips}"
    assert run(word, f"input={film}") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["id"], line["start"], line["end"]) for line in lines] == [
        (f"{film}#{k}", 10.0 * k, 10.0 * k + 10) for k in range(3)
    ]
    assert all(len(line["segments"]) == 10 for line in lines)
    assert [notes_beside_the_crop(line) != [] for line in lines] == [False, False, True]
    assert run(word, f"input={film}", "start=12", "end=20", f"output={tmp_path / 'out.jsonl'}") == 0
    (line,) = records(tmp_path / "out.jsonl")
    assert (line["id"], line["start"], line["end"]) == (str(film), 12.0, 22.0)
    capsys.readouterr()
    assert run(word, f"input={film}#1", f"pictures={tmp_path / 'drawn'}") == 0
    assert same(json.loads(capsys.readouterr().out), lines[1])
    assert (tmp_path / "drawn" / "film.mkv#1.png").stat().st_size > 0
    assert run(word, f"input={film}", "start=30") == 1
    assert "film.mkv: start=30 lies behind its end, at 25." in capsys.readouterr().err


def test_files_of_unknown_kinds_are_named_and_sound_alone_follows_the_policy(
    tmp_path: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for suffix in ("gif", "mpg"):
        codec = "gif" if suffix == "gif" else "mpeg2video"
        media_files.write(tmp_path / f"{suffix}.{suffix}", film=Film(codec=codec, fps=25), sounds=[])
    media_files.write(tmp_path / "talk.mp3", film=None, sounds=[Sound(codec="libmp3lame")])
    (tmp_path / "film.xyz").write_text("what is this?")
    words = (f"adapter={clips}", f"input={tmp_path}")
    assert run(*words) == 1
    said = capsys.readouterr()
    assert "passed over by their names: 1 .xyz" in said.err
    assert "gif.gif has no sound; set missing_audio=silence" in said.err
    assert "talk.mp3 has no pictures" in said.err
    assert run(*words, "missing_audio=silence", "missing_pictures=blank") == 0
    lines = map(json.loads, capsys.readouterr().out.splitlines())
    notes = {Path(line["id"]).name: notes_beside_the_crop(line) for line in lines}
    assert notes["gif.gif"] == notes["mpg.mpg"] == ["no sound: silence"]
    assert notes["talk.mp3"] == ["no pictures: grey ones"]
