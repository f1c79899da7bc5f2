"""A sweep says its mistakes first, selects on validation, tests the winner alone, and survives kills."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from zoo import sweep
from zoo.command_line import parse_recipe_command
from zoo.recipe.compose import RecipeError
from zoo.report import plots_sweep
from zoo.search import plan, trial
from zoo.search import record as search_record
from zoo.search import space as search_space
from zoo.search.plan import EXTRA
from zoo.search.trial import ATTEMPT, FITTED, LOG, MEASURED, KilledError, TrialError
from zoo.train import main as train
from zoo.training.module import TrainingModule

TINY = Path(__file__).parents[1] / "helpers" / "tiny.yaml"
RUN = subprocess.run
HERE = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "helpers")}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("search.a.b=[8,16]", ("list", (8, 16))),
        ("search.a.b=[true,null,x]", ("list", (True, None, "x"))),
        ("search.a.b=loguniform(1e-4,1e-2)", ("loguniform", (1e-4, 1e-2))),
        ("search.a.b=uniform(-1,0.5)", ("uniform", (-1, 0.5))),
        ("search.a.b=randint(2,9)", ("randint", (2, 9))),
    ],
)
def test_a_word_is_read_as_an_axis(word: str, expected: tuple[str, tuple[Any, ...]]) -> None:
    (axis,) = search_space.axes([word])
    assert (axis.key, axis.kind, axis.values) == ("a.b", *expected)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("search.a=8", "expected a list"),
        ("search.a=[]", "the list is empty"),
        ("search.a=[8", "expected a list"),
        ("search.a=logunform(1,2)", "Did you mean 'loguniform'?"),
        ("search.a=uniform(1)", "expected two numbers"),
        ("search.a=uniform(2,1)", "low < high"),
        ("search.a=loguniform(0,1)", "low > 0"),
        ("search.a=randint(1,2.5)", "two whole numbers"),
    ],
)
def test_a_wrong_word_is_told_what_was_expected(word: str, said: str) -> None:
    with pytest.raises(RecipeError, match=r"search\.a") as error:
        search_space.axes([word])
    assert said in error.value.problems[0]


def test_lists_are_crossed_and_draws_stay_inside_and_are_the_same_again() -> None:
    space = search_space.axes(["search.a=[1,2]", "search.b=loguniform(1e-4,1e-2)", "search.c=randint(3,4)"])
    points = search_space.points(space, 50)
    assert points == search_space.points(space, 50)
    assert [point["a"] for point in points[:2]] == [1, 2]
    assert len(points) == 100
    assert all(1e-4 <= point["b"] <= 1e-2 for point in points)
    assert sum(point["b"] < 1e-3 for point in points) == pytest.approx(50, abs=20)
    assert {point["c"] for point in points} == {3, 4}
    assert len(search_space.points(search_space.axes(["search.a=[1,2]", "search.b=[3,4]"]), None)) == 4


def test_every_mistake_of_every_value_is_named_before_the_first_trial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "search.method.rank=[8,0,x]",
        "search.optimizer.lr=uniform(-1,1)",
        "search.method.rnk=[1]",
        "method.last=1",
    ]
    with pytest.raises(SystemExit) as end:
        sweep.main(["recipe=tb_ava", *words, "search.method.last=[1]", f"runs={tmp_path}"])
    assert end.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "error: 'method.last' is both fixed and searched",
        "error: method.rank: expected int >= 1, got 0 (int)",
        "error: method.rank: expected int >= 1, got 'x' (str)",
        "error: optimizer.lr: expected float > 0, got -1 (int)",
        "error: unknown key 'method.rnk'. Did you mean 'rank'?",
    ]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing to search"),
        (["search.method.rank=[8]", "samples=3"], "nothing is drawn"),
        (["search.method.rank=[8]", "seeds=3"], "seeds: expected whole numbers"),
        (["search.method.rank=[8]", "seed=3"], r"takes seeds=\[3\]"),
        (["search.method.rank=[8]", "parallel=0"], "parallel: expected a whole number"),
        (["search.method.rank=[8]", "trainer.num_nodes=2"], "runs on one machine"),
        (["search.method.rank=[8]", "resume=true"], "no sweep"),
        (["search.method.rank=[8]", "sampler=tpe", "resume=true"], "no sweep"),
        (["search.method.rank=[8]", "sampler=tbe"], r"expected grid, random, tpe, got 'tbe'. Did you mean 'tpe'\?"),
        (["search.method.rank=[8]", "pruner=mean"], "pruner: expected none, median, hyperband, got 'mean'"),
        (["search.method.rank=[8]", "engine=slurm"], "engine: expected local, ray, got 'slurm'"),
        (["search.method.rank=[8]", "sampler=random"], "nothing is drawn; say sampler=grid"),
        (["search.optimizer.lr=uniform(1,2)", "sampler=grid"], "sampler=grid: optimizer.lr is drawn"),
        (["search.method.rank=[8]", "sampler=tpe", "engine=ray"], "sampler=tpe: Ray is handed all trials"),
        (["search.method.rank=[8]", "pruner=median", "address=auto"], "pruner=median: Ray is handed all trials"),
        (["search.method.rank=[8]", "engine=local", "address=auto"], "address=auto is of a Ray cluster"),
    ],
)
def test_a_wrong_command_ends_in_one_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        sweep.main(["recipe=tb_ava", *words, f"runs={tmp_path}"])
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(said, line)


def test_what_a_recipe_must_have_may_stand_on_an_axis() -> None:
    words = [f"recipe={TINY}", "method={_target_: zoo.methods.lora.LoRA, rank: 2}", "sampler=tpe"]
    axis = "search.method.targets=[{vision: ['1@2']},{}]"
    request = parse_recipe_command([*words, axis], "zoo.sweep", "", extra=EXTRA)
    asked = plan.read(request)
    assert plan.trainer(request, asked)["max_epochs"] == 2
    with pytest.raises(RecipeError, match=r"missing value 'method\.targets'"):
        search_space.compose(request.recipe, request.overrides, [], [{}], smoke=False)


def test_without_ray_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SystemExit) as end:
        sweep.main(["recipe=tb_ava", "search.method.rank=[8]", "engine=ray", f"runs={tmp_path}"])
    assert end.value.code == 1
    assert "pip install 'multimodal-peft-zoo[ray]'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_command_is_read_without_torch_ray_and_optuna() -> None:
    code = "import zoo.sweep, sys; print({'torch', 'ray', 'optuna'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


# --- trials -----------------------------------------------------------------------------------------------------------


def test_a_training_without_its_test_is_tested_later_from_its_best_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, measured = [f"recipe={TINY}"], []
    seen = TrainingModule.on_test_epoch_start
    monkeypatch.setattr(TrainingModule, "on_test_epoch_start", lambda model: (measured.append(1), seen(model)))
    assert train([*words, f"into={tmp_path / 'later'}", "test=false"]) == 0
    assert measured == []
    assert not (tmp_path / "later" / "adapter").exists()
    monkeypatch.setattr("lightning.Trainer.fit", lambda *_, **__: pytest.fail("it is trained again"))
    assert train([*words, f"into={tmp_path / 'later'}", "resume=true"]) == 0
    monkeypatch.undo()
    assert measured == [1, 1]  # validation, for the temperature, and the test split
    assert train([*words, f"into={tmp_path / 'whole'}"]) == 0
    later, whole = (json.loads((tmp_path / part / "metrics.json").read_text()) for part in ("later", "whole"))
    assert later["metrics"] == whole["metrics"]
    assert later["manifest"]["epochs"] == whole["manifest"]["epochs"] == 2


def trainer(script: str, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Puts a shell script in the place of `zoo.train`; the words of every call."""
    calls: list[list[str]] = []

    def instead(command: list[str], **settings: Any) -> subprocess.CompletedProcess[str]:
        calls.append(command[3:])
        into = next(word for word in command if word.startswith("into=")).removeprefix("into=")
        return RUN(["bash", "-c", script], **settings | {"cwd": into})

    monkeypatch.setattr(trial.subprocess, "run", instead)
    return calls


def test_a_killed_trial_is_worth_another_attempt_from_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = trainer("kill -9 $$", monkeypatch)
    with pytest.raises(KilledError, match="killed by signal 9"):
        trial.attempt(tmp_path, "tb_ava", where=tmp_path)
    assert "resume=false" in calls[-1]
    assert trial.last_error(tmp_path) == "killed by signal 9"
    trainer("touch run.json && exit 143", monkeypatch)
    with pytest.raises(KilledError):  # the run has begun, with or without a checkpoint
        trial.attempt(tmp_path, "tb_ava", where=tmp_path)
    calls = trainer("echo '{\"seconds\": 1}' > fit.json", monkeypatch)
    assert trial.attempt(tmp_path, "tb_ava", where=tmp_path) == {"seconds": 1}
    assert "resume=true" in calls[-1]
    assert "test=false" in calls[-1]
    assert trial.attempts(tmp_path) == 3
    trainer("exit 3", monkeypatch)
    assert trial.attempt(tmp_path, "tb_ava", where=tmp_path) == {"seconds": 1}  # done, and not done again


def test_a_trial_that_fails_by_itself_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer("echo 'error: loss is nan' >&2; exit 1", monkeypatch)
    with pytest.raises(TrialError, match="error: loss is nan"):
        trial.attempt(tmp_path, "tb_ava", where=tmp_path)


def test_no_two_processes_train_in_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = trainer("sleep 1; echo '{\"seconds\": 1}' > fit.json", monkeypatch)
    threads = [threading.Thread(target=trial.attempt, args=(tmp_path, "x"), kwargs={"where": tmp_path}) for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


# --- the record -------------------------------------------------------------------------------------------------------


def finished(folder: Path, values: dict[str, list[float] | None]) -> search_record.Record:
    """A sweep of two points and two seeds whose trials have these validation metrics by epoch; None failed."""
    space = search_space.axes(["search.optimizer.lr=loguniform(0.001,0.1)", "search.method.rank=[2]"])
    points = [{"optimizer.lr": 0.01, "method.rank": 2}, {"optimizer.lr": 0.002, "method.rank": 2}]
    for name, curve in values.items():
        one = folder / "trials" / name
        one.mkdir(parents=True)
        (one / LOG).write_text(f"{ATTEMPT}1: zoo.train\nerror: loss is nan\n")
        if curve:
            rows = [{"epoch": epoch, "val/selected": value} for epoch, value in enumerate(curve)]
            (one / FITTED).write_text(json.dumps({"history": rows, "seconds": 2.0, "unit": "fraction"}))
    asked = {"space": {axis.key: axis.record for axis in space}, "seeds": [0, 1]}
    return search_record.gather(folder, search_record.start(folder, "tiny", asked, points))


def test_the_winner_has_the_best_mean_of_its_best_epochs(tmp_path: Path) -> None:
    curves = {"000-seed0": [0.9, 0.1], "000-seed1": [0.1, 0.2], "001-seed0": [0.1, 0.6], "001-seed1": [0.7, 0.6]}
    record = finished(tmp_path, curves)
    assert [point["val"] for point in record["points"]] == pytest.approx([0.55, 0.65])
    assert record["winner"]["trials"] == ["001-seed0", "001-seed1"]
    assert [one["epoch"] for one in record["points"][1]["trials"]] == [2, 1]
    assert json.loads((tmp_path / "sweep.json").read_text()) == record
    for name, value in {"001-seed0": 0.5, "001-seed1": 0.25}.items():
        result = {"metrics": {"accuracy": value}, "monitor": "accuracy", "unit": "fraction", "n": 7}
        result["manifest"] = {"data": {"synthetic": True}}
        (tmp_path / "trials" / name / MEASURED).write_text(json.dumps(result))
    record = search_record.tested(tmp_path, record)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(search_record.table(record, tmp_path))
    text = " ".join(console.export_text().split())
    assert "selected on val; test measured once, for the winner: accuracy 50.00 %, 25.00 % (n = 7)" in text
    assert "a synthetic set: not a benchmark result" in text
    plots_sweep.draw(tmp_path / "sweep.png", record)
    assert (tmp_path / "sweep.png").stat().st_size > 1000


def test_a_point_without_every_seed_cannot_win(tmp_path: Path) -> None:
    curves = {"000-seed0": [0.2], "000-seed1": [0.2], "001-seed0": [0.9], "001-seed1": None}
    record = finished(tmp_path, curves)
    assert record["winner"]["trials"] == ["000-seed0", "000-seed1"]
    assert record["points"][1]["trials"][1]["error"] == "error: loss is nan"


def test_where_nothing_was_trained_nothing_wins(tmp_path: Path) -> None:
    assert finished(tmp_path, dict.fromkeys(["000-seed0", "000-seed1", "001-seed0", "001-seed1"]))["winner"] is None


# --- killed -------------------------------------------------------------------------------------------------------


def trainings(name: str) -> list[int]:
    """Process ids of the trainings of a trial."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"zoo.train" in words and any(word.endswith(f"/{name}".encode()) for word in words):
                found.append(int(path.parent.name))
    return found


def kill_when_it_has_a_checkpoint(folder: Path, name: str, deadline: float) -> None:
    while not (folder / "trials" / name / "checkpoints" / "last.ckpt").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for process in trainings(name):
        os.kill(process, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "ray"])
def test_a_sweep_survives_a_killed_trial_and_its_own_death(engine: str, tmp_path: Path) -> None:
    if engine == "ray":
        pytest.importorskip("ray")
    folder = tmp_path / "sweep"
    words = [
        f"recipe={TINY}",
        "search.method.rank=[2,3,4]",
        "trainer.max_epochs=40",
        f"into={folder}",
        f"engine={engine}",
        f"cpus={torch.get_num_threads()}",  # of other numbers of threads the last bits differ
    ]
    command = [sys.executable, "-m", "zoo.sweep", *words]
    deadline = time.monotonic() + 500
    first = subprocess.Popen(command, env=HERE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    kill_when_it_has_a_checkpoint(folder, "000-seed0", deadline)
    while not (folder / "trials" / "001-seed0" / "checkpoints" / "last.ckpt").exists():
        assert time.monotonic() < deadline
        assert first.poll() is None
        time.sleep(0.02)
    first.kill()
    first.wait()
    assert trial.attempts(folder / "trials" / "000-seed0") == 2
    assert not (folder / "trials" / "002-seed0" / LOG).exists()
    done = subprocess.run([*command, "resume=true"], env=HERE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads((folder / "sweep.json").read_text())
    attempts = [one["attempts"] for point in record["points"] for one in point["trials"]]
    assert attempts[0] == 2  # finished before the sweep died, and not repeated
    assert attempts[2] == 1
    assert all(one["epoch"] for point in record["points"] for one in point["trials"])
    tested = [path.parent.name for path in folder.glob("trials/*/metrics.json")]
    assert tested == record["winner"]["trials"]
    assert "test measured once, for the winner" in done.stdout
    whole = tmp_path / "whole"
    settings = [f"recipe={TINY}", "method.rank=2", "trainer.max_epochs=40", f"into={whole}", "test=false"]
    assert train(settings) == 0
    histories = [json.loads((run / FITTED).read_text())["history"] for run in (whole, folder / "trials" / "000-seed0")]
    assert histories[0] == histories[1]
