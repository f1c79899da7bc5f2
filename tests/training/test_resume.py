"""A run goes on as what it began: same data, same command, same start; or for longer, and loses nothing by it."""

import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
from lightning.pytorch.trainer.call import _call_callbacks_load_state_dict
from run_tiny import STEPS, Own, as_it_was, close_result, command, contents, cut, tensors
from tiny_data import Some

from zoo import compare
from zoo.adapter import directory
from zoo.records import run_changes
from zoo.training.callbacks import CostMonitor, MetricHistory
from zoo.training.module import TrainingModule

__all__ = ["as_it_was"]  # a fixture of every test here

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
    assert run_changes.differing_samples({"val": {"a": "1", "b": "2"}}, {"val": {"a": "1", "c": "2"}}) == (
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
    assert manifest["init"]["sha256"] == directory.checksums(first)["adapter.safetensors"]


def test_a_comparison_goes_on_with_a_training_that_was_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []

    monkeypatch.setattr(compare, "_ends_with_us", lambda words: calls.append(words) or 0)
    assert compare._train(tmp_path / "seed0", "seed: 0", ["seed=0"], "tiny") == 0
    (tmp_path / "seed0" / "run.json").touch()
    assert compare._train(tmp_path / "seed0", "seed: 0", ["seed=0"], "tiny") == 0
    assert ["resume=true" in words for words in calls] == [False, True]


def test_sigterm_of_a_comparison_reaches_its_training(tmp_path: Path) -> None:
    started = tmp_path / "started"
    training = f"import pathlib, time; pathlib.Path({str(started)!r}).touch(); time.sleep(60)"

    def stop() -> None:
        while not started.exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    assert compare._ends_with_us([sys.executable, "-c", training]) == -signal.SIGTERM
    thread.join()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


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
    begin, rates = TrainingModule.on_train_batch_start, []

    def note(model: TrainingModule, batch: Any, batch_idx: int) -> None:
        rates.append((model.global_step, model.optimizers().param_groups[0]["lr"]))  # type: ignore[union-attr]
        begin(model, batch, batch_idx)

    monkeypatch.setattr(TrainingModule, "on_train_batch_start", note)
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
        directory.verify(folder / "earlier" / "2_epochs" / "adapter")


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
    # Two encoders; what of an epoch's twelve samples, and of validation's, they have seen.
    assert len(kept) >= 4
    again = f"starts again: {len(kept) // 2} of {12 + 5} samples' features are cached, and it goes on from there"
    assert said == f"stopped{by} in epoch 1: the same command with resume=true {again}"
    stamps = {path: path.stat().st_mtime_ns for path in kept}
    assert command(f"into={folder}", cache, "resume=true") == 0
    assert f"this {again}" in capsys.readouterr().out.splitlines()
    assert {path: path.stat().st_mtime_ns for path in kept} == stamps
    assert close_result(tmp_path / "whole", folder)


def test_without_a_cache_there_is_nothing_to_go_on_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    assert cut(folder, epoch=0, act=terminate) == 143
    lines = capsys.readouterr().err.splitlines()
    again = "starts again: there is no checkpoint yet"
    assert lines[-1] == f"stopped by SIGTERM in epoch 1: the same command with resume=true {again}"
    assert not [line for line in lines if "rank" in line]
    assert command(f"into={folder}", "resume=true") == 0
    assert f"this {again}" in capsys.readouterr().out


def test_cost_and_history_are_read_from_checkpoints_of_their_former_names() -> None:
    cost, history = CostMonitor(), MetricHistory()
    trainer = L.Trainer(callbacks=[cost, history], logger=False, enable_checkpointing=False, accelerator="cpu")
    stored = {"Cost": {"steps": [0.5], "epochs": [2.0]}, "History": {"rows": [{"epoch": 0.0}]}}
    _call_callbacks_load_state_dict(trainer, {"callbacks": stored})
    assert (cost.steps, cost.epochs, history.rows) == ([0.5], [2.0], [{"epoch": 0.0}])
