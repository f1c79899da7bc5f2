"""Classes that nobody trained on, through the command and in Python; what cannot be asked for is one line."""

import json
from pathlib import Path
from typing import Any

import picture_files
import predict_files
import pytest
import sound_files
from answers_of import run

import zoo
from data_modules.rsscn7 import CLASSES
from zoo.adapter import directory, kept_anchors
from zoo.backbones.minilm import MiniLM
from zoo.backbones.yamnet import YAMNet
from zoo.errors import SettingError
from zoo.train import main as train


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained adapter, with a random YAMNet."""
    folder = tmp_path_factory.mktemp("adapters") / "open"
    return predict_files.untrained("esc10_open", folder, "data.root=nowhere", "backbones.audio.source=random:0")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained adapter, with a random EfficientNet-Lite0."""
    return predict_files.untrained("rsscn7_open", tmp_path_factory.mktemp("adapters") / "open", "data.root=nowhere")


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    return sound_files.tone(tmp_path / "tone.wav", 440)


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("weights are loaded")

    monkeypatch.setattr(MiniLM, "__init__", refuse)
    monkeypatch.setattr(YAMNet, "__init__", refuse)


def test_names_are_chosen_between_that_nobody_trained_on(
    adapter: Path, sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (f"adapter={adapter}", f"input={sound}", f"output={tmp_path / 'out.jsonl'}")
    assert run(*words, "classes=church bell | violin|siren") == 0
    (line,) = (tmp_path / "out.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert set(record["likely"]) == {"church bell", "violin", "siren"}
    assert record["label"] in record["likely"]
    assert sum(record["likely"].values()) == pytest.approx(1, abs=1e-5)
    capsys.readouterr()
    assert run(*words, "classes=church bell|violin") == 1  # the file holds answers about other names
    assert "out.jsonl" in capsys.readouterr().err


def test_pictures_are_told_apart_by_names_too(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, label in (("a.jpg", 0), ("b.png", 4)):
        picture_files.save(tmp_path / "in" / name, picture_files.picture(1, label, 48))
    asked = ("field", "forest", "parking lot")
    assert run(f"adapter={pictures}", f"input={tmp_path / 'in'}", f"classes={'|'.join(asked)}") == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(records) == 2
    assert all(set(record["likely"]) == set(asked) for record in records)
    model = zoo.load(pictures)
    own = [one.probabilities for one in model.predict([str(tmp_path / "in" / "a.jpg")])]
    assert list(own[0]) == model.classes == CLASSES
    assert kept_anchors.stored(pictures / "adapter.safetensors")["text.anchors"].shape == (7 + 1000, 384)


def test_trained_classes_need_no_text_tower_and_give_the_same(
    adapter: Path, sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = zoo.load(adapter)
    kept = kept_anchors.stored(adapter / "adapter.safetensors")["text.anchors"]
    assert kept.shape == (10 + 521, 384)
    asked = model.predict(str(sound), classes=model.classes).probabilities
    monkeypatch.setattr(MiniLM, "__init__", lambda *_: pytest.fail("the text tower is built"))
    own = zoo.load(adapter).predict(str(sound)).probabilities
    assert asked == pytest.approx(own, abs=1e-4)


def test_python_takes_a_list_and_comes_back_to_its_own_classes(adapter: Path, sound: Path) -> None:
    model = zoo.load(adapter)
    before = model.predict(str(sound)).probabilities
    asked = model.predict([str(sound)], classes=["violin", "siren"])[0]
    assert list(asked.probabilities) == ["violin", "siren"]
    assert model.predict(str(sound)).probabilities == before
    assert len(model.classes) == 10
    with pytest.raises(SettingError, match="one class alone"):
        model.predict(str(sound), classes=["violin"])


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ("", "classes=: a name is empty; expected two or more with | between them"),
        ("a|", "classes=a|: a name is empty"),
        ("rain", "classes=rain: one class alone: there is nothing to tell apart"),
        ("rain|wind|Rain", "'Rain' stands there twice; expected different names"),
    ],
)
@pytest.mark.usefixtures("no_weights")
def test_names_that_are_none_are_refused_before_weights(
    adapter: Path, sound: Path, classes: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(f"adapter={adapter}", f"input={sound}", f"classes={classes}") == 1
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


@pytest.mark.usefixtures("no_weights")
def test_an_adapter_of_fixed_classes_says_so(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("adapter=tb_ava-grid", f"input={sound}", "classes=dog|cat") == 1
    said = capsys.readouterr().err
    assert "this adapter knows the 10 classes that it was trained on (zero, one, two, three, ...) and no other" in said
    assert said.count("\n") == 1


def test_another_text_tower_is_refused(adapter: Path, sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = zoo.load(adapter)
    known = model.pairing.fingerprints["text"]
    model.pairing.fingerprints["text"] = known.also("something else")
    with pytest.raises(SettingError, match=r"^the text tower text is another one than open was trained with"):
        model.predict(str(sound), classes=["a", "b"])


def test_a_changed_task_asks_the_tower_again(adapter: Path) -> None:
    header, _ = directory.read(adapter)
    told = json.loads(header["anchors"])
    assert told["by"] == "task"
    config = zoo.load(adapter).recipe
    file = adapter / "adapter.safetensors"
    assert kept_anchors.without_tower(config, file, header).backbones.text.get("file") == str(file)
    config.task.tau = 0.2
    assert kept_anchors.without_tower(config, file, header) is config


def test_other_classes_than_the_trained_ones_are_measured(tmp_path: Path) -> None:
    words = ["recipe=esc10_open", "--smoke", "data=folder", f"into={tmp_path / 'run'}"]
    assert train([*words, f"data.root={sound_files.folders(tmp_path / 'own')}"]) == 0
    model = zoo.load(tmp_path / "run" / "adapter")
    others = sound_files.folders(tmp_path / "others", each=5, names=("siren", "violin", "drum_roll"))
    measured = model.evaluate(others)
    assert set(measured["by"]["class"]) == {"siren", "violin", "drum_roll"}
    assert measured["baselines"]["commonest_class"]["accuracy"] == pytest.approx(1 / 3)
    assert model.classes == ["dog_bark", "rain"]
