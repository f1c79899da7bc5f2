"""Texts go through a text tower once, whatever happens to the file that keeps their vectors."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from zoo.backbones.base import TextEncoder
from zoo.backbones.embedded import embedded
from zoo.backbones.fingerprint import Fingerprint
from zoo.methods.tb_ava import TBAVA


class Counting(TextEncoder):
    """Vectors drawn by the letters of a text."""

    dim = 4

    def __init__(self, weights: str = "a") -> None:
        super().__init__()
        self.fingerprint, self.asked = Fingerprint(weights, "b"), 0

    def encode(self, texts: list[str]) -> Tensor:
        self.asked += 1
        rows = [torch.randn(self.dim, generator=torch.Generator().manual_seed(sum(text.encode()))) for text in texts]
        return normalize(torch.stack(rows), dim=-1)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def entries(cache: Path) -> list[Path]:
    return sorted(cache.glob("text/*/*.safetensors"))


def test_the_same_texts_are_embedded_once_by_one_tower(cache: Path) -> None:
    first = Counting()
    made = embedded(first, ["a", "b"])
    again = Counting()
    assert torch.equal(embedded(again, ["a", "b"]), made)
    assert (first.asked, again.asked) == (1, 0)
    assert len(entries(cache)) == 1


@pytest.mark.parametrize(("weights", "texts"), [("other", ["a", "b"]), ("a", ["b", "a"]), ("a", ["a"]), ("a", ["ab"])])
def test_another_tower_or_other_texts_are_embedded_anew(weights: str, texts: list[str]) -> None:
    embedded(Counting(), ["a", "b"])
    tower = Counting(weights)
    assert torch.equal(embedded(tower, texts), tower.encode(texts))
    assert tower.asked == 2


def test_another_number_of_threads_is_another_entry(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded(Counting(), ["a"])
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    embedded(Counting(), ["a"])
    assert len(entries(cache)) == 2


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_entry_is_told_and_made_anew(cache: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    made = embedded(Counting(), ["a", "b"])
    (entry,) = entries(cache)
    content = entry.read_bytes()
    entry.write_bytes({"cut": content[:-3], "empty": b"", "flipped": content[:-1] + bytes([content[-1] ^ 1])}[damage])
    tower = Counting()
    assert torch.equal(embedded(tower, ["a", "b"]), made)
    assert tower.asked == 1
    assert "made anew" in caplog.text
    assert torch.equal(embedded(tower, ["a", "b"]), made)
    assert tower.asked == 1


def test_a_cache_that_cannot_be_written_costs_time_only(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache.mkdir()
    (cache / "text").write_text("in the way")
    tower = Counting()
    assert torch.equal(embedded(tower, ["a"]), tower.encode(["a"]))
    assert "cannot be written" in caplog.text


def test_a_second_build_of_the_method_asks_the_tower_nothing() -> None:
    import tiny

    anchors = []
    for _ in range(2):
        tower, method = Counting(), TBAVA(rank=2)
        method.attach(tiny.backbones(), tower, ["dog", "cat"])
        anchors.append((method.anchors, tower.asked))
    assert torch.equal(anchors[0][0], anchors[1][0])
    assert [asked for _, asked in anchors] == [1, 0]
