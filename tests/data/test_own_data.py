"""`data=folder` in place of a recipe's data, and `init=ADAPTER` in place of fresh tensors."""

import json
from pathlib import Path
from typing import Any

import own_files
import pytest
import torch
from omegaconf import DictConfig

from zoo.adapter import directory
from zoo.adapter.directory import AdapterError
from zoo.adapter.places import CatalogError
from zoo.pairing import Pairing
from zoo.recipe.build import build_pairing
from zoo.recipe.compose import RecipeError, available, compose, find, to_yaml
from zoo.train import main
from zoo.training.initialise import changed_settings, initialise, starting_point, summary

CLIPS, CLOUDS, MASKS, PICTURES = (f"data_modules.folder_{kind}" for kind in ("clips", "clouds", "masks", "pictures"))
READERS = {
    "AudioVisualSegmentation": {"data_modules.folder_sounding_objects.SoundingFolder"},
    "EventLocalization": {f"{CLIPS}.ClipFolder"},
    "VideoParsing": {f"{CLIPS}.ParsedClipFolder"},
    "Classification": {f"{CLOUDS}.CloudFolder", f"{PICTURES}.PictureFolder"},
    "OpenEvents": {f"{CLIPS}.ClipFolder"},
    "OpenVocabulary": {"data_modules.folder_sounds.SoundFolder", f"{PICTURES}.PictureFolder"},
    "PartSegmentation": {f"{CLOUDS}.PartFolder"},
    "Segmentation": {f"{MASKS}.MaskFolder"},
    "PromptableSegmentation": {f"{MASKS}.MaskFolder"},
    "Reconstruction": {f"{CLOUDS}.PlainCloudFolder"},
    "MultipleChoice": {f"{PICTURES}.QuestionFolder"},
    "OpenVQA": {f"{PICTURES}.OpenQuestionFolder"},
}
"""Which classes give what a task reads."""
CHECKABLE = "data_modules.check.Checkable"
CLASSES = ["ball", "plate", "stick"]


@pytest.mark.parametrize("name", available())
def test_every_recipe_takes_a_users_own_files_of_its_kind(name: str) -> None:
    config = compose(name, ["data=folder", "data.root=own"], smoke=True)
    assert config.data._target_ in READERS[config.task._target_.rpartition(".")[2]]
    assert config.data.root == "own"
    points = "points" in config.backbones
    assert config.data._target_.startswith(CLOUDS) == points


def test_settings_that_both_classes_have_are_kept_whatever_the_order_of_words() -> None:
    words = ["data.root=own", "data.up=z", "data=folder"]
    data = compose("mantis", words).data
    assert data == compose("mantis", words[::-1]).data
    assert data == {
        "_target_": f"{CLOUDS}.CloudFolder",
        "points": 512,
        "augment": ["rotate"],
        "root": "own",
        "up": "z",
    }


def test_what_a_task_says_of_the_recipes_own_classes_goes_with_its_data() -> None:
    assert compose("lite_medsam_isbi", ["data.root=own"]).task.cells == "cell"
    assert "cells" not in compose("lite_medsam_isbi", ["data=folder", "data.root=own"]).task
    assert compose("lite_medsam_isbi", ["task.cells=axon", "data=folder", "data.root=own"]).task.cells == "axon"


def test_a_root_is_never_taken_over_from_other_data(tmp_path: Path) -> None:
    first = compose("scale_earth_rsscn7", ["data=folder", "data.root=mine", "data.classes=[a,b]"])
    (tmp_path / "stored.yaml").write_text(to_yaml(first))
    again = compose(str(tmp_path / "stored.yaml"), [])
    assert again.data == first.data
    with pytest.raises(RecipeError, match=r"missing value 'data.root' \(str\): folder of the files"):
        compose(str(tmp_path / "stored.yaml"), ["data=folder"])
    assert "classes" not in compose(str(tmp_path / "stored.yaml"), ["data=folder", "data.root=b"]).data


def test_data_that_names_no_reader_is_said_with_every_other_mistake(tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(f"include: [{find('mantis').with_suffix('')}]\ndata: {{_target_: {CHECKABLE}}}\n")
    with pytest.raises(RecipeError) as caught:
        compose(str(other), ["data=folder", "method.rnak=3"])
    assert f"data=folder: {CHECKABLE} has no attribute own_files" in caught.value.problems[0]
    assert any("method.rnak" in problem for problem in caught.value.problems)


# --- init -------------------------------------------------------------------------------------------------------------


def composed(*words: str) -> DictConfig:
    return compose("mantis", ["data=folder", "data.root=own", *words], smoke=True)


def built(*words: str, classes: list[str] = CLASSES) -> tuple[DictConfig, Pairing]:
    config = composed(*words)
    return config, build_pairing(config, classes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter whose tensors are none that a fresh pairing has."""
    config, pairing = built("seed=7")
    state = {name: tensor + 1 for name, tensor in pairing.trainable_state().items()}
    pairing.load_trainable(state, source="the test")
    metrics: dict[str, Any] = {"manifest": {"recipe": "mantis"}}
    folder = tmp_path_factory.mktemp("trained") / "known"
    return directory.save(pairing, folder, recipe=to_yaml(config), metrics=metrics, card=lambda _: "a card")


def test_all_tensors_are_taken_where_classes_are_the_same(trained: Path) -> None:
    config, pairing = built()
    record = initialise(pairing, config, trained)
    _, stored = directory.read(trained)
    assert all(torch.equal(tensor, stored[name]) for name, tensor in pairing.trainable_state().items())
    assert (record["taken"], record["fresh"], record["settings"]) == (len(stored), [], [])
    assert record["sha256"] == directory.checksums(trained)["adapter.safetensors"]
    assert summary(record) == f"init known: {len(stored)} tensors taken"


def test_other_classes_get_a_new_head_and_it_is_said(trained: Path) -> None:
    config, pairing = built(classes=["ball", "cube"])
    before = {name: tensor.clone() for name, tensor in pairing.trainable_state().items()}
    record = initialise(pairing, config, trained)
    _, stored = directory.read(trained)
    for name, tensor in pairing.trainable_state().items():
        assert torch.equal(tensor, stored[name] if name.startswith("method.") else before[name]), name
    assert set(record["fresh"]) == {name for name in before if name.startswith("task.")}
    assert "a new head" in summary(record)
    assert summary(record).endswith("as its 3 classes are not these 2")


def test_the_same_classes_in_another_order_get_a_new_head_and_a_hint(trained: Path) -> None:
    config, pairing = built(classes=CLASSES[::-1])
    assert "data.classes=[ball,plate,stick] is the adapter's" in summary(initialise(pairing, config, trained))


def test_another_head_is_begun_anew_although_classes_are_the_same(trained: Path) -> None:
    config, pairing = built("task.hidden=[8]")
    assert "a new head" in summary(record := initialise(pairing, config, trained))
    assert "hidden=[128], here [8]" in record["why_fresh"]


def test_settings_that_change_no_tensor_are_said(trained: Path) -> None:
    config, pairing = built("method.drop_path=0.5")
    assert summary(initialise(pairing, config, trained)).endswith("other settings (drop_path=0.0, here 0.5)")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["method.rank=3"], r"tensors of the method do not fit, e\.g\. method\..*rank=\d+, here 3"),
        (["method._target_=zoo.methods.frozen.Frozen"], r"do not fit.*methods.mantis.Mantis, here zoo.methods.frozen"),
        (["backbones.points.source=random:1"], r"the points backbone has other weights"),
    ],
)
def test_another_method_or_backbone_is_an_error_that_says_what_differs(
    trained: Path, words: list[str], message: str
) -> None:
    config, pairing = built(*words)
    with pytest.raises(AdapterError, match=message):
        initialise(pairing, config, trained)


def test_an_altered_or_unknown_adapter_is_refused_before_its_recipe_is_read(trained: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in trained.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    (copy / "recipe.yaml").write_text("seed: 1\n")
    with pytest.raises(AdapterError, match=r"recipe\.yaml was altered"):
        starting_point([f"init={copy}"])
    with pytest.raises(CatalogError, match="Did you mean 'mantis-furniture'"):
        starting_point(["init=mantis-furnitur"])


def test_defaults_count_where_settings_are_compared() -> None:
    block = {"_target_": "zoo.methods.mantis.Mantis"}
    assert changed_settings(block, {**block, "drop_path": 0.1}) == []
    assert changed_settings(block, {**block, "drop_path": 0.2}) == ["drop_path=0.2, here 0.1"]
    assert changed_settings(block, {"_target_": "zoo.methods.frozen.Frozen"})[0].startswith(
        "zoo.methods.frozen.Frozen, here"
    )


def test_a_training_without_a_recipe_goes_by_the_adapters_own(trained: Path, tmp_path: Path) -> None:
    root = own_files.clouds(tmp_path / "own", 5, ["ball", "plate"])
    words = [f"init={trained}", "data=folder", f"data.root={root}", f"runs={tmp_path / 'runs'}"]
    assert main([*words, "loader.num_workers=0"]) == 0
    (run,) = (tmp_path / "runs" / "mantis").iterdir()
    manifest = json.loads((run / "metrics.json").read_text())["manifest"]
    assert manifest["init"]["adapter"] == "known"
    assert manifest["recipe"] == "mantis"
    assert manifest["data"]["name"] == "own files (own)"
    plan = json.loads((run / "splits.json").read_text())
    assert set(plan["files"]) == {f"{name}/{k}.xyz" for name in ("ball", "plate") for k in range(5)}
    stored = compose(str(run / "adapter" / "recipe.yaml"), [])
    assert stored.data.classes == ["ball", "plate"]
    assert compose(str(run / "recipe.yaml"), []).method == stored.method
