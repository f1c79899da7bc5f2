"""Made-up tiny copies of the layouts of question sets about pictures, each beside its data module."""

import base64
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from question_files import SIDE, Rows, encoded, geoscale, geoscale_whole, rsvqa, write_lines

from data_modules.base import DataModule
from data_modules.geoscale_vqa import GeoScaleVQA
from data_modules.kinds.pictures import PictureDataModule
from data_modules.omniearth import OmniEarthBench
from data_modules.rsvqa import RSVQA
from data_modules.xlrs import KINDS, ONE_LETTER, SEVERAL, SEVERAL_LETTERS, XLRSBench
from zoo.batch import Picture, Question

PARTS = 15
SPLITS = ("train", "val", "test")


def listed(choices: Sequence[str]) -> list[str]:
    return [f"({letter}) {words}" for letter, words in zip("ABCDEFG", choices, strict=False)]


def in_words(choices: Sequence[str], instruction: str) -> str:
    """VLMEvalKit's `multi-choice options`."""
    return "The choices are listed below:\n" + "\n".join(listed(choices)) + f"\n\n{instruction}"


def xlrs_rows(side: int = SIDE) -> Rows:
    """16 questions: one a sub-task and three more; the last is about the first one's picture, one shows two."""
    rows = []
    for number in range(16):
        kind = KINDS[number % len(KINDS)]
        group, _, second = kind.partition("/")
        rows.append(
            {
                "index": number,
                "image": [encoded(100 + number % 15, side=side)],
                "question": f"What about {number}?",
                "multi-choice options": ["red", "green", "blue", "white"][: 2 if "motion" in kind else 4],
                "answer": "BAC" if kind == SEVERAL else "AB"[number % 2],
                "category": f"{group}/{second}",
                "l2-category": second,
            }
        )
    rows[3]["image"] = [encoded(103, side=side), encoded(100, side=side)]
    return rows


def omniearth_rows() -> Rows:
    """8 questions of four tasks in three spheres, two of the same name; seven choices in some, two letters in one."""
    tasks = [
        ("Atmosphere", "Medium-term_weather_events", "Perception", "Event_localization"),
        ("Atmosphere", "Short-term_weather_events", "Perception", "Event_localization"),
        ("Cryosphere", "Glacier_analysis", "Reasoning", "Slide_Recognition"),
        ("Oceansphere", "Marine_Debris_and_Oil_Pollution", "Perception", "Marine_Pollution_Type_Classification"),
    ]
    rows = []
    for number in range(8):
        levels = zip(("category", "l2-category", "l3-category", "l4-category"), tasks[number % 4], strict=True)
        rows.append(
            {
                "index": number,
                "image": [encoded(200 + number)],
                "question": f"And {number}?",
                "multi-choice options": ["a", "b", "c", "d", "e", "f", "unable to decide"][: 7 if number % 2 else 4],
                "answer": "A G" if number == 3 else "D",
                **dict(levels),
            }
        )
    return rows


def vlm_parts(root: Path, stem: str, rows: Rows, instruction: Callable[[dict[str, Any]], str]) -> Path:
    """VLMEvalKit's 15 parts; a picture that an earlier line of its part holds is referred to by that line's index."""
    parts: list[Rows] = [[] for _ in range(PARTS)]
    for number, row in enumerate(rows):
        part = parts[number % PARTS]
        texts = [base64.b64encode(picture).decode() for picture in row["image"]]
        image = texts[0] if len(texts) == 1 else texts
        before = [other["index"] for other in part if other["image"] == image]
        words = in_words(row["multi-choice options"], instruction(row))
        part.append(row | {"image": str(before[0]) if before else image, "multi-choice options": words})
    for number, part in enumerate(parts):
        write_lines(root / f"{stem}{number}.jsonl", part)
    return root


def xlrs(root: Path, side: int = SIDE) -> Path:
    """XLRS-Bench-lite as VLMEvalKit has it."""
    return vlm_parts(
        root,
        "XLRS-Bench-lite_part",
        xlrs_rows(side),
        lambda row: SEVERAL_LETTERS if row["category"] == SEVERAL else ONE_LETTER,
    )


def xlrs_parquet(root: Path, side: int = SIDE) -> Path:
    """XLRS-Bench-lite as a Hugging Face data set: two shards of two row groups. Needs pyarrow."""
    import pyarrow
    from pyarrow import parquet

    (root / "data").mkdir(parents=True)
    rows = [
        row
        | {
            "image": [{"bytes": picture, "path": None} for picture in row["image"]],
            "multi-choice options": listed(row["multi-choice options"]),
        }
        for row in xlrs_rows(side)
    ]
    for shard in range(2):
        table = pyarrow.Table.from_pylist(rows[shard * 8 : shard * 8 + 8])
        parquet.write_table(table, root / f"data/train-{shard:05d}-of-00002.parquet", row_group_size=5)
    return root


def omniearth(root: Path) -> Path:
    """OmniEarth-Bench's multiple-choice questions as VLMEvalKit has them."""
    return vlm_parts(root, "OmniEarth-Bench_MCQ_part", omniearth_rows(), lambda row: "Select the best answer(s).")


class Layout(NamedTuple):
    """A data module beside the function that makes up a copy of its data."""

    write: Callable[[Path], Path]
    read: Callable[..., PictureDataModule]
    sizes: dict[str, int]


def measured(write: Callable[[Path], Path], read: type[XLRSBench] | type[OmniEarthBench], number: int) -> Layout:
    """A benchmark below `benchmark`, and questions to train on below `own`."""

    def both(root: Path) -> Path:
        write(root / "benchmark")
        geoscale(root / "own")
        return root

    def ready(root: str, **settings: Any) -> PictureDataModule:
        return read(root=f"{root}/benchmark", train_root=f"{root}/own", **settings)

    return Layout(both, ready, {"train": 6, "val": 4, "test": number})


def answered(variant: str, **settings: Any) -> Callable[..., RSVQA]:
    return lambda root, **further: RSVQA(root=root, variant=variant, **settings, **further)  # type: ignore[arg-type]


EIGHT = dict.fromkeys(("train", "val", "test"), 8)
LAYOUTS = {
    "geoscale": Layout(geoscale, GeoScaleVQA, {"train": 6, "val": 4, "test": 4}),
    "geoscale_whole": Layout(geoscale_whole, GeoScaleVQA, {"train": 64, "val": 8, "test": 8}),
    "xlrs": measured(xlrs, XLRSBench, 16),
    "xlrs_parquet": measured(xlrs_parquet, XLRSBench, 16),
    "omniearth": measured(omniearth, OmniEarthBench, 8),
    "rsvqa_lr": Layout(rsvqa, answered("lr"), EIGHT),
    "rsvqa_lr_flags": Layout(lambda root: rsvqa(root, flags=True), answered("lr"), EIGHT),
    "rsvqa_hr": Layout(lambda root: rsvqa(root, "hr"), answered("hr"), EIGHT),
    "rsvqa_hr_flags": Layout(lambda root: rsvqa(root, "hr", flags=True), answered("hr"), EIGHT),
    "rsvqa_hr_2": Layout(lambda root: rsvqa(root, "hr"), answered("hr", test_set=2), EIGHT),
}


def ready(name: str, root: Path, **settings: Any) -> PictureDataModule:
    """A data module of a copy that lies below `root`, set up."""
    data = LAYOUTS[name].read(root=str(root), **settings)
    data.setup()
    return data


def made(name: str, root: Path) -> Path:
    """A copy below `root`; skips where pyarrow is needed and missing."""
    if "parquet" in name:
        pytest.importorskip("pyarrow")
    return LAYOUTS[name].write(root)


def samples(data: DataModule, split: str) -> list[Picture]:
    return [data.sets[split][row] for row in range(len(data.sets[split]))]


def asked(data: DataModule, split: str) -> list[Question]:
    found = [data.sets[split].question(row) for row in range(len(data.sets[split]))]
    return [question for question in found if question is not None]


def same_pixels(picture: np.ndarray, number: int) -> bool:
    return np.array_equal(picture, np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8))
