"""The cache of frozen tokens gives back what it was given, or nothing."""

import multiprocessing
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny import backbones, clip, pairing

from data_modules.synthetic_events import SyntheticEvents
from zoo.batch import Clip, SampleSet
from zoo.errors import SettingError
from zoo.methods.tb_ava import TBAVA
from zoo.prefix import UNTOLD, PrefixCache, _digest, origin
from zoo.training.loaders import Loaders
from zoo.training.prefix_dataset import PrefixDataset


class Clips(SampleSet[Clip]):
    def __init__(self, count: int = 4) -> None:
        self.count, self.decoded = count, 0

    def __len__(self) -> int:
        return self.count

    def id(self, index: int) -> str:
        return f"clip{index}"

    def key(self, index: int) -> str:
        return f"tiny/{index}"

    def target(self, index: int):
        return clip(index).target

    def __getitem__(self, index: int):
        self.decoded += 1
        return clip(index)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_cached_epoch_gives_bit_equal_predictions_without_decoding(tmp_path: Path, dtype: str) -> None:
    cache, clips = PrefixCache(folder=str(tmp_path), dtype=dtype), Clips()
    model = pairing(TBAVA(rank=4, last=1), cache=cache)
    data = PrefixDataset(clips, backbones(), model.depths, cache)
    first = data.__getitems__([0, 1, 2])
    assert first.inputs
    assert not first.prefix
    expected = model.predict(first)["probabilities"]
    second = data.__getitems__([2, 0, 1])
    assert second.prefix
    assert not second.inputs
    assert clips.decoded == 3
    assert torch.equal(model.predict(second)["probabilities"][[1, 2, 0]], expected)


def test_kept_tokens_do_not_depend_on_the_precision_of_the_run(tmp_path: Path) -> None:
    def prefix(cache: PrefixCache | None) -> torch.Tensor:
        model = pairing(TBAVA(rank=4, last=1), cache=cache)
        data = PrefixDataset(Clips(), backbones(), model.depths, cache)
        with torch.autocast("cpu", torch.bfloat16):
            return model.prefix(data.__getitems__([0, 1]))["vision"]

    whole = pairing(TBAVA(rank=4, last=1))
    exact = whole.prefix(PrefixDataset(Clips(), backbones(), whole.depths, None).__getitems__([0, 1]))["vision"]
    assert torch.equal(prefix(PrefixCache(folder=str(tmp_path))), exact)
    assert not torch.equal(prefix(None), exact)


def test_frozen_blocks_take_a_few_segments_at_a_time_to_the_same_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    model = pairing(TBAVA(rank=4, last=1))
    batch = PrefixDataset(Clips(), backbones(), model.depths, None).__getitems__([0, 1, 2])
    few = model.prefix(batch)
    for size in (1, 10_000):
        monkeypatch.setattr("zoo.pairing.CHUNK", size)
        other = model.prefix(batch)
        torch.testing.assert_close(few, other, atol=1e-6, rtol=1e-5)  # rounded by other kernels, where very few


def test_a_cache_tells_what_computed_the_tokens_that_were_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def through(cache: PrefixCache, indices: list[int]) -> PrefixCache:
        model = pairing(TBAVA(rank=4, last=1), cache=cache)
        model.predict(PrefixDataset(Clips(), backbones(), model.depths, cache).__getitems__(indices))
        return cache

    here = origin(torch.device("cpu"))
    assert re.fullmatch(r"torch [\w.+]+, [\w ]+, \d+ threads?", here)
    assert through(PrefixCache(folder=str(tmp_path)), [0, 1]).origins() == [here]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    there = origin(torch.device("cpu"))
    assert there.endswith("77 threads")
    read = through(PrefixCache(folder=str(tmp_path)), [0, 1])
    assert read.origins() == [here]  # who reads is not who computed
    assert through(read, [2, 3]).origins() == sorted([here, there])


def test_entries_of_caches_that_did_not_tell_are_read_and_said_to_be_such(tmp_path: Path) -> None:
    cache = PrefixCache(folder=str(tmp_path))
    key, tokens = cache.key("a", 1, "x"), torch.ones(2, 2, 2)
    cache.path(key).parent.mkdir()
    save_file({"tokens": tokens}, cache.path(key), metadata={"sha256": _digest(key, {"tokens": tokens})})
    found = cache.entry(key)
    assert found is not None
    assert torch.equal(found[0], tokens)
    assert found[1] == UNTOLD


def test_samples_that_are_drawn_anew_are_refused_a_cache(tmp_path: Path) -> None:
    data = SyntheticEvents(train_clips=1, val_clips=1, test_clips=1)
    data.deterministic = False
    with pytest.raises(SettingError, match="draws its samples again each time, so frozen features cannot be kept"):
        Loaders(data, pairing(TBAVA(rank=4), cache=PrefixCache(folder=str(tmp_path))))


def test_a_batch_with_one_uncached_sample_is_decoded_whole(tmp_path: Path) -> None:
    cache = PrefixCache(folder=str(tmp_path))
    model = pairing(TBAVA(rank=4, last=1), cache=cache)
    data = PrefixDataset(Clips(), backbones(), model.depths, cache)
    model.predict(data.__getitems__([0, 1]))
    assert data.__getitems__([0, 3]).inputs


def test_a_key_changes_with_weights_depth_sample_and_dtype(tmp_path: Path) -> None:
    cache = PrefixCache(folder=str(tmp_path))
    keys = {
        cache.key("a", 1, "x"),
        cache.key("b", 1, "x"),
        cache.key("a", 2, "x"),
        cache.key("a", 1, "y"),
        PrefixCache(folder=str(tmp_path), dtype="float16").key("a", 1, "x"),
    }
    assert len(keys) == 5


def test_a_full_cache_stops_storing_and_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = PrefixCache(folder=str(tmp_path), max_gib=1000 / 2**30)
    for index in range(5):
        cache.write(cache.key("a", 1, str(index)), torch.zeros(4, 4, 4))
    stored = sum(f.stat().st_size for f in tmp_path.rglob("*.safetensors"))
    assert 0 < stored <= 1000
    assert caplog.text.count("limit of") == 1


def test_a_damaged_entry_is_recomputed_and_never_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = PrefixCache(folder=str(tmp_path))
    key = cache.key("a", 1, "x")
    cache.write(key, torch.ones(2, 2, 2))
    path = cache.path(key)
    path.write_bytes(path.read_bytes()[:-5])
    assert cache.read(key) is None
    assert "unreadable" in caplog.text
    cache.write(key, torch.ones(2, 2, 2))
    assert torch.equal(cache.read(key), torch.ones(2, 2, 2))


def test_a_disk_that_refuses_stops_the_cache_but_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    cache = PrefixCache(folder=str(tmp_path))
    monkeypatch.setattr(Path, "write_bytes", full)
    cache.write(cache.key("a", 1, "x"), torch.ones(2, 2, 2))
    assert "No space left on device" in caplog.text
    assert list(tmp_path.rglob("*.safetensors")) == []
    assert cache.read(cache.key("a", 1, "x")) is None


def _fill(folder: str) -> None:
    cache = PrefixCache(folder=folder)
    for index in range(20):
        cache.write(cache.key("a", 1, str(index)), torch.full((8, 8, 8), float(index)))


def test_several_processes_may_fill_one_folder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_fill, args=(str(tmp_path),)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    cache = PrefixCache(folder=str(tmp_path))
    for index in range(20):
        assert torch.equal(cache.read(cache.key("a", 1, str(index))), torch.full((8, 8, 8), float(index)))
    assert [f for f in tmp_path.rglob("*") if f.name.startswith(".")] == []


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_an_entry_with_one_flipped_bit_or_of_another_name_is_recomputed(
    tmp_path: Path, dtype: str, caplog: pytest.LogCaptureFixture
) -> None:
    cache = PrefixCache(folder=str(tmp_path), dtype=dtype)
    key, other = cache.key("a", 1, "x"), cache.key("a", 1, "y")
    tokens = torch.arange(8.0).reshape(2, 2, 2)
    cache.write(key, tokens)
    path = cache.path(key)
    whole = path.read_bytes()
    size = whole[int.from_bytes(whole[:8], "little") + 8 :]
    for bit in range(0, 8 * len(size), 5):
        damaged = bytearray(whole)
        damaged[len(whole) - len(size) + bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        assert cache.read(key) is None
    assert "was altered" in caplog.text
    cache.path(other).parent.mkdir(exist_ok=True)
    cache.path(other).write_bytes(whole)
    assert cache.read(other) is None
    save_file({"tokens": tokens}, path)  # of a version without checksums
    caplog.clear()
    assert cache.read(key) is None
    assert not caplog.text
    cache.write(key, tokens)
    assert torch.equal(cache.read(key), tokens)


def test_a_cache_that_is_removed_under_a_run_is_begun_anew(tmp_path: Path) -> None:
    cache = PrefixCache(folder=str(tmp_path / "cache"))
    cache.write(cache.key("a", 1, "x"), torch.zeros(2, 2, 2))
    shutil.rmtree(tmp_path / "cache")
    cache.write(cache.key("a", 1, "y"), torch.ones(2, 2, 2))
    assert torch.equal(cache.read(cache.key("a", 1, "y")), torch.ones(2, 2, 2))
    assert cache.read(cache.key("a", 1, "x")) is None


def _fill_up(folder: str, first: int) -> None:
    cache = PrefixCache(folder=folder, max_gib=40_000 / 2**30)
    for index in range(first, first + 30):
        cache.write(cache.key("a", 1, str(index)), torch.zeros(8, 8, 8))


def test_the_bound_holds_for_all_processes_together(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_fill_up, args=(str(tmp_path), 30 * k)) for k in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    sizes = [path.stat().st_size for path in tmp_path.rglob("*.safetensors")]
    assert 40_000 - 2 * max(sizes) < sum(sizes) <= 40_000
    assert int((tmp_path / "bytes").read_text()) == sum(sizes)


def test_what_a_killed_writer_left_is_removed_and_not_counted(tmp_path: Path) -> None:
    cache = PrefixCache(folder=str(tmp_path))
    cache.write(cache.key("a", 1, "x"), torch.zeros(2, 2, 2))
    (entry,) = tmp_path.rglob("*.safetensors")
    (entry.parent / ".5f0e").write_bytes(b"half")
    (tmp_path / "bytes").write_text("123456789")  # counted, and killed before it was there
    PrefixCache(folder=str(tmp_path)).write(cache.key("a", 1, "y"), torch.zeros(2, 2, 2))
    assert list(tmp_path.rglob(".*")) == []
    assert int((tmp_path / "bytes").read_text()) == sum(p.stat().st_size for p in tmp_path.rglob("*.safetensors"))
