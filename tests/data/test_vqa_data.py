"""Questions about pictures: every layout, a user's own questions, and RSVQA."""

import math
from pathlib import Path

import forked
import pytest
from question_files import change_entry, change_line, encoded, own_row, read_lines, rsvqa, write_lines
from vqa_files import LAYOUTS, SPLITS, asked, made, ready, same_pixels, samples

from data_modules.check import check_command
from data_modules.errors import DataError
from data_modules.kinds.questions import PerPicture
from data_modules.rsvqa import RSVQA, EveryVariant
from zoo.batch import Question


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_its_splits_and_whole_samples(name: str, tmp_path: Path) -> None:
    data = ready(name, made(name, tmp_path))
    assert {split: len(part) for split, part in data.sets.items()} == LAYOUTS[name].sizes
    ids = [data.sets[split].id(row) for split in SPLITS for row in range(len(data.sets[split]))]
    assert len(set(ids)) == len(ids)
    for split in SPLITS:
        for row, sample in enumerate(samples(data, split)):
            assert sample.id == data.sets[split].id(row)
            assert sample.question == data.sets[split].question(row)
            assert sample.images[0].shape == (8, 8, 3)
            known = data.sets[split].conditions(row)["gsd"]
            assert sample.conditions["gsd"].equal(known) or (sample.conditions["gsd"].isnan() and known.isnan())
    kinds = {question.kind for question in asked(data, "test")}
    assert kinds <= set(data.classes)
    assert len(set(data.classes)) == len(data.classes)
    assert ready(name, tmp_path).fingerprint() == data.fingerprint()


@pytest.mark.parametrize("name", LAYOUTS)
def test_no_picture_is_in_two_splits(name: str, tmp_path: Path) -> None:
    data = ready(name, made(name, tmp_path))
    shown = {split: {image.tobytes() for sample in samples(data, split) for image in sample.images} for split in SPLITS}
    assert not shown["train"] & shown["val"]
    assert not shown["train"] & shown["test"]
    assert not shown["val"] & shown["test"]


@pytest.mark.parametrize("name", LAYOUTS)
def test_check_finds_a_whole_copy_complete(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(name, tmp_path)
    module = {"geoscale": "geoscale_vqa"}.get(name.partition("_")[0], name.partition("_")[0])
    root = tmp_path / "benchmark" if (tmp_path / "benchmark").exists() else tmp_path
    if name in ("geoscale", "omniearth"):
        run = forked.command(f"data_modules.{module}", ["--check", root])
        assert run.returncode == 0, run.stdout + run.stderr
        assert run.stdout.endswith("complete\n")
    else:
        assert (
            check_command(module, lambda _: PerPicture(LAYOUTS[name].read(root=str(tmp_path))), ["--check", "x"]) == 0
        )
        assert capsys.readouterr().out.endswith("complete\n")


# A user's own questions


def test_own_questions_are_as_the_lines_say(tmp_path: Path) -> None:
    data = ready("geoscale", made("geoscale", tmp_path))
    first, pair = samples(data, "train")[:2]
    assert first.id == "train:1"
    assert first.question == Question("What is in picture 0?", ("field", "forest", "water"), "A", "land use")
    assert first.conditions["gsd"].item() == pytest.approx(0.3)
    assert same_pixels(first.images[0], 0)
    assert [same_pixels(image, number) for number, image in enumerate(pair.images)] == [True, True]
    assert math.isnan(pair.conditions["gsd"].item())
    several = samples(data, "test")[2]
    assert several.id == "several"
    assert several.question is not None
    assert several.question.answer == "A C"
    assert "all right choices" in several.question.instruction
    assert data.classes == ["count", "land use"]
    shrunk = ready("geoscale", tmp_path, max_side=4)
    assert shrunk.sets["train"].conditions(0)["gsd"].item() == pytest.approx(0.6)


def test_questions_of_one_file_are_split_by_picture_within_sub_tasks(tmp_path: Path) -> None:
    root = made("geoscale_whole", tmp_path)
    data = ready("geoscale_whole", root)
    for split in ("val", "test"):
        kinds = [question.kind for question in asked(data, split)]
        # 20 and 16 pictures of two questions each: a tenth are two pictures each, and the four rare ones stay.
        assert {kind: kinds.count(kind) for kind in set(kinds)} == {"land use": 4, "count": 4}
    # Neither the order of the lines nor the names of the pictures decide where a picture goes.
    rows = read_lines(root / "questions.jsonl")[::-1]
    for number in range(40):
        (root / f"pictures/{number}.png").rename(root / f"pictures/{number}x.png")
    write_lines(root / "questions.jsonl", [row | {"image": row["image"].replace(".", "x.")} for row in rows])
    again = ready("geoscale_whole", root)
    assert {q.text for q in asked(again, "test")} == {q.text for q in asked(data, "test")}


def test_pictures_that_are_shown_together_stay_together(tmp_path: Path) -> None:
    root = made("geoscale_whole", tmp_path)
    rows = read_lines(root / "questions.jsonl")
    chain = [own_row(n, "rare", image=[f"pictures/{n}.png", f"pictures/{n + 1}.png"]) for n in range(19)]
    # A copy under another name is the same picture.
    (root / "copy.png").write_bytes((root / "pictures/0.png").read_bytes())
    copy = own_row(0, "count", image="copy.png", question="copy")
    write_lines(root / "questions.jsonl", [*rows, *chain, copy])
    data = ready("geoscale_whole", root)
    where = {q.text: split for split in SPLITS for q in asked(data, split)}
    assert len({where[f"What is in picture {number}?"] for number in range(20)}) == 1
    assert where["copy"] == where["What is in picture 0?"]


def test_a_picture_in_two_splits_of_the_users_own_is_counted(tmp_path: Path) -> None:
    root = made("geoscale", tmp_path)
    (root / "copy.png").write_bytes(encoded(0))
    change_line(root / "test.jsonl", 1, image="copy.png")
    data = ready("geoscale", root)
    assert data.report()["remarks"] == {"pictures in both train and test": 1}
    assert "pictures in both train and test: 1" in data.check()


# The benchmarks


# RSVQA


def test_rsvqa_asks_open_questions_and_tells_the_scale(tmp_path: Path) -> None:
    data = ready("rsvqa_lr", made("rsvqa_lr", tmp_path / "lr"))
    sample = samples(data, "val")[2]
    assert sample.id == "10"
    assert sample.question == Question("count in 2?", (), "12", "count")
    assert sample.conditions["gsd"].item() == 10
    assert same_pixels(sample.images[0], 302)
    assert data.classes == ["comp", "count", "presence", "rural_urban"]
    high = ready("rsvqa_hr", made("rsvqa_hr", tmp_path / "hr"))
    assert high.sets["test"].conditions(0)["gsd"].item() == pytest.approx(0.15)
    assert asked(high, "test")[1] == Question("area in 4?", (), "64m2", "area")


@pytest.mark.parametrize("variant", ["lr", "hr"])
def test_bare_flags_and_whole_entries_are_the_same_questions(variant: str, tmp_path: Path) -> None:
    whole = ready(f"rsvqa_{variant}", made(f"rsvqa_{variant}", tmp_path / "whole"))
    flags = ready(f"rsvqa_{variant}_flags", made(f"rsvqa_{variant}_flags", tmp_path / "flags"))
    for split in SPLITS:
        assert asked(whole, split) == asked(flags, split)
    assert whole.fingerprint() == flags.fingerprint()


def test_the_second_test_set_is_philadelphia(tmp_path: Path) -> None:
    root = made("rsvqa_hr_2", tmp_path)
    assert [s.id for s in samples(ready("rsvqa_hr_2", root), "test")] == [str(number) for number in range(24, 32)]
    assert [s.id for s in samples(ready("rsvqa_hr", root), "test")] == [str(number) for number in range(16, 24)]
    with pytest.raises(DataError, match="test_set: 2 is of variant hr"):
        RSVQA(root=str(root), variant="lr", test_set=2)


@pytest.mark.parametrize("name", ["rsvqa_lr", "rsvqa_lr_flags"])
def test_what_is_switched_off_is_not_asked(name: str, tmp_path: Path) -> None:
    root = made(name, tmp_path)
    change_entry(root / "LR_split_train_questions.json", "questions", 1, active=False)
    change_entry(root / "LR_split_train_images.json", "images", 1, active=False)
    data = ready(name, root)
    assert [sample.id for sample in samples(data, "train")] == ["0", "2", "3"]
    left = {"train questions left out, as their picture is not active in LR_split_train_images.json": 4}
    assert data.report()["remarks"] == left


def test_rsvqa_needs_no_list_of_images(tmp_path: Path) -> None:
    root = made("rsvqa_lr", tmp_path)
    before = ready("rsvqa_lr", root).fingerprint()
    for path in root.glob("*_images.json"):
        path.unlink()
    assert ready("rsvqa_lr", root).fingerprint() == before


def test_check_looks_at_every_variant_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rsvqa(tmp_path, "hr")

    def check(root: str) -> PerPicture:
        return PerPicture(EveryVariant(root))

    assert check_command("data_modules.rsvqa", check, ["--check", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "RSVQA-HR, train: 8 questions about 2 pictures (area 2, comp 2, count 2, presence 2)" in out
    assert "RSVQA-HR (test set 2) test: 2 samples found" in out
    (tmp_path / "Data/0.tif").write_bytes(b"no picture")
    assert check_command("data_modules.rsvqa", check, ["--check", str(tmp_path)]) == 1
    with pytest.raises(DataError, match=r"no variant below .*: looked for .*LR_split_test_questions\.json"):
        EveryVariant(str(tmp_path / "elsewhere"))
