"""Hashes of weights are kept where a file is as it was, and made anew where it is not, or may not be."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from zoo.backbones import fingerprint as fingerprints
from zoo.backbones import hashes, prints
from zoo.backbones.fingerprint import fingerprint, fingerprints_of_format
from zoo.files import file_hash

LONG_AGO = 1_000_000_000_000_000_000  # nanoseconds


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files that were read to be hashed; every file counts as old enough."""
    found: list[Path] = []

    def hashed(path: Path) -> str:
        found.append(path)
        return file_hash(path)

    monkeypatch.setattr(hashes, "file_hash", hashed)
    monkeypatch.setattr(hashes, "FRESH", -1)
    return found


def written(path: Path, content: bytes = b"x" * 5000) -> Path:
    path.write_bytes(content)
    return path


def test_an_unchanged_file_is_read_once(tmp_path: Path, cache: Path, reads: list[Path]) -> None:
    file = written(tmp_path / "w.bin")
    assert {hashes.hash_of(file, cache) for _ in range(3)} == {file_hash(file)}
    assert reads == [file]


CHANGES: dict[str, Callable[[Path], Any]] = {
    "another size": lambda file: file.write_bytes(b"x" * 5001),
    "the same size": lambda file: file.write_bytes(b"y" * 5000),
    "another file in its place": lambda file: os.replace(written(file.with_suffix(".new"), b"z" * 5000), file),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("times", ["kept", "changed"])
def test_a_changed_file_is_hashed_again(
    tmp_path: Path, cache: Path, reads: list[Path], change: str, times: str
) -> None:
    file = written(tmp_path / "w.bin")
    os.utime(file, ns=(LONG_AGO, LONG_AGO))
    before = hashes.hash_of(file, cache)
    time.sleep(0.02)  # a tick of the file system's clock
    CHANGES[change](file)
    if times == "kept":  # as a careful hand would: the inode's own time tells it all the same
        os.utime(file, ns=(LONG_AGO, LONG_AGO))
    assert hashes.hash_of(file, cache) == file_hash(file) != before
    assert len(reads) == 2


def test_no_record_is_made_of_a_file_that_may_change_unseen(
    tmp_path: Path, cache: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashes, "FRESH", 2_000_000_000)
    file = written(tmp_path / "w.bin")
    for _ in range(2):
        hashes.hash_of(file, cache)
    assert len(reads) == 2
    assert not list(cache.rglob("*.json"))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"seen": 1}', "\x00", json.dumps({"seen": [], "sha256": 7})])
def test_a_damaged_record_counts_as_none(tmp_path: Path, cache: Path, reads: list[Path], content: str) -> None:
    file = written(tmp_path / "w.bin")
    hashes.hash_of(file, cache)
    (record,) = cache.rglob("*.json")
    record.write_text(content)
    assert hashes.hash_of(file, cache) == file_hash(file)
    assert len(reads) == 2


def test_everything_is_read_where_that_is_asked(tmp_path: Path, cache: Path, reads: list[Path]) -> None:
    file = written(tmp_path / "w.bin")
    hashes.hash_of(file, cache)
    with hashes.anew():
        assert hashes.hash_of(file, cache) == file_hash(file)
    assert len(reads) == 2


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path: Path, cache: Path, reads: list[Path]) -> None:
    cache.write_text("in the way")
    file = written(tmp_path / "w.bin")
    assert {hashes.hash_of(file, cache) for _ in range(2)} == {file_hash(file)}
    assert len(reads) == 2


# --- fingerprints of tensors ------------------------------------------------------------------------------------------


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch, reads: list[Path]) -> list[int]:
    """One entry for every time that tensors were hashed."""
    found: list[int] = []
    real = fingerprints._of_tensors

    def count(*arguments: Any) -> str:
        found.append(1)
        return real(*arguments)

    monkeypatch.setattr(fingerprints, "_of_tensors", count)
    return found


def layer(file: Path) -> nn.Module:
    made = nn.Linear(3, 2)
    made.load_state_dict(load_file(file))
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_file(nn.Linear(3, 2).state_dict(), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def test_tensors_are_hashed_once_and_the_fingerprint_is_what_it_was(file: Path, hashed: list[int]) -> None:
    plain = fingerprint(layer(file), {"a": 1})
    assert {fingerprint(layer(file), {"a": 1}, of=[file]) for _ in range(3)} == {plain}
    assert len(hashed) == 2


def test_other_weights_settings_or_shapes_are_hashed_anew(file: Path, hashed: list[int]) -> None:
    first = fingerprint(layer(file), {"a": 1}, of=[file])
    assert fingerprint(layer(file), {"a": 2}, of=[file]).weights == first.weights
    assert fingerprint(layer(file).half(), {"a": 1}, of=[file]).weights != first.weights
    time.sleep(0.02)
    save_file({name: tensor + 1 for name, tensor in load_file(file).items()}, file)
    changed = fingerprint(layer(file), {"a": 1}, of=[file])
    assert changed == fingerprint(layer(file), {"a": 1})
    assert changed != first
    assert len(hashed) == 5


def test_changed_code_is_hashed_anew(file: Path, hashed: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    fingerprint(layer(file), {}, of=[file])
    monkeypatch.setattr(prints, "_code", lambda: "another source")
    fingerprint(layer(file), {}, of=[file])
    assert len(hashed) == 2


@pytest.mark.parametrize("number", [1, 2])
def test_fingerprints_of_former_formats_are_never_kept(file: Path, hashed: list[int], number: int) -> None:
    with fingerprints_of_format(number):
        assert fingerprint(layer(file), {}, of=[file]) == fingerprint(layer(file), {}, of=[file])
    assert len(hashed) == 2
