"""A run measures the calibration of its probabilities, beside it that at a temperature fitted on validation, and an
evaluation finds both again in the adapter's folder alone."""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import point_tiny
import pytest
import run_tiny
import tiny
import torch
from adapter_files import seal
from drawn import pixels
from rich.console import Console
from tiny_data import Tiny

from zoo import evaluate
from zoo.adapter import public_record
from zoo.adapter.directory import AdapterError
from zoo.catalog import card_tables
from zoo.methods.frozen import Frozen
from zoo.metrics import calibration
from zoo.metrics.names import CALIBRATION
from zoo.records import calibration as records
from zoo.records import comparison
from zoo.records.run_places import FOLDER
from zoo.report import figures, run_pictures, tables
from zoo.tasks.base import Task
from zoo.tasks.classification import Classification
from zoo.tasks.video_parsing import VideoParsing
from zoo.training import calibration as measuring
from zoo.training.loaders import Loaders
from zoo.training.measure import measure, single_trainer
from zoo.training.voting import vote

CLOUDS = "clouds"


def sure(kind: str = CLOUDS, task: Task | None = None) -> Loaders:
    """Of a pairing that is far too sure of what it guesses."""
    torch.manual_seed(0)
    pairing = (
        point_tiny.pairing(Frozen(), task or Classification(hidden=()))
        if kind == CLOUDS
        else tiny.pairing(Frozen(), task)
    )
    with torch.no_grad():
        for parameter in pairing.task.parameters():
            parameter.mul_(8)
    return Loaders(Tiny(kind=kind), pairing.eval(), batch_size=2)


@pytest.mark.parametrize("kind", [CLOUDS, "clips"])
def test_a_run_tells_calibration_apart_from_metrics_and_fits_the_temperature_on_validation(kind: str) -> None:
    loaders, trainer = sure(kind), single_trainer("cpu")
    record, predictions = measure(loaders, trainer)
    found, temperature = record["calibration"], record["calibration"]["temperature"]
    assert not set(record["metrics"]) & set(CALIBRATION)
    assert record["monitor"] in record["metrics"]
    assert found["n"] == (3 if kind == CLOUDS else 12)  # of clips, segments
    assert temperature["n"] == (5 if kind == CLOUDS else 20)
    assert temperature["value"] > 1
    assert temperature["nll_after"] <= temperature["nll_before"]
    # The same by hand, of what the run kept of its test split; and of validation, which has other samples.
    name = loaders.pairing.task.decided[0]
    labels = predictions.concatenated(predictions.target)[name].long().flatten()
    kept = predictions.concatenated(predictions.prediction)["probabilities"].reshape(len(labels), -1)
    assert found["raw"] == pytest.approx(calibration.scores(kept, labels))
    tempered = calibration.at_temperature(kept, temperature["value"])
    assert found["tempered"] == pytest.approx(calibration.scores(tempered, labels))
    assert torch.equal(tempered.argmax(-1), kept.argmax(-1))
    shares = torch.bincount(labels).double() / len(labels)
    entropy = -(shares[shares > 0] * shares[shares > 0].log()).sum().item()
    assert found["shares"]["nll"] == pytest.approx(entropy)
    assert found["shares"]["ece_15"] == pytest.approx(0)
    # The task is left as the test split left it.
    assert loaders.pairing.task.scored()[1].tolist() == labels.tolist()


def test_the_temperature_does_not_look_at_the_test_split() -> None:
    found = [measuring.fitted(loaders, single_trainer("cpu")) for loaders in (sure(), sure())]
    assert found[0] == found[1]
    other = sure()
    other.setup()
    other.data.sets["test"] = other.data.sets["train"]
    assert measuring.fitted(other, single_trainer("cpu")) == found[0]
    other.data.sets["val"] = other.data.sets["train"]
    assert measuring.fitted(other, single_trainer("cpu")) != found[0]


def test_without_a_validation_split_probabilities_are_told_as_they_are() -> None:
    loaders = sure()
    loaders.setup()
    del loaders.data.sets["val"]
    record, _ = measure(loaders, single_trainer("cpu"), probed=False)
    assert set(record["calibration"]) == {"n", "raw", "shares"}
    given, _ = measure(loaders, single_trainer("cpu"), probed=False, temperature=2.5)
    assert given["calibration"]["temperature"] == {"value": 2.5}
    assert set(given["calibration"]["tempered"]) == set(CALIBRATION)


def test_a_task_of_several_labels_at_once_has_none() -> None:
    task = VideoParsing()
    assert not task.gives_probabilities
    with pytest.raises(NotImplementedError):
        task.scored()


def test_views_vote_with_the_probabilities_of_their_mean_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    loaders = sure()
    loaders.setup()
    monkeypatch.setattr(type(loaders.data), "views", lambda data: data.sets["test"], raising=False)
    voted = vote(loaders, torch.device("cpu"), 2)
    record, _ = measure(loaders, single_trainer("cpu"), probed=False)
    assert voted["calibration"]["raw"] == pytest.approx(record["calibration"]["raw"])  # both views are alike
    assert voted["metrics"] == record["metrics"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the tiny recipe, with its pictures."""
    folder = tmp_path_factory.mktemp("run") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_TRUST", "tiny,run_tiny")
        assert run_tiny.command(f"into={folder}") == 0
    os.environ.pop(FOLDER, None)
    return folder


def changed(run: Path, folder: Path, change: Any) -> Path:
    """A copy of its adapter, with another metrics.json."""
    copy = folder / "adapter"
    shutil.copytree(run / "adapter", copy)
    metrics = json.loads((copy / "metrics.json").read_text())
    change(metrics)
    (copy / "metrics.json").write_text(json.dumps(metrics))
    return seal(copy)


def evaluated(adapter: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("ZOO_TRUST", "tiny,run_tiny")
    assert evaluate.main([f"adapter={adapter}", f"output={folder / 'again.json'}"]) == 0
    record: dict[str, Any] = json.loads((folder / "again.json").read_text())
    return record


def test_a_run_keeps_it_draws_it_and_an_evaluation_finds_it_again(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = json.loads((finished / "metrics.json").read_text())["calibration"]
    assert pixels(finished / "report" / "reliability.png").shape[1] > 800  # two panels
    again = evaluated(finished / "adapter", tmp_path, monkeypatch)["calibration"]
    value = stored["temperature"]["value"]
    assert again["temperature"] == {"value": value}
    for which in ("raw", "tempered", "shares"):
        assert again[which] == pytest.approx(stored[which], abs=1e-6)
    shown = capsys.readouterr().out
    assert "calibration, 12 labels of test" in shown
    assert f"at temperature {value:.2f}" in shown


def test_an_adapter_from_before_gets_its_temperature_from_the_validation_split(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = changed(finished, tmp_path, lambda metrics: metrics.pop("calibration"))
    again = evaluated(before, tmp_path, monkeypatch)["calibration"]
    stored = json.loads((finished / "metrics.json").read_text())["calibration"]
    assert again["temperature"] == pytest.approx(stored["temperature"], abs=1e-5)


@pytest.mark.parametrize("value", ["2", 0, -1.0, float("inf"), [], {"a": 1}])
def test_a_temperature_that_is_none_is_named(value: Any) -> None:
    metrics = {"calibration": {"temperature": {"value": value}}}
    with pytest.raises(AdapterError, match=r"metrics.json: calibration.temperature.value: expected a positive number"):
        measuring.brought(metrics, Path("metrics.json"))
    with pytest.raises(AdapterError, match="expected a positive number"):
        measuring.brought({"calibration": [value]}, Path("metrics.json"))
    assert measuring.brought({}, Path("metrics.json")) is None
    assert measuring.brought({"calibration": {"n": 3, "raw": {}}}, Path("metrics.json")) is None


def measured(shift: float, *, dirty: bool = False) -> dict[str, Any]:
    """Record of a run, as far as tables read it here."""
    numbers = {name: 0.1 * (k + 1) + shift for k, name in enumerate(CALIBRATION)}
    return {
        "split": "test",
        "manifest": {"commit": "0123456789", "dirty": dirty},
        "calibration": {
            "n": 7,
            "raw": numbers,
            "temperature": {"value": 2 + shift, "n": 5},
            "tempered": {name: value / 2 for name, value in numbers.items()},
            "shares": dict.fromkeys(CALIBRATION, 1.0),
        },
    }


def test_tables_have_one_row_of_each_and_none_where_runs_are_from_before() -> None:
    one, two = measured(0.0), measured(0.02)
    assert records.cells(records.summary([one])) == [
        ["as they are", "0.100", "0.200", "0.300", "0.400"],
        ["at temperature 2.00", "0.050", "0.100", "0.150", "0.200"],
        ["(the classes' shares)", *4 * ["1.000"]],
    ]
    both = records.cells(records.summary([one, two]))
    assert both[0][:2] == ["as they are", "0.110±0.014"]
    assert both[1][0] == "at temperature 2.01±0.01"
    assert records.cells(records.summary([one, {}])) == records.cells(records.summary([])) == []
    bare = {"calibration": {key: one["calibration"][key] for key in ("n", "raw")}}
    assert [row[0] for row in records.cells(records.summary([bare]))] == ["as they are"]

    text = card_tables.results({}, {}, [one, two])
    assert "| at temperature 2.01±0.01 | 0.055±0.007 |" in text
    assert "selects checkpoints as well" in text
    assert "Calibration" not in card_tables.results({}, {}, [measured(0.0, dirty=True)])
    assert "Calibration" not in card_tables.results({}, {}, [{"manifest": one["manifest"]}])


def test_a_comparison_shows_it_by_variant_beside_its_main_table() -> None:
    summed = records.summary([measured(0.0)])
    others = [{"name": "head_only"}, {"name": "lora", "calibration": summed}]
    record = {"rows": [{"name": "recipe", "calibration": summed}, *others]}
    header, rows = comparison.calibration_cells(record)
    assert {len(row) for row in rows} == {len(header)}
    assert [row[:2] for row in rows] == [
        ["recipe", "as they are"],
        ["recipe", "at temperature 2.00"],
        ["LoRA", "as they are"],
        ["LoRA", "at temperature 2.00"],
        ["", "(the classes' shares)"],
    ]
    assert comparison.calibration_cells({"rows": [{"name": "recipe"}]})[1] == []


def test_what_is_shared_keeps_the_numbers() -> None:
    found = measured(0.0) | {"metrics": {"accuracy": 0.8}}
    found["manifest"]["recipe"] = "tb_ava"
    found["calibration"]["where"] = "/home/somebody"
    kept = public_record.record(found)["calibration"]
    assert kept == {key: value for key, value in found["calibration"].items() if key != "where"}


def test_curves_leave_it_out_and_the_screen_has_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(figures, "directed", lambda name: drawn.append(name) or name)
    row = {"epoch": 0, "val/loss": 1.0, "val/accuracy": 0.5, **{f"val/{name}": 2.0 for name in CALIBRATION}}
    figures.curves([row], tmp_path / "curves.png")
    assert drawn == ["accuracy"]
    console = Console(width=100)
    with console.capture() as captured:
        for table in tables._details(full(measured(0.0))):
            console.print(table)
    assert "calibration, 7 labels of test" in captured.get()


def full(record: dict[str, Any]) -> dict[str, Any]:
    return record | {"unit": "fraction", "n": 7, "method": {}, "branches": {}, "probes": {}, "by": {}}


def test_the_picture_is_of_the_run_s_own_probabilities_before_and_after(tmp_path: Path) -> None:
    loaders = sure()
    record, predictions = measure(loaders, single_trainer("cpu"), probed=False)
    run = SimpleNamespace(
        pairing=loaders.pairing, predictions=predictions, folder=tmp_path, temperature=2.0, array=None
    )
    run_pictures.kind("clouds").PICTURES["reliability"](run)  # type: ignore[arg-type]
    both = pixels(tmp_path / "reliability.png")
    run.temperature = None
    run_pictures.kind("clouds").PICTURES["reliability"](run)  # type: ignore[arg-type]
    assert pixels(tmp_path / "reliability.png").shape[1] < 0.6 * both.shape[1]
    assert record["calibration"]["raw"]["ece_15"] > 0
