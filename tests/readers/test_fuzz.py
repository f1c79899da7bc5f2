"""Damaged files of every kind: each is read to numbers, or refused in one line that names it; nothing else happens.

`python -m pytest -m slow tests/readers/test_fuzz.py`; ZOO_FUZZ=3000 tries as many of a kind.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import own_files
import picture_files
import pytest
from adapter_files import copied, seal
from cloud_writers import WRITERS
from demo_tiny import Clips, Clouds, Pictures
from fuzz import damaged, faults, misspelt, refusal

from data_modules.errors import DataError
from data_modules.folder.rows import Columns, Kinds, read_entries
from zoo import show
from zoo.adapter import directory, install
from zoo.adapter.directory import FILES
from zoo.catalog import card
from zoo.errors import UserError
from zoo.recipe.compose import RecipeError, available, compose, find

pytestmark = pytest.mark.slow
NUMBER = int(os.environ.get("ZOO_FUZZ", "300"))


def finite(value: Any) -> bool:
    return bool(np.isfinite(np.asarray(value, dtype=np.float64)).all())


def reading(data: Any, seeds: dict[str, bytes], folder: Path, arrays: Any) -> list[str]:
    """Damaged copies of files through a data module's reader."""
    names = list(seeds)

    def case(rng: np.random.Generator, k: int) -> str:
        name = names[k % len(names)]
        path = folder / f"{k}-{name}"
        path.write_bytes(damaged(seeds[name], rng))
        try:
            for part in data.samples_in(path, {})[:3]:
                sample, notes = data.read(part, {})
                if not all(map(finite, arrays(sample))):
                    return f"{name}: read, but not to numbers"
                if any("\n" in note for note in notes):
                    return f"{name}: a note of several lines"
        except (DataError, UserError) as error:
            return refusal(error, [path.name])
        finally:
            path.unlink()
        return ""

    return faults(NUMBER, case)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def test_clouds(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    for name, write in WRITERS.items():
        write(tmp_path / "good" / name)
    assert reading(Clouds(points=40), contents(tmp_path / "good"), tmp_path, lambda sample: [sample.points]) == []


def test_pictures(tmp_path: Path) -> None:
    from PIL import Image

    good = tmp_path / "good"
    good.mkdir()
    image = Image.fromarray(picture_files.picture(0, 1, 24))
    for suffix in ("png", "jpg", "webp", "bmp", "gif", "tif"):
        image.save(good / f"a.{suffix}")
    picture_files.geotiff(good / "geo.tif", picture_files.sentinel2(0, 1, 24))
    picture_files.geotiff(good / "rgb.tif", picture_files.picture(0, 1, 24))
    assert reading(Pictures(), contents(good), tmp_path, lambda sample: sample.images) == []


def test_clips(tmp_path: Path) -> None:
    good = tmp_path / "good"
    good.mkdir()
    for suffix in ("mp4", "mkv", "mov", "avi"):
        own_files.clip(good / f"a.{suffix}", 0, 1.0)
    assert reading(Clips(), contents(good), tmp_path, lambda sample: [sample.audio, *sample.frames]) == []


def test_recipes(tmp_path: Path) -> None:
    texts = {name: find(name).read_text(encoding="utf-8") for name in available()}
    names = list(texts)

    def case(rng: np.random.Generator, k: int) -> str:
        path = tmp_path / f"{k}.yaml"
        path.write_text(misspelt(texts[names[k % len(names)]], rng), encoding="utf-8", errors="replace")
        try:
            compose(str(path))
        except RecipeError as error:
            return next((f"several lines: {line!r}" for line in error.problems if "\n" in line.strip()), "")
        return ""

    assert faults(NUMBER, case) == []


def test_manifests(tmp_path: Path) -> None:
    root = own_files.clouds(tmp_path / "own", 2)
    rows = [(path.relative_to(root).as_posix(), path.parent.name) for path in sorted(root.rglob("*.xyz"))]
    table = "path,label,split,group\n" + "".join(f"{path},{label},train,{k}\n" for k, (path, label) in enumerate(rows))
    lines = "".join(f'{{"path": "{path}", "label": "{label}", "split": null}}\n' for path, label in rows)
    kinds, columns = Kinds("point clouds", (".xyz",)), Columns("point clouds", ("label",))

    def case(rng: np.random.Generator, k: int) -> str:
        name, text = (("manifest.csv", table), ("manifest.jsonl", lines))[k % 2]
        content = misspelt(text, rng).encode("utf-8", "replace") if rng.random() < 0.5 else damaged(text.encode(), rng)
        (root / name).write_bytes(content)
        try:
            read_entries(root, name, columns, kinds, {})
        except DataError as error:
            return refusal(error, [name])
        return ""

    assert faults(NUMBER, case) == []


def test_adapters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    good = contents(copied(tmp_path / "good"))
    taken = []

    def case(rng: np.random.Generator, k: int) -> str:
        folder = tmp_path / f"{k}"
        folder.mkdir()
        spoilt = FILES[k % len(FILES)]
        for name, content in good.items():
            (folder / name).write_bytes(content)
        text = good[spoilt]
        changed = damaged(text, rng)
        if spoilt != "adapter.safetensors" and rng.random() < 0.7:
            changed = misspelt(text.decode(), rng).encode("utf-8", "replace")
        (folder / spoilt).write_bytes(changed)
        if rng.random() < 0.75:
            seal(folder)
        try:
            install.inspect(folder)
            taken.append(k)
            card.for_adapter(folder)
            if show.main([str(folder)]) not in (0, 1):
                return "show ended with another code"
            _, pairing = directory.load(folder)
            for name, tensor in pairing.trainable_state().items():
                if tensor.isnan().any():
                    return f"{spoilt}: {name} is NaN"
        except SystemExit as end:
            return "" if end.code in (0, 1) else f"{spoilt}: exit code {end.code}"
        except (UserError, DataError) as error:
            return refusal(error, [str(folder), spoilt, "method", "task", "data", "backbone"])
        return ""

    assert faults(NUMBER, case) == []
    assert len(taken) < NUMBER
