"""Made-up tiny copies of question sets whose pictures are files: our own schema, and RSVQA."""

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDE = 8
Rows = list[dict[str, Any]]


def encoded(number: int, *, side: int = SIDE, kind: str = "PNG") -> bytes:
    """A picture of noise, another for every number."""
    pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """One JSONL file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def read_lines(path: Path) -> Rows:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def change_line(path: Path, number: int, **values: Any) -> None:
    """Set keys of one line, counted from 1; `...` takes a key away."""
    rows = read_lines(path)
    changed = rows[number - 1] | values
    rows[number - 1] = {key: value for key, value in changed.items() if value is not ...}
    write_lines(path, rows)


# Our own schema


def own_row(picture: int, kind: str, **changes: Any) -> dict[str, Any]:
    """A question about a picture."""
    return {
        "image": f"pictures/{picture}.png",
        "question": f"What is in picture {picture}?",
        "choices": ["field", "forest", "water"],
        "answer": "ABC"[picture % 3],
        "gsd": [0.3, 2, 10.0][picture % 3],
        "source": "made up",
        "kind": kind,
    } | changes


def write_pictures(root: Path, numbers: Iterable[int], *, first: int = 0) -> None:
    """Pictures 0.png, 1.png, ...; `first` makes their pixels others than those of another folder."""
    (root / "pictures").mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (root / f"pictures/{number}.png").write_bytes(encoded(first + number))


def geoscale(root: Path) -> Path:
    """Three split files: 6, 4 and 4 questions of two kinds; one shows two pictures, one has several right letters."""
    write_pictures(root, range(7))
    for split, numbers in (("train", (0, 1, 2)), ("val", (3, 4)), ("test", (5, 6))):
        rows = [own_row(number, kind) for number in numbers for kind in ("land use", "count")]
        write_lines(root / f"{split}.jsonl", rows)
    change_line(root / "train.jsonl", 2, image=["pictures/0.png", "pictures/1.png"], gsd=None)
    change_line(root / "test.jsonl", 3, answer=["C", "A"], id="several")
    return root


def geoscale_whole(root: Path) -> Path:
    """questions.jsonl alone: 40 pictures with two questions each, of three kinds, one of which is rare."""
    write_pictures(root, range(40))
    kinds = ["land use"] * 20 + ["count"] * 16 + ["rare"] * 4
    rows = [own_row(number, kind) for number, kind in enumerate(kinds) for _ in range(2)]
    write_lines(root / "questions.jsonl", rows)
    return root


# RSVQA

RSVQA_SPLITS = ("train", "val", "test", "test_phili")
LR_TYPES = (("presence", "yes"), ("rural_urban", "rural"), ("count", "12"), ("comp", "no"))
HR_TYPES = (("presence", "yes"), ("area", "64m2"), ("count", "3"), ("comp", "no"))


def rsvqa(root: Path, variant: str = "lr", *, flags: bool = False) -> Path:
    """Two pictures a split with four questions each, and one that is switched off.

    Args:
        root: folder.
        variant: lr or hr.
        flags: split files carry nothing but id and active; the words are in the files of all.
    """
    prefix, folder, whole = ("LR", "Images_LR", "all_{}") if variant == "lr" else ("USGS", "Data", "USGS{}")
    splits = RSVQA_SPLITS[: 3 if variant == "lr" else 4]
    (root / folder).mkdir(parents=True)
    images: Rows = []
    questions: Rows = []
    answers: Rows = []
    for image in range(2 * len(splits) + 1):
        (root / folder / f"{image}.tif").write_bytes(encoded(300 + image, kind="TIFF"))
        asked = range(len(questions), len(questions) + 4)
        images.append({"id": image, "original_name": f"{image}.tif", "questions_ids": [*asked], "active": True})
        for number, (kind, answer) in zip(asked, LR_TYPES if variant == "lr" else HR_TYPES, strict=True):
            # Answers run the other way, so that nobody takes a question's id for its answer's.
            right = 1000 - number
            question = {"id": number, "img_id": image, "type": kind, "question": f"{kind} in {image}?"}
            questions.append(question | {"answers_ids": [right], "active": True})
            answers.append({"id": right, "question_id": number, "answer": answer, "active": True})
    every = {"images": images, "questions": questions, "answers": answers}
    for place, split in enumerate(splits):
        chosen = {2 * place, 2 * place + 1}
        inside = {
            "images": chosen,
            "questions": {q["id"] for q in questions if q["img_id"] in chosen},
            "answers": {a["id"] for a in answers if questions[a["question_id"]]["img_id"] in chosen},
        }
        for what, rows in every.items():
            entries = [
                (row if not flags else {"id": row["id"], "active": True})
                if row["id"] in inside[what]
                else {"id": row["id"], "active": False}
                for row in rows
            ]
            write_json(root / f"{prefix}_split_{split}_{what}.json", {what: entries})
    if flags:
        for what, rows in every.items():
            write_json(root / f"{whole.format(what)}.json", {what: rows})
    return root


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def change_entry(path: Path, key: str, number: int, **values: Any) -> None:
    """Set values of one entry of a JSON file."""
    content = json.loads(path.read_text(encoding="utf-8"))
    content[key][number].update(values)
    write_json(path, content)
