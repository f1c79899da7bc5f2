"""A run with a posterior: it is saved, found again by evaluation and prediction, and stays behind in exports."""

import json
from pathlib import Path
from typing import Any

import point_tiny
import pytest
import torch
from run_tiny import as_it_was as as_it_was
from run_tiny import command, tensors
from tiny_data import Some

import zoo
from zoo.adapter import directory
from zoo.adapter.public_record import record as public
from zoo.errors import SettingError
from zoo.evaluate import main as evaluate
from zoo.export import main as export
from zoo.inference.predictor import predict_batch
from zoo.interop import export as exports
from zoo.report import tables
from zoo.training.measure import evaluate as measured_again

SIZES = "width: 16, depth: 3, groups: 12, neighbours: 6, states: 4"
MAMBA = f"{{_target_: zoo.backbones.mamba3d.Mamba3D, source: 'random:0', {SIZES}}}"
CLOUDS = (
    "data.kind=clouds",
    f"backbones={{points: {MAMBA}, vision: null, audio: null, text: null}}",
    "task={_target_: zoo.tasks.classification.Classification, hidden: []}",
    "optimizer.lr=0.1",
)
POSTERIOR = "zoo.methods.laplace_lora_xs.LaplaceLoRAXS"
PLACE = "targets: {points: [mixer.in_proj]}, last: {points: 2}, rank: 2, passes: 3"
METHOD = f"method={{_target_: {POSTERIOR}, {PLACE}}}"
OTHERS = ("prediction_draws", "prediction_map")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished one."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_TRUST", "tiny,run_tiny")
        patch.setattr("zoo.report.run_pictures.pictures", lambda folder, *_, **__: folder.mkdir(exist_ok=True))
        assert command(f"into={folder}", *CLOUDS, METHOD) == 0
    return folder


def metrics(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return found


def test_a_run_shows_its_predictions_beside_each_other(run: Path) -> None:
    record = metrics(run)
    assert set(record["concluded"]) == {"prior_precision", "effective_parameters", "log_evidence", "samples"}
    assert record["concluded"]["samples"] == 12
    assert {f"accuracy_{other}" for other in OTHERS} < set(record["metrics"])
    found = [record["calibration"], *(record["probes"][other]["calibration"] for other in OTHERS)]
    assert all({"raw", "tempered", "temperature", "shares"} < set(each) for each in found)
    assert len({each["raw"]["nll"] for each in found}) == 3
    kept = public(record)
    assert kept["concluded"] == record["concluded"]
    assert kept["probes"]["prediction_map"]["calibration"] == record["probes"]["prediction_map"]["calibration"]
    shown = [table.title for table in tables._details(record)]
    assert "calibration, trained weights alone" in shown
    assert "calibration, weights drawn from the posterior" in shown
    own = tensors(run)
    assert float(own["method.precision"]) == pytest.approx(record["concluded"]["prior_precision"])
    assert bool(own["method.root"].any())


def test_an_evaluation_finds_every_number_again_from_the_folder_alone(run: Path, tmp_path: Path) -> None:
    stored = metrics(run)
    assert evaluate([f"adapter={run / 'adapter'}", f"output={tmp_path / 'again.json'}"]) == 0
    again = json.loads((tmp_path / "again.json").read_text())
    assert again["verdict"]["reproduces"]
    assert again["metrics"] == pytest.approx(stored["metrics"])
    for one, other in zip(calibrations(again), calibrations(stored), strict=True):
        assert one["raw"] == pytest.approx(other["raw"], abs=1e-5)
        assert one["tempered"] == pytest.approx(other["tempered"], abs=1e-5)
    chosen = tmp_path / "map.json"
    assert evaluate([f"adapter={run / 'adapter'}", "method.prediction=map", f"output={chosen}"]) == 0
    by_map = json.loads(chosen.read_text())
    assert by_map["calibration"]["raw"] == pytest.approx(calibrations(stored)[2]["raw"], abs=1e-5)
    assert set(by_map["probes"]) >= {"prediction_linearised", "prediction_draws"}


def calibrations(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [record["calibration"], *(record["probes"][other]["calibration"] for other in OTHERS)]


def test_a_resumed_run_concludes_to_the_same_posterior(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert command(f"into={folder}", *CLOUDS, METHOD, "test=false") == 0
    assert not (folder / "adapter").exists()
    assert command(f"into={folder}", *CLOUDS, METHOD, "resume=true") == 0
    whole, resumed = tensors(run), tensors(folder)
    assert whole.keys() == resumed.keys()
    for name, tensor in whole.items():
        torch.testing.assert_close(resumed[name], tensor, atol=1e-4, rtol=1e-3, msg=name)


def test_a_loaded_adapter_predicts_by_its_posterior(run: Path) -> None:
    _, pairing = directory.load(run / "adapter")
    with torch.no_grad():
        linear = pairing.predict(point_tiny.batch(17, 18))["probabilities"]
        pairing.choose(prediction="map")
        by_map = pairing.predict(point_tiny.batch(17, 18))["probabilities"]
    assert not torch.allclose(by_map, linear, atol=1e-5)
    own, samples = zoo.load(run / "adapter").pairing, Some("clouds", 17, 2)
    for row, expected in enumerate(linear):
        (answer,) = predict_batch(own, [samples[row]])
        assert answer.record["probability"] == pytest.approx(expected.max().item(), abs=1e-4)


def test_views_do_not_vote(run: Path) -> None:
    config, pairing = directory.load(run / "adapter")
    with pytest.raises(SettingError, match="votes=2: views vote by their logits, and this adapter's method owns"):
        measured_again(run / "adapter", config, pairing, votes=2)


@pytest.mark.parametrize("form", ["torch", "merged"])
def test_an_export_is_of_the_trained_weights_alone_and_says_so(
    run: Path, form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert export([f"adapter={run / 'adapter'}", f"output={out}", f"format={form}"]) == 0
    assert json.loads((out / "export.json").read_text())["probabilities"] == exports.MAP
    assert f"note: its probabilities are {exports.MAP}" in " ".join(capsys.readouterr().out.split())


def test_another_task_is_refused_in_a_line_before_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    method = f"method={{_target_: {POSTERIOR}, targets: {{vision: ['1']}}}}"
    assert command(f"into={tmp_path / 'refused'}", method) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "which task audio-visual-event-localization has no use for; it goes with classification" in line
