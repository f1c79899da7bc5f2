"""Made-up folders of a user's own files, small and quickly written."""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from av_files import write_clip
from PIL import Image

SPREADS = {"ball": (1.0, 1.0, 1.0), "stick": (4.0, 0.5, 0.5), "plate": (4.0, 4.0, 0.3)}


def cloud(path: Path, seed: int, spread: Sequence[float] = (1.0, 1.0, 1.0), points: int = 40) -> Path:
    """A table of normal points."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, np.random.default_rng(seed).normal(size=(points, 3)) * spread, fmt="%.4f")
    return path


def clouds(root: Path, each: int = 5, names: Iterable[str] = SPREADS) -> Path:
    """Class folders of clouds, no two alike."""
    for label, name in enumerate(names):
        for number in range(each):
            cloud(root / name / f"{number}.xyz", 100 * label + number, SPREADS.get(name, (1.0, 1.0, 1.0)))
    return root


def parts(root: Path, each: int = 5) -> Path:
    """Class folders of clouds whose fourth column is a part: x below zero or above it."""
    for label, (name, spread) in enumerate(SPREADS.items()):
        for number in range(each):
            points = np.random.default_rng(100 * label + number).normal(size=(40, 3)) * spread
            path = root / name / f"{number}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, np.column_stack([points, points[:, 0] > 0]))
    return root


def picture(path: Path, seed: int, side: int = 16) -> Path:
    """Noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path)
    return path


def pictures(root: Path, each: int = 5, names: Sequence[str] = ("field", "water")) -> Path:
    """Class folders of pictures."""
    for label, name in enumerate(names):
        for number in range(each):
            picture(root / name / f"{number}.png", 100 * label + number)
    return root


def table(root: Path, header: str, *rows: str, name: str = "manifest.csv", make: Any = None) -> Path:
    """A CSV manifest; `make` writes the files of its first column that are not there."""
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    if make is not None:
        for number, row in enumerate(csv.DictReader([header, *rows])):
            path = root / row["path"]
            if not path.exists():
                make(path, number)
    return root


def lines(root: Path, *rows: dict[str, Any], make: Any = None) -> Path:
    """A manifest of JSON lines; `make` writes the files."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for number, row in enumerate(rows if make else ()):
        make(root / row["path"], number)
    return root


def questions(root: Path, number: int = 10) -> Path:
    """Two questions about each of some pictures, of two kinds."""
    rows = []
    for k in range(number):
        picture(root / f"{k}.png", k)
        rows += [
            {"path": f"{k}.png", "question": "What?", "choices": "field|water", "answer": "water", "kind": "cover"},
            {"path": f"{k}.png", "question": "How many?", "choices": ["1", "2", "3"], "answer": "B", "gsd": 0.5},
        ]
    return lines(root, *rows)


def clip(path: Path, seed: int, seconds: float = 2.0) -> Path:
    """A short video with sound, another for every seed."""
    write_clip(path, seconds=seconds, seed=seed, loudness=0.1 + 0.01 * seed)
    return path


def clips(root: Path, each: int = 3) -> Path:
    """Clips of two seconds: in every one a dog or a bell in its second half, and some in which nothing happens."""
    rows = [f"{name}{k}.mp4,1,2,{name}" for name in ("dog", "bell") for k in range(each)]
    return table(root, "path,start,end,label", *rows, *(f"still{k}.mp4,,," for k in range(each)), make=clip)
