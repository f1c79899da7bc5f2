"""Bottleneck adapters behind blocks: of SAMs, pooled and as maps, and where one block stands several times."""

from typing import Any

import pytest
import sam_tiny
import torch
import vlm_tiny
from test_sites import inputs, tied
from torch import nn

from zoo.backbones.base import tap
from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.methods.bottleneck import Bottleneck
from zoo.methods.frozen import Frozen
from zoo.pairing import Pairing
from zoo.tasks.classification import Classification
from zoo.tasks.segmentation import Segmentation


def pairing(method: Any, task: Any, name: str = "sam") -> Pairing:
    torch.manual_seed(0)
    return Pairing({"vision": sam_tiny.kept(name)}, method, task, classes=["a", "b"]).eval()


def batch(count: int = 2) -> Batch:
    return Batch(ids=[*"abcd"][:count], inputs={"vision": sam_tiny.pictures(count)[:, None]}, target={})


def moved(method: nn.Module) -> None:
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(len(parameter)))


@pytest.mark.parametrize("name", ["sam", "sam2"])
@pytest.mark.parametrize("dense", [False, True])
def test_step_0_is_the_frozen_encoder_whatever_is_read_of_it(name: str, dense: bool) -> None:
    def task() -> Any:
        return Segmentation(width=4) if dense else Classification(hidden=())

    model, frozen = pairing(Bottleneck(width=3), task(), name), pairing(Frozen(), task(), name)
    with torch.no_grad():
        found, expected = model(batch()), frozen(batch())
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected)
        moved(model.method)
        after = model(batch())
        assert all(not torch.allclose(after[key], expected[key], atol=1e-3) for key in expected)
        alone = model(Batch(["a"], {"vision": batch().inputs["vision"][:1]}, {}))
        torch.testing.assert_close(alone, {key: value[:1] for key, value in after.items()}, atol=1e-5, rtol=1e-5)
        with model.method.without():
            assert all(torch.equal(value, expected[key]) for key, value in model(batch()).items())


def test_adapters_follow_their_equations() -> None:
    model = pairing(Bottleneck(width=3, scale=0.5, last={"vision": 2}), Classification(hidden=()))
    moved(model.method)
    backbone = model.backbones["vision"]  # four blocks, and the neck behind them
    assert model.method.prefix_depths() == {"vision": 2}
    assert model.method.describe() == "adapters of width 3 after vision blocks 2 to 3"
    tokens = backbone.embed(sam_tiny.pictures(2))
    with torch.no_grad():
        for index, block in enumerate(backbone.blocks):
            tokens = block(tokens)
            if index in (2, 3):
                down, _, up = model.method.adapters[f"vision/{index + 1:02d}"]
                hidden = nn.functional.gelu(tokens @ down.weight.T + down.bias)
                tokens = tokens + 0.5 * (hidden @ up.weight.T + up.bias)
        torch.testing.assert_close(model(batch())["vision"][:, 0], tokens.mean(1), atol=1e-5, rtol=1e-5)


def test_maps_before_the_first_adapter_stay_as_they_are() -> None:
    model = pairing(Bottleneck(width=3, last={"vision": 1}), Segmentation(width=4))
    frozen = pairing(Frozen(), Segmentation(width=4))
    moved(model.method)
    with torch.no_grad():
        found, expected = model(batch()), frozen(batch())
    changed = {
        after: not torch.equal(found[tap("vision", after)], expected[tap("vision", after)]) for after in (1, 2, 3)
    }
    assert changed == {1: False, 2: False, 3: False}
    assert not torch.allclose(found[tap("vision", 5)], expected[tap("vision", 5)])


def test_every_use_of_a_block_has_an_adapter_of_its_own() -> None:
    backbone = tied()
    method = Bottleneck(width=3, last={"vision": 4})
    method.attach({"vision": backbone})
    assert list(method.adapters) == [f"vision/{after:02d}" for after in (9, 10, 11, 12)]
    before = backbone.through(backbone.embed(inputs()[:, 0]), 0, 8)
    moved(method)
    assert torch.equal(backbone.through(backbone.embed(inputs()[:, 0]), 0, 8), before)
    assert method.prefix_depths() == {"vision": 8}


def test_what_it_learned_is_saved_and_loaded() -> None:
    model, other = (pairing(Bottleneck(width=3), Classification(hidden=())) for _ in range(2))
    moved(model.method)
    other.load_trainable(model.trainable_state())
    with torch.no_grad():
        assert torch.equal(model(batch())["vision"], other(batch())["vision"])


def test_other_backbones_and_blocks_are_refused() -> None:
    with pytest.raises(SettingError, match=r"adapts plain encoders; backbones.vision is"):
        Bottleneck().attach({"vision": vlm_tiny.model(vlm_tiny.NAMES[0])})
    with pytest.raises(SettingError, match=r"method.last.vision = 5: expected 1 to 4"):
        pairing(Bottleneck(last={"vision": 5}), Classification(hidden=()))
    with pytest.raises(SettingError, match=r"method.last: audio are no backbones"):
        pairing(Bottleneck(last={"audio": 1}), Classification(hidden=()))
    with pytest.raises(SettingError, match="its adapters lie between the blocks"):
        Bottleneck().deltas()
