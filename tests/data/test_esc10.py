"""ESC-10 is read in both of its layouts, by its official folds; classes and recordings may be held back."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import sound_files
import torch

from data_modules.errors import DataError
from data_modules.esc10 import CLASSES, ESC10
from zoo.errors import SettingError

write = sound_files.esc10


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("esc10"))


def ready(root: Path, **settings: Any) -> ESC10:
    data = ESC10(root=str(root), **settings)
    data.setup()
    return data


def counts(data: ESC10, split: str) -> Counter[str]:
    samples = data.sets[split]
    return Counter(CLASSES[int(samples.target(index)["label"])] for index in range(len(samples)))


def folds(data: ESC10, split: str) -> set[str]:
    return {data.sets[split].id(index).rpartition("/")[2][0] for index in range(len(data.sets[split]))}


@pytest.mark.parametrize(("fold", "val"), [(1, "2"), (5, "1")])
def test_one_fold_is_for_test_the_next_for_validation(root: Path, fold: int, val: str) -> None:
    data = ready(root, fold=fold)
    assert folds(data, "test") == {str(fold)}
    assert folds(data, "val") == {val}
    assert folds(data, "train") == set("12345") - {str(fold), val}
    assert {split: set(counts(data, split).values()) for split in data.sets} == {"train": {24}, "val": {8}, "test": {8}}
    assert all(data.sets[split].conditions(0) == {} for split in data.sets)


def test_both_layouts_are_the_same_data(root: Path, tmp_path: Path) -> None:
    for label, name in enumerate(CLASSES):
        own = root / "audio" / name.replace(" ", "_")
        shutil.copytree(own, tmp_path / f"{label + 1:03d} - {name.capitalize()}")
    official = ready(tmp_path)
    plain = ready(root)
    assert [official.sets["test"].id(i) for i in range(80)] == [plain.sets["test"].id(i) for i in range(80)]
    assert official.fingerprint() == plain.fingerprint()


def test_a_recording_is_five_seconds_in_segments_silent_after_its_end(root: Path) -> None:
    clip = ready(root).sets["train"][0]
    assert clip.audio.shape == (5, 16_000)
    assert abs(clip.audio[0]).max() > 0.3
    assert not clip.audio[1:].any()
    assert clip.frames.shape == (5, 8, 8, 3)


def test_unseen_classes_are_measured_alone_and_never_trained_on(root: Path) -> None:
    data = ready(root, unseen=("rain", "rooster"))
    assert counts(data, "test") == {"rain": 40, "rooster": 40}
    for split in ("train", "val"):
        assert counts(data, split).keys() == set(CLASSES) - {"rain", "rooster"}
        assert not folds(data, split) & {"1"}
    away = torch.tensor([name in ("rain", "rooster") for name in CLASSES])
    assert torch.equal(data.sets["test"].conditions(0)["candidates"], away)
    assert torch.equal(data.sets["train"].conditions(0)["candidates"], ~away)


def test_unseen_classes_can_be_drawn(root: Path) -> None:
    drawn = [ESC10(root=str(root), unseen_drawn=3, draw=draw).unseen for draw in range(10)]
    assert all(len(set(names)) == 3 for names in drawn)
    assert len(set(drawn)) > 5
    by_seed = ESC10(root=str(root), unseen_drawn=3)
    by_seed.seed = 7
    assert by_seed.unseen == drawn[7]
    assert drawn[4] == ESC10(root=str(root), unseen_drawn=3, draw=4).unseen


def test_shots_are_drawn_out_of_the_training_folds_alone(root: Path) -> None:
    one, other = (ready(root, shots=2, draw=draw) for draw in (0, 1))
    assert set(counts(one, "train").values()) == {2}
    assert set(counts(one, "val").values()) == set(counts(one, "test").values()) == {8}
    chosen = [{data.sets["train"].id(index) for index in range(20)} for data in (one, other)]
    assert chosen[0] != chosen[1]
    assert folds(one, "train") <= set("345")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"unseen": ("rain", "cat")}, r"data\.unseen: cat not in dog bark"),
        ({"unseen": ("rain",)}, r"data\.unseen = \['rain'\]: expected none, or 2 to 8 different"),
        ({"unseen": ("rain", "rain")}, "expected none, or 2 to 8 different"),
        ({"unseen": tuple(CLASSES[:9])}, "expected none, or 2 to 8 different"),
        ({"unseen": ("rain", "rooster"), "unseen_drawn": 2}, "expected one of them"),
    ],
)
def test_settings_that_make_no_split_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        ESC10(root="", **settings)


def test_what_is_missing_is_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has neither 001 - Dog bark/ nor audio/dog_bark/.*karolpiczak/ESC-10"):
        ready(tmp_path)
    with pytest.raises(DataError, match=r"data\.shots = 25: dog bark has 24 training samples beside fold 1"):
        ready(root, shots=25)
    short = Path(shutil.copytree(root, tmp_path / "short"))
    next((short / "audio" / "rain").iterdir()).unlink()
    with pytest.raises(DataError, match=r"rain holds 39 \.ogg files; expected 40"):
        ready(short)


def test_the_real_esc10(shared_data: Path) -> None:
    if not (shared_data / "esc10").is_dir():
        pytest.skip("ESC-10 is not on this machine")
    data = ready(shared_data / "esc10")
    assert data.check() == ["400 recordings of 10 classes in 5 folds"]
    loud = [float(abs(data.sets["test"][index].audio).max()) for index in range(0, 80, 8)]
    assert min(loud) > 0.01
    sources = {
        split: {data.sets[split].id(i).split("-")[1] for i in range(len(data.sets[split]))} for split in data.sets
    }
    assert not sources["test"] & sources["train"]  # cuts of one source share a fold
    assert not sources["val"] & sources["train"]
