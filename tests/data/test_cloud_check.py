"""`python -m data_modules.NAME --check ROOT` says whether a copy of a cloud benchmark is complete."""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import cloud_files
import numpy as np
import pytest
from cloud_files import LAYOUTS

MODULES = {
    "bg": "scanobjectnn",
    "modelnet": "modelnet40",
    "modelnet_hdf5": "modelnet40",
    "fewshot": "modelnet40_fewshot",
    "part": "shapenet_part",
    "shapenet55": "shapenet55",
    "dales": "dales_objects",
}


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, list[str]]]:
    """Exit code and lines of `python -m data_modules.NAME --check ROOT`."""

    def run(layout: str, root: Path) -> tuple[int, list[str]]:
        command = f"data_modules.{MODULES[layout]}"
        monkeypatch.setattr(sys, "argv", [command, "--check", str(root)])
        monkeypatch.delitem(sys.modules, command, raising=False)
        with pytest.raises(SystemExit) as left:
            runpy.run_module(command, run_name="__main__")
        return int(left.value.code or 0), capsys.readouterr().out.splitlines()

    return run


Check = Callable[[str, Path], tuple[int, list[str]]]


@pytest.mark.parametrize("name", MODULES)
def test_check_says_complete(name: str, tmp_path: Path, check: Check) -> None:
    code, lines = check(name, LAYOUTS[name].write(tmp_path))
    assert (code, lines[-1]) == (0, "complete")
    assert name in ("fewshot", "dales") or any("published are" in line for line in lines)


def test_check_covers_the_variants_that_are_there(tmp_path: Path, check: Check) -> None:
    cloud_files.scanobjectnn(tmp_path)
    for path in (tmp_path / "main_split").glob("*augmented*"):
        path.unlink()
    code, lines = check("bg", tmp_path)
    assert code == 0
    assert {"bg train: 45 samples found", "only train: 45 samples found"} <= set(lines)
    assert not any("hardest" in line for line in lines)
    (tmp_path / "main_split" / "test_objectdataset.h5").unlink()
    code, lines = check("bg", tmp_path)
    assert code == 1
    assert "test_objectdataset.h5 does not exist" in lines[-1]


def test_check_says_that_every_fold_can_be_drawn(tmp_path: Path, check: Check) -> None:
    cloud_files.modelnet40_hdf5(tmp_path, kinds=range(40), train=40, test=20)
    code, lines = check("fewshot", tmp_path)
    assert (code, lines[-1]) == (0, "complete")
    assert "40 folds can be drawn from ModelNet40" in lines[0]


@pytest.mark.parametrize("name", MODULES)
def test_check_of_an_empty_folder_names_it_and_the_distributor(name: str, tmp_path: Path, check: Check) -> None:
    code, lines = check(name, tmp_path)
    assert code == 1
    assert lines[0].startswith("error: ")
    assert str(tmp_path) in lines[0]
    assert "distributed" in lines[0]


@pytest.mark.parametrize("name", ["bg", "dales", "modelnet"])
def test_a_damaged_cloud_fails_the_check_by_name(name: str, tmp_path: Path, check: Check) -> None:
    root = LAYOUTS[name].write(tmp_path)
    if name == "modelnet":
        where = str(root / "bed" / "bed_0005.txt")
        (root / "bed" / "bed_0005.txt").write_text("1,2,nothing\n")
    elif name == "dales":
        points = cloud_files.clouds(np.random.default_rng(0), [0] * 50)
        points[7, 3, 1] = np.nan
        cloud_files.dales(root, points=points)
        where = "dales_objects_2048.npz, row 7"
    else:
        path = root / "main_split_nobg" / "test_objectdataset.h5"
        cloud_files.change_hdf5(path, "data", lambda data: np.where(np.arange(30)[:, None, None] == 4, 2.0, data))
        where = f"only test: {path}, row 4 has no extent"
    code, lines = check(name, root)
    assert code == 1
    assert any(where in line for line in lines)
    assert lines[-1] == "1 samples cannot be read"
