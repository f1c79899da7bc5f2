"""A comparison says what it is about to do before it does it."""

import json
import re
from pathlib import Path

import pytest

from zoo import compare
from zoo.report.tables import duration


def trained(folder: Path, seconds: float) -> None:
    (folder / "adapter").mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps({"manifest": {"seconds": seconds}}))


def test_the_number_of_trainings_is_that_of_variants_and_rounds(tmp_path: Path) -> None:
    told = compare.plan(tmp_path, ["recipe", "lora", "gate_off"], ["seed0", "seed1"], None)
    assert told.startswith("6 trainings (recipe, lora, gate_off; seed0, seed1)")
    assert told.endswith("how long one takes is not known yet")


def test_the_estimate_is_the_cards_until_trainings_of_its_own_are_there(tmp_path: Path) -> None:
    told = compare.plan(tmp_path, ["recipe", "lora"], ["seed0"], (300.0, "as on CPU x86_64, 2 cores"))
    assert told.endswith("about 10 min to go, at 5 min a training as on CPU x86_64, 2 cores")
    trained(tmp_path / "recipe" / "seed0", 60.0)
    told = compare.plan(tmp_path, ["recipe", "lora"], ["seed0"], (300.0, "as on CPU x86_64, 2 cores"))
    assert ", 1 of them done; about 60 s to go, at 60 s a training here, on average" in told
    trained(tmp_path / "lora" / "seed0", 60.0)
    assert compare.plan(tmp_path, ["recipe", "lora"], ["seed0"], None).endswith("2 of them done")


def test_a_command_says_its_plan_before_the_first_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compare, "_train", lambda *_: 7)
    assert compare.main(["recipe=tb_ava", "seeds=[0,1,2]", f"runs={tmp_path}"]) == 7
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("tb_ava: 48 trainings (recipe, ")  # the recipe and fifteen variants, three seeds
    assert re.search(r"at \d+ min a training as on CPU", first)
    assert second == "--- recipe, seed0"


@pytest.mark.parametrize(("seconds", "told"), [(59.6, "60 s"), (300, "5 min"), (9000, "2.5 hours")])
def test_durations_are_told_in_a_fitting_unit(seconds: float, told: str) -> None:
    assert duration(seconds) == told
