"""A folder is answered file by file: in order, resumable, the same as one by one, whatever some of its files are."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import cloud_formats
import numpy as np
import picture_files
import predict_files
import pytest
from answers_of import records, run, same
from kept import kept_encoders
from PIL import Image

from zoo.adapter import directory
from zoo.inference import predictor
from zoo.inference.inputs import find
from zoo.inference.job import Run
from zoo.recipe.compose import compose
from zoo.recipe.instantiate import instantiate

__all__ = ["kept_encoders"]  # a fixture of every test here
RECIPES = {"clouds": "mantis", "clips": "tb_ava", "pictures": "scale_earth"}
QUESTION = ["question=What is it?", "choices=field|water"]


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One untrained adapter a kind of file."""
    root = tmp_path_factory.mktemp("adapters")
    return {kind: predict_files.untrained(name, root / kind) for kind, name in RECIPES.items()}


def no_weights(*_: object, **__: object) -> None:
    raise AssertionError("weights are loaded")


@pytest.mark.parametrize(
    ("kind", "files", "bad"),
    [pytest.param("clouds", 40, 4, marks=pytest.mark.slow), ("pictures", 24, 10), ("clips", 7, 4)],
)
def test_a_folder_with_bad_files_is_answered_in_order_and_as_one_by_one(
    tmp_path: Path, adapters: dict[str, Path], kind: str, files: int, bad: int, capsys: pytest.CaptureFixture[str]
) -> None:
    spoiled = predict_files.folder(tmp_path / "in", kind, files, bad)
    out, words = tmp_path / "new" / "out.jsonl", QUESTION if kind == "pictures" else []
    assert run(f"adapter={adapters[kind]}", f"input={tmp_path / 'in'}", f"output={out}", "batch_size=7", *words) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert f"{files} inputs: {files - bad} answered, {bad} could not be; " in said.err
    assert "note: passed over by their names: 1 .md\n" in said.err
    assert said.err.count("error: ") == bad
    found = records(out)
    assert len(found) == files
    assert [record["id"] for record in found] == sorted((r["id"] for r in found), key=lambda name: Path(name).parts)
    assert sorted(record["id"] for record in found if "error" in record) == spoiled
    for record in found:
        if "error" in record:
            assert set(record) == {"id", "error"}
            assert Path(record["id"]).name in record["error"]
    for record in [record for record in found if "error" not in record][:: max(2, files // 6)]:
        assert run(f"adapter={adapters[kind]}", f"input={record['id']}", *words) == 0
        alone = json.loads(capsys.readouterr().out)
        assert same(alone, record), (alone, record)


def test_a_run_goes_on_where_it_was_and_tries_bad_files_again(
    tmp_path: Path, adapters: dict[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spoiled = predict_files.folder(tmp_path / "in", "clouds", 12, 2)
    words = [f"adapter={adapters['clouds']}", f"input={tmp_path / 'in'}", f"output={tmp_path / 'out.jsonl'}"]
    assert run(*words) == 3
    first = records(tmp_path / "out.jsonl")
    # A kill in the middle of a line, long ago.
    lines = (tmp_path / "out.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "out.jsonl").write_text("".join(lines[:7]) + lines[7][:20])
    seen: list[str] = []
    whole = Run.over
    monkeypatch.setattr(Run, "over", lambda self, items: (seen.extend(item.id for item in items), whole(self, items)))
    assert run(*words) == 3
    assert records(tmp_path / "out.jsonl") == first
    failed = [record["id"] for record in first if "error" in record]
    assert set(seen) == {record["id"] for record in first[7:]} | set(failed)
    assert f"12 inputs: 10 answered ({12 - len(seen)} of them earlier), 2 could not be" in capsys.readouterr().err
    # The bad ones are mended, and one good one changes.
    cut, empty = (Path(name) for name in sorted(spoiled, key=lambda name: Path(name).suffix, reverse=True))
    cloud_formats.ply(cut, predict_files.points(7))
    np.save(empty, predict_files.points(8))
    changed = Path(next(record["id"] for record in first if record["id"].endswith(".npy") and "error" not in record))
    np.save(changed, predict_files.points(99) * [9, 1, 1])
    later = time.time() + 10
    os.utime(changed, (later, later))
    seen.clear()
    assert run(*words) == 0
    assert set(seen) == {str(changed), *spoiled}
    again = records(tmp_path / "out.jsonl")
    assert [record["id"] for record in again] == [record["id"] for record in first]
    differ = {a["id"] for a, b in zip(first, again, strict=True) if a != b}
    assert differ == {str(changed), *spoiled}


def test_nothing_is_loaded_where_nothing_is_left_to_do(
    tmp_path: Path, adapters: dict[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "a.npy", predict_files.points(0))
    words = [f"adapter={adapters['clouds']}", f"input={tmp_path / 'a.npy'}", f"output={tmp_path / 'out.jsonl'}"]
    assert run(*words) == 0
    before = (tmp_path / "out.jsonl").read_text()
    monkeypatch.setattr(directory, "load", no_weights)
    assert run(*words) == 0
    assert "1 input answered earlier; nothing is left to do" in capsys.readouterr().err
    assert (tmp_path / "out.jsonl").read_text() == before


def test_answers_of_another_run_are_not_added_to_but_may_be_written_over(
    tmp_path: Path, adapters: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    picture_files.save(tmp_path / "a.png", picture_files.picture(0, 0))
    words = [f"adapter={adapters['pictures']}", f"input={tmp_path / 'a.png'}", f"output={tmp_path / 'out.jsonl'}"]
    assert run(*words, *QUESTION) == 0
    other = [*words, "question=Is it wet?", "choices=yes|no"]
    assert run(*other) == 1
    assert "holds answers of another run (settings {'question': 'What is it?'" in capsys.readouterr().err
    assert run(*other, "--restart") == 0
    assert len(records(tmp_path / "out.jsonl")) == 1
    second = predict_files.untrained("scale_earth", tmp_path / "other", "seed=1")
    assert run(f"adapter={second}", *other[1:]) == 1
    assert "holds answers of another run (adapter " in capsys.readouterr().err
    (tmp_path / "mine.jsonl").write_text("my notes\n")
    assert run(*words[:2], f"output={tmp_path / 'mine.jsonl'}", *QUESTION) == 1
    assert "exists, but not as an output of this command" in capsys.readouterr().err
    assert (tmp_path / "mine.jsonl").read_text() == "my notes\n"
    assert run(*words[:2], f"output={tmp_path}", *QUESTION) == 1
    assert "is a folder; expected a file" in capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_answered_and_the_same_command_goes_on(tmp_path: Path, adapters: dict[str, Path]) -> None:
    for k in range(60):
        np.save(tmp_path / f"{k:02d}.npy", predict_files.points(k))
    words = [f"adapter={adapters['clouds']}", f"input={tmp_path}/*.npy", "batch_size=2"]
    # Drawing takes long enough to be stopped in.
    cut = [*words, f"output={tmp_path / 'cut.jsonl'}", f"pictures={tmp_path / 'drawn'}"]
    # A shell starts what runs in its background deaf to Ctrl-C, and the deafness is inherited.
    hearing = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    command = [sys.executable, "-m", "zoo.predict", *cut]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=hearing)
    deadline = time.monotonic() + 240
    while not (tmp_path / "cut.jsonl").exists() or len((tmp_path / "cut.jsonl").read_text().splitlines()) < 3:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=240)
    kept = records(tmp_path / "cut.jsonl")
    assert process.returncode == 130
    assert 3 <= len(kept) < 60
    assert errors.splitlines()[-1] == f"stopped: {len(kept)} of 60 inputs are through; the same command goes on"
    assert "Traceback" not in errors
    drawn = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "drawn").iterdir() if path.name[0] != "."}
    assert len(drawn) >= len(kept)
    assert run(*words, f"output={tmp_path / 'cut.jsonl'}") == 0
    assert run(*words, f"output={tmp_path / 'whole.jsonl'}") == 0
    whole, cut_short = records(tmp_path / "whole.jsonl"), records(tmp_path / "cut.jsonl")
    assert cut_short[: len(kept)] == kept
    assert all(same(a, b) for a, b in zip(whole, cut_short, strict=True))


@pytest.mark.parametrize(
    ("kind", "words", "message"),
    [
        ("clouds", ["input=nowhere.ply"], "input=nowhere.ply: there is no such file or folder"),
        ("clouds", ["input=nothing"], "input=nothing: no file ends in .txt, .xyz"),
        ("clouds", ["input=nothing/*.ply"], r"input=nothing/*.ply: no file ends in"),
        ("clouds", ["input=nothing", "gsd=1"], "gsd= means nothing to synthetic furniture"),
        ("clouds", ["input=nothing", "batch_size=0"], "batch_size: expected a number above 0, got '0'"),
        ("clouds", ["input=nothing", "--restart"], "--restart: there is no output="),
        ("clouds", ["input=nothing", "inptu=x"], "unknown argument 'inptu=x'. Did you mean"),
        ("clips", ["input=nothing", "missing_audio=maybe"], "missing_audio: expected error or silence, got 'maybe'"),
        ("pictures", ["input=nothing"], 'this adapter answers questions: say question="..."'),
        ("pictures", ["input=nothing", "question=What?"], 'say choices="one|two|three"'),
        ("pictures", ["input=nothing", *QUESTION, "gsd=ten"], "gsd: expected metres per pixel, got 'ten'"),
        ("pictures", ["input=nothing", *QUESTION, "gsd=1e9"], "gsd = 1e+09; expected metres per pixel from"),
        ("pictures", ["input=nothing", "questions=no.csv"], "questions=no.csv cannot be read: No such file"),
    ],
)
def test_a_mistake_in_the_command_is_told_before_weights_are_loaded(
    tmp_path: Path,
    adapters: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nothing").mkdir()
    (tmp_path / "nothing" / "readme.md").write_text("")
    monkeypatch.setattr(directory, "load", no_weights)
    assert run(f"adapter={adapters[kind]}", *words) == 2
    assert message in capsys.readouterr().err


def test_exit_code_1_says_that_no_file_could_be_read(
    tmp_path: Path, adapters: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.ply").write_bytes(b"")
    assert run(f"adapter={adapters['clouds']}", f"input={tmp_path / 'a.ply'}") == 1
    said = capsys.readouterr()
    assert json.loads(said.out) == {
        "id": str(tmp_path / "a.ply"),
        "error": f"{tmp_path / 'a.ply'} is empty",
    }
    assert said.err == f"error: {tmp_path / 'a.ply'} is empty\n"


def test_patterns_folders_and_stacks_mean_the_files_they_should(tmp_path: Path) -> None:
    data = instantiate(compose("mantis", [], smoke=True).data)
    (tmp_path / "in" / "sub.ply").mkdir(parents=True)
    for name in ("10.xyz", "b [1].XYZ", ".hidden.xyz", "sub.ply/c.xyz", "d.md"):
        np.savetxt(tmp_path / "in" / name, predict_files.points(0))
    np.save(tmp_path / "in" / "stack.npy", np.stack([predict_files.points(k) for k in range(2)]))
    everything = find(f"{tmp_path}/in", data, {})
    names = ["10.xyz", "b [1].XYZ", "stack.npy#0", "stack.npy#1", "sub.ply", "sub.ply/c.xyz"]
    assert [str(item.name) for item in everything.items] == names
    assert everything.others == {".md": 1}
    assert [str(item.name) for item in find(f"{tmp_path}/in/*.xyz", data, {}).items] == ["10.xyz"]
    assert [str(item.name) for item in find(f"{tmp_path}/in/**/*.xyz", data, {}).items] == ["10.xyz", "sub.ply/c.xyz"]
    assert [item.id for item in find(f"{tmp_path}/in/b [1].XYZ", data, {}).items] == [f"{tmp_path}/in/b [1].XYZ"]
    assert [item.id for item in find(f"{tmp_path}/in/stack.npy#1", data, {}).items] == [f"{tmp_path}/in/stack.npy#1"]


def test_a_list_of_questions_asks_each_its_own(
    tmp_path: Path, adapters: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for k in range(2):
        picture_files.save(tmp_path / "in" / f"{k}.png", picture_files.picture(k, k))
    (tmp_path / "q.csv").write_text(
        "path,question,choices,gsd\n0.png,What is it?,field|water,2\n1.png,Is it wet?,yes|no,\n"
        '0.png,"How many, in all?",1|2|3,\n'
    )
    rows = [
        {"path": "0.png", "question": "What is it?", "choices": ["field", "water"], "gsd": 2},
        {"path": "1.png", "question": "Is it wet?", "choices": ["yes", "no"]},
        {"path": "0.png", "question": "How many, in all?", "choices": "1|2|3"},
    ]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [f"adapter={adapters['pictures']}", f"input={tmp_path / 'in'}"]
    for name in ("q.csv", "q.jsonl"):
        assert run(*words, f"questions={tmp_path / name}", f"output={tmp_path / name}.out") == 0
    found = records(tmp_path / "q.csv.out")
    assert found == records(tmp_path / "q.jsonl.out")
    assert [record["id"] for record in found] == [f"{tmp_path}/in/{name}" for name in ("0.png#0", "1.png", "0.png#1")]
    assert [record["gsd_from"] == "told" for record in found] == [True, False, False]
    assert run(*words[:1], f"input={tmp_path / 'in' / '1.png'}", "question=Is it wet?", "choices=yes|no") == 0
    alone = json.loads(capsys.readouterr().out)
    assert same(alone, found[1])
    (tmp_path / "q.csv").write_text("path,question,choises\n0.png,What?,a|b\n")
    assert run(*words, f"questions={tmp_path / 'q.csv'}") == 2
    assert "q.csv: unknown column 'choises'. Did you mean 'choices'?" in capsys.readouterr().err
    (tmp_path / "q.csv").write_text("path,question\n0.png,What?\n")
    assert run(*words, f"questions={tmp_path / 'q.csv'}") == 2
    assert 'say choices="one|two|three"' in capsys.readouterr().err


@pytest.mark.parametrize("kind", RECIPES)
def test_every_answer_can_be_drawn(tmp_path: Path, adapters: dict[str, Path], kind: str) -> None:
    suffix, write = predict_files.KINDS[kind][0][0]
    (tmp_path / "in" / "sub").mkdir(parents=True)
    write(tmp_path / "in" / "sub" / f"it.{suffix}", 0)
    words = [f"adapter={adapters[kind]}", f"input={tmp_path / 'in'}", f"output={tmp_path / 'out.jsonl'}"]
    words += QUESTION if kind == "pictures" else []
    assert run(*words) == 0
    # Answered already, but not yet drawn.
    assert run(*words, f"pictures={tmp_path / 'drawn'}") == 0
    assert [path.name for path in (tmp_path / "drawn" / "sub").iterdir()] == [f"it.{suffix}.png"]
    drawn = np.asarray(Image.open(tmp_path / "drawn" / "sub" / f"it.{suffix}.png").convert("RGB"))
    assert min(drawn.shape[:2]) > 300
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 50
    assert len(records(tmp_path / "out.jsonl")) == 1


def test_an_answer_through_force_says_so(tmp_path: Path, adapters: dict[str, Path]) -> None:
    _, pairing = directory.load(adapters["clouds"])
    np.save(tmp_path / "a.npy", predict_files.points(0))
    sample, _ = instantiate(compose("mantis", [], smoke=True).data).read(tmp_path / "a.npy", {})
    (plain,) = predictor.predict(pairing, [sample])
    pairing.forced = ["the points backbone has other weights"]
    assert predictor.predict(pairing, [sample]) == [{**plain, "forced": pairing.forced}]
    assert predictor.predict(pairing, []) == []


def test_the_command_takes_an_adapter_onto_another_backbone_only_by_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = predict_files.untrained("mantis", tmp_path / "adapter")
    told = (folder / "recipe.yaml").read_text()
    (folder / "recipe.yaml").write_text(told.replace("random:0", "random:5"))
    from adapter_files import seal

    seal(folder)
    np.save(tmp_path / "a.npy", predict_files.points(0))
    words = [f"adapter={folder}", f"input={tmp_path / 'a.npy'}"]
    assert run(*words) == 1
    assert "other weights" in capsys.readouterr().err
    assert run(*words, "--force") == 0
    assert "other weights" in json.loads(capsys.readouterr().out)["forced"][0]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["clouds", "pictures"])
def test_a_thousand_files_with_ten_bad_ones(
    tmp_path: Path, adapters: dict[str, Path], kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoiled = predict_files.folder(tmp_path / "in", kind, 1000, 10)
    out, words = tmp_path / "out.jsonl", QUESTION if kind == "pictures" else []
    assert run(f"adapter={adapters[kind]}", f"input={tmp_path / 'in'}", f"output={out}", *words) == 3
    assert "1000 inputs: 990 answered, 10 could not be" in capsys.readouterr().err
    found = records(out)
    assert sorted(record["id"] for record in found if "error" in record) == spoiled
    assert len({record["id"] for record in found}) == 1000
    shutil.rmtree(tmp_path / "in")
