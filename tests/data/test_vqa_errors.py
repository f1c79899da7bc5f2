"""What is wrong with a set of questions is one clear error, and all of it at once."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from question_files import change_entry, change_line, encoded
from vqa_files import LAYOUTS, ready

from data_modules.errors import DataError


def own(number: int, **values: Any) -> Callable[[Path], None]:
    return lambda root: change_line(root / "train.jsonl", number, **values)


def text(path: str, how: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda root: (root / path).write_bytes(how((root / path).read_bytes())) and None


def gone(*paths: str) -> Callable[[Path], None]:
    def remove(root: Path) -> None:
        for path in paths:
            (root / path).unlink()

    return remove


PART = "benchmark/XLRS-Bench-lite_part1.jsonl"
OMNI = "benchmark/OmniEarth-Bench_MCQ_part1.jsonl"


def part(path: str, **values: Any) -> Callable[[Path], None]:
    return lambda root: change_line(root / path, 1, **values)


def rsvqa_entry(path: str, key: str, number: int, **values: Any) -> Callable[[Path], None]:
    return lambda root: change_entry(root / path, key, number, **values)


WRONG: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "no files": (
        "geoscale",
        gone("train.jsonl", "val.jsonl", "test.jsonl"),
        r"test\.jsonl do not exist\. Expected are",
    ),
    "one file missing": ("geoscale", gone("val.jsonl"), r"^[^,]*val\.jsonl does not exist\. Expected are train\.jsonl"),
    "empty file": ("geoscale", text("val.jsonl", lambda _: b"\n"), r"split val is empty"),
    "cut short": (
        "geoscale",
        text("train.jsonl", lambda lines: lines[:-9]),
        r"train\.jsonl, line 6: no JSON .*; the file ends here, so it is cut short\?",
    ),
    "no json": ("geoscale", text("train.jsonl", lambda lines: b"version 1\n" + lines), r"line 1: no JSON \(Expecting"),
    "no utf-8": (
        "geoscale",
        text("train.jsonl", lambda lines: b'{"a": "\xff"}\n' + lines),
        r"line 1: no JSON \('utf-8",
    ),
    "no object": ("geoscale", text("train.jsonl", lambda lines: b"[1]\n" + lines), r"line 1: expected an object"),
    "keys missing": (
        "geoscale",
        own(2, gsd=..., kind=...),
        r"train\.jsonl, line 2: gsd, kind missing; every line has image, question",
    ),
    "image of a number": ("geoscale", own(2, image=3), r"line 2: image = 3; expected a path"),
    "no image": ("geoscale", own(2, image=[]), r"line 2: image = \[\]; expected a path"),
    "image missing": ("geoscale", own(2, image="a/b.tif"), r"line 2: picture .*a/b\.tif does not exist"),
    "question of null": ("geoscale", own(2, question=None), r"line 2: question = None; expected a text"),
    "kind empty": ("geoscale", own(2, kind=" "), r"line 2: kind = ' '; expected a text"),
    "id of a number": ("geoscale", own(2, id=7), r"line 2: id = 7; expected a text"),
    "id twice": ("geoscale", own(2, id="several"), r"test\.jsonl, line 3: id 'several' stands also in .*line 2"),
    "choices empty": ("geoscale", own(2, choices=[]), r"line 2: choices = \[\]; .* 2 to 26 texts \(there are 0\)"),
    "choices of a text": ("geoscale", own(2, choices="a|b"), r"line 2: choices = 'a\|b'; expected a list of 2 to 26"),
    "choices with an empty one": ("geoscale", own(2, choices=["a", ""]), r"line 2: choices = \['a', ''\]"),
    "choices beyond Z": ("geoscale", own(2, choices=["x"] * 27), r"line 2: choices = .*\(there are 27\)"),
    "answer beyond": (
        "geoscale",
        own(2, answer="D"),
        r"line 2: answer \['D'\]: expected letters from A to C, as there",
    ),
    "answer in words": ("geoscale", own(2, answer="field"), r"line 2: answer \['field'\]: expected letters"),
    "answer small": ("geoscale", own(2, answer="a"), r"line 2: answer \['a'\]: expected letters from A to C"),
    "answer empty": ("geoscale", own(2, answer=[]), r"line 2: answer \[\]: expected letters"),
    "answer twice": ("geoscale", own(2, answer=["A", "A"]), r"line 2: answer \['A', 'A'\]: expected letters"),
    "answer of a number": ("geoscale", own(2, answer=[0, "A"]), r"line 2: answer \[0, 'A'\]: expected letters"),
    "gsd zero": ("geoscale", own(2, gsd=0), r"train\.jsonl, line 2: gsd = 0; expected metres per pixel from 0\.01"),
    "gsd negative": ("geoscale", own(2, gsd=-1.5), r"line 2: gsd = -1\.5; expected metres"),
    "gsd not a number": ("geoscale", own(2, gsd=math.nan), r"line 2: gsd = nan; expected metres"),
    "gsd infinite": ("geoscale", own(2, gsd=math.inf), r"line 2: gsd = inf; expected metres"),
    "gsd in words": ("geoscale", own(2, gsd="30 cm"), r"line 2: gsd = '30 cm'; expected a number of metres per pixel"),
    "gsd of a bool": ("geoscale", own(2, gsd=True), r"line 2: gsd = True; expected a number"),
    "gsd in centimetres": ("geoscale", own(2, gsd=3000), r"line 2: gsd = 3000; .* \(centimetres or kilometres by mist"),
    "part missing": (
        "xlrs",
        gone(PART, "benchmark/XLRS-Bench-lite_part14.jsonl"),
        r"2 of 15 files are missing: XLRS-Bench-lite_part1\.jsonl, .*part14\.jsonl\. XLRS-Bench-lite is distributed by",
    ),
    "no benchmark": (
        "xlrs",
        lambda root: [path.unlink() for path in (root / "benchmark").iterdir()] and None,
        r"holds neither XLRS-Bench-lite_part0\.jsonl nor \*\.parquet\. XLRS-Bench-lite is distributed by initiacms",
    ),
    "no questions to train on": ("xlrs", gone("own/train.jsonl"), r"own/train\.jsonl does not exist\. Expected are"),
    "part cut short": ("xlrs", text(PART, lambda line: line[:-9]), r"part1\.jsonl, line 1: no JSON .* cut short\?"),
    "part without fields": (
        "xlrs",
        part(PART, answer=..., question=...),
        r"part1\.jsonl, line 1: question, answer mis",
    ),
    "part without picture": ("xlrs", part(PART, image=...), r"part1\.jsonl, line 1: index or image is missing"),
    "part of another picture": (
        "xlrs",
        part(PART, image="77"),
        r"line 1: image = '77' is neither a picture nor the in",
    ),
    "part with broken base64": ("xlrs", part(PART, image="%" * 99), r"line 1: image is no picture in base64"),
    "part with a list of none": ("xlrs", part(PART, image=[]), r"line 1: image is empty"),
    "index twice": (
        "xlrs",
        lambda root: change_line(root / "benchmark/XLRS-Bench-lite_part0.jsonl", 2, index=0, image=0),
        r"part0\.jsonl, line 2: index 0 stands twice",
    ),
    "options of none": (
        "xlrs",
        part(PART, **{"multi-choice options": "see above"}),
        r"options = 'see above'; expected \(A",
    ),
    "options skip": ("xlrs", part(PART, **{"multi-choice options": "(A) x\n(C) y"}), r"options = .*; expected \(A\)"),
    "another sub-task": (
        "xlrs",
        part(PART, category="Counting/Cars", **{"l2-category": "Cars"}),
        r"line 1: category 'Counting/Cars', l2-category 'Cars': none of the 13 sub-tasks",
    ),
    "right answer beyond": ("xlrs", part(PART, answer="E"), r"line 1: answer \['E'\]: expected letters from A to D"),
    "right answer in words": (
        "xlrs",
        part(PART, answer="red"),
        r"line 1: answer = 'red'; expected a letter, or several",
    ),
    "several right": (
        "xlrs",
        part(PART, answer="AB"),
        r"line 1: answer A B, but in Complex reasoning/Env.* one letter",
    ),
    "trained on the benchmark": (
        "xlrs",
        lambda root: (root / "own/pictures/3.png").write_bytes(encoded(105)) and None,
        r"own: 1 pictures are of XLRS-Bench-lite, e\.g\. .*own/pictures/3\.png; it is for measuring only",
    ),
    "level missing": ("omniearth", part(OMNI, **{"l4-category": ...}), r"part1\.jsonl, line 1: l4-category missing"),
    "level empty": ("omniearth", part(OMNI, **{"l3-category": None}), r"line 1: category, .*; expected four names"),
    "omniearth part missing": (
        "omniearth",
        gone(OMNI),
        r"1 of 15 files are missing: OmniEarth-Bench_MCQ_part1\.jsonl\. OmniEarth-Bench is distributed by initiacms",
    ),
    "rsvqa file missing": (
        "rsvqa_lr",
        gone("LR_split_val_answers.json"),
        r"LR_split_val_answers\.json does not exist\. RSVQA-LR is distributed by its authors: zenodo",
    ),
    "rsvqa words missing": (
        "rsvqa_hr_flags",
        gone("USGSquestions.json"),
        r"USGSquestions\.json does not exist\. RSVQA-HR is distributed by",
    ),
    "rsvqa cut short": (
        "rsvqa_lr",
        text("LR_split_val_answers.json", lambda lines: lines[:-9]),
        r"LR_split_val_answers\.json: no JSON, so it is damaged or cut short",
    ),
    "rsvqa of another make": (
        "rsvqa_lr",
        text("LR_split_val_answers.json", lambda _: b"[]"),
        r'LR_split_val_answers\.json: expected \{"answers": \[\{"id": 0',
    ),
    "rsvqa type": (
        "rsvqa_lr",
        rsvqa_entry("LR_split_train_questions.json", "questions", 2, type="area"),
        r"train_questions\.json, question 2: type 'area' is none of comp, count, presence, rural_urban",
    ),
    "rsvqa answer switched off": (
        "rsvqa_lr",
        rsvqa_entry("LR_split_train_answers.json", "answers", 2, active=False),
        r"train_questions\.json, question 2: none of its answers \[998\] is active",
    ),
    "rsvqa question of no words": (
        "rsvqa_lr_flags",
        rsvqa_entry("all_questions.json", "questions", 2, id=99),
        r"all_questions\.json: no question with id 2, which .*LR_split_train_questions\.json refers to",
    ),
    "rsvqa picture missing": ("rsvqa_hr", gone("Data/1.tif"), r"question 4: picture .*Data/1\.tif does not exist"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_one_clear_error(what: str, tmp_path: Path) -> None:
    name, damage, message = WRONG[what]
    root = LAYOUTS[name].write(tmp_path)
    damage(root)
    with pytest.raises(DataError, match=message):
        ready(name, root)


def test_mistakes_of_all_files_are_said_together_and_ten_are_shown(tmp_path: Path) -> None:
    root = LAYOUTS["geoscale"].write(tmp_path)
    for split, lines in (("train", 6), ("val", 4), ("test", 3)):
        for line in range(1, lines + 1):
            change_line(root / f"{split}.jsonl", line, gsd=0)
    (root / "train.jsonl").write_text((root / "train.jsonl").read_text() + "{")
    with pytest.raises(DataError) as caught:
        ready("geoscale", root)
    lines = str(caught.value).split("\n  ")
    assert lines[0] == "14 mistakes:"
    assert lines[-1] == "and 4 more"
    assert len(lines) == 12
    assert "train.jsonl, line 1: gsd" in lines[1]
    assert "train.jsonl, line 7: no JSON" in lines[7]
    assert "val.jsonl, line 3: gsd" in lines[10]
