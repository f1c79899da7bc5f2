"""How large the changes of frozen weights are."""

import pytest
import tiny
import torch

from zoo.methods.deltas import low_rank
from zoo.methods.frozen import Frozen
from zoo.methods.lora import LoRA
from zoo.training.weight_changes import largest, ratios, weight_changes


def test_the_norms_are_those_of_linear_algebra() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(20, 30)
    down, up = torch.randn(3, 20), torch.randn(30, 3)
    change = 0.5 * up @ down
    found = ratios(low_rank(layer, down, up, 0.5))
    assert found["frobenius"] == pytest.approx(float(change.norm() / layer.weight.detach().norm()), rel=1e-5)
    exact = torch.linalg.matrix_norm(change, 2) / torch.linalg.matrix_norm(layer.weight.detach(), 2)
    assert found["spectral"] == pytest.approx(float(exact), rel=1e-3)
    assert largest(torch.zeros(3, 4)) == 0.0
    assert largest(torch.diag(torch.tensor([1.0, 5.0, 2.0]))) == pytest.approx(5.0)


def test_every_adapted_layer_has_its_ratio_and_a_method_beside_the_weights_none() -> None:
    pairing = tiny.pairing(LoRA(targets={"vision": ["1"], "audio": ["conv1"]}))
    found = weight_changes(pairing)
    assert {name: len(own) for name, own in found.items()} == {"vision": 3, "audio": 2}
    assert {ratio for own in found.values() for one in own.values() for ratio in one.values()} == {0.0}
    tiny.train_steps(pairing, steps=2)
    assert all(one["frobenius"] > 0 for own in weight_changes(pairing).values() for one in own.values())
    assert weight_changes(tiny.pairing(Frozen())) == {}
