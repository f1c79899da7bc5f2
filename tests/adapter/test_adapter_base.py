"""An adapter knows its base: it loads onto the weights, settings and structure that it was trained with, or says what
differs."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from zoo import evaluate, predict, reproduce
from zoo.adapter import directory, former, places, public_record, sharing
from zoo.adapter.directory import FILES, AdapterError
from zoo.backbones.fingerprint import Fingerprint, fingerprint, fingerprints_of_format
from zoo.batch import Cloud
from zoo.catalog import card
from zoo.errors import UserError
from zoo.files import file_hash
from zoo.inference import predictor
from zoo.ops.points import farthest_points
from zoo.records import provenance
from zoo.records.verdict import verdict
from zoo.train import main as train

OLD = {number: Path(__file__).parents[1] / "data" / f"adapter_format_{number}" for number in (1, 2)}
"""Adapters on random weights as those versions wrote them, on a processor with AVX2."""
CPU = Path("/proc/cpuinfo")
AVX2 = pytest.mark.skipif(
    not CPU.is_file() or "avx2" not in CPU.read_text(),
    reason="no AVX2: this processor cannot draw the weights that the stored adapters were trained on",
)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A smoke run's adapter."""
    runs = tmp_path_factory.mktemp("runs")
    assert train(["recipe=mantis", "--smoke", "method.rank=2", "task.hidden=[]", f"runs={runs}"]) == 0
    return next((runs / "mantis").iterdir()) / "adapter"


@pytest.fixture
def folder(fresh: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(fresh, tmp_path / "adapter"))


def edit(folder: Path, **changes: Any) -> None:
    """Change dotted keys of the recipe and sign the directory anew, as a careless or a malicious hand would."""
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    for key, value in changes.items():
        *path, last = key.split("__")
        block = recipe
        for part in path:
            block = block[part]
        block[last] = value
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    sign(folder)


def sign(folder: Path) -> None:
    (folder / "SHA256SUMS").write_text("".join(f"{file_hash(folder / n)}  {n}\n" for n in FILES))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"backbones__points__source": "random:1"}, "the points backbone has other weights"),
        ({"backbones__points__groups": 8}, "the points backbone has other settings"),
        ({"method__drop_path": 0.1}, "the structure of method or task"),
        ({"task__dropout": 0.2}, "the structure of method or task"),
    ],
)
def test_another_base_is_refused_and_forced_only_with_a_note(folder: Path, changes: Any, said: str) -> None:
    edit(folder, **changes)
    with pytest.raises(AdapterError, match=said) as error:
        directory.load(folder)
    assert "--force" in str(error.value)
    _, pairing = directory.load(folder, force=True)
    assert [said in line for line in pairing.forced] == [True]


def test_what_is_forced_stands_in_every_later_result(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(folder, backbones__points__source="random:1")
    np.savetxt(tmp_path / "cloud.xyz", np.random.default_rng(0).normal(size=(80, 3)))
    words = [f"adapter={folder}", f"input={tmp_path / 'cloud.xyz'}"]
    with pytest.raises(SystemExit) as end:
        predict.main(words)
    assert end.value.code == 1
    capsys.readouterr()
    assert predict.main([*words, "--force"]) == 0
    assert "other weights" in json.loads(capsys.readouterr().out)["forced"][0]
    assert evaluate.main([f"adapter={folder}", f"output={tmp_path / 'out.json'}", "--force"]) == 0
    assert "other weights" in json.loads((tmp_path / "out.json").read_text())["forced"][0]
    assert "forced: the points backbone has other weights" in capsys.readouterr().out


def test_tensors_must_fit_under_force_too(folder: Path) -> None:
    file = folder / "adapter.safetensors"
    with safe_open(file, framework="pt") as opened:
        header = opened.metadata()
    tensors = load_file(file)
    save_file({f"other.{name}": tensor for name, tensor in tensors.items()}, file, metadata=header)
    sign(folder)
    with pytest.raises(AdapterError, match=r"missing .*unexpected other\."):
        directory.load(folder, force=True)


@AVX2
@pytest.mark.parametrize("number", OLD)
def test_an_adapter_of_a_former_format_still_loads_and_answers_as_it_did(number: int) -> None:
    _, pairing = directory.load(OLD[number])
    assert pairing.forced == []
    assert "copies of a point were kept" in pairing.notes[0]
    # Clouds were then prepared in another way: farthest points from the first one of the file.
    points = np.loadtxt(OLD[number] / "cloud.xyz")
    points = points - points.mean(0)
    points = (points / np.linalg.norm(points, axis=1).max()).astype(np.float32)
    chosen = points[farthest_points(torch.from_numpy(points)[None], 64)[0].numpy()]
    now = pairing.prepare(Cloud("now", chosen, {})).prepared
    (found,) = predictor.predict(pairing, [Cloud("then", chosen, {}, prepared=now)])
    stored = json.loads((OLD[number] / "answer.json").read_text())
    assert found["label"] == stored["label"]
    assert found["likely"] == pytest.approx(stored["likely"], abs=2e-6)


@pytest.mark.parametrize(
    ("number", "said"),
    [(1, "other weights or settings"), pytest.param(2, "other weights", marks=pytest.mark.slow)],
)
def test_an_adapter_of_a_former_format_on_another_backbone_is_refused(number: int, said: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(OLD[number], tmp_path / "old"))
    edit(folder, backbones__points__source="random:1")
    with pytest.raises(AdapterError, match=said):
        directory.load(folder)


@pytest.mark.slow
@AVX2
def test_training_starts_from_format_2_where_only_the_rounding_of_positions_differs(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(places.bundled()["scale_earth-rsscn7"], tmp_path / "old"))
    header, _ = directory.read(folder)
    changed = json.loads(header["restated"])["format 2"]
    then = header | {"format": "2", "fingerprints": json.dumps(json.loads(header["fingerprints"]) | changed)}
    assert json.loads(former.restated(folder / "recipe.yaml", then)["fingerprints"]) == json.loads(
        header["fingerprints"]
    )
    changed["vision"]["weights"] = "0" * 64
    other = then | {"fingerprints": json.dumps(changed)}
    assert former.restated(folder / "recipe.yaml", other) == other
    recipe = OLD[2] / "recipe.yaml"
    drawn, _ = directory.read(OLD[2])
    assert former.restated(recipe, drawn) == drawn


def test_a_format_of_the_future_says_to_upgrade(folder: Path) -> None:
    file = folder / "adapter.safetensors"
    with safe_open(file, framework="pt") as opened:
        header = opened.metadata()
    save_file(load_file(file), file, metadata={**header, "format": "4"})
    sign(folder)
    with pytest.raises(AdapterError, match=r"format '4' is unknown.*upgrade"):
        directory.load(folder)


def test_weights_and_settings_have_fingerprints_of_their_own() -> None:
    one, other = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    first, second = fingerprint(one, {"size": 1}), fingerprint(one, {"size": 2})
    assert first.weights == second.weights != fingerprint(other, {"size": 1}).weights
    assert first.settings == fingerprint(other, {"size": 1}).settings != second.settings
    assert len({str(first), str(second), str(first.also(3)), str(first.also(4))}) == 4
    with fingerprints_of_format(1):
        old = fingerprint(one, {"size": 1})
    assert old.settings == ""
    assert str(old) == old.weights != fingerprint(one, {"size": 1}).weights
    assert old != Fingerprint(first.weights)


def test_a_shared_copy_tells_no_folder_and_answers_equally(folder: Path, tmp_path: Path) -> None:
    edit(folder, cache={"_target_": "zoo.prefix.PrefixCache", "folder": "/home/me/cache"})
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["manifest"]["command"] = (
        "python -m zoo.train recipe=/home/me/x.yaml into=/home/me card=mantis data.root=/d seed=1"
    )
    (folder / "metrics.json").write_text(json.dumps(metrics))
    sign(folder)
    shared = sharing.copy_for_sharing(folder, tmp_path / "shared", card=card.for_adapter)
    assert not any(b"/home" in (shared / name).read_bytes() for name in FILES)
    command = json.loads((shared / "metrics.json").read_text())["manifest"]["command"]
    assert command == "python -m zoo.train recipe=mantis data.root=DIR seed=1"
    _, a = directory.load(folder)
    _, b = directory.load(shared)
    state = b.trainable_state()
    assert all(torch.equal(tensor, state[name]) for name, tensor in a.trainable_state().items())


def test_a_later_measurement_enters_the_card_once_for_its_data(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "git_state", lambda: {"commit": "0" * 40, "dirty": False})
    for _ in range(2):
        assert evaluate.main([f"adapter={folder}", "--update-card"]) == 0
        directory.verify(folder)
    found = card.read(folder / "README.md")
    (model,) = found.front.get("model-index")
    assert len(json.loads((folder / "metrics.json").read_text())["evaluations"]) == 1
    assert model["results"][-1]["metrics"][0]["args"]["command"].startswith("python -m ")
    assert card.for_adapter(folder) == (folder / "README.md").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter"]


def test_a_card_is_not_updated_from_a_tree_with_changes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(provenance, "git_state", lambda: {"commit": "0" * 40, "dirty": True})
    with pytest.raises(SystemExit) as end:
        evaluate.main([f"adapter={folder}", "--update-card"])
    assert end.value.code == 1
    assert "clean commit" in capsys.readouterr().err


@pytest.mark.slow
def test_training_again_reproduces_and_says_so(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reproduce.main([str(folder), f"runs={tmp_path / 'runs'}"]) == 0
    assert "reproduces: accuracy" in capsys.readouterr().out
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["metrics"]["accuracy"], metrics["intervals"]["accuracy"] = 1.0, [0.99, 1.0]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    sign(folder)
    assert reproduce.main([str(folder), f"runs={tmp_path / 'runs'}"]) == 1
    assert "DOES NOT reproduce" in capsys.readouterr().out


def test_a_verdict_needs_the_same_data_and_the_stored_interval() -> None:
    def record(value: float, data: str = "a") -> dict[str, Any]:
        return {
            **{"monitor": "accuracy", "unit": "fraction", "metrics": {"accuracy": value}},
            **{"intervals": {"accuracy": [0.7, 0.8]}, "manifest": {"data": {"fingerprint": data}}},
        }

    stored = record(0.75)
    assert verdict(record(0.75), stored)["exact"]
    assert verdict(record(0.8), stored) | {"line": ""} == {"reproduces": True, "exact": False, "line": ""}
    assert verdict(record(0.81), stored)["reproduces"] is False
    assert verdict(record(0.75, "b"), stored)["reproduces"] is None
    assert verdict(record(0.81), stored | {"intervals": {}})["reproduces"] is False


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean 'tb_ava-grid'"):
        places.find_adapter("tb_ava_grid")
    with pytest.raises(UserError, match="does not exist"):
        places.find_adapter("no/such/folder")
    assert places.find_adapter("tb_ava-grid").name == "tb_ava-grid"
    assert replace(Fingerprint("a"), settings="b") == Fingerprint("a", "b")


def test_classes_that_are_never_predicted_are_told_on() -> None:
    metrics = {"metrics": {}, "manifest": {"recipe": "mantis"}, "never_predicted": ["table", "my secret"]}
    assert public_record.record(metrics, classes=["table", "sofa"])["never_predicted"] == ["table"]


def test_what_has_units_of_its_own_is_told_on() -> None:
    metrics = {"metrics": {}, "manifest": {"recipe": "sam2_acdc"}, "quantities": {"volume_hd95": 3.5}}
    assert public_record.record(metrics, classes=["heart"])["quantities"] == {"volume_hd95": 3.5}
