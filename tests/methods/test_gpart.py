"""GPart: its hash to the bit, the isometry, and layers of every kind as targets."""

from typing import Any

import pytest
import tiny
import torch
from small_vit import features, pairing, step
from torch import nn

from zoo.errors import SettingError
from zoo.interop import merged
from zoo.methods.deltas import Added, add_to, by_place, plain_state
from zoo.methods.frozen import Frozen
from zoo.methods.gpart import GPart, groups, spread, weight_name

GOLDEN = {
    (42, 7): [5, 1, 0, 2, 3, 5, 1, 0, 3, 6, 0, 0],
    (0, 1000): [535, 465, 110, 53, 978, 618, 592, 487, 622, 228, 466, 813],
    (42, 23040): [11413, 17800, 14931, 10966, 14343, 4485, 14627, 15192, 4299, 9832, 20042, 10102],
}
"""By seed and d, groups of the places 0 to 11, of the released hash."""


def of_vit(dim: int = 500, **settings: Any) -> GPart:
    return GPart(dim=dim, targets={"vision": ["attn.proj", "mlp.fc2"]}, last={"vision": 2}, **settings)


def mixed(start: int, count: int, seed: int, dim: int) -> list[int]:
    """SplitMix64 in Python's integers."""
    found, most = [], 2**64 - 1
    for place in range(start, start + count):
        v = (seed + place + 0x9E3779B97F4A7C15) & most
        v = ((v ^ (v >> 30)) * 0xBF58476D1CE4E5B9) & most
        v = ((v ^ (v >> 27)) * 0x94D049BB133111EB) & most
        found.append((v ^ (v >> 31)) % dim)
    return found


def test_groups_are_the_released_ones_wherever_counting_begins() -> None:
    for (seed, dim), expected in GOLDEN.items():
        assert groups(0, 12, seed, dim).tolist() == expected == mixed(0, 12, seed, dim)
    assert torch.equal(torch.cat([groups(0, 333, 0, 1000), groups(333, 667, 0, 1000)]), groups(0, 1000, 0, 1000))
    assert groups(2**40, 50, 7, 72_000).tolist() == mixed(2**40, 50, 7, 72_000)


def test_a_change_is_the_golden_one() -> None:
    sizes = torch.bincount(groups(0, 10, 42, 4), minlength=4)
    assert sizes.tolist() == [3, 2, 1, 4]
    change = spread(torch.tensor([1.0, 2.0, 3.0, 4.0]) * sizes.rsqrt(), 0, 10, 42)
    root = 3**-0.5
    expected = torch.tensor([2**0.5, root, 2, 3, 2, 2**0.5, 2, root, 2, root])
    torch.testing.assert_close(change, expected)
    assert float(change.norm()) == pytest.approx(5.477226)


def test_its_gradient_is_that_of_an_index() -> None:
    theta = torch.randn(50, requires_grad=True)
    weights = torch.randn(300)
    (spread(theta, 17, 300, 3) * weights).sum().backward()
    index = groups(17, 300, 3, 50)
    assert torch.equal(theta.grad, torch.zeros(50).index_add_(0, index, weights))


def test_it_learns_beside_what_is_frozen_and_is_found_again_from_what_it_trained() -> None:
    frozen = features(pairing(Frozen()))
    model = pairing(of_vit())
    assert torch.equal(features(model), frozen)
    assert [name for name in model.trainable if name.startswith(("method", "backbones"))] == [
        name for name in model.trainable if name.startswith("method.theta.of_")
    ]
    kept = {name: value.clone() for name, value in model.state_dict().items() if name not in model.trainable}
    step(model)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in kept.items())
    learned = features(model)
    assert not torch.allclose(learned, frozen, atol=1e-3)
    torch.testing.assert_close(features(model, [1]), learned[1:], atol=1e-5, rtol=1e-4)
    with model.method.without():
        assert torch.equal(features(model), frozen)
    (theta,) = model.method.theta.values()
    deltas = model.method.deltas()
    norm = sum(float(delta.dense()[delta.weight].norm()) ** 2 for delta in deltas) ** 0.5
    assert norm == pytest.approx(float(theta.detach().norm()), rel=1e-5)
    plain = pairing(Frozen())
    state = merged.folded(model.backbones["vision"], by_place(model.backbones, deltas)["vision"])
    plain.backbones["vision"].load_state_dict(state)
    torch.testing.assert_close(features(plain), learned, atol=1e-6, rtol=1e-6)
    again = pairing(of_vit(), seed=7)
    again.load_trainable(model.trainable_state())
    assert torch.equal(features(again), learned)


@pytest.mark.parametrize(
    "other",
    [of_vit(seed=41), GPart(dim=500, targets={"vision": ["mlp.fc2", "attn.proj"]}, last={"vision": 2})],
    ids=["seed", "order"],
)
def test_a_vector_of_another_division_is_refused(other: GPart) -> None:
    with pytest.raises(ValueError, match=r"method\.theta\.of_"):
        pairing(other).load_trainable(pairing(of_vit()).trainable_state())


class Layers(nn.Module):
    """One of each kind whose weight can be changed."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.conv = nn.Linear(6, 6), nn.Conv2d(6, 6, 3, padding=1)
        self.grouped = nn.Conv1d(6, 6, 3, padding=1, groups=3)
        self.fused = nn.MultiheadAttention(6, 2, batch_first=True)
        self.requires_grad_(False).eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.linear(x)
        x = self.grouped(x.transpose(1, 2)).transpose(1, 2)
        x = self.conv(x.transpose(1, 2)[..., None])[..., 0].transpose(1, 2)
        found: torch.Tensor = self.fused(x, x, x, need_weights=False)[0]
        return found


@pytest.mark.parametrize("kind", ["linear", "conv", "grouped", "fused"])
def test_every_kind_of_layer_takes_a_change_as_if_its_weight_were_another(kind: str) -> None:
    layers, plain, x = Layers(), Layers(), torch.randn(2, 5, 6)
    layer = layers.get_submodule(kind)
    name = weight_name(layer)
    change = torch.randn(getattr(layer, name).shape, requires_grad=True)
    add_to(layer, name, lambda: change)
    with torch.no_grad():
        getattr(plain.get_submodule(kind), name).add_(change)
    out = layers(x)
    torch.testing.assert_close(out, plain(x))
    out.square().sum().backward()
    assert change.grad is not None
    assert bool(change.grad.abs().sum() > 0)
    with torch.no_grad():
        torch.testing.assert_close(layers(x), plain(x))  # the way that fused attention takes without gradients
    assert {key: value.shape for key, value in plain_state(layers).items()} == {
        key: value.shape for key, value in Layers().state_dict().items()
    }


def test_convolutions_of_an_audio_encoder() -> None:
    model = tiny.pairing(GPart(dim=20, targets={"audio": ["conv1"], "vision": ["1"]}))
    frozen = tiny.pairing(Frozen(streams=["audio", "vision"]))(tiny.batch(0))
    for stream, expected in model(tiny.batch(0)).items():
        assert torch.equal(expected, frozen[stream])
    tiny.train_steps(model, steps=2)
    for stream, found in model(tiny.batch(0)).items():
        assert not torch.allclose(found, frozen[stream], atol=1e-4), stream


def test_a_parametrisation_of_the_backbones_own_stays_its_own() -> None:
    layer = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)))
    assert set(plain_state(layer)) == set(layer.state_dict())
    with pytest.raises(SettingError, match=r"ParametrizedLinear\.weight is parametrised already"):
        add_to(layer[0], "weight", lambda: None)
    assert isinstance(Added(lambda: None)(torch.ones(2)), torch.Tensor)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (of_vit(10**7), r"method\.dim = 10,000,000: there are 368,640 weights to divide"),
        (GPart(dim=5, targets={"vision": []}), r"method\.targets, method\.last: they name no layer"),
        (GPart(dim=5, targets={"vision": ["attn.q"]}), "'attn.q' matches no layer; it has"),
    ],
)
def test_what_cannot_be_is_said_before_training(method: GPart, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        pairing(method)
