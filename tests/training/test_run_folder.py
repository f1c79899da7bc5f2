"""A run folder is one run: it takes no other, tests and ships its own checkpoint, and survives a fault at any step."""

import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forked
import pytest
import ranks
import torch
from run_tiny import Own, as_it_was, command, contents, crash, cut, falling, no_pictures, same_result, tensors
from steps import at_step

from zoo import compare, files
from zoo.report import run_pictures
from zoo.tasks.event_localization import EventLocalization
from zoo.training.checkpoints import AtomicCheckpointIO
from zoo.training.module import TrainingModule

__all__ = ["as_it_was"]  # a fixture of every test here

# --- one folder, one run ----------------------------------------------------------------------------------------------


def test_a_folder_that_holds_anything_of_a_run_is_refused_before_data_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped, finished = tmp_path / "stopped", tmp_path / "finished"
    assert cut(stopped) is None
    assert command(f"into={finished}") == 0
    Own.fault = "data are read"
    for folder, way_out in ((stopped, "resume=true goes on with it"), (finished, "a larger trainer.max_epochs")):
        before = contents(folder)
        capsys.readouterr()
        assert command(f"into={folder}", "seed=5") == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: {folder} holds a")
        assert way_out in line
        assert contents(folder) == before
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "metrics.json").write_text("{}")
    assert command(f"into={tmp_path / 'old'}") == 2
    assert "holds metrics.json of another run: name another folder" in capsys.readouterr().err


def test_two_trainings_at_once_do_not_share_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.joinpath("run").mkdir()
    reader, writer = os.pipe()
    if not (child := os.fork()):
        files.lock(tmp_path / "run")
        os.write(writer, b"x")
        signal.pause()
    os.read(reader, 1)
    assert command(f"into={tmp_path / 'run'}") == 2
    assert "another training is writing into it" in capsys.readouterr().err
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert command(f"into={tmp_path / 'run'}") == 0  # the lock ended with its process


def test_classes_that_the_chosen_checkpoint_never_predicted_on_validation_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = [["first"], ["second"], []]
    reached = [0.5, 0.9, 0.1]
    compute = EventLocalization.compute

    def computed(task: Any) -> dict[str, float]:
        return compute(task) | {task.monitor: reached[min(len(calls), 2)]}

    def never(task: Any) -> list[str]:
        calls.append(1)
        return told[min(len(calls), 3) - 1]

    calls: list[int] = []
    monkeypatch.setattr(EventLocalization, "compute", computed)
    monkeypatch.setattr(EventLocalization, "never_predicted", never)
    assert command(f"into={tmp_path / 'run'}", "trainer.max_epochs=3", "test=false") == 0
    assert "warning: never predicted on val, where labels have it: second\n" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "fit.json").read_text())["best"]["never_predicted"] == ["second"]


def test_a_refused_command_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Own.fault = "nothing there"
    assert command("into=a/b/c") == 1
    assert command("runs=elsewhere") == 1
    assert command("resume=true") == 2
    assert command("into=d/e", "resume=true") == 2
    assert list(tmp_path.iterdir()) == []
    for Own.stop, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        assert command("into=a/b/c") == code
    assert list(tmp_path.iterdir()) == []
    Own.stop = None
    (tmp_path / "mine").mkdir()
    assert command("into=mine") == 1
    assert command("into=mine/within") == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]
    (tmp_path / "file").touch()
    assert command("into=file") == 1
    assert command("into=file/below") == 1


@pytest.mark.slow
def test_a_refused_comparison_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compare.subprocess, "run", forked.run)
    words = ["recipe=mantis_dales", "data=folder", "data.root=/nowhere", "variants=[recipe]", "runs=mine/own"]
    assert compare.main(words) == 1
    assert list(tmp_path.iterdir()) == []


# --- the checkpoint is the run's own ----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["stays", "moved", "copied"])
def test_a_run_goes_on_to_the_same_result_wherever_its_folder_lies(
    tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    falling(monkeypatch)
    whole, began, here = tmp_path / "whole", tmp_path / "began", tmp_path / way
    assert command(f"into={whole}", "trainer.max_epochs=3") == 0
    assert cut(began, "trainer.max_epochs=3", epoch=2) is None
    {"stays": os.rename, "moved": shutil.move, "copied": shutil.copytree}[way](began, here)
    if way == "stays":
        os.rename(here, began)
        here = began
    assert command(f"into={here}", "trainer.max_epochs=3", "resume=true") == 0
    assert same_result(whole, here)
    assert sorted(path.name for path in (here / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    assert torch.load(here / "checkpoints" / "best.ckpt", weights_only=True)["epoch"] == 0


def test_a_kill_between_the_two_checkpoints_of_an_epoch_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true, saves = AtomicCheckpointIO.save_checkpoint, []

    def save(self: Any, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        saves.append((Path(path).stem, checkpoint["epoch"]))
        if saves[-1] == ("last", 1):
            raise ZeroDivisionError
        true(self, checkpoint, path, storage_options)

    log = TrainingModule.log

    def rising(model: TrainingModule, name: str, value: Any, **settings: Any) -> None:
        log(model, name, torch.tensor(0.1 * model.current_epoch) if name == "val/selected" else value, **settings)

    monkeypatch.setattr(TrainingModule, "log", rising)
    assert command(f"into={tmp_path / 'whole'}") == 0
    with monkeypatch.context() as patch:
        patch.setattr(AtomicCheckpointIO, "save_checkpoint", save)
        with pytest.raises(ZeroDivisionError):
            command(f"into={tmp_path / 'cut'}")
    assert ("best", 1) in saves
    assert command(f"into={tmp_path / 'cut'}", "resume=true") == 0
    assert same_result(tmp_path / "whole", tmp_path / "cut")


def test_a_checkpoint_of_another_run_is_not_taken_for_this_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    assert cut(one) is None
    assert cut(other, "seed=1") is None
    best, last = ((f / "checkpoints" / "best.ckpt", f / "checkpoints" / "last.ckpt") for f in (one, other))
    kept = best[0].read_bytes()
    shutil.copyfile(last[0], best[0])
    assert command(f"into={one}", "resume=true") == 1
    assert "best.ckpt is a checkpoint of another run" in capsys.readouterr().err
    assert not (one / "adapter").exists()
    best[0].write_bytes(kept)
    shutil.copyfile(last[1], best[1])
    assert command(f"into={one}", "resume=true") == 1
    assert "last.ckpt is a checkpoint of another run" in capsys.readouterr().err


def test_a_best_checkpoint_that_was_exchanged_after_training_is_neither_tested_nor_shipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    assert command(f"into={folder}", "test=false") == 0
    best = folder / "checkpoints" / "best.ckpt"
    kept = best.read_bytes()
    shutil.copyfile(folder / "checkpoints" / "last.ckpt", best)
    assert command(f"into={folder}", "resume=true") == 1
    assert "but the run recorded" in capsys.readouterr().err
    assert not (folder / "adapter").exists()
    best.unlink()
    assert command(f"into={folder}", "resume=true") == 2
    assert "has no checkpoints/best.ckpt" in capsys.readouterr().err
    best.write_bytes(kept)
    assert command(f"into={folder}", "resume=true") == 0
    tensors(folder)


def quickly(*words: str) -> None:
    """The command without its pictures, in a process of its own."""
    os.environ["ZOO_TRUST"] = "tiny,run_tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_pictures, "pictures", no_pictures)
        sys.exit(command(*words))


def faulty(folder: Path, number: int, names: tuple[str, ...], fault: str) -> None:
    """A training that ends at one of its steps."""
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(ZeroDivisionError):
        at_step(number, kill if fault == "a kill" else crash, patch, names)
        quickly(f"into={folder}")


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def apart(work: Callable[..., None], *args: Any) -> int | None:
    """Exit code of a function in a process that has trained nothing before: autograd does not survive a fork."""
    process = ranks.context.Process(target=work, args=args)
    process.start()
    process.join()
    return process.exitcode


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["a kill", "an exception"])
def test_a_fault_at_any_step_of_a_training_is_resumed_to_the_same_result(tmp_path: Path, fault: str) -> None:
    """At every call that changes a name on the disk, from the first folder to the adapter."""
    names, whole = ("mkdir", "rename", "replace"), tmp_path / "whole"
    with pytest.MonkeyPatch.context() as patch:
        steps = at_step(0, lambda: None, patch, names)
        assert command(f"into={whole}") == 0

    outcomes: dict[str, int] = {}
    for number in range(1, len(steps) + 1):
        folder = tmp_path / str(number)

        apart(faulty, folder, number, names, fault)
        if (folder / "adapter").exists():
            how = "had finished"
        else:
            resume = (folder / "run.json").exists()
            how = "resumed" if resume else "begun anew"
            assert apart(quickly, f"into={folder}", f"resume={str(resume).lower()}") == 0
        outcomes[how] = outcomes.get(how, 0) + 1
        assert same_result(whole, folder), (number, steps[number - 1])
        assert [path for path in folder.rglob(".*") if path.name.endswith((".tmp", ".old"))] == [], number
        shutil.rmtree(folder)
    print(f"{fault} at each of {len(steps)} steps: {outcomes}, all to the same result")
