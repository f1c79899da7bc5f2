"""The recipe of an adapter can name the zoo's own classes, and nothing that would run other code."""

import re
import sys
from pathlib import Path

import pytest
import yaml
from adapter_files import copied, seal

from zoo.adapter import directory, places, trust
from zoo.adapter.trust import TrustError
from zoo.recipe import compose

REFUSED = [
    "os.system",
    "subprocess.run",
    "builtins.exec",
    "shutil.rmtree",
    "zoo.files.write_whole",  # writes where it is told
    "zoo.backbones.dinov2.save_file",  # only imported there, and overwrites files
    "zoo.backbones.dinov2.converted",
    "zoo.backbones.weights.Path",
    "zoo.methods.none.None",
    "zoo.methods.lora.LoRA.__init__",
    "zoo.methods..lora.LoRA",
    "zoo/methods/lora.LoRA",
    "LoRA",
    "",
    3,
    ["zoo.methods.lora.LoRA"],
    {"a": "b"},
    None,
]


def with_recipe(folder: Path, text: str) -> Path:
    copied(folder)
    (folder / "recipe.yaml").write_text(text, encoding="utf-8")
    return seal(folder)


@pytest.mark.parametrize("target", REFUSED, ids=str)
def test_what_is_no_class_of_the_zoo_is_refused_by_every_reader(target: object, tmp_path: Path) -> None:
    folder = with_recipe(tmp_path / "a", yaml.safe_dump({"method": {"deep": [{"_target_": target}]}}))
    for reader in (directory.verify, directory.load):
        with pytest.raises(TrustError, match="which is no backbone, method, task or data module of this zoo"):
            reader(folder)


def test_every_class_that_a_shipped_recipe_names_may_stand_in_an_adapter(tmp_path: Path) -> None:
    texts = [path.read_text(encoding="utf-8") for path in compose.folder().rglob("*.yaml")]
    targets = sorted({target for text in texts for target in re.findall(r"_target_: *([\w.]+)", text)})
    assert len(targets) > 30
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump([{"_target_": t} for t in targets]).join(["a:\n", ""]))
    trust.check(tmp_path, pulled=True)


def test_every_bundled_adapter_may_be_used() -> None:
    for folder in places.bundled().values():
        trust.check(folder, pulled=True)


HIDDEN = {
    "include: [../../other]": "has the key 'include'",
    "smoke: {method._target_: os.system}": "has the key 'smoke'",
    "variants: {}": "has the key 'variants'",
    "method: ${oc.create:'{_target_&#58; os.system}'}": "is an interpolation",
    "seed: ${oc.env:HOME}": "is an interpolation",
    "a: &x [1]\nb: *x": "uses YAML aliases",
    "a: &x [*x]": "uses YAML aliases",
    "a: !!python/object/apply:os.system [id]": "is no YAML",
    "[1, 2]": "expected a mapping",
    "a: {": "is no YAML",
    "a: " + "[" * 5000: "is no YAML|",
}


@pytest.mark.parametrize(("text", "message"), HIDDEN.items(), ids=range(len(HIDDEN)))
def test_a_recipe_that_is_not_resolved_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(TrustError, match=message):
        trust.check(tmp_path)


def test_a_recipe_of_megabytes_is_not_parsed(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("#" * (1 << 21), encoding="utf-8")
    with pytest.raises(TrustError, match="has 2,097,152 bytes"):
        trust.check(tmp_path)


def own(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> Path:
    """Run from a folder that holds a module; an adapter there that names it."""
    (folder / f"{name}.py").write_text("class Mine: ...\n", encoding="utf-8")
    monkeypatch.chdir(folder)
    return with_recipe(folder / "runs" / "a", f"method: {{_target_: {name}.Mine}}\n")


def test_a_method_of_your_own_is_yours_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = own(tmp_path, monkeypatch, "my_own_method")
    directory.verify(trained)
    with pytest.raises(TrustError, match="set ZOO_TRUST=my_own_method if you know and trust"):
        trust.check(trained, pulled=True)
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "runs"))  # now it lies in the cache, so it was pulled
    with pytest.raises(TrustError, match="which is no backbone"):
        directory.verify(trained)
    monkeypatch.setenv("ZOO_TRUST", "other, my_own_method")
    directory.verify(trained)


def test_a_module_from_elsewhere_or_that_came_along_is_not_your_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = own(tmp_path, monkeypatch, "came_along")
    monkeypatch.chdir("/")
    with pytest.raises(TrustError, match="Run from the folder that holds came_along if it is yours"):
        directory.verify(trained)
    (trained / "came_along.py").write_text("class Mine: ...\n", encoding="utf-8")
    monkeypatch.chdir(trained)
    with pytest.raises(TrustError):
        directory.verify(trained)


def test_a_name_that_an_import_finds_elsewhere_is_not_your_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shadowed = own(tmp_path, monkeypatch, "webbrowser")
    monkeypatch.setattr(sys, "path", [*(p for p in sys.path if p), str(tmp_path)])
    with pytest.raises(TrustError):
        directory.verify(shadowed)
