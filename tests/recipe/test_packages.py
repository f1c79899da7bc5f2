"""Optional packages: which a recipe needs, and the one line that says which extra brings them."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from packaging.requirements import Requirement

from zoo.command_line import message_of, user_errors
from zoo.errors import EXTRAS, OPTIONAL, UserError, lacking, require_packages
from zoo.recipe import compose, packages

ROOT = Path(__file__).parents[2]
IMPORTED = {"open-clip-torch": "open_clip", "markdown-it-py": "markdown_it"}


def needed(name: str) -> list[str]:
    return packages.needed(compose.read(compose.find(name), []))


def test_the_table_of_extras_is_that_of_the_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    core = {Requirement(line).name.replace("-", "_") for line in project["dependencies"]}
    for extra, own in EXTRAS.items():
        names = [Requirement(line).name.replace("_", "-") for line in project["optional-dependencies"][extra]]
        brought = {IMPORTED.get(name, name.replace("-", "_")) for name in names}
        assert {*own} <= brought, extra
        assert not brought - OPTIONAL.keys() - core, extra
    assert not core & OPTIONAL.keys()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mantis", {"h5py", "laspy", "numba"}),
        ("scale_earth_rsscn7", {"onnx"}),  # PNG alone needs rasterio, and these are JPEG
        ("scale_earth", {"onnx", "transformers"}),  # the encoder inside a language model's counts
        ("scale_aware_eurosat", {"timm"}),
        ("sam2_acdc", {"nibabel", "peft", "transformers"}),
        ("tb_ava", {"av", "onnx", "transformers"}),
    ],
)
def test_needed_is_what_modules_import(name: str, expected: set[str]) -> None:
    assert {*needed(name)} == expected


def test_a_value_that_its_user_has_yet_to_give_is_no_matter() -> None:
    config = OmegaConf.create({"data": {"_target_": "data_modules.grid_av.GridAV", "root": "???"}, "task": None})
    assert packages.needed(config) == ["av", "soundfile"]


def test_a_control_needs_its_own_packages() -> None:
    control = compose.compose("mantis", variant="lora")
    assert {*packages.needed(control)} - {*needed("mantis")} == {"peft"}


def test_modules_import_no_optional_package_beyond_what_is_needed() -> None:
    """The reading of source agrees with Python: what is not listed may be missing."""
    config = compose.read(compose.find("scale_earth_rsscn7"), [])
    absent = sorted(OPTIONAL.keys() - {*packages.needed(config)})
    blocks = [*config["backbones"].values(), config["data"], config["method"], config["task"]]
    targets = [block["_target_"] for block in blocks]
    code = (
        f"import importlib, sys; sys.modules.update(dict.fromkeys({absent}))\n"
        f"for target in {targets}: importlib.import_module(target.rpartition('.')[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_what_is_missing_is_told_in_one_line_before_anything_is_built(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("av", "onnx"):
        monkeypatch.setitem(sys.modules, package, None)
    config = compose.compose("tb_ava", [])
    with pytest.raises(SystemExit) as end, user_errors():
        packages.require(config)
    assert end.value.code == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: this recipe needs av and onnx, which are not installed: pip install 'multimodal-peft-zoo[audio,vision]'"
    ]


def test_a_module_that_is_missed_later_is_told_as_well() -> None:
    assert message_of(ModuleNotFoundError("No module named 'av.audio'", name="av.audio")) == (
        "this needs av, which is not installed: pip install 'multimodal-peft-zoo[audio]'"
    )
    assert message_of(ModuleNotFoundError("No module named 'zoo.methods.mine'", name="zoo.methods.mine")) == ""


def test_several_packages_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lacking("av", "numba", "h5py").startswith("av, numba and h5py, which are not installed: ")
    require_packages("nothing")
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(UserError, match=r"^a\.png: PNG needs rasterio, which is not installed: .*\[raster\]'$"):
        require_packages("a.png: PNG", "rasterio")
