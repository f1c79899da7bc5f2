"""A training split of any size trains: no sample is left out, and none is alone where batch norm needs several."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from tiny_data import Tiny, fit, pairing_of
from torch import nn

import zoo.training.build
from zoo.errors import SettingError
from zoo.recipe.former_names import LOADERS
from zoo.training.loaders import EpochSampler, JoinedBatches, Loaders


@given(size=st.integers(1, 60), batch_size=st.integers(1, 12), seed=st.integers(0, 3))
def test_batches_hold_every_sample_once_and_a_lone_one_joins(size: int, batch_size: int, seed: int) -> None:
    sampler = EpochSampler(size, seed)
    batches = list(JoinedBatches(sampler, batch_size, False))
    assert len(batches) == len(JoinedBatches(sampler, batch_size, False))
    assert [index for batch in batches for index in batch] == list(sampler)
    whole = list(torch.utils.data.BatchSampler(sampler, batch_size, False))
    if len(whole[-1]) > 1 or len(whole) == 1 or batch_size == 1:
        assert batches == whole
    else:
        assert [len(batch) for batch in batches] == [batch_size] * (len(whole) - 2) + [batch_size + 1]


def test_every_sample_is_read_as_the_seed_and_epoch_say() -> None:
    data = Tiny(kind="clouds")
    data.setup()
    loaders = Loaders(data, pairing_of("clouds"), batch_size=11)
    assert loaders.joins
    loader = loaders.train_dataloader()
    orders = []
    for epoch in (0, 1):
        loader.batch_sampler.sampler.set_epoch(epoch)  # as Lightning does
        expected = EpochSampler(12, 0)
        expected.set_epoch(epoch)
        orders.append(list(loader.batch_sampler))
        assert orders[-1] == [list(expected)]
    assert orders[0] != orders[1]


def test_a_head_with_batch_norm_trains_where_one_sample_would_be_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve samples by eleven: PyTorch itself refuses to train batch norm on the last."""
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        nn.BatchNorm1d(3).train()(torch.zeros(1, 3))
    fit(tmp_path, "clouds", 11, {"max_epochs": 1})
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 1


def test_without_batch_norm_a_last_batch_of_one_stands_alone() -> None:
    data = Tiny()
    data.setup()
    assert [len(batch) for batch in Loaders(data, pairing_of("clips"), batch_size=11).train_dataloader()] == [11, 1]


def test_batches_of_one_are_refused_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Tiny(kind="clouds")
    data.setup()
    monkeypatch.setattr(zoo.training.build, "build_pairing", lambda *_, **__: pairing_of("clouds"))
    config = OmegaConf.create({"seed": 0, "trainer": {}, "loader": {"_target_": LOADERS, "batch_size": 1}})
    with pytest.raises(SettingError, match=r"loader.batch_size = 1: the head has batch norm"):
        zoo.training.build.build_trained(config, data, tmp_path)
