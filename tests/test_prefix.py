"""The cache of frozen tokens gives back what it was given, or nothing."""

import multiprocessing
from pathlib import Path

import pytest
import torch
from tiny import backbones, clip, pairing

from data_modules.synthetic_events import SyntheticEvents
from zoo.batch import Clip, SampleSet
from zoo.build import connect
from zoo.errors import SettingError
from zoo.methods.tb_ava import TBAVA
from zoo.prefix import PrefixCache, PrefixDataset


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
    expected = model.predict_step(first)["probabilities"]
    second = data.__getitems__([2, 0, 1])
    assert second.prefix
    assert not second.inputs
    assert clips.decoded == 3
    assert torch.equal(model.predict_step(second)["probabilities"][[1, 2, 0]], expected)


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


def test_samples_that_are_drawn_anew_are_refused_a_cache(tmp_path: Path) -> None:
    data = SyntheticEvents(train_clips=1, val_clips=1, test_clips=1)
    data.deterministic = False
    with pytest.raises(SettingError, match="draws its samples anew each time, so frozen features cannot be kept"):
        connect(data, pairing(TBAVA(rank=4), cache=PrefixCache(folder=str(tmp_path))), seed=0)


def test_a_batch_with_one_uncached_sample_is_decoded_whole(tmp_path: Path) -> None:
    cache = PrefixCache(folder=str(tmp_path))
    model = pairing(TBAVA(rank=4, last=1), cache=cache)
    data = PrefixDataset(Clips(), backbones(), model.depths, cache)
    model.predict_step(data.__getitems__([0, 1]))
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
