"""A run folder is one run: it takes no other, goes on to the result of an uninterrupted one, and loses nothing."""

import contextlib
import json
import math
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from test_distributed import Some, Tiny
from test_replace import at_step

from data_modules.errors import DataError
from zoo import adapter, checkpoints, locks, results, run, run_folder, train
from zoo.batch import SampleSet
from zoo.pairing import Pairing

TINY = Path(__file__).parent / "tiny.yaml"
STEPS = 6  # an epoch: twelve samples by two


class Own(Tiny):
    """The tiny data, with samples that a test may change."""

    changed: tuple[int, ...] = ()
    fault = ""
    stop: signal.Signals | None = None

    def splits(self) -> dict[str, SampleSet[Any]]:
        if self.stop:
            os.kill(os.getpid(), self.stop)
        if self.fault:
            raise DataError(self.fault)
        return {split: Edited(self.kind, one.first, len(one)) for split, one in super().splits().items()}  # type: ignore


class Edited(Some):
    def key(self, index: int) -> str:
        return f"{super().key(index)}{'*' * (self.first + index in Own.changed)}"


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A training tells its folder to further processes, and Lightning turns Ctrl-C off when it has met it."""
    monkeypatch.delenv(run.FOLDER, raising=False)
    monkeypatch.setenv("ZOO_TRUST", "tiny,test_run_folder")
    monkeypatch.setattr(results, "pictures", no_pictures)
    yield
    Own.changed, Own.fault, Own.stop = (), "", None
    signal.signal(signal.SIGINT, signal.default_int_handler)


def no_pictures(folder: Path, *_: Any) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "curves.png").touch()


def command(*words: object) -> int:
    """Exit code of `zoo.train` on the tiny recipe."""
    try:
        return train.main([f"recipe={TINY}", "data._target_=test_run_folder.Own", *map(str, words)])
    except SystemExit as end:
        return int(str(end.code))


def cut(folder: Path, *words: object, epoch: int = 1, act: Callable[[], None] | None = None) -> int | None:
    """Train until an epoch's second batch, and stop there."""

    def stop(model: Pairing, batch: Any, batch_idx: int) -> None:
        if (model.current_epoch, batch_idx) == (epoch, 1):
            (act or crash)()
        begin(model, batch, batch_idx)

    begin = Pairing.on_train_batch_start
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pairing, "on_train_batch_start", stop)
        try:
            return command(f"into={folder}", *words)
        except ZeroDivisionError:
            return None


def crash() -> None:
    raise ZeroDivisionError


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    adapter.verify(folder / "adapter")
    return load_file(folder / "adapter" / "adapter.safetensors")


def same_result(one: Path, other: Path) -> bool:
    a, b = tensors(one), tensors(other)
    histories = [json.loads((f / "fit.json").read_text())["history"] for f in (one, other)]
    scores = [(f / "per_sample.json").read_text() for f in (one, other)]
    return all(torch.equal(a[k], b[k]) for k in a) and histories[0] == histories[1] and scores[0] == scores[1]


def falling(patch: pytest.MonkeyPatch) -> None:
    """The first epoch is the best, the later the worse."""
    true = Pairing.log

    def log(model: Pairing, name: str, value: Any, **settings: Any) -> None:
        true(model, name, torch.tensor(1 - 0.1 * model.current_epoch) if name == "val/selected" else value, **settings)

    patch.setattr(Pairing, "log", log)


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
        locks.take(tmp_path / "run")
        os.write(writer, b"x")
        signal.pause()
    os.read(reader, 1)
    assert command(f"into={tmp_path / 'run'}") == 2
    assert "another training is writing into it" in capsys.readouterr().err
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert command(f"into={tmp_path / 'run'}") == 0  # the lock ended with its process


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
    true, saves = checkpoints.WholeCheckpoints.save_checkpoint, []

    def save(self: Any, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        saves.append((Path(path).stem, checkpoint["epoch"]))
        if saves[-1] == ("last", 1):
            raise ZeroDivisionError
        true(self, checkpoint, path, storage_options)

    log = Pairing.log

    def rising(model: Pairing, name: str, value: Any, **settings: Any) -> None:
        log(model, name, torch.tensor(0.1 * model.current_epoch) if name == "val/selected" else value, **settings)

    monkeypatch.setattr(Pairing, "log", rising)
    assert command(f"into={tmp_path / 'whole'}") == 0
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.WholeCheckpoints, "save_checkpoint", save)
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


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["a kill", "an exception"])
def test_a_fault_at_any_step_of_a_training_is_resumed_to_the_same_result(tmp_path: Path, fault: str) -> None:
    """At every call that changes a name on the disk, from the first folder to the adapter."""
    names, whole = ("mkdir", "rename", "replace"), tmp_path / "whole"
    with pytest.MonkeyPatch.context() as patch:
        steps = at_step(0, lambda: None, patch, names)
        assert command(f"into={whole}") == 0

    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def apart(work: Callable[[], int | None]) -> int:
        """In a process of its own; how that ended."""
        if not (child := os.fork()):
            os._exit(work() or 0)
        return os.waitpid(child, 0)[1]

    outcomes: dict[str, int] = {}
    for number in range(1, len(steps) + 1):
        folder = tmp_path / str(number)

        def faulty(folder: Path = folder, number: int = number) -> int:
            with pytest.MonkeyPatch.context() as patch:
                at_step(number, kill if fault == "a kill" else crash, patch, names)
                with contextlib.suppress(ZeroDivisionError):
                    command(f"into={folder}")
            return 0

        apart(faulty)
        if (folder / "adapter").exists():
            how = "had finished"
        else:
            resume = (folder / "run.json").exists()
            how = "resumed" if resume else "begun anew"
            assert (
                apart(lambda folder=folder, resume=resume: command(f"into={folder}", f"resume={str(resume).lower()}"))
                == 0
            )
        outcomes[how] = outcomes.get(how, 0) + 1
        assert same_result(whole, folder), (number, steps[number - 1])
        assert [path for path in folder.rglob(".*") if path.name.endswith((".tmp", ".old"))] == [], number
        shutil.rmtree(folder)
    print(f"{fault} at each of {len(steps)} steps: {outcomes}, all to the same result")


# --- what it goes on with ---------------------------------------------------------------------------------------------


def test_changed_data_are_refused_by_split_and_sample(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    assert cut(folder) is None
    before = contents(folder)
    Own.changed = (3, 13)
    assert command(f"into={folder}", "resume=true") == 2
    (line,) = capsys.readouterr().err.splitlines()
    names = [Some("clips", *place).id(index) for place, index in (((0, 12), 3), ((12, 5), 1))]
    assert f"began with other data: train: 1 changed ({names[0]}); val: 1 changed ({names[1]})." in line
    assert contents(folder) == before
    Own.changed = ()
    assert command(f"into={folder}", "resume=true") == 0
    assert run_folder.differing_samples({"val": {"a": "1", "b": "2"}}, {"val": {"a": "1", "c": "2"}}) == (
        "val: 1 gone (b), 1 new (c)"
    )


def test_another_command_is_told_in_what_it_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    assert cut(folder) is None
    assert command(f"into={folder}", "resume=true", "optimizer.lr=0.5") == 2
    assert "differs from the one of" in (said := capsys.readouterr().err)
    assert "(optimizer.lr: 0.01 there, 0.5 here)" in said
    assert command(f"into={folder}", "resume=true", "trainer.max_epochs=1") == 2
    assert "trainer.max_epochs=2 in" in (said := capsys.readouterr().err)
    assert "1 here: it can be made larger only" in said


def test_what_a_run_started_from_is_part_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (0, 1):
        assert command(f"into={tmp_path / str(seed)}", f"seed={seed}") == 0
    first, second = (tmp_path / str(seed) / "adapter" for seed in (0, 1))
    folder = tmp_path / "run"
    assert cut(folder, f"init={first}") is None
    assert command(f"into={folder}", f"init={second}", "resume=true") == 2
    assert "began from 0/adapter" in capsys.readouterr().err
    assert command(f"into={folder}", "resume=true") == 0
    manifest = json.loads((folder / "metrics.json").read_text())["manifest"]
    assert manifest["init"]["sha256"] == adapter.checksums(first)["adapter.safetensors"]


# --- longer -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["stopped", "finished"])
def test_a_run_goes_on_for_longer_under_the_longer_schedule_and_keeps_what_it_had(
    tmp_path: Path, state: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    if state == "stopped":
        assert cut(folder) is None
    else:
        assert command(f"into={folder}") == 0
        shorter = contents(folder / "adapter")
    begin, rates = Pairing.on_train_batch_start, []

    def note(model: Pairing, batch: Any, batch_idx: int) -> None:
        rates.append((model.global_step, model.optimizers().param_groups[0]["lr"]))  # type: ignore[union-attr]
        begin(model, batch, batch_idx)

    monkeypatch.setattr(Pairing, "on_train_batch_start", note)
    capsys.readouterr()
    assert command(f"into={folder}", "resume=true", "trainer.max_epochs=4") == 0
    assert "the learning rate follows the schedule of 4" in capsys.readouterr().out
    done = STEPS if state == "stopped" else 2 * STEPS
    assert [step for step, _ in rates] == list(range(done, 4 * STEPS))
    # Linear over a tenth of all steps, then half a cosine to zero; the very first step has the rate that was stored.
    for step, rate in rates[1:]:
        assert rate == pytest.approx(0.01 * 0.5 * (1 + math.cos(math.pi * (step - 2) / (4 * STEPS - 2))))
    record = json.loads((folder / "metrics.json").read_text())
    assert record["manifest"]["epochs"] == 4
    assert record["manifest"]["extended"] == [[2, 4]]
    tensors(folder)
    if state == "finished":
        assert contents(folder / "earlier" / "2_epochs" / "adapter") == shorter
        adapter.verify(folder / "earlier" / "2_epochs" / "adapter")


def test_stopped_while_results_are_moved_aside_nothing_is_lost(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert command(f"into={folder}") == 0
    before = contents(folder / "adapter")
    true, moves = os.rename, []

    def third_fails(source: Any, target: Any) -> None:
        if "earlier" in str(target):
            moves.append(target)
            if len(moves) == 3:
                raise ZeroDivisionError
        true(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "rename", third_fails)
        with pytest.raises(ZeroDivisionError):
            command(f"into={folder}", "resume=true", "trainer.max_epochs=3")
    assert command(f"into={folder}", "resume=true", "trainer.max_epochs=3") == 0
    assert contents(folder / "earlier" / "2_epochs" / "adapter") == before
    kept = {path.name for path in (folder / "earlier" / "2_epochs").iterdir()}
    assert kept == {"recipe.yaml", "adapter", "metrics.json", "per_sample.json", "report", "fit.json"}
    assert json.loads((folder / "metrics.json").read_text())["manifest"]["extended"] == [[2, 3]]


# --- stopped in the first epoch ---------------------------------------------------------------------------------------


def interrupt() -> None:
    raise KeyboardInterrupt


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(("act", "code", "by"), [(interrupt, 130, ""), (terminate, 143, " by SIGTERM")])
def test_a_stop_in_the_first_epoch_keeps_what_is_cached_and_says_how_to_go_on(
    tmp_path: Path, act: Callable[[], None], code: int, by: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, cache = tmp_path / "run", f"cache={{_target_: zoo.prefix.PrefixCache, folder: {tmp_path / 'kept'}}}"
    assert command(f"into={tmp_path / 'whole'}") == 0
    capsys.readouterr()
    assert cut(folder, cache, epoch=0, act=act) == code
    said = capsys.readouterr().err.splitlines()[-1]
    kept = list((tmp_path / "kept").rglob("*.safetensors"))
    assert kept
    assert said == (
        f"stopped{by} in epoch 1: there is no checkpoint yet, so the same command with resume=true begins at the first "
        f"epoch; the {len(kept)} frozen features computed so far are kept in {tmp_path / 'kept'} and read from there"
    )
    stamps = {path: path.stat().st_mtime_ns for path in kept}
    assert command(f"into={folder}", cache, "resume=true") == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == stamps
    assert same_result(tmp_path / "whole", folder)
