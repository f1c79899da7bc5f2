"""MSTAR in the layouts that copies have: SOC's vehicles alone, 17 degrees train and select, 15 are measured."""

from pathlib import Path

import numpy as np
import pytest
from mask_files import save

from data_modules.errors import DataError
from data_modules.mstar import CLASSES, MSTAR

STORED = ("2S1", "BMP2", "BRDM_2", "BTR_60", "BTR70", "D7", "T62", "T72", "ZIL131", "ZSU_23_4")
"""Folders of the distributor, in the order of the classes."""


def chip(path: Path, seed: int) -> None:
    """A grey chip of noise."""
    save(path, np.random.default_rng(seed).integers(0, 200, (32, 32)).astype(np.uint8))


def write(folder: Path, train: str = "train", test: str = "test", ending: str = ".jpeg") -> Path:
    """So many chips of every class: ten to train and select, two to measure."""
    for part, number in ((train, 10), (test, 2)):
        for label, name in enumerate(STORED):
            for k in range(number):
                chip(folder / part / name / f"HB{label}{k:03d}{ending}", 100 * label + k + (part == test))
    return folder


def ready(root: Path) -> MSTAR:
    data = MSTAR(root=str(root))
    data.setup()
    return data


def labels(data: MSTAR, split: str) -> list[int]:
    return [int(data.sets[split].target(k)["label"]) for k in range(len(data.sets[split]))]


@pytest.mark.parametrize(
    ("train", "test", "ending"),
    [
        ("train", "test", ".jpeg"),
        ("17_DEG", "15_DEG", ".png"),
        ("TRAIN/17_DEG", "TEST/15_DEG", ".jpg"),
        ("TARGETS/TRAIN/17_DEG", "TARGETS/TEST/15_DEG", ".JPG"),
    ],
)
def test_every_layout_gives_the_same_splits(tmp_path: Path, train: str, test: str, ending: str) -> None:
    data = ready(write(tmp_path, train, test, ending))
    assert data.classes == CLASSES
    for split, each in (("train", 9), ("val", 1), ("test", 2)):
        assert np.bincount(labels(data, split)).tolist() == [each] * 10
    ids = {Path(data.sets["val"].id(k)).stem for k in range(10)}
    assert len(ids) == 10
    picture = data.sets["test"][0].images[0]
    assert picture.shape == (32, 32, 3)
    assert (picture[..., 0] == picture[..., 2]).all()
    assert data.remarks == {}


def test_only_the_vehicles_of_soc_are_taken_of_classes_with_several(tmp_path: Path) -> None:
    write(tmp_path)
    home = tmp_path / "train" / "BMP2"
    for k, path in enumerate(sorted(home.glob("*.jpeg"))):
        target = home / ("SN_9563" if k < 6 else "SN_C21") / path.name
        target.parent.mkdir(exist_ok=True)
        path.rename(target)
    (tmp_path / "test" / "T72").rename(tmp_path / "test" / "SN_132")  # the vehicle in the place of the class
    chip(tmp_path / "test" / "SLICY" / "HB1.jpeg", 0)
    data = ready(tmp_path)
    both = labels(data, "train") + labels(data, "val")
    assert both.count(CLASSES.index("BMP2")) == 6
    assert labels(data, "test").count(CLASSES.index("T72")) == 2
    assert data.remarks == {
        "train: chips of vehicles that SOC does not take": 4,
        "test: chips of vehicles that SOC does not take": 1,
    }


def test_what_is_missing_unconverted_or_of_no_class_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no MSTAR: expected one of the folders TRAIN/17_DEG.*sdms\.afrl"):
        ready(tmp_path)
    write(tmp_path)
    for path in (tmp_path / "train" / "T62").glob("*"):
        path.rename(path.with_suffix(".016"))
    with pytest.raises(DataError, match=r"train: no chip of T62 .*converted first"):
        ready(tmp_path)
    chip(tmp_path / "test" / "T80" / "HB1.jpeg", 0)
    with pytest.raises(DataError, match=r"T80/HB1\.jpeg: none of its folders names a class"):
        MSTAR(root=str(tmp_path)).chips("test")


def test_check_compares_with_what_is_published(tmp_path: Path) -> None:
    lines = MSTAR(root=str(write(tmp_path))).check()
    assert lines[0] == "train and val: 100 chips, 2747 are published"
    assert lines[1] == "train and val, 2S1: 10, 299 are published"
    assert "test: 20 chips, 2425 are published" in lines
