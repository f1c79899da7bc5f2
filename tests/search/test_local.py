"""On one machine: Optuna proposes and prunes by what the records say, and a stopped sweep goes on as it was."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from zoo import errors, sweep
from zoo.search import local, plan, trial

TINY = Path(__file__).parents[1] / "helpers" / "tiny.yaml"
POPEN, RUN = subprocess.Popen, subprocess.run

TRAIN = """
import json, math, os, re, sys, time
folder = next(word[5:] for word in sys.argv if word.startswith("into="))
rate = float(re.search(r"lr: ([\\d.e+-]+)", open(folder + "/config.yaml").read())[1])
seed = int(re.search(r"^seed: (\\d+)", open(folder + "/config.yaml").read(), re.M)[1])
good = 1 - abs(math.log10(rate) + 3) / 3 + seed / 100
rows = []
open(folder + "/run.json", "w").close()
for epoch in range(4):
    rows.append({"epoch": epoch, "val/selected": good * (epoch + 1) / 4})
    with open(folder + "/history.new", "w") as file:
        json.dump(rows, file)
    os.rename(folder + "/history.new", folder + "/history.json")
    if os.path.exists(folder + "/../../slow"):
        time.sleep(0.15)
with open(folder + "/fit.new", "w") as file:
    json.dump({"history": rows, "seconds": 1, "unit": "fraction"}, file)
os.rename(folder + "/fit.new", folder + "/fit.json")
if "test=true" in sys.argv:
    metrics = {"metrics": {"accuracy": good}, "monitor": "accuracy", "unit": "fraction", "n": 7}
    with open(folder + "/metrics.json", "w") as file:
        json.dump(metrics | {"manifest": {"data": {"synthetic": True}}}, file)
"""
"""In the place of `zoo.train`: best at a learning rate of 0.001, in four validations."""

WORDS = [f"recipe={TINY}", "search.optimizer.lr=loguniform(1e-6,1)", "sampler=tpe"]


@pytest.fixture(autouse=True)
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the trials that are trained, and of those that are tested."""
    called: list[str] = []

    def instead(start: Any) -> Any:
        def call(command: list[str], **settings: Any) -> Any:
            if "zoo.train" not in command:
                return start(command, **settings)
            into = next(word for word in command if word.startswith("into="))
            called.append(("test " if "test=true" in command else "") + Path(into).name)
            return start([sys.executable, "-S", "-c", TRAIN, *command[3:]], **settings)

        return call

    monkeypatch.setattr(trial.subprocess, "Popen", instead(POPEN))
    monkeypatch.setattr(trial.subprocess, "run", instead(RUN))
    monkeypatch.setattr(trial, "POLL", 0.02)
    return called


def swept(folder: Path, *words: str) -> dict[str, Any]:
    assert sweep.main([*WORDS, f"into={folder}", *words]) == 0
    record: dict[str, Any] = json.loads((folder / "sweep.json").read_text())
    return record


def rates(record: dict[str, Any]) -> list[float]:
    return [point["values"]["optimizer.lr"] for point in record["points"]]


def test_proposals_learn_from_finished_points(tmp_path: Path, trainings: list[str]) -> None:
    record = swept(tmp_path / "sweep", "samples=16")
    assert len(record["points"]) == 16
    assert trainings == [f"{i:03d}-seed0" for i in range(16)] + [f"test {record['winner']['trials'][0]}"]
    reached = [point["val"] for point in record["points"]]
    assert sum(reached[8:]) > sum(reached[:8]), "the later half is proposed near what was good"
    assert record["winner"]["val"] == max(reached)


def test_a_stopped_sweep_goes_on_with_the_points_of_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trainings: list[str]
) -> None:
    words = ["samples=6", "seeds=[0,1]"]
    whole = swept(tmp_path / "whole", *words)
    true, calls = local.Local._point, list[int]()

    def die(self: local.Local, number: int, slot: int) -> None:
        calls.append(number)
        if number == 3:
            raise MemoryError("the machine is gone")
        true(self, number, slot)

    with monkeypatch.context() as patch:
        patch.setattr(local.Local, "_point", die)
        with pytest.raises(SystemExit):
            sweep.main([*WORDS, f"into={tmp_path / 'sweep'}", *words])
    assert calls == [0, 1, 2, 3]
    trainings.clear()
    resumed = swept(tmp_path / "sweep", *words, "resume=true")
    assert rates(resumed) == rates(whole)
    assert resumed["winner"] == whole["winner"]
    assert trainings[:2] == ["003-seed0", "003-seed1"], "what was finished is not trained again"


def test_a_poor_trial_is_pruned_and_not_attempted_again(
    tmp_path: Path, trainings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "sweep"
    words = [f"recipe={TINY}", "search.optimizer.lr=[0.001,0.002,1]", "pruner=median", f"into={folder}"]
    folder.mkdir()
    (folder / "slow").touch()
    assert sweep.main(words) == 0
    assert "pruned after validation" in capsys.readouterr().out
    curve = json.loads((folder / "trials" / "002-seed0" / "pruned.json").read_text())
    assert 1 < len(curve) < 4
    assert not (folder / "trials" / "002-seed0" / "fit.json").exists()
    record = json.loads((folder / "sweep.json").read_text())
    assert record["points"][2]["val"] is None
    assert record["winner"]["trials"] == ["000-seed0"]
    trainings.clear()
    assert sweep.main([*words, "resume=true"]) == 0
    assert trainings == []


def test_hyperband_is_told_of_the_same_records(tmp_path: Path) -> None:
    record = swept(tmp_path / "sweep", "samples=6", "pruner=hyperband")
    assert len(record["points"]) == 6
    assert record["pruner"] == "hyperband"


def test_a_small_space_is_tried_out_once(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    words = [f"recipe={TINY}", "search.optimizer.lr=[0.1,0.001]", "sampler=tpe", "samples=9", f"into={folder}"]
    assert sweep.main(words) == 0
    assert sorted(rates(json.loads((folder / "sweep.json").read_text()))) == [0.001, 0.1]


def test_trials_at_a_time_take_every_point_once_and_share_the_machine(
    tmp_path: Path, trainings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = swept(tmp_path / "sweep", "samples=7", "parallel=3")
    assert sorted(trainings)[:-1] == sorted(one["trial"] for point in record["points"] for one in point["trials"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
    asked = plan.Plan([], None, [0], "grid", "none", "local", None, 2, 3)
    given = [local.environment(slot, asked, {"devices": 1}) for slot in range(2)]
    assert [one["CUDA_VISIBLE_DEVICES"] for one in given] == ["4", "5"]
    assert given[0]["OMP_NUM_THREADS"] == "3"
    assert "CUDA_VISIBLE_DEVICES" not in local.environment(0, asked, {"accelerator": "cpu"})


def test_another_sampler_is_another_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    swept(tmp_path / "sweep", "samples=2")
    with pytest.raises(SystemExit) as end:
        sweep.main([*WORDS, f"into={tmp_path / 'sweep'}", "samples=2", "pruner=median", "resume=true"])
    assert end.value.code == 2
    assert "differs from the one of" in capsys.readouterr().err


def test_without_optuna_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(errors.importlib.util, "find_spec", lambda name: None if name == "optuna" else name)
    with pytest.raises(SystemExit) as end:
        sweep.main([*WORDS, f"into={tmp_path / 'sweep'}"])
    assert end.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: sampler=tpe needs optuna")
    assert line.endswith("pip install 'multimodal-peft-zoo[sweep]'")
    assert not (tmp_path / "sweep").exists()


def test_sigterm_ends_the_training_that_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or it would train on, unseen, and lock its folder against the next attempt."""
    (tmp_path / "config.yaml").touch()

    def sleeps(command: list[str], **settings: Any) -> Any:
        told = "import os, time; open('child', 'w').write(str(os.getpid())); time.sleep(60)"
        return RUN([sys.executable, "-S", "-c", told], **settings)

    monkeypatch.setattr(trial.subprocess, "run", sleeps)

    def end() -> None:
        while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end).start()
    with pytest.raises(KeyboardInterrupt), trial.ended_by_sigterm():
        trial.attempt(tmp_path, "tiny", where=tmp_path)
    _, status = os.waitpid(int((tmp_path / "child").read_text()), 0)
    assert os.WIFSIGNALED(status), "it slept to its end"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
