"""A loaded model answers a file and a value alike, and says what is wrong with either in one line."""

import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import zoo
from zoo import predict, train
from zoo.adapter.directory import AdapterError
from zoo.api import training
from zoo.api.model import Model
from zoo.catalog.push import PushError
from zoo.errors import UserError
from zoo.recipe.compose import RecipeError
from zoo.recipe.request import overrides
from zoo.tasks.results import Label, Parts, Prediction, Segment, Segments, Streams, Text

SCAN = np.random.default_rng(0).normal(size=(3000, 3))


@pytest.fixture(scope="module")
def model() -> Model:
    return zoo.load("mantis-dales")


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    path = tmp_path / "scan.npy"
    np.save(path, SCAN)
    return path


def test_the_file_the_array_the_sample_and_the_command_give_one_prediction(model: Model, scan: Path) -> None:
    told = model.predict(scan)
    assert isinstance(told, Label)
    for value in (SCAN, torch.from_numpy(SCAN), zoo.Cloud("input", SCAN, {})):
        found = model.predict(value)
        # Kernels round by where their memory lies.
        torch.testing.assert_close(found.output["probabilities"], told.output["probabilities"], rtol=1e-5, atol=1e-7)
        assert found.label == told.label
        assert found.notes == told.notes
    with redirect_stdout(io.StringIO()) as out:
        assert predict.main(["adapter=mantis-dales", f"input={scan}"]) == 0
    line = json.loads(out.getvalue())
    assert (line["id"], line["label"], line.get("notes", [])) == (told.id, told.label, told.notes)
    assert line["probability"] == pytest.approx(told.probability, abs=1e-5)


def test_a_label_is_typed(model: Model, scan: Path) -> None:
    found = model.predict(scan)
    assert list(found.probabilities) == model.classes
    assert sum(found.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert (
        found.probabilities[found.label]
        == pytest.approx(found.probability, abs=1e-6)
        == max(found.probabilities.values())
    )
    assert repr(found).startswith(f"Label(id={str(scan)!r}, label={found.label!r}")
    assert found.error == ""


def test_a_list_and_a_folder_go_on_after_a_bad_one(model: Model, scan: Path) -> None:
    (scan.parent / "empty.npy").write_bytes(b"")
    found = model.predict([scan, SCAN, "nowhere.npy", np.zeros((3, 2)), scan], batch_size=2)
    assert [bool(one.error) for one in found] == [False, False, True, True, False]
    assert [one.id for one in found] == [str(scan), "1", "nowhere.npy", "3", str(scan)]
    assert "expected [points, 3" in found[3].error
    assert repr(found[2]).startswith("Prediction(id='nowhere.npy', error='input=nowhere.npy: there is no such file")
    both = model.predict(scan.parent)
    assert [bool(one.error) for one in both] == [True, False]
    assert len(model.predict([scan])) == 1
    assert model.predict([]) == []


@pytest.mark.parametrize(
    ("inputs", "settings", "message"),
    [
        ("nowhere.npy", {}, "there is no such file or folder"),
        (np.zeros((3, 2)), {}, r"input has shape \[3, 2\]"),
        (None, {}, "input is NoneType; expected a cloud"),
        (SCAN, {"up": "north"}, "up=north: expected the axis"),
        (SCAN, {"gsd": 3}, "gsd= means nothing to"),
        (SCAN, {"batch_size": 0}, "batch_size=0: expected a whole number above 0"),
        (zoo.Picture("p", (np.zeros((4, 4, 3), np.uint8),)), {}, "p is a Picture; expected a Cloud"),
    ],
)
def test_a_single_mistake_is_an_error_of_one_line(
    model: Model, inputs: Any, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as error:
        model.predict(inputs, **settings)
    assert "\n" not in str(error.value)


def test_it_is_saved_loaded_and_shared_without_the_network(model: Model, tmp_path: Path) -> None:
    again = zoo.load(model.save(tmp_path / "deep" / "copy"))
    assert again.predict(SCAN).probability == pytest.approx(model.predict(SCAN).probability, abs=1e-5)
    assert again.card == model.card
    with pytest.raises(UserError, match="exists already"):
        model.save(again.folder)
    sent = {upload.path: upload.content for upload in again.push("hf://me/mine", dry_run=True)}
    assert set(sent) == {"adapter.safetensors", "recipe.yaml", "metrics.json", "README.md", "SHA256SUMS"}
    assert str(tmp_path).encode() not in b"".join(sent.values())
    with pytest.raises(PushError, match="Expected hf://USER/REPO"):
        again.push("me/mine", dry_run=True)
    (again.folder / "metrics.json").write_text("{}")
    with pytest.raises(AdapterError, match=r"metrics\.json was altered"):
        again.save(tmp_path / "other")


def test_representations_are_escaped(model: Model) -> None:
    assert repr(model).startswith("zoo.Model mantis-dales\n  method     Mantis")
    assert "<td" in model._repr_html_()
    assert "<script" not in Prediction({"id": "<script>", "error": "<script>"})._repr_html_()


def test_a_drawing_is_a_picture(model: Model) -> None:
    drawn = model.picture(model.predict(SCAN))
    assert isinstance(drawn, Image.Image)
    assert min(drawn.size) > 100
    with pytest.raises(UserError, match="nothing to draw"):
        model.picture(model.predict(["nowhere"])[0])


def test_other_kinds_of_results_are_views_of_their_record() -> None:
    record = {
        "id": "c",
        "start": 1.0,
        "end": 4.0,
        "segments": ["dog", "dog", "background"],
        "probability": [0.5, 0.7, 1],
    }
    clip = Segments(record, names=["dog", "background"])
    assert clip.segments[1] == Segment(2.0, 3.0, "dog", 0.7)
    assert clip.events == [Segment(1.0, 3.0, "dog", pytest.approx(0.6))]
    assert Streams({"id": "c", "audio": [["dog"]], "visual": [[]]}).audio == [["dog"]]
    assert Parts({"id": "c", "parts": ["leg", "seat"]}).parts == ["leg", "seat"]
    text = Text({"id": "c", "written": "A.", "letter": "A"})
    assert (text.text, text.letter) == ("A.", "A")
    assert repr(text) == "Text(id='c', text='A.', letter='A')"


# --- training ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> training.TrainedRun:
    return zoo.train("mantis", smoke=True, runs=tmp_path_factory.mktemp("runs"), optimizer={"lr": 0.02})


def test_a_training_in_python_is_recorded_as_the_command_that_repeats_it(run: training.TrainedRun) -> None:
    assert run.metrics["manifest"]["command"] == "python -m zoo.train recipe=mantis optimizer.lr=0.02 --smoke"
    assert run.model().predict(SCAN).label in run.model().classes
    with pytest.raises(RecipeError, match="holds a finished run"):
        zoo.train("mantis", smoke=True, into=run.folder)


@pytest.mark.parametrize(
    ("arguments", "changes", "message"),
    [
        (["mantsi"], {}, "Did you mean 'mantis'"),
        (["mantis"], {"optimizer": {"lrr": 1}}, "optimizer.lrr"),
        (["mantis"], {"rank": 3}, "unknown key 'rank'"),
        ([], {}, "which recipe"),
        (["mantis"], {"init": "nothing"}, "unknown adapter 'nothing'"),
    ],
)
def test_mistakes_are_told_before_a_run_folder_is_made(
    arguments: list[str], changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        zoo.train(*arguments, runs=tmp_path / "runs", **changes)
    assert not (tmp_path / "runs").exists()


def test_the_command_module_in_the_place_of_the_function_trains_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zoo, "train", train)  # as `import zoo.train` leaves it
    with pytest.raises(UserError, match="Did you mean 'mantis'"):
        zoo.train("mantsi", runs=tmp_path)


def test_changes_become_words() -> None:
    changes = {"a": {"b": 1, "c": {"_target_": "x.Y", "z": [1e-5, None]}}, "d.e": True, "f": "data: x"}
    assert overrides(changes) == ["a.b=1", "a.c={_target_: x.Y, z: [1.0e-05, null]}", "d.e=true", "f=data: x"]


def test_what_there_is_is_listed_without_torch() -> None:
    assert {entry.name for entry in zoo.list_recipes()} >= {"tb_ava", "mantis", "scale_earth"}
    (entry,) = (entry for entry in zoo.list_adapters() if entry.name == "mantis-dales")
    assert repr(entry).startswith("<adapter mantis-dales: Mantis on small Mamba3D (shipped), classification")
    assert "Pairing" in dir(zoo)
    with pytest.raises(AttributeError, match="has no attribute 'pairing_of'"):
        _ = zoo.pairing_of


def test_own_files_are_measured_and_the_preparation_stays_the_adapters(tmp_path: Path) -> None:
    from data_modules.examples import main as made

    assert made(["clouds", str(tmp_path / "own")]) == 0
    model = zoo.load("mantis-furniture")
    before = model.predict(SCAN)
    result = model.evaluate(tmp_path / "own")
    assert result["n"] > 5
    assert 0 <= result["metrics"]["accuracy"] <= 1
    assert result["manifest"]["command"].startswith("python -m zoo.evaluate adapter=")
    assert model.predict(SCAN).probability == pytest.approx(before.probability, abs=1e-5)
    with pytest.raises(UserError, match="nowhere"):
        model.evaluate(tmp_path / "nowhere")
    with pytest.raises(RecipeError, match=r"data\.rooot"):
        model.evaluate(tmp_path / "own", rooot=3)
