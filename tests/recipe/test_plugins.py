"""Installed packages add recipes and short names; a broken one is named in one line, and none is trusted for what was
pulled."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import plugin_files
import pytest

import zoo
from zoo.adapter import public, trust
from zoo.adapter.trust import TrustError
from zoo.catalog import holdings
from zoo.catalog.tables import named
from zoo.list import main as list_main
from zoo.list import readme
from zoo.recipe import compose, plugins, schema, short_names
from zoo.recipe.schema import TARGET

MINE = "my_peft.method.MyMethod"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages that Python finds; no package of it is left behind."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    for read_once in (schema.signature, schema.attributes, schema._file):
        read_once.cache_clear()
    yield folder
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]


def test_a_package_is_listed_with_its_name_and_not_imported(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin_files.write(site)
    catalog = holdings.read_catalog()
    entry = next(entry for entry in catalog.recipes if entry.name == "my_recipe")
    assert (entry.where, named(entry)) == ("my-peft", "my_recipe (my-peft)")
    assert (entry.targets["method"], catalog.problems) == (MINE, [])
    assert [entry.name for entry in catalog.recipes if entry.where] == ["my_recipe"]
    assert list_main(["method=mymethod"]) == 0
    assert "my_recipe (my-peft)" in capsys.readouterr().out
    assert "my_recipe" not in readme(catalog)
    assert not [name for name in sys.modules if name.startswith("my_peft")]


def test_its_names_resolve_in_recipes_and_commands(site: Path) -> None:
    plugin_files.write(site)
    assert compose.compose("my_recipe").method == {TARGET: MINE}
    assert compose.compose("mantis", ["method=my-method", "method.start=2"]).method == {TARGET: MINE, "start": 2}
    with pytest.raises(compose.RecipeError, match=r"Did you mean 'my_method'\? Known: .*my_method"):
        compose.compose("mantis", ["method=my_methd"])
    with pytest.raises(compose.RecipeError, match=r"unknown key 'method\.strt'\. Did you mean 'start'"):
        compose.compose("my_recipe", ["method.strt=2"])


def test_the_same_path_without_the_package_has_neither(site: Path) -> None:
    assert "my_recipe" not in compose.available()
    with pytest.raises(compose.RecipeError, match="unknown name 'my_method'"):
        compose.compose("mantis", ["method=my_method"])


def test_an_adapter_of_its_method_loads_and_is_refused_once_it_was_pulled(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zoo.adapter import directory
    from zoo.recipe.build import build_pairing

    plugin_files.write(site)
    config = compose.compose("my_recipe", ["method.start=3.0"], smoke=True)
    metrics = {"n": 1, "manifest": {"recipe": "my_recipe"}}
    made = build_pairing(config, ["chair", "table"])
    recipe = compose.to_yaml(config)
    adapter = directory.save(made, tmp_path / "adapter", recipe=recipe, metrics=metrics, card=lambda folder: "# card\n")
    with pytest.warns(UserWarning, match="as an earlier version prepared them"):  # its metrics say of no version
        pairing = zoo.load(adapter).pairing
    assert type(pairing.method).__module__ == "my_peft.method"
    assert {float(x) for x in pairing.trainable_state()["method.factors.points"]} == {3.0}
    assert f"{TARGET}: {MINE}" in (adapter / "recipe.yaml").read_text()
    with pytest.raises(TrustError, match="set ZOO_TRUST=my_peft if you know and trust"):
        trust.check(adapter, pulled=True)
    monkeypatch.setenv("ZOO_TRUST", "my_peft")
    trust.check(adapter, pulled=True)


@pytest.mark.slow
def test_it_trains_and_predicts_as_a_recipe_of_the_zoo(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from zoo.predict import main as predict
    from zoo.train import main as train

    plugin_files.write(site)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZOO_RUN_FOLDER", "")  # the command sets it
    np.save("cloud.npy", np.random.default_rng(0).normal(size=(600, 3)).astype(np.float32))
    assert train(["recipe=my_recipe", "--smoke", "into=run"]) == 0
    capsys.readouterr()
    assert predict(["adapter=run/adapter", "input=cloud.npy"]) == 0
    assert json.loads(capsys.readouterr().out)["label"]


def test_only_what_a_package_declares_is_yours_to_load(site: Path, tmp_path: Path) -> None:
    plugin_files.write(site)
    (tmp_path / "recipe.yaml").write_text(f"method: {{{TARGET}: {MINE}}}")
    trust.check(tmp_path)
    for other in ("my_peft.method.Other", "my_peft.MyMethod", "os.system"):
        (tmp_path / "recipe.yaml").write_text(f"method: {{{TARGET}: {other}}}")
        with pytest.raises(TrustError):
            trust.check(tmp_path)


def test_metadata_in_the_folder_one_runs_from_declare_nothing(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may have come with a download, as the adapter that names the class."""
    plugin_files.write(site, entry_points="[zoo.methods]\nharm = os:system\n")
    assert "os.system" in plugins.installed().targets()
    monkeypatch.chdir(site)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert plugins.installed().targets() == set()


def test_what_a_package_says_is_not_public(site: Path) -> None:
    """A card tells the zoo's own words; a company's package may hold words that are not to be told."""
    plugin_files.write(site)
    public.words.cache_clear()
    assert "my_recipe" in compose.available()
    assert "my_recipe" not in public.words()
    assert MINE not in public.words()


BROKEN = {
    "[zoo.methods]\nx = my_peft.nothing:X\n": "no module 'my_peft.nothing'",
    "[zoo.methods]\nx = my_peft.method:MyMethd\n": "has no 'MyMethd'. Did you mean 'MyMethod'?",
    "[zoo.methods]\nx = my_peft.method\n": "expected module:Class",
    "[zoo.methods]\nx = not a path\n": "expected module:Class",
    "[zoo.methods]\nnonsense\n": "its entry points cannot be read",
    b"[zoo.methods]\nx = \xff\xfe\n": "its entry points cannot be read",
    "[zoo.recipes]\nx = my_peft.nowhere\n": "it has no folder 'my_peft.nowhere'",
    "[zoo.recipes]\nx = nobody\n": "it has no folder 'nobody'",
}


@pytest.mark.parametrize(("declared", "told"), BROKEN.items(), ids=range(len(BROKEN)))
def test_a_broken_package_is_one_line_and_all_else_is_listed(
    site: Path, declared: str | bytes, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin_files.write(site, entry_points=declared)
    catalog = holdings.read_catalog()
    assert [entry.name for entry in catalog.recipes] == [*compose.shipped()]
    assert len(catalog.problems) == 1
    assert "my-peft: " in catalog.problems[0] or "my_peft-1.0" in catalog.problems[0]
    assert told in catalog.problems[0]
    assert list_main([]) == 0
    assert capsys.readouterr().err == f"cannot be listed: {catalog.problems[0]}\n"


@pytest.mark.parametrize("text", ["method: [", "method: nobody\n", "", "include: [nothing]\n"])
def test_a_broken_recipe_of_a_package_is_one_line(site: Path, text: str) -> None:
    plugin_files.write(site)
    (site / "my_peft" / "recipes" / "my_recipe.yaml").write_text(text)
    catalog = holdings.read_catalog()
    assert "my_recipe" not in {entry.name for entry in catalog.recipes}
    assert len(catalog.problems) == 1
    assert str(site / "my_peft" / "recipes" / "my_recipe.yaml") in catalog.problems[0]


def test_a_name_of_the_zoo_stays_the_zoos_and_of_two_packages_the_first_has_it(site: Path) -> None:
    declared = "[zoo.methods]\nlora = my_peft.method:MyMethod\n[zoo.recipes]\nmy_peft = my_peft.recipes\n"
    plugin_files.write(site, entry_points=declared)
    plugin_files.write(site, package="a_peft", entry_points=declared.replace("my_peft", "a_peft"))
    (site / "my_peft" / "recipes" / "mantis.yaml").write_text("{}")
    assert compose.find("mantis") == compose.folder() / "mantis.yaml"
    assert compose.find("my_recipe") == site / "a_peft" / "recipes" / "my_recipe.yaml"
    assert short_names.resolve("method", "lora") == "zoo.methods.lora.LoRA"
    lines = plugins.problems(compose.shipped())
    assert [line for line in lines if "'mantis'" in line and "one of the zoo's" in line]
    assert [line for line in lines if line.startswith("my-peft") and "'my_recipe'" in line and "a-peft" in line]
