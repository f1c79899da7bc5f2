"""What stands for a folder in a recipe that is public is asked for, and never taken for a folder."""

from pathlib import Path

import pytest

from zoo import evaluate, export
from zoo.adapter import places
from zoo.demos import serve
from zoo.errors import UserError
from zoo.recipe import data_roots
from zoo.recipe.compose import compose
from zoo.recipe.data_roots import PLACE
from zoo.train import main as train

PLACED = [
    name
    for name, folder in places.bundled().items()
    if compose(str(folder / "recipe.yaml")).data.get("root") is not None
]


@pytest.fixture(autouse=True)
def misleading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory in which a folder of that very name lies."""
    (tmp_path / PLACE).mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_adapters_trained_on_real_data_have_such_a_place() -> None:
    assert {"mantis-dales", "scale_earth-rsscn7", "tb_ava-grid"} <= set(PLACED)


@pytest.mark.parametrize("name", PLACED)
def test_to_measure_an_adapter_asks_for_its_data_before_weights_are_fetched(
    name: str, misleading: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        evaluate.main([f"adapter={name}"])
    told = capsys.readouterr().err
    assert end.value.code == 1
    assert "give data.root=" in told
    assert "DIR" not in told
    assert not (misleading / "cache").exists()


def test_to_train_by_an_adapters_recipe_asks_for_its_data_and_leaves_nothing(
    misleading: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = places.bundled()["mantis-dales"]
    with pytest.raises(SystemExit):
        train([f"recipe={folder / 'recipe.yaml'}"])
    told = capsys.readouterr().err
    assert "give data.root=" in told
    assert "University of Dayton" in told
    assert not (misleading / "runs").exists()


def test_to_offer_or_compare_on_samples_asks_for_them(misleading: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = places.bundled()["mantis-dales"]
    with pytest.raises(UserError, match=r"give data\.root="):
        serve.page(folder, ["loader.batch_size=2"], None, force=False)
    with pytest.raises(SystemExit):
        export.main(["adapter=mantis-dales", "output=out", "format=torch"])
    assert "give data.root=" in (told := capsys.readouterr().err)
    assert "input=FILE" in told


def test_a_folder_that_is_given_is_taken_whatever_it_is_called(misleading: Path) -> None:
    config = compose("mantis_dales", [f"data.root=./{PLACE}"])
    data_roots.require(config.data)
    assert config.data.root == f"./{PLACE}"
