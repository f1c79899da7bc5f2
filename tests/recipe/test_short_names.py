"""Short names stand for the blocks that recipes would write out, and no stored recipe holds one."""

from pathlib import Path

import pytest

from zoo.recipe import keys, short_names
from zoo.recipe.compose import RecipeError, available, compose, find, read, to_yaml
from zoo.recipe.schema import TARGET
from zoo.train import main


def problems(*overrides: str, name: str = "tb_ava") -> list[str]:
    with pytest.raises(RecipeError) as caught:
        compose(name, overrides)
    return caught.value.problems


def test_every_class_that_a_shipped_recipe_names_has_one() -> None:
    named: dict[str, set[str]] = {kind: set() for kind in short_names.ROOMS}
    for recipe in available():
        values = read(find(recipe), [])
        for kind in ("method", "task", "data"):
            named[kind].add(values[kind][TARGET])
        named["backbones"] |= {block[TARGET] for block in values["backbones"].values() if block}
    for kind, targets in named.items():
        assert len(targets) > 3
        assert targets <= set(short_names.known(kind).values())


@pytest.mark.parametrize("kind", short_names.ROOMS)
def test_names_are_told_apart_whatever_their_case_and_dashes(kind: str) -> None:
    for name, target in short_names.known(kind).items():
        for word in (name, name.upper(), name.replace("_", "-"), target.rpartition(".")[2]):
            assert short_names.resolve(kind, word) == target


def test_the_names_are_those_that_one_would_type_and_no_unfinished_class_has_one() -> None:
    assert {"lora", "mantis", "tb_ava", "scale_earth", "frozen"} <= set(short_names.known("method"))
    assert {"classification", "event_localization", "open_vqa"} <= set(short_names.known("task"))
    assert {"dinov2", "clip_vision", "clip_text", "llava_next", "minilm"} <= set(short_names.known("backbones"))
    assert {"ave", "omniearth", "clip_folder", "parsed_clip_folder"} <= set(short_names.known("data"))
    classes = {target.rpartition(".")[2] for kind in short_names.ROOMS for target in short_names.known(kind).values()}
    assert not classes & {"Method", "Task", "Written", "LanguageTask", "SquareBackbone", "HFVisionLanguage", "Backbone"}


def test_a_name_on_the_command_line_takes_the_settings_of_the_recipes_variant_of_it() -> None:
    assert to_yaml(compose("mantis", ["method=lora"])) == to_yaml(compose("mantis", variant="lora"))
    changed = compose("mantis", ["method.rank=4", "method=lora"]).method
    assert changed == {**compose("mantis", variant="lora").method, "rank": 4}
    assert compose("mantis", ["method=frozen"]).method == {TARGET: "zoo.methods.frozen.Frozen"}


def test_the_name_of_the_recipes_own_class_changes_nothing() -> None:
    assert compose("tb_ava", ["method=tb_ava", "task=event-localization"]) == compose("tb_ava")


def test_keys_of_the_former_class_vanish_with_it_also_those_of_smoke() -> None:
    assert "rank" in compose("tb_ava").method
    assert compose("tb_ava", ["method=frozen"], smoke=True).method == {TARGET: "zoo.methods.frozen.Frozen"}
    assert problems("method=frozen", "method.rank=3") == ["unknown key 'method.rank'. Known: streams."]


def test_backbones_and_data_have_names_too() -> None:
    config = compose("mantis", ["backbones.points=mamba3d", "backbones.points.source=random:0"])
    assert config.backbones.points[TARGET] == "zoo.backbones.mamba3d.Mamba3D"
    assert compose("tb_ava", ["data=ave", "data.root=x"]).data == {TARGET: "data_modules.ave.AVE", "root": "x"}


def test_a_file_may_say_them_wherever_it_names_a_class(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "include: [backbone/mamba3d_small, trainer/cpu]\n"
        "data: synthetic_scans\nmethod: {_target_: LoRA, rank: 2, targets: {points: [mixer.in_proj]}}\n"
        "task: {_target_: classification, hidden: [8]}\noptimizer: {lr: 0.1}\n"
        "variants: {plain: {method: frozen}, dotted: {method._target_: frozen}}\n"
        "smoke: {method: {_target_: mantis, drop_path: 0.0}}\n"
    )
    config = compose(str(path))
    assert config.data == {TARGET: "data_modules.synthetic_scans.SyntheticScans"}
    assert (config.method[TARGET], config.method.rank) == ("zoo.methods.lora.LoRA", 2)
    assert config.task[TARGET] == "zoo.tasks.classification.Classification"
    for variant in ("plain", "dotted"):
        assert compose(str(path), variant=variant).method == {TARGET: "zoo.methods.frozen.Frozen"}
    assert compose(str(path), smoke=True).method == {TARGET: "zoo.methods.mantis.Mantis", "drop_path": 0.0}
    (tmp_path / "stored.yaml").write_text(to_yaml(config))
    assert to_yaml(compose(str(tmp_path / "stored.yaml"))) == to_yaml(config)
    assert to_yaml(config).count(f"{TARGET}: zoo.methods.lora.LoRA\n") == 1


@pytest.mark.parametrize(
    ("word", "told"),
    [
        (
            "method=loar",
            "method: unknown name 'loar'. Did you mean 'lora'? Known: adapt_former, bitfit, bottleneck, ",
        ),
        ("method=zzz", "method: unknown name 'zzz'. Known: adapt_former, bitfit, bottleneck, conv_lora, "),
        ("method._target_=loar", "method._target_: unknown name 'loar'. Did you mean 'lora'? Known: "),
        ("task=classify", "task: unknown name 'classify'. Did you mean 'classification'? Known: "),
        ("backbones.vision=dino", "backbones.vision: unknown name 'dino'. Did you mean 'dinov2'? Known: "),
        ("data=avee", "data=avee: no such data. Did you mean 'ave'?"),
        ("method=3", "method: expected a block with _target_, got 3"),
    ],
)
def test_an_unknown_name_is_one_line_with_what_there_is(
    word: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before weights are fetched, and before a run folder is made."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["recipe=tb_ava", word])
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {told}")
    assert problems(word) == [next(line for line in problems(word) if line.startswith(told))]
    assert not list(tmp_path.iterdir())


def test_an_unknown_name_in_a_file_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    for text in ("method: loar\n", "variants: {a: {method: loar}}\n", "smoke: {method._target_: loar}\n"):
        path.write_text(f"include: [tb_ava]\n{text}")
        found = problems(name=str(path))
        assert len(found) == 1
        assert found[0].startswith(f"{path}: method")
        assert "Did you mean 'lora'?" in found[0]


def test_help_shows_the_keys_of_the_named_class() -> None:
    text = keys.describe("mantis", ["method=lora"])
    assert "  method.targets={points: [mixer.in_proj, mixer.out_proj]}" in text
    assert "method.orders" not in text
    assert "  data.on_bad=" in keys.describe("mantis", ["data=folder"])
