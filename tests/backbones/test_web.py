"""Weights by address: fetched once, pinned, and afterwards without a network; what goes wrong is said in one line."""

import errno
import hashlib
import io
import urllib.error
from pathlib import Path
from typing import Any

import pytest

from zoo.backbones import hashes, web, weights
from zoo.backbones.origins import ORIGINS, Origin
from zoo.backbones.weights import WeightsError

SOURCE = "https://example.org/models/a.tflite"
CONTENT = b"weights" * 1000


class Server:
    """Stands for `urlopen`: what it answers, and how often it was asked."""

    def __init__(self) -> None:
        self.answer: Any = CONTENT
        self.asked: list[str] = []

    def __call__(self, address: str, timeout: float) -> io.BytesIO:
        assert timeout > 0
        self.asked.append(address)
        if isinstance(self.answer, Exception):
            raise self.answer
        return io.BytesIO(self.answer)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(ORIGINS, SOURCE, Origin("made up", "none", sha256=hashlib.sha256(CONTENT).hexdigest()))
    server = Server()
    monkeypatch.setattr("urllib.request.urlopen", server)
    return server


def test_a_file_is_fetched_once_and_served_offline(server: Server, tmp_path: Path) -> None:
    assert not weights.here(SOURCE)
    path = weights.resolve(SOURCE)
    assert path.read_bytes() == CONTENT
    assert path.name == "a.tflite"
    server.answer = OSError("offline")
    assert weights.resolve(SOURCE) == path
    assert weights.here(SOURCE)
    assert server.asked == [SOURCE]
    assert weights.files_of(SOURCE) == [path]
    assert list(hashes.stored(tmp_path / "cache")) == [(path, True)]
    assert not [left for left in path.parent.iterdir() if left.name.startswith(".")]


def test_a_damaged_file_is_fetched_again(server: Server) -> None:
    weights.resolve(SOURCE).write_bytes(b"damaged")
    assert weights.resolve(SOURCE).read_bytes() == CONTENT
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"another file", "has sha256 .*, expected .*: its server gives another file than the one pinned"),
        (CONTENT[:-1], "another file than the one pinned"),
        (urllib.error.URLError("no route"), r"is not in the cache, and its server cannot be read \(.*no route.*\)"),
        (urllib.error.HTTPError(SOURCE, 404, "Not Found", {}, None), "its server cannot be read .*404"),  # type: ignore[arg-type]
        (TimeoutError("timed out"), "cannot be read .*timed out.*: connect once, or get a.tflite elsewhere"),
        (OSError(errno.ENOSPC, "No space left"), "cannot be stored below .*free some room"),
    ],
)
def test_what_goes_wrong_is_one_line_and_leaves_nothing(server: Server, answer: Any, words: str) -> None:
    server.answer = answer
    with pytest.raises(WeightsError, match=words) as told:
        weights.resolve(SOURCE)
    assert "\n" not in str(told.value)
    assert not web.place(SOURCE).exists()
    assert not list(web.place(SOURCE).parent.glob(".*"))


@pytest.mark.parametrize(
    "source", ["http://example.org/a", "https://", "https:a", "https://u:p@host/a", "https://h/a?b"]
)
def test_other_addresses_are_no_sources(source: str) -> None:
    with pytest.raises(WeightsError, match=r"is none of .*https://HOST/PATH"):
        weights.parse(source)


@pytest.mark.usefixtures("server")
def test_an_address_without_a_pin_is_refused() -> None:
    with pytest.raises(WeightsError, match=r"https://example\.org/b is not pinned: add its licence and sha256"):
        weights.resolve("https://example.org/b")
    assert not weights.here("https://example.org/b")
    assert weights.origin(SOURCE) is ORIGINS[SOURCE]
    assert SOURCE not in weights.shipped()
