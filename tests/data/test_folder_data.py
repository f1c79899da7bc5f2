"""A user's own files: how they are found, divided and read, and what is said of every mistake before training."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import own_files
import pytest
import soundfile
import torch
from picture_files import UTM, geotiff

from data_modules.errors import DataError
from data_modules.folder.own_files import OwnFiles
from data_modules.folder_clips import ClipFolder, ParsedClipFolder
from data_modules.folder_clouds import CloudFolder, PartFolder, PlainCloudFolder
from data_modules.folder_pictures import OpenQuestionFolder, PictureFolder, QuestionFolder

SHORT = {"segments": 4, "segment_seconds": 0.5, "frame_size": 32}
EVENTS = "path,start,end,label"


def ready(data: OwnFiles) -> OwnFiles:
    data.setup()
    return data


def splits_of(data: OwnFiles) -> dict[str, str]:
    files: dict[str, str] = ready(data).plan["files"]
    return files


def ids(data: OwnFiles, split: str) -> list[str]:
    return [data.sets[split].id(index) for index in range(len(data.sets[split]))]


# --- found and read ---------------------------------------------------------------------------------------------------


def test_class_folders_give_sorted_classes_in_every_split(tmp_path: Path) -> None:
    data = ready(CloudFolder(root=str(own_files.clouds(tmp_path)), points=16))
    assert data.classes == ["ball", "plate", "stick"]
    for split, number in (("train", 3), ("val", 1), ("test", 1)):
        labels = [int(data.sets[split][k].target["label"]) for k in range(len(data.sets[split]))]
        assert sorted(labels) == sorted([0, 1, 2] * number)
    assert all(name.startswith("ball/") for name in ids(data, "test")[:1])
    assert data.sets["train"][0].points.shape == (16, 3)


def test_splits_that_lie_in_folders_are_kept_and_a_lacking_val_comes_out_of_train(tmp_path: Path) -> None:
    own_files.clouds(tmp_path / "train")
    for seed, name in enumerate(own_files.SPREADS):
        own_files.cloud(tmp_path / "test" / name / "a.xyz", 900 + seed)
    files = splits_of(CloudFolder(root=str(tmp_path), points=16))
    assert {name for name, split in files.items() if split == "test"} == {
        f"test/{name}/a.xyz" for name in own_files.SPREADS
    }
    held = [name for name, split in files.items() if split == "val"]
    assert len(held) == 3
    assert all(name.startswith("train/") for name in held)


def test_a_folder_of_tests_alone_can_be_measured_but_not_trained(tmp_path: Path) -> None:
    own_files.clouds(tmp_path / "test", 2)
    data = CloudFolder(root=str(tmp_path), points=16)
    data.setup("test")
    assert len(data.sets["test"]) == 6
    with pytest.raises(DataError, match="split train, val is empty"):
        CloudFolder(root=str(tmp_path), points=16).setup("fit")
    whole = CloudFolder(root=str(own_files.clouds(tmp_path / "all", 2)), points=16, test_share=1, val_share=0)
    whole.setup("test")
    assert len(whole.sets["test"]) == 6


def test_events_become_segments_and_a_clip_without_any_is_background(tmp_path: Path) -> None:
    rows = ["a.mp4,0.5,1.3,dog", "a.mp4,1.5,2,bell", "b.mp4,,,", "c.mp4,,,bell"]
    rows += [f"{name}{k}.mp4,0,1,{name}" for name in ("dog", "bell") for k in range(3)] + ["d.mp4,,,", "e.mp4,,,"]
    root = own_files.table(tmp_path, EVENTS, *rows, make=own_files.clip)
    data = ready(ClipFolder(root=str(root), **SHORT))
    target = {s.id(k): s.target(k)["segments"].tolist() for s in data.sets.values() for k in range(len(s))}
    assert data.classes == ["bell", "dog"]
    assert target["a.mp4"] == [2, 1, 1, 0]
    assert target["b.mp4"] == [2, 2, 2, 2]
    assert target["c.mp4"] == [0, 0, 0, 0]
    clip = data.sets["train"][0]
    assert clip.frames.shape == (4, 32, 32, 3)
    assert clip.audio.shape == (4, 8000)


def test_parsing_takes_overlapping_events_by_modality(tmp_path: Path) -> None:
    rows = [f"{k}.mp4,0,1,dog,audio" for k in range(4)] + [f"{k}.mp4,0.5,2,bell," for k in range(4)]
    root = own_files.table(tmp_path, f"{EVENTS},modality", *rows, make=own_files.clip)
    data = ready(ParsedClipFolder(root=str(root), **SHORT))
    target = data.sets["train"].target(0)
    assert target["weak"].tolist() == [1, 1]
    assert target["audio"].tolist() == [[0, 1], [1, 1], [1, 0], [1, 0]]
    assert target["visual"].tolist() == [[0, 0], [1, 0], [1, 0], [1, 0]]


def test_a_sound_beside_its_frames_is_a_clip(tmp_path: Path) -> None:
    for name in ("dog", "bell"):
        for k in range(3):
            wave = np.random.default_rng(len(name) + 10 * k).normal(0, 0.1, 32_000).astype(np.float32)
            (tmp_path / name).mkdir(exist_ok=True)
            soundfile.write(tmp_path / name / f"{k}.wav", wave, 16_000)
            for frame in range(4):
                own_files.picture(tmp_path / name / str(k) / f"{frame}.png", frame, 32)
    data = ready(ClipFolder(root=str(tmp_path), **SHORT))
    before = data.sets["train"].key(0)
    assert data.sets["train"][0].frames.shape == (4, 32, 32, 3)
    assert not data.remarks
    own_files.picture(tmp_path / Path(data.sets["train"].id(0)).with_suffix("") / "2.png", 77, 32)
    assert ready(ClipFolder(root=str(tmp_path), **SHORT)).sets["train"].key(0) != before


def test_the_last_column_of_a_cloud_is_its_parts(tmp_path: Path) -> None:
    data = ready(PartFolder(root=str(own_files.parts(tmp_path)), points=16))
    assert data.classes == ["ball/0", "ball/1", "plate/0", "plate/1", "stick/0", "stick/1"]
    cloud = data.sets["test"][2]
    assert cloud.conditions["category"] == 2
    assert (
        cloud.target["parts"] == 4 + (cloud.conditions["points"][:, 0] > cloud.points[:, 0].min() / 2)
    ).float().mean() > 0.5
    assert set(cloud.target["parts"].tolist()) <= {4, 5}


def test_clouds_to_learn_from_without_labels_need_one_folder(tmp_path: Path) -> None:
    data = ready(PlainCloudFolder(root=str(own_files.clouds(tmp_path, 5, ["anything"])), points=16))
    assert {split: len(samples) for split, samples in data.sets.items()} == {"train": 3, "val": 1, "test": 1}


def test_the_ground_sampling_distance_is_told_by_the_manifest_the_file_or_the_setting(tmp_path: Path) -> None:
    rows = [f"{name}{k}.png,{name},{'2.5' if k == 0 else ''}" for name in ("field", "water") for k in range(4)]
    root = own_files.table(tmp_path, "path,label,gsd", *rows, make=own_files.picture)
    geotiff(root / "map.tif", np.random.default_rng(0).integers(0, 256, (3, 8, 8), dtype=np.uint8), crs=UTM, pixel=10.0)
    with (root / "manifest.csv").open("a") as file:
        file.write("map.tif,field,\n")

    def told(**settings: Any) -> dict[str, float]:
        sets = ready(PictureFolder(root=str(root), **settings)).sets.values()
        return {s.id(k): float(s.conditions(k)["gsd"]) for s in sets for k in range(len(s))}

    assert told(gsd=0.5) | {"map.tif": 0.0} == {
        "map.tif": 0.0,
        **{f"{name}{k}.png": 2.5 if k == 0 else 0.5 for name in ("field", "water") for k in range(4)},
    }
    assert told()["map.tif"] == pytest.approx(10, rel=1e-3)
    assert np.isnan(told()["field1.png"])


def test_questions_about_a_picture_stay_together_and_answers_are_words_or_letters(tmp_path: Path) -> None:
    data = ready(QuestionFolder(root=str(own_files.questions(tmp_path))))
    assert data.classes == ["cover", "question"]
    for split in ("train", "val", "test"):
        names = ids(data, split)
        assert {name.rpartition("#")[2] for name in names} == {"1", "2"}
        assert len(names) == 2 * len({name.rpartition("#")[0] for name in names})
    first, second = data.sets["train"].question(0), data.sets["train"].question(1)
    assert (first.answer, first.choices, first.kind) == ("B", ("field", "water"), "cover")
    assert (second.answer, second.choices) == ("B", ("1", "2", "3"))


def test_open_questions_have_no_choices(tmp_path: Path) -> None:
    rows = [f"{k}.png,How many?,{k}" for k in range(6)]
    root = own_files.table(tmp_path, "path,question,answer", *rows, make=own_files.picture)
    data = ready(OpenQuestionFolder(root=str(root), instruction="A number."))
    question = data.sets["train"].question(0)
    assert question.choices == ()
    assert question.instruction == "A number."


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_spreadsheet_may_part_cells_by_comma_semicolon_or_tab_and_begin_with_a_mark(
    tmp_path: Path, separator: str
) -> None:
    own_files.clouds(tmp_path)
    rows = [separator.join((f"{name}/{k}.xyz", name.upper())) for name in own_files.SPREADS for k in range(4)]
    text = "\n".join([separator.join(("path", "label")), *rows]) + "\n"
    (tmp_path / "manifest.csv").write_text(text, encoding="utf-8-sig")
    data = ready(CloudFolder(root=str(tmp_path), points=16))
    assert data.classes == ["BALL", "PLATE", "STICK"]
    assert data.remarks == {"files that manifest.csv does not list: left out": 3}


# --- divided ----------------------------------------------------------------------------------------------------------


def test_a_file_that_is_added_moves_at_most_two_others_both_of_its_class(tmp_path: Path) -> None:
    root = own_files.clouds(tmp_path, 9)
    before = splits_of(CloudFolder(root=str(root), points=16))
    for number in range(9, 15):
        own_files.cloud(root / "ball" / f"{number}.xyz", 700 + number)
        after = splits_of(CloudFolder(root=str(root), points=16))
        moved = [name for name, split in before.items() if after[name] != split]
        assert len(moved) <= 2
        assert all(name.startswith("ball/") for name in moved)
        before = after


def test_names_and_order_do_not_change_the_division(tmp_path: Path) -> None:
    root = own_files.clouds(tmp_path / "a", 6)
    before = splits_of(CloudFolder(root=str(root), points=16))
    (root / "ball/0.xyz").rename(root / "ball/zero.xyz")
    after = splits_of(CloudFolder(root=str(root), points=16))
    assert after.pop("ball/zero.xyz") == before.pop("ball/0.xyz")
    assert after == before


def test_a_division_that_was_written_down_moves_nothing(tmp_path: Path) -> None:
    root = own_files.clouds(tmp_path / "data", 6)
    data = ready(CloudFolder(root=str(root), points=16))
    (tmp_path / "splits.json").write_text(json.dumps(data.plan))
    for number in range(6, 12):
        own_files.cloud(root / "ball" / f"{number}.xyz", 700 + number)
    again = ready(CloudFolder(root=str(root), points=16, splits=str(tmp_path / "splits.json")))
    files = again.plan["files"]
    assert {name: files[name] for name in data.plan["files"]} == data.plan["files"]
    assert {files[f"ball/{number}.xyz"] for number in range(6, 12)} == {"train"}
    assert again.remarks["files that splits.json does not list: train, or where their group is"] == 6
    (root / "ball/0.xyz").unlink()
    with pytest.raises(DataError, match=r"lists 1 files that are not there, e\.g\. ball/0\.xyz"):
        ready(CloudFolder(root=str(root), points=16, splits=str(tmp_path / "splits.json")))


def test_few_files_of_no_class_are_no_mistake(tmp_path: Path) -> None:
    rows = [f"{name}{k}.mp4,1,2,{name}" for name in ("dog", "bell") for k in range(3)]
    root = own_files.table(tmp_path, EVENTS, *rows, "still.mp4,,,", make=own_files.clip)
    assert splits_of(ClipFolder(root=str(root), **SHORT))["still.mp4"] == "train"


def test_groups_never_straddle_splits(tmp_path: Path) -> None:
    for label, name in enumerate(own_files.SPREADS):
        for k in range(24):
            own_files.cloud(tmp_path / name / f"room{k % 6}_{k}.xyz", k + 1000 * label)
    files = splits_of(CloudFolder(root=str(tmp_path), points=16, group_by="room[0-9]"))
    of: dict[str, set[str]] = {}
    for name, split in files.items():
        of.setdefault(name.partition("room")[2][0], set()).add(split)
    assert all(len(splits) == 1 for splits in of.values())
    assert set(files.values()) == {"train", "val", "test"}


def test_copies_are_one_group_and_are_counted(tmp_path: Path) -> None:
    root = own_files.clouds(tmp_path, 6)
    for k in range(6):
        shutil.copy(root / f"ball/{k}.xyz", root / f"ball/copy{k}.xyz")
    data = ready(CloudFolder(root=str(root), points=16))
    files = data.plan["files"]
    assert all(files[f"ball/{k}.xyz"] == files[f"ball/copy{k}.xyz"] for k in range(6))
    assert data.remarks["files whose content another file has too: kept in one split"] == 6


def test_copies_in_two_given_splits_are_an_error_or_leave_train(tmp_path: Path) -> None:
    own_files.clouds(tmp_path / "train")
    own_files.clouds(tmp_path / "test", 3, [*own_files.SPREADS][:2])
    for seed, name in enumerate(own_files.SPREADS):
        own_files.cloud(tmp_path / "test" / name / "new.xyz", 5000 + seed)
    with pytest.raises(
        DataError, match=r"12 files have a copy.*the same content in test: test/ball/0\.xyz, train: train"
    ):
        ready(CloudFolder(root=str(tmp_path), points=16))
    data = ready(CloudFolder(root=str(tmp_path), points=16, on_bad="skip", val_share=0.5))
    assert data.remarks["files whose content or group is in a later split, too: left out"] == 6
    assert "train/ball/0.xyz" not in data.plan["files"]
    assert data.plan["files"]["test/ball/0.xyz"] == "test"


@pytest.mark.parametrize("kind", [CloudFolder, PartFolder, PictureFolder, QuestionFolder, ClipFolder])
def test_what_a_data_set_is_asked_for_is_answered(tmp_path: Path, kind: type[OwnFiles]) -> None:
    write: dict[type[OwnFiles], Callable[[Path], Path]] = {
        CloudFolder: own_files.clouds,
        PartFolder: own_files.parts,
        PictureFolder: own_files.pictures,
        QuestionFolder: own_files.questions,
        ClipFolder: own_files.clips,
    }
    settings = SHORT if kind is ClipFolder else {}
    root = write[kind](tmp_path / "mine")
    data = ready(kind(root=str(root), **settings))  # type: ignore[call-arg]
    assert data.name == "own files (mine)"
    assert data.license == "of the user's own"
    assert not data.synthetic
    assert data.deterministic
    side = {"side": 16} if isinstance(data, PictureFolder) else {}
    assert data.resolved_settings() == {"classes": data.classes} | side
    assert len(data.fingerprint()) == 64
    assert set(data.plan) == {"rule", "files"}
    assert data.check()[-1].startswith("classes: ")
    sample = data.sets["test"][0]
    assert all(torch.equal(value, data.sets["test"].target(0)[name]) for name, value in sample.target.items())
