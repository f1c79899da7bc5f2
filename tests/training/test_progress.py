"""Where there is no terminal, a line at least every half minute says how far a run is."""

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from run_tiny import as_it_was, command

from zoo.training import measure, trainer
from zoo.training.module import TrainingModule
from zoo.training.progress import EVERY, EpochLines, StepLines

__all__ = ["as_it_was"]  # a fixture of every test here


class Clock:
    """Stands still but for the steps of a run."""

    def __init__(self, pace: float) -> None:
        self.now, self.pace = 0.0, pace
        self.told: list[float] = []

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Clock:
    """Every step of training, validation and test takes so many seconds of it."""
    clock = Clock(request.param)

    def slowed(true: Any) -> Any:
        def step(model: TrainingModule, *args: Any) -> Any:
            clock.now += clock.pace
            return true(model, *args)

        return step

    for hook in ("training_step", "validation_step", "test_step"):
        monkeypatch.setattr(TrainingModule, hook, slowed(getattr(TrainingModule, hook)))
    for module in (trainer, measure):
        monkeypatch.setattr(module, "EpochLines", partial(EpochLines, clock))
    say = EpochLines._say
    monkeypatch.setattr(EpochLines, "_say", lambda self, *args: (clock.told.append(clock.now), say(self, *args)))
    return clock


@pytest.mark.parametrize("clock", [10.0], indirect=True)
def test_lines_tell_step_of_steps_and_the_time_that_is_left(
    clock: Clock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twelve samples by two are six steps, five three, and the three of the test two."""
    cache = f"cache={{_target_: zoo.prefix.PrefixCache, folder: {tmp_path / 'kept'}}}"
    assert command(f"into={tmp_path / 'run'}", cache) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("epoch ", "test: "))]
    assert said[0] == "epoch 1/2, training: step 2 of 6, about 40 s left; 8 frozen features computed and kept"
    assert said[1] == "epoch 1/2, training: step 4 of 6, about 20 s left; 16 frozen features computed and kept"
    assert said[2] == "epoch 1/2, training: step 6 of 6; 24 frozen features computed and kept"
    assert said[3] == "epoch 1/2, validation: step 2 of 3, about 10 s left; 8 frozen features computed and kept"
    assert said[4].startswith("epoch 1/2: train loss ")
    assert "val segment accuracy" in said[4]
    assert said[4].endswith(" (90 s, later ones read the frozen features that it kept)")
    assert said[5] == "epoch 2/2, training: step 2 of 6, about 40 s left", "nothing is computed any more"


@pytest.mark.parametrize("clock", [10.0], indirect=True)
def test_without_a_cache_an_epoch_tells_the_pace_of_the_others(
    clock: Clock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(f"into={tmp_path / 'run'}") == 0
    assert " (90 s, at most 90 s left)" in capsys.readouterr().out


@pytest.mark.parametrize("clock", [1.0, 7.0, 29.0, 45.0], indirect=True)
def test_no_two_lines_are_further_apart_than_half_a_minute_or_one_step(clock: Clock, tmp_path: Path) -> None:
    assert command(f"into={tmp_path / 'run'}") == 0
    steps = 2 * (6 + 3)
    moments = [0.0, *(moment for moment in clock.told if moment <= steps * clock.pace)]
    assert moments[-1] == steps * clock.pace
    gaps = [b - a for a, b in pairwise(moments)]
    assert max(gaps) <= max(EVERY, clock.pace)


@pytest.mark.parametrize("clock", [45.0], indirect=True)
def test_a_terminal_has_its_bar_and_no_lines_beside_it(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert command(f"into={tmp_path / 'run'}") == 0
    assert clock.told == []


def test_steps_without_a_trainer_tell_how_far_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock(10.0)
    lines = StepLines("val, one part replaced", 7, 2, clock)
    for _ in range(7):
        clock.now += clock.pace
        lines.step()
    assert capsys.readouterr().out.splitlines() == [
        "val, one part replaced: step 2 of 7",
        "val, one part replaced: step 4 of 7, about 30 s left",
        "val, one part replaced: step 6 of 7, about 10 s left",
    ]
