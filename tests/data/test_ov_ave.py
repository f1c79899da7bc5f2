"""OV-AVEBench: either layout is read, unseen classes are kept from training, and every mistake is told at once."""

import json
from pathlib import Path

import av_files
import numpy as np
import pytest

from data_modules.check import check_command
from data_modules.errors import DataError
from data_modules.ov_ave import CLASSES, OVAVE, SEEN, UNSEEN, EveryClip

META, LABELS = "ovave_dataset_meta.csv", "released_ovavel_dataset_anno.json"


def test_46_classes_are_seen_and_21_are_not() -> None:
    assert (len(set(SEEN)), len(set(UNSEEN)), len(CLASSES)) == (46, 21, 67)
    assert sorted(SEEN) == SEEN
    assert not set(SEEN) & set(UNSEEN)


def test_a_training_has_seen_classes_alone(tmp_path: Path) -> None:
    data = OVAVE(root=str(av_files.ov_ave(tmp_path)))
    data.setup("fit")
    assert data.classes == SEEN
    assert {split: [part.id(i) for i in range(len(part))] for split, part in data.sets.items()} == {
        "train": ["-trainAAAA0", "trainAAAAA1"],
        "val": ["valBBBBBBB0"],
        "test": ["testCCCCCC0"],
    }
    car = SEEN.index("race car")
    assert data.sets["train"].target(0)["segments"].tolist() == [46, car, car, car, *[46] * 6]
    assert set(data.sets["train"].target(1)["segments"].tolist()) == {46}  # a clip of a class that is never in it


def test_an_evaluation_has_all_classes_and_no_training_has(tmp_path: Path) -> None:
    root = str(av_files.ov_ave(tmp_path))
    with pytest.raises(DataError, match=r"data\.unseen=true: a training must not know"):
        OVAVE(root=root, unseen=True).setup("fit")
    data = OVAVE(root=root, unseen=True)
    data.setup("test")
    assert (data.classes, set(data.sets)) == (CLASSES, {"val", "test"})
    target = [data.sets["test"].target(i) for i in range(2)]
    assert [bool(each["unseen"]) for each in target] == [False, True]
    assert target[1]["segments"].tolist() == [CLASSES.index("helicopter")] * 5 + [67] * 5


def test_sound_files_with_pictures_are_read_as_videos_are(tmp_path: Path) -> None:
    beside, videos = (
        OVAVE(root=str(av_files.ov_ave(tmp_path / str(kind), videos=kind)), frame_size=48) for kind in (False, True)
    )
    beside.setup()
    videos.setup()
    one, other = beside.sets["train"][0], videos.sets["train"][0]
    assert one.frames.shape == other.frames.shape == (10, 48, 48, 3)
    assert np.abs(one.frames.mean((1, 2, 3)) - other.frames.mean((1, 2, 3))).max() < 3
    assert one.audio.shape == other.audio.shape == (10, 16_000)
    picture = tmp_path / "False" / "train" / "video" / "race car" / "-trainAAAA0" / "00000003.png"
    before = beside.sets["train"].key(0)
    picture.write_bytes(picture.with_name("00000004.png").read_bytes())
    again = OVAVE(root=str(tmp_path / "False"), frame_size=48)
    again.setup()
    assert again.sets["train"].key(0) != before
    assert again.sets["train"].key(1) == beside.sets["train"].key(1)


@pytest.mark.parametrize("videos", [False, True])
def test_check_says_complete_or_what_is_missing(
    tmp_path: Path, videos: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    root = av_files.ov_ave(tmp_path, videos=videos)

    def check() -> tuple[int, list[str]]:
        code = check_command("x", lambda path: EveryClip(root=path, unseen=True), ["--check", str(root)])
        return code, capsys.readouterr().out.splitlines()

    code, lines = check()
    assert (code, lines[-1]) == (0, "complete")
    assert "val: 1 clips of seen classes and 1 of unseen ones; published: 1651 and 4147" in lines
    assert "clips that are background alone: 1" in lines
    media = next(root.rglob("testCCCCCC1.*"))
    content = media.read_bytes()
    media.write_bytes(b"damaged")
    code, lines = check()
    assert code == 1
    assert "testCCCCCC1" in lines[-1]
    media.unlink()
    assert "1 of 2 media files are missing" in check()[1][-1]
    media.write_bytes(content)


def test_sound_files_without_their_pictures_are_named_with_where_these_belong(tmp_path: Path) -> None:
    root = av_files.ov_ave(tmp_path)
    folder = root / "train" / "video" / "race car" / "-trainAAAA0"
    for picture in folder.iterdir():
        picture.unlink()
    with pytest.raises(DataError, match="split train: 1 of 2 clips have no pictures") as caught:
        OVAVE(root=str(root)).setup()
    assert str(folder) in str(caught.value)
    blank, left_out = OVAVE(root=str(root), missing_pictures="blank"), OVAVE(root=str(root), on_bad="skip")
    blank.setup()
    left_out.setup()
    assert blank.remarks == {"train: no pictures: grey ones are used": 1}
    assert left_out.remarks == {"train: no pictures: left out": 1}
    assert len(np.unique(blank.sets["train"][0].frames)) == 1


WRONG = {
    "training,race car,close,a": "split 'training' is none of train, val, test",
    "val,racing car,close,a": "'racing car' is none of the 67 classes",
    "val,race car,open,a": "cls_type 'open', but 'race car' is seen",
    "train,helicopter,open,a": "'helicopter' is an unseen class, which train must not have",
    "val,race car,close,valBBBBBBB0": "valBBBBBBB0 stands there twice",
    "val,race car,close,a": f"a has no labels in {LABELS}",
    "val,race car,close,testCCCCCC2": f"'race car', but {LABELS} says 'cat purring' of testCCCCCC2",
    "val,race car,close": "expected 4 fields",
}


def test_every_mistake_of_both_files_is_told_at_once(tmp_path: Path) -> None:
    root = av_files.ov_ave(tmp_path)
    with (root / META).open("a") as file:
        file.write("\n".join(WRONG) + "\n")
    labels = json.loads((root / LABELS).read_text())
    labels |= {"testCCCCCC2": {"category": "cat purring", "label": "[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]"}}
    labels |= {"short": {"category": "race car", "label": "[0, 1]"}, "no list": {"label": "yes"}}
    (root / LABELS).write_text(json.dumps(labels))
    with pytest.raises(DataError, match=f"{len(WRONG) + 2} mistakes") as caught:
        OVAVE(root=str(root)).setup()
    for line, message in enumerate(WRONG.values(), start=len(av_files.OV_AVE) + 2):
        assert f"{META}, line {line}: {message}" in str(caught.value)
    assert "short: label '[0, 1]'; expected 10 numbers, 0 or 1" in str(caught.value)
    assert "no list: label 'yes'" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (META, "a,b\n", "expected the columns split, cls_name, cls_type, vid_name"),
        (LABELS, "{", "is no JSON"),
        (LABELS, "[]", "expected an object with a key a video"),
        (META, None, f"{META} does not exist. OV-AVEBench is distributed by its authors"),
    ],
)
def test_a_file_that_is_none_is_named(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    root = av_files.ov_ave(tmp_path)
    (root / name).unlink() if content is None else (root / name).write_text(content)
    with pytest.raises(DataError) as caught:
        OVAVE(root=str(root)).setup()
    assert message in str(caught.value)
