"""RSSCN7, EuroSAT and NWPU-RESISC45 are read in their published layouts, and `--check` says what is missing."""

import math
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import picture_files
import pytest
import torch
from picture_files import gsds, ids

from data_modules.base import DataModule
from data_modules.errors import DataError
from data_modules.eurosat import EuroSAT
from data_modules.resisc45 import RESISC45
from data_modules.rsscn7 import CLASSES, GSD, RSSCN7
from zoo.errors import SettingError


def ready(kind: Callable[..., DataModule], root: Path, **settings: Any) -> DataModule:
    data = kind(root=str(root), **settings)
    data.setup()
    return data


def sizes(data: DataModule) -> dict[str, int]:
    return {split: len(samples) for split, samples in data.sets.items()}


def labels(data: DataModule, split: str) -> list[int]:
    return [int(data.sets[split].target(index)["label"]) for index in range(len(data.sets[split]))]


def test_both_copies_of_rsscn7_are_split_alike(tmp_path: Path) -> None:
    as_distributed = ready(RSSCN7, picture_files.rsscn7(tmp_path / "a"))
    plain = ready(RSSCN7, picture_files.rsscn7(tmp_path / "b", plain=True))
    assert sizes(as_distributed) == sizes(plain) == {"train": 56, "val": 28, "test": 84}
    for split, each in (("train", 8), ("val", 4), ("test", 12)):
        assert np.bincount(labels(plain, split)).tolist() == [each] * 7
        one, two = ({Path(name).name for name in ids(data, split)} for data in (as_distributed, plain))
        assert one == two
        assert sorted(gsds(plain, split)) == pytest.approx(sorted(GSD * (7 * each // 4)))
    assert as_distributed.sets["test"].id(0).startswith("aGrass/a")
    assert plain.fingerprint() == as_distributed.fingerprint()


def test_the_list_of_rsscn7_takes_precedence_over_names(tmp_path: Path) -> None:
    root = picture_files.rsscn7(tmp_path)
    rows = [f"aGrass/a{number:03d}.jpg,forest,{k % 4}" for k, number in enumerate([*range(1, 7), *range(101, 107)])]
    (root / "labels.csv").write_text("\n".join(["file,label,scale_block", *rows]) + "\n")
    data = RSSCN7(root=str(root))
    assert {shot.label for shot, _ in data.shots()} == {1}
    assert [scale for _, scale in data.shots()] == [0, 1, 2, 3] * 3
    (root / "labels.csv").write_text("file,label,scale_block\na.jpg,forest,4\n")
    with pytest.raises(DataError, match=r"labels\.csv, line 2: file 'a\.jpg', .* scale_block '4'; expected a label"):
        data.shots()


def test_scales_and_views_of_rsscn7_are_chosen(tmp_path: Path) -> None:
    root = picture_files.rsscn7(tmp_path)
    data = ready(RSSCN7, root, train_scales=(0, 1), test_scales=(3,), resample=(2.0, 0.5))
    assert {round(gsd, 3) for gsd in gsds(data, "test")} == {round(GSD[3], 3)}
    assert {round(gsd, 3) for gsd in gsds(data, "val")} == {1.0, 1.857}
    assert {round(gsd, 3) for gsd in gsds(data, "train")} == {1.0, 2.0, 0.5, 1.857, 3.714, 0.929}
    assert len(set(ids(data, "train"))) == len(data.sets["train"]) == 3 * 28
    assert len({data.sets["train"].key(index) for index in range(84)}) == 84
    with pytest.raises(DataError, match=r"train_scales, test_scales: \[4\]: expected numbers from 0 to 3"):
        RSSCN7(root=str(root), test_scales=(4,))


def test_unseen_classes_of_rsscn7_are_measured_alone_and_never_trained_on(tmp_path: Path) -> None:
    root = picture_files.rsscn7(tmp_path)
    whole, data = ready(RSSCN7, root), ready(RSSCN7, root, unseen=("field", "river_lake"), test_scales=(0, 3))
    away = torch.tensor([name in ("field", "river_lake") for name in CLASSES])
    assert np.bincount(labels(data, "test")).tolist() == [12, 0, 0, 0, 0, 0, 12]  # all six at each of two scales
    assert {round(gsd, 3) for gsd in gsds(data, "test")} == {1.0, round(GSD[3], 3)}
    for split in ("train", "val"):
        kept = [name for name, label in zip(ids(whole, split), labels(whole, split), strict=True) if not away[label]]
        assert ids(data, split) == kept
        assert torch.equal(data.sets[split].conditions(0)["candidates"], ~away)
        assert torch.equal(data.sets[split][0].conditions["candidates"], ~away)
    assert torch.equal(data.sets["test"].conditions(0)["candidates"], away)
    assert set(whole.sets["test"].conditions(0)) == {"gsd"}
    assert all("candidates" not in data.sets["test"][0].target for data in (whole, data))
    drawn = RSSCN7(root=str(root), unseen_drawn=3, draw=1).held_back
    assert len(set(drawn.away(0))) == 3
    assert drawn.away(0) == drawn.away(5) != RSSCN7(root=str(root), unseen_drawn=3).held_back.away(2)
    with pytest.raises(SettingError, match=r"data\.unseen: water not in field, forest"):
        RSSCN7(root=str(root), unseen=("field", "water"))
    with pytest.raises(SettingError, match="expected none, or 2 to 5 different classes"):
        RSSCN7(root=str(root), unseen=tuple(CLASSES[:6]))


def test_few_pictures_of_rsscn7_are_drawn_out_of_the_training_split_alone(tmp_path: Path) -> None:
    root = picture_files.rsscn7(tmp_path)
    whole, one, other = (ready(RSSCN7, root, **more) for more in ({}, {"shots": 2, "draw": 0}, {"shots": 2, "draw": 1}))
    assert np.bincount(labels(one, "train")).tolist() == [2] * 7
    assert set(ids(one, "train")) < set(ids(whole, "train"))
    assert set(ids(one, "train")) != set(ids(other, "train"))
    assert ids(one, "test") == ids(whole, "test")
    with pytest.raises(DataError, match=r"data\.shots = 9: field has 8 training samples at the scales to train"):
        ready(RSSCN7, root, shots=9)


@pytest.mark.parametrize("factors", [(0.0,), (-2.0,), (math.nan,), (math.inf,), (2.0, 2.0), (1.0,)])
def test_factors_that_make_no_view_are_refused(factors: tuple[float, ...]) -> None:
    for kind in (RSSCN7, EuroSAT):
        with pytest.raises(DataError, match=r"^resample: factors 1, .*; expected numbers above 0, each once"):
            kind(root="", resample=factors)


def test_the_real_rsscn7(shared_data: Path) -> None:
    data = ready(RSSCN7, shared_data / "rsscn7")
    assert sizes(data) == {"train": 560, "val": 140, "test": 700}
    for split, each in (("train", 80), ("val", 20), ("test", 100)):
        assert np.bincount(labels(data, split)).tolist() == [each] * 7
        assert {gsds(data, split).count(gsd) for gsd in set(gsds(data, split))} == {7 * each // 4}
    picture = data.sets["test"][0]
    assert picture.images[0].shape == (256, 256, 3)
    assert len(data.probes(("gsd",))["wrong_gsd"]) == 2100


EUROSATS = [
    ("rgb", "EuroSAT_RGB"),
    ("rgb", "2750"),
    ("ms", "EuroSAT_MS"),
    ("ms", "ds/images/remote_sensing/otherDatasets/sentinel_2/tif"),
]


@pytest.mark.parametrize(("version", "folder"), EUROSATS)
def test_eurosat_is_read_in_every_published_layout(version: str, folder: str, tmp_path: Path) -> None:
    data = ready(EuroSAT, picture_files.eurosat(tmp_path, folder=folder), version=version)
    assert sizes(data) == {"train": 40, "val": 40, "test": 40}
    every = [name for split in data.sets for name in ids(data, split)]
    assert len(set(every)) == 120
    assert data.name == f"EuroSAT ({version})"
    for split in data.sets:
        assert labels(data, split) == [label for label in range(10) for _ in range(4)]
        assert set(gsds(data, split)) == {10.0}
        for index in (0, 39):
            picture = data.sets[split][index]
            assert picture.images[0].shape == (64, 64, 3)
            assert picture.id.partition("/")[0] == data.classes[int(picture.target["label"])]
    notes = data.report()["remarks"]
    assert [("13 bands" in note, count) for note, count in notes.items()] == ([(True, 6)] if version == "ms" else [])


def test_eurosat_is_tested_at_the_chosen_scales_alone(tmp_path: Path) -> None:
    root = picture_files.eurosat(tmp_path)
    data = ready(EuroSAT, root, resample=(2.0,), test_resample=(8.0,))
    assert sizes(data) == {"train": 80, "val": 40, "test": 40}
    assert set(gsds(data, "train")) == {10.0, 20.0}
    assert set(gsds(data, "val")) == {10.0}
    assert set(gsds(data, "test")) == {80.0}
    assert ids(data, "test")[0] == "AnnualCrop/AnnualCrop_9.jpg x8"
    small = ready(EuroSAT, root, test_resample=(1.0, 2.0, 4.0, 8.0))
    assert sizes(small)["test"] == 160
    assert len(small.probes(("gsd",))["wrong_gsd"]) == 480
    with pytest.raises(DataError, match=r"^test_resample: factors none; expected numbers above 0"):
        EuroSAT(root=str(root), test_resample=())


def test_nobody_knows_the_gsd_of_resisc45(tmp_path: Path) -> None:
    data = ready(RESISC45, picture_files.resisc45(tmp_path))
    assert sizes(data) == {"train": 90, "val": 45, "test": 45}
    assert labels(data, "test") == list(range(45))
    assert all(math.isnan(gsd) for split in data.sets for gsd in gsds(data, split))
    assert ids(data, "test")[30] == "railway_station/railway_station_004.jpg"
    assert data.probes(("gsd",)) == {}
    assert math.isnan(data.sets["train"][0].conditions["gsd"])


Check = Callable[[str, Path], tuple[int, list[str]]]


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    """Exit code and lines of `python -m data_modules.NAME --check ROOT`."""

    def run(name: str, root: Path) -> tuple[int, list[str]]:
        command = f"data_modules.{name}"
        monkeypatch.setattr(sys, "argv", [command, "--check", str(root)])
        monkeypatch.delitem(sys.modules, command, raising=False)
        with pytest.raises(SystemExit) as left:
            runpy.run_module(command, run_name="__main__")
        return int(left.value.code or 0), capsys.readouterr().out.splitlines()

    return run


WRITE = {"rsscn7": picture_files.rsscn7, "eurosat": picture_files.eurosat, "resisc45": picture_files.resisc45}


@pytest.mark.parametrize("name", WRITE)
def test_check_says_complete_and_what_is_published(name: str, tmp_path: Path, check: Check) -> None:
    code, lines = check(name, WRITE[name](tmp_path))
    assert (code, lines[-1]) == (0, "complete")
    expected = {
        "rsscn7": f"{tmp_path}: 168 of 2800 pictures",
        "eurosat": f"{tmp_path}/EuroSAT_RGB, train: 40 pictures, 16200 are published",
        "resisc45": f"{tmp_path}/NWPU-RESISC45, train: 90 pictures, 18900 are published",
    }
    assert lines[0] == expected[name]
    if name == "rsscn7":
        assert lines[1] == "field: 6 at 1:700, 6 at 1:1300, 6 at 1:2600, 6 at 1:5200"


def test_check_covers_both_versions_of_eurosat(tmp_path: Path, check: Check) -> None:
    picture_files.eurosat(tmp_path)
    code, lines = check("eurosat", picture_files.eurosat(tmp_path, folder="EuroSAT_MS"))
    assert code == 0
    assert {"rgb test: 40 samples found", "ms test: 40 samples found"} <= set(lines)


@pytest.mark.parametrize("name", WRITE)
def test_check_of_an_empty_folder_says_what_was_expected(name: str, tmp_path: Path, check: Check) -> None:
    code, lines = check(name, tmp_path)
    assert code == 1
    assert len(lines) == 1
    assert lines[0].startswith(f"error: {tmp_path} holds no ")
    assert "expected" in lines[0]


@pytest.mark.parametrize("name", WRITE)
def test_a_damaged_picture_fails_the_check_by_name(name: str, tmp_path: Path, check: Check) -> None:
    root = WRITE[name](tmp_path)
    path = sorted(root.glob("*/*.jpg" if name == "rsscn7" else "*/*/*.jpg"))[0]
    path.write_bytes(path.read_bytes()[:-40])
    code, lines = check(name, root)
    assert code == 1
    assert lines[-1] == "1 samples cannot be read"
    assert sum(f"{path} cannot be read, so it is damaged or cut short" in line for line in lines) == 1


def line(text: str) -> Callable[[Path], None]:
    return lambda root: (root / "eurosat-val.txt").open("a").write(text + "\n") and None


WRONG: dict[str, tuple[Callable[[Path], None], str]] = {
    "list missing": (
        lambda root: (root / "eurosat-val.txt").unlink(),
        r"eurosat-val\.txt does not exist\. EuroSAT is dist",
    ),
    "pictures missing": (
        lambda root: (root / "EuroSAT_RGB/River/River_5.jpg").unlink(),
        r"eurosat-val\.txt: 1 of 40 files are missing, e\.g\. .*River_5\.jpg\. EuroSAT is distributed",
    ),
    "listed twice": (line("River_5.jpg"), r"River/River_5\.jpg is listed in val and again in val"),
    "leak": (
        line("River_1.jpg"),
        r"River/River_1\.jpg is listed in train and again in val; every",
    ),
    "class": (
        line("Lake_1.jpg"),
        r"eurosat-val\.txt, line 41: 'Lake_1\.jpg'; expected <class>_<number>\.jpg, the",
    ),
    "folder": (line("../River_1.jpg"), r"line 41: '\.\./River_1\.jpg'; expected"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_with_a_list_is_one_clear_error(what: str, tmp_path: Path) -> None:
    root = picture_files.eurosat(tmp_path)
    damage, message = WRONG[what]
    damage(root)
    with pytest.raises(DataError, match=message):
        EuroSAT(root=str(root)).setup()
