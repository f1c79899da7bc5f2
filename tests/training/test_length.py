"""A training ends after steps or epochs, validates and saves within epochs, and resumed there ends as uninterrupted."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from run_tiny import STEPS, as_it_was, command, cut, refusal, same_result, tensors

from zoo.training.module import TrainingModule

SLOW = pytest.mark.slow

__all__ = ["as_it_was", "refusal"]  # fixtures


def history(folder: Path) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = json.loads((folder / "fit.json").read_text())["history"]
    return rows


def epochs_of(folder: Path) -> list[float]:
    """Epochs after which something was measured, counted from 0."""
    return [row["epoch"] + 1 for row in history(folder)]


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, float]]:
    """Optimizer step and learning rate of every batch trained on."""
    begin, seen = TrainingModule.on_train_batch_start, list[tuple[int, float]]()

    def note(model: TrainingModule, batch: Any, batch_idx: int) -> None:
        seen.append((model.global_step, model.optimizers().param_groups[0]["lr"]))  # type: ignore[union-attr]
        begin(model, batch, batch_idx)

    monkeypatch.setattr(TrainingModule, "on_train_batch_start", note)
    return seen


@pytest.mark.parametrize(
    ("words", "steps", "epochs"),
    [
        (["trainer.max_steps=8", "trainer.max_epochs=null"], 8, [1, 4 / 3]),
        (["trainer.max_steps=4"], 4, [2 / 3]),  # less than an epoch: validated all the same
        pytest.param(["trainer.max_steps=99"], 2 * STEPS, [1, 2], marks=SLOW),
        pytest.param(["trainer.max_steps=2", "trainer.accumulate_grad_batches=4"], 2, [1], marks=SLOW),
    ],
)
def test_whichever_limit_comes_first_ends_and_the_schedule_is_spread_over_it(
    words: list[str], steps: int, epochs: list[float], tmp_path: Path, rates: list[tuple[int, float]]
) -> None:
    assert command(f"into={tmp_path / 'run'}", *words) == 0
    assert rates[-1][0] == steps - 1
    warm = max(1, round(0.1 * steps))
    for step, rate in rates:
        after = 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))
        assert rate == pytest.approx(0.01 * ((step + 1) / warm if step < warm else after))
    assert epochs_of(tmp_path / "run") == pytest.approx(epochs)
    assert all("val/selected" in row and "train/loss" in row for row in history(tmp_path / "run"))
    manifest = json.loads((tmp_path / "run" / "metrics.json").read_text())["manifest"]
    assert manifest["epochs"] == math.ceil(epochs[-1])


@pytest.mark.parametrize(
    ("words", "at", "unmeasured"),
    [
        pytest.param(["trainer.val_check_interval=0.5"], [0.5, 1, 1.5, 2], [], marks=SLOW),
        (["trainer.val_check_interval=5", "trainer.max_steps=8"], [5 / 6, 1, 8 / 6], [1]),  # and at the end
        pytest.param(["trainer.val_check_interval=50"], [1, 2], [1], marks=SLOW),
        (["trainer.val_check_interval=2", "trainer.accumulate_grad_batches=2"], [4 / 6, 1, 8 / 6, 2], [1]),
    ],
)
def test_validations_within_epochs_have_rows_of_their_own(
    words: list[str], at: list[float], unmeasured: list[float], tmp_path: Path
) -> None:
    assert command(f"into={tmp_path / 'run'}", *words) == 0
    assert epochs_of(tmp_path / "run") == pytest.approx(at)
    *_, last = rows = history(tmp_path / "run")
    for row in rows:
        assert ("train/loss" in row) == (row["epoch"] % 1 == 0 or row is last)
    # An end of an epoch that no validation fell on has no metrics of an earlier one.
    assert [row["epoch"] + 1 for row in rows if "val/selected" not in row] == unmeasured


def test_the_best_is_that_of_a_validation_within_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true, scores = TrainingModule.log, iter([0.1, 0.2, 0.9, 0.3])

    def log(model: TrainingModule, name: str, value: Any, **settings: Any) -> None:
        true(model, name, value if name != "val/selected" else 0 * value + next(scores), **settings)

    monkeypatch.setattr(TrainingModule, "log", log)
    assert command(f"into={tmp_path / 'run'}", "trainer.val_check_interval=0.5") == 0
    best = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["global_step"] == 9


def test_lines_tell_of_validations_within_epochs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["trainer.val_check_interval=0.5", "trainer.max_steps=9", "trainer.max_epochs=null"]
    assert command(f"into={tmp_path / 'run'}", *words) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]
    assert [line.partition(":")[0] for line in said] == ["epoch 1/2, step 3 of 6", "epoch 1/2", "epoch 2/2"]
    assert said[0].startswith("epoch 1/2, step 3 of 6: val loss ")
    assert "val segment accuracy" in said[1]


INTERRUPTED = [
    (["trainer.save_every=2"], 0, 5),
    (["trainer.val_check_interval=0.5", "trainer.save_every=3", "trainer.ema=0.9"], 0, 3),  # both fall together
    (["trainer.save_every=2", "trainer.max_steps=9", "trainer.max_epochs=null", "loader.num_workers=1"], 1, 2),
    pytest.param(["trainer.save_every=1", "trainer.accumulate_grad_batches=2"], 0, 5, marks=SLOW),
    pytest.param(["trainer.save_every=1"], 1, 3, marks=SLOW),
    pytest.param(["trainer.val_check_interval=0.5"], 0, 4, marks=SLOW),  # saved after the validation
    pytest.param(["trainer.val_check_interval=4", "trainer.save_every=1"], 1, 4, marks=SLOW),
    pytest.param(["trainer.val_check_interval=0.5", "trainer.patience=1"], 0, 4, marks=SLOW),
]


@SLOW
def test_resumed_with_workers_a_run_has_the_order_of_its_epoch(tmp_path: Path) -> None:
    """Lightning makes the iterator of a resumed run in the name of its first epoch."""
    words = ["loader.num_workers=1", "trainer.max_epochs=3"]
    assert command(f"into={tmp_path / 'whole'}", *words) == 0
    assert cut(tmp_path / "run", *words) is None
    assert command(f"into={tmp_path / 'run'}", *words, "resume=true") == 0
    assert same_result(tmp_path / "whole", tmp_path / "run")


@pytest.mark.parametrize(("words", "epoch", "batch"), INTERRUPTED)
def test_resumed_within_an_epoch_a_run_ends_as_an_uninterrupted_one(
    words: list[str], epoch: int, batch: int, tmp_path: Path
) -> None:
    assert command(f"into={tmp_path / 'whole'}", *words) == 0
    folder = tmp_path / "run"
    assert cut(folder, *words, epoch=epoch, batch=batch) is None
    begin, trained = TrainingModule.on_train_batch_start, list[tuple[int, int]]()

    def note(model: TrainingModule, samples: Any, batch_idx: int) -> None:
        trained.append((model.current_epoch, batch_idx))
        begin(model, samples, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingModule, "on_train_batch_start", note)
        assert command(f"into={folder}", *words, "resume=true") == 0
    assert trained[0][0] == epoch
    assert 0 < trained[0][1] <= batch, "the epoch is gone on with, not begun again"
    assert same_result(tmp_path / "whole", folder)


def test_a_run_of_steps_goes_on_for_more_of_them_and_keeps_what_it_had(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rates: list[tuple[int, float]]
) -> None:
    folder, words = tmp_path / "run", ["trainer.max_epochs=null"]
    assert command(f"into={folder}", *words, "trainer.max_steps=4") == 0
    rates.clear()
    capsys.readouterr()
    assert command(f"into={folder}", *words, "trainer.max_steps=3", "resume=true") == 2
    assert "trainer.max_steps=4 in" in (said := capsys.readouterr().err)
    assert "3 here: it can be made larger only" in said
    assert command(f"into={folder}", *words, "trainer.max_steps=7", "resume=true") == 0
    assert "going on from 4 to 7 steps: the learning rate follows the schedule of 7" in capsys.readouterr().out
    assert [step for step, _ in rates] == [4, 5, 6]
    assert json.loads((folder / "metrics.json").read_text())["manifest"]["extended"] == [[4, 7]]
    assert (folder / "earlier" / "4_steps" / "adapter").is_dir()
    tensors(folder)


def test_a_limit_may_be_lifted_where_the_other_one_stays(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert command(f"into={folder}", "trainer.max_steps=4") == 0
    assert command(f"into={folder}", "resume=true") == 0
    assert epochs_of(folder) == [pytest.approx(2 / 3), 2]  # the cut epoch is not gone on with


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("trainer.max_steps=0", "trainer.max_steps: expected int >= 1 | None, got 0 (int)"),
        ("trainer.max_epochs=null", "trainer.max_epochs and trainer.max_steps are both null"),
        ("trainer.val_check_interval=1.5", "trainer.val_check_interval: expected int >= 1 | float > 0 and <= 1"),
        ("trainer.save_every=2.5", "trainer.save_every: expected int >= 1 | None, got 2.5 (float)"),
    ],
)
def test_a_wrong_length_is_told_before_anything_is_read(word: str, said: str, refusal: Callable[..., str]) -> None:
    assert said in refusal(word)
