"""XLRS-Bench and OmniEarth-Bench: upstream's words, no training on them, and pictures that are not held in memory."""

import math
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from question_files import change_line, encoded, geoscale, geoscale_whole, read_lines
from vqa_files import SPLITS, asked, made, ready, same_pixels, samples, xlrs, xlrs_parquet

from data_modules.check import check_command
from data_modules.errors import DataError
from data_modules.kinds.benchmark_questions import BenchmarkAlone
from data_modules.kinds.packed_pictures import PackedSet
from data_modules.kinds.questions import PerPicture
from data_modules.omniearth import OmniEarthBench
from data_modules.readers.packed import LinePlace
from data_modules.xlrs import KINDS, ONE_LETTER, SEVERAL_LETTERS, XLRSBench
from zoo.backbones.vision_language import ask
from zoo.batch import Question


def test_xlrs_asks_in_upstreams_words(tmp_path: Path) -> None:
    data = ready("xlrs", made("xlrs", tmp_path))
    questions = asked(data, "test")
    by_text = {question.text: question for question in questions}
    assert by_text["What about 1?The choices are listed below:"] == Question(
        "What about 1?The choices are listed below:",
        ("red", "green", "blue", "white"),
        "B",
        "Complex reasoning/Environmental condition reasoning",
        "Complex reasoning",
        f"\n{ONE_LETTER}",
        "(A)",
        "B",
        "kinds",
    )
    several = by_text["What about 7?The choices are listed below:"]
    assert (several.answer, several.gold, several.instruction) == ("A B C", "BAC", f"\n{SEVERAL_LETTERS}")
    rows = [row for part in range(15) for row in read_lines(tmp_path / f"benchmark/XLRS-Bench-lite_part{part}.jsonl")]
    assert sorted(map(ask, questions)) == sorted(row["question"] + row["multi-choice options"] for row in rows)
    assert {question.marks for question in asked(data, "train")} == {"(A)"}
    assert {question.kind for question in questions} == set(data.classes) == set(KINDS)
    # The benchmark's one split is named train where it comes from: nothing of it is trained on here.
    assert {question.text for question in asked(data, "train")} == {f"What is in picture {n}?" for n in range(3)}
    found = {sample.id: sample for sample in samples(data, "test")}
    assert same_pixels(found["XLRS-Bench-lite_part0/15"].images[0], 100)
    assert [same_pixels(i, n) for i, n in zip(found["XLRS-Bench-lite_part3/3"].images, (103, 100), strict=True)]
    assert all(math.isnan(sample.conditions["gsd"].item()) for sample in found.values())


def test_xlrs_asks_in_the_zoos_words_where_that_is_set(tmp_path: Path) -> None:
    data = ready("xlrs", made("xlrs", tmp_path), prompts="zoo")
    by_text = {question.text: question for question in asked(data, "test")}
    question = by_text["What about 1? The choices are listed below:"]
    assert (question.marks, question.instruction, question.gold) == ("A.", ONE_LETTER, "B")
    assert {question.marks for question in asked(data, "train")} == {"A."}


def test_questions_about_one_picture_share_its_key(tmp_path: Path) -> None:
    test = ready("xlrs", made("xlrs", tmp_path)).sets["test"]
    keys = {test.id(row): test.key(row) for row in range(16)}
    assert keys["XLRS-Bench-lite_part0/0"] == keys["XLRS-Bench-lite_part0/15"]
    assert len(set(keys.values())) == 15


def test_both_layouts_of_xlrs_are_equal(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    lines = ready("xlrs", made("xlrs", tmp_path / "a"))
    cells = ready("xlrs_parquet", made("xlrs_parquet", tmp_path / "b"))
    assert sorted(asked(lines, "test")) == sorted(asked(cells, "test"))
    assert lines.fingerprint() == cells.fingerprint()
    by_text = {sample.question: sample for sample in samples(lines, "test")}
    for sample in samples(cells, "test"):
        other = by_text[sample.question].images
        assert all(np.array_equal(a, b) for a, b in zip(sample.images, other, strict=True))


def test_missing_shards_are_named(tmp_path: Path) -> None:
    root = made("xlrs_parquet", tmp_path)
    (root / "benchmark/data/train-00001-of-00002.parquet").unlink()
    with pytest.raises(DataError, match=r"train-00001-of-00002 \(parquet\) missing\. XLRS-Bench-lite is distributed"):
        ready("xlrs_parquet", root)


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    root = made("xlrs_parquet", tmp_path)
    path = root / "benchmark/data/train-00001-of-00002.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"train-00001-of-00002\.parquet cannot be read, so it is damaged"):
        ready("xlrs_parquet", root)


def test_without_pyarrow_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    geoscale(tmp_path / "own")
    (tmp_path / "benchmark").mkdir()
    (tmp_path / "benchmark/train.parquet").write_bytes(b"PAR1")
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DataError, match=r"train\.parquet: parquet is read with pyarrow, .*: pip install pyarrow$"):
        ready("xlrs_parquet", tmp_path)


@pytest.mark.parametrize("name", ["xlrs", "xlrs_parquet"])
def test_pictures_of_the_benchmark_are_not_held(name: str, tmp_path: Path) -> None:
    if name == "xlrs_parquet":
        pytest.importorskip("pyarrow")
    geoscale(tmp_path / "own")
    # 80 x 80 pixels of noise are about 19 kB a picture, 16 questions.
    (xlrs if name == "xlrs" else xlrs_parquet)(tmp_path / "benchmark", side=80)
    test = ready(name, tmp_path).sets["test"]
    assert isinstance(test, PackedSet)
    assert test[5].images[0].shape == (80, 80, 3)
    assert not any(shot.sources for shot in test.shots)
    assert len(pickle.dumps(test)) < len(encoded(100, side=80))


def test_a_line_is_found_again_by_its_first_byte(tmp_path: Path) -> None:
    root = made("xlrs", tmp_path)
    first, second = (root / f"benchmark/XLRS-Bench-lite_part{number}.jsonl" for number in (1, 2))
    length = len(first.read_bytes())
    first.write_bytes(first.read_bytes() + b"\n" + second.read_bytes())
    second.write_bytes(b"")
    test = ready("xlrs", root).sets["test"]
    assert isinstance(test, PackedSet)
    row = next(row for row in range(16) if test.id(row) == "XLRS-Bench-lite_part1/2")
    assert test.packed[row].place == LinePlace(first, 3, length + 1)
    assert same_pixels(test[row].images[0], 102)
    first.write_bytes(b"{}\n")
    with pytest.raises(DataError, match=r"part1\.jsonl, line 3: cannot be read again .* has the file changed\?"):
        test[row]


def test_lists_of_pictures_may_be_written_out_as_text(tmp_path: Path) -> None:
    root = made("xlrs", tmp_path)
    path = root / "benchmark/XLRS-Bench-lite_part3.jsonl"
    before = ready("xlrs", root).fingerprint()
    change_line(path, 1, image=str(read_lines(path)[0]["image"]))
    assert ready("xlrs", root).fingerprint() == before


def test_the_sub_task_may_stand_in_either_field(tmp_path: Path) -> None:
    root = made("xlrs", tmp_path)
    before = asked(ready("xlrs", root), "test")
    for number, values in enumerate(({"category": ...}, {"l2-category": ...}, {"category": "Complex reasoning"})):
        change_line(root / f"benchmark/XLRS-Bench-lite_part{number}.jsonl", 1, **values)
    assert asked(ready("xlrs", root), "test") == before


def test_one_file_to_train_on_is_split_into_train_and_val_alone(tmp_path: Path) -> None:
    root = made("xlrs", tmp_path)
    for split in SPLITS:
        (root / f"own/{split}.jsonl").unlink()
    geoscale_whole(root / "own")
    data = ready("xlrs", root)
    assert {split: len(part) for split, part in data.sets.items()} == {"train": 72, "val": 8, "test": 16}


def test_only_blank_pictures_probe_a_benchmark_whose_scale_is_unknown(tmp_path: Path) -> None:
    data = ready("xlrs", made("xlrs", tmp_path))
    probes = data.probes(("gsd",))
    assert list(probes) == ["blank_image"]
    row = next(row for row in range(16) if data.sets["test"].id(row).endswith("/3"))
    assert (probes["blank_image"][row].images[1] == 128).all()


def test_omniearth_names_tasks_with_what_is_above_them(tmp_path: Path) -> None:
    data = ready("omniearth", made("omniearth", tmp_path))
    assert data.classes == [
        "Atmosphere/Medium-term_weather_events/Perception/Event_localization",
        "Atmosphere/Short-term_weather_events/Perception/Event_localization",
        "Cryosphere/Glacier_analysis/Reasoning/Slide_Recognition",
        "Oceansphere/Marine_Debris_and_Oil_Pollution/Perception/Marine_Pollution_Type_Classification",
    ]
    question = asked(data, "test")[3]
    assert question == Question(
        "And 3?The choices are listed below:",
        ("a", "b", "c", "d", "e", "f", "unable to decide"),
        "A G",
        data.classes[3],
        "Oceansphere",
        "\nSelect the best answer(s).",
        "(A)",
        "A G",
        "kinds and groups",
    )


def alone(root: str) -> PerPicture:
    return PerPicture(BenchmarkAlone(XLRSBench(root=root, train_root=root)))


def test_benchmarks_are_checked_without_questions_to_train_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    xlrs(tmp_path)
    assert check_command("data_modules.xlrs", alone, ["--check", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "test: 16 questions about 15 pictures" in out
    assert "test: 15 samples found" in out
    (tmp_path / "XLRS-Bench-lite_part2.jsonl").unlink()
    assert check_command("data_modules.xlrs", alone, ["--check", str(tmp_path)]) == 1
    assert "error: " in capsys.readouterr().out
    with pytest.raises(DataError, match=r"15 of 15 files are missing"):
        BenchmarkAlone(OmniEarthBench(root=str(tmp_path), train_root=""))
