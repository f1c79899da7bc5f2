"""Side inputs for any method: another conditioned one costs one file, and says what data it needs."""

from collections.abc import Mapping

import pytest
import torch
from scale_tiny import pictures
from tiny import CLASSES
from torch import Tensor, nn

from data_modules.synthetic_events import SyntheticEvents
from data_modules.synthetic_scenes import SyntheticScenes
from zoo.backbones.timm_vit import TimmViT
from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.methods.base import Backbones, Features, Method
from zoo.methods.condition import Condition
from zoo.methods.sites import find, first_blocks
from zoo.pairing import Pairing
from zoo.tasks.classification import Classification
from zoo.training.loaders import Loaders


class FiLM(Method):
    """Scale and shift of the MLP's hidden units by the ground sampling distance (Perez et al. 2018): all of it."""

    conditions = ("gsd",)

    def attach(self, backbones: Backbones) -> None:
        super().attach(backbones)
        sites = find(backbones, {"vision": ["mlp.fc1"]}, {"vision": 1})
        self.depths = {"vision": backbones["vision"].prefix_depth(first_blocks(sites, backbones)["vision"])}
        self.condition = Condition()
        (layer,) = sites[0].layers.values()
        self.film = nn.Linear(1, 2 * layer.out_features)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)
        layer.register_forward_hook(self._modulate)

    def _modulate(self, _: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor | None:
        if not self.condition.active:
            return None
        scale, shift = self.film(self.condition.rows("", len(output)))[:, None].chunk(2, -1)
        return output * (1 + scale) + shift

    def forward(self, backbones: Backbones, prefix: Mapping[str, Tensor], batch: Batch) -> Features:
        with self.condition.given(batch.conditions["gsd"].log10()[:, None]):
            return super().forward(backbones, prefix, batch)


def film() -> Pairing:
    torch.manual_seed(0)
    backbone = TimmViT(model="vit_tiny_patch16_224", source="random:0", image_size=32)
    return Pairing({"vision": backbone}, FiLM(), Classification(hidden=()), classes=CLASSES)


def test_another_conditioned_method_is_one_class() -> None:
    pairing, batch = film(), pictures(0.3, 10.0)
    frozen = pairing.backbones["vision"]
    with torch.no_grad():
        expected = frozen.pool(frozen(batch.inputs["vision"].flatten(0, 1)))[:, None]
        assert torch.equal(pairing(batch)["vision"], expected)
        pairing.method.film.weight.normal_()
        moved = pairing(batch)["vision"]
        assert not torch.allclose(moved[0], expected[0])
        swapped = pairing(pictures(10.0, 10.0))["vision"]
    torch.testing.assert_close(moved[1], swapped[1])  # the same picture at the same scale
    assert not torch.allclose(moved[0], swapped[0])


def test_data_without_the_condition_are_refused_before_training() -> None:
    pairing = film()
    with pytest.raises(SettingError, match=r"method: it uses the condition gsd; the samples of .* carry candidates"):
        Loaders(SyntheticEvents(), pairing)
    Loaders(SyntheticScenes(), pairing)


def test_rows_belong_to_samples_by_order_or_by_name() -> None:
    condition, value = Condition(), torch.tensor([1.0, 2.0])
    with condition.given(value, {"vision": torch.tensor([0, 0, 0, 0, 1, 1])}):
        assert condition.rows("language", 4).tolist() == [1, 1, 2, 2]
        assert condition.rows("vision", 6).tolist() == [1, 1, 1, 1, 2, 2]
        assert condition.rows("vision", 3).tolist() == [1, 1, 2]  # pairs of rows were merged
        with pytest.raises(ValueError, match="3 rows of language for 2 samples"):
            condition.rows("language", 3)
        with pytest.raises(ValueError, match="4 rows of vision"):
            condition.rows("vision", 4)
    assert not condition.active


def test_what_was_told_is_forgotten_after_an_error_and_told_again_in_a_recomputation() -> None:
    condition = Condition()
    with pytest.raises(ZeroDivisionError), condition.given(torch.ones(1)):
        raise ZeroDivisionError
    assert not condition.active
    with condition.given(torch.tensor([3.0])):
        _, again = condition.contexts()
    assert not condition.active
    with again:
        assert condition.rows("", 2).tolist() == [3, 3]
    assert condition.rows("", 2) is None
