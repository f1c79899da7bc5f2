"""What earlier versions wrote down stays readable: dotted paths, keys of recipes, adapters and runs."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from zoo.adapter import directory, places, trust
from zoo.backbones import web
from zoo.backbones.origins import YAMNET
from zoo.recipe import compose, former_names, schema
from zoo.recipe.schema import TARGET
from zoo.records.run_changes import differing

ROOT = Path(__file__).parents[2]
OLD = sorted((ROOT / "tests" / "data").glob("adapter_format_*"))
STORED = [*OLD, *places.bundled().values()]


def targets(value: Any) -> set[str]:
    """Every dotted path that a recipe names."""
    if isinstance(value, list):
        return {path for one in value for path in targets(one)}
    if not isinstance(value, dict):
        return set()
    own = {one for key, one in value.items() if key == TARGET or str(key).endswith(f".{TARGET}")}
    return own | {path for one in value.values() for path in targets(one)}


def as_before(values: dict[str, Any]) -> dict[str, Any]:
    """A resolved recipe as a run wrote it down when batches were made by the data module."""
    former = {now: then for then, now in former_names.TARGETS.items() if then != "zoo.trainer.Optimizer"}
    loader = {key: value for key, value in values["loader"].items() if key != TARGET}
    blocks = {key: value for key, value in values.items() if key != "loader"}
    for name in ("optimizer", "trainer"):
        blocks[name] = {**blocks[name], TARGET: former[blocks[name][TARGET]]}
    return {**blocks, "data": {**blocks["data"], **loader}}


@pytest.mark.parametrize(
    "folder",
    # Of those of the language model the weights take longer to fetch and to read than all others'.
    [
        pytest.param(f, marks=pytest.mark.slow) if f.name in ("scale_earth-scenes", "small_llava-rsscn7") else f
        for f in STORED
    ],
    ids=lambda folder: folder.name,
)
def test_an_adapter_loads_with_its_recipe_untouched(folder: Path) -> None:
    known = (folder / "recipe.yaml").read_text(encoding="utf-8")
    if "YAMNet" in known and not web.place(YAMNET).exists():
        pytest.skip("YAMNet's file, which no wheel carries, is not among the sample files")
    config, pairing = directory.load(folder)
    assert not pairing.forced
    assert "batch_size" not in config.data
    assert config.loader[TARGET] == former_names.LOADERS
    trust.check(folder, pulled=True)


def test_every_dotted_path_that_was_ever_written_down_resolves() -> None:
    files = [*(ROOT / "recipes").rglob("*.yaml"), *(folder / "recipe.yaml" for folder in STORED)]
    written = {path for file in files for path in targets(yaml.safe_load(file.read_text(encoding="utf-8")))}
    assert {"zoo.trainer.build_trainer", "zoo.prefix.PrefixCache"} < written
    for path in written | {*former_names.TARGETS}:
        assert schema.signature(former_names.TARGETS.get(path, path)) is not None


@pytest.mark.parametrize("name", ["mantis", "tb_ava", "scale_earth", "tb_ava_ave"])
def test_a_run_that_was_begun_before_is_the_same_run(name: str, tmp_path: Path) -> None:
    now = yaml.safe_load(compose.to_yaml(compose.compose(name, ["data.root=DIR"] if name == "tb_ava_ave" else [])))
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(as_before(now)), encoding="utf-8")
    assert differing(compose.stored(path), now) == {}
    assert differing(compose.stored(path), {**now, "loader": {**now["loader"], "batch_size": 3}})


def test_a_recipe_in_former_words_is_todays(tmp_path: Path) -> None:
    now = compose.compose("mantis", smoke=True)
    whole = compose.read(compose.find("mantis"), [])
    smoke = {key.replace("loader.", "data."): value for key, value in whole.pop("smoke").items()}
    former = as_before(whole) | {"smoke": smoke}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(former), encoding="utf-8")
    assert "data.batch_size" in smoke
    read = compose.compose(str(tmp_path / "mine.yaml"), smoke=True)
    assert yaml.safe_load(compose.to_yaml(read)) == yaml.safe_load(compose.to_yaml(now))


def test_former_keys_are_read_on_the_command_line_too() -> None:
    assert compose.compose("mantis", ["data.batch_size=3", "data.num_workers=1"]).loader == {
        TARGET: former_names.LOADERS,
        "batch_size": 3,
        "num_workers": 1,
    }
    with pytest.raises(compose.RecipeError, match=r"'loader.batch_size' is given twice"):
        compose.compose("mantis", ["data.batch_size=3", "loader.batch_size=4"])
