"""MatryoshkaLoRA: golden values of the released code, and every rank out of one set of tensors."""

import pytest
import torch
from small_vit import batch, features, pairing, step

from zoo.errors import SettingError
from zoo.interop import merged
from zoo.methods.deltas import by_place
from zoo.methods.frozen import Frozen
from zoo.methods.matryoshka_lora import MatryoshkaLoRA, area, diagonal, factor

TARGETS = {"vision": ["attn.proj", "mlp.fc2"]}


def nested(**settings: object) -> MatryoshkaLoRA:
    return MatryoshkaLoRA(**({"targets": TARGETS, "last": {"vision": 2}} | settings))


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        ("none", [4, 3, 2, 2, 1, 1, 1, 1]),
        ("rank", [1.875, 0.875, 0.375, 0.375, 0.125, 0.125, 0.125, 0.125]),
        ("sqrt", [2.56066, 1.56066, 0.853553, 0.853553, 0.353553, 0.353553, 0.353553, 0.353553]),
    ],
)
def test_the_diagonal_is_the_released_one(scaling: str, expected: list[float]) -> None:
    torch.testing.assert_close(diagonal((1, 2, 4, 8), scaling), torch.tensor(expected, dtype=torch.float32))


def test_the_diagonal_is_the_sum_over_ranks() -> None:
    torch.manual_seed(0)
    x, down, up = torch.randn(5, 6), torch.randn(8, 6), torch.randn(7, 8)
    ranks = (1, 2, 4, 8)
    apart = sum(factor(k, "sqrt") * x @ down[:k].T @ up[:, :k].T for k in ranks)
    torch.testing.assert_close((x @ down.T * diagonal(ranks, "sqrt")) @ up.T, apart)


def test_a_training_sees_the_sum_or_its_average() -> None:
    whole, averaged = (pairing(nested(average=average)).method.diagonal for average in (False, True))
    torch.testing.assert_close(averaged * 4, whole)
    torch.testing.assert_close(whole, diagonal((1, 2, 4, 8), "sqrt"))


def test_areas_are_the_golden_ones() -> None:
    ranks, values = [1, 2, 4, 8, 16, 32], [0.50, 0.58, 0.62, 0.64, 0.65, 0.652]
    assert area(ranks, values) == pytest.approx(0.639871, abs=1e-6)
    assert area(range(6), values) == pytest.approx(0.6132, abs=1e-6)
    over = nested(ranks=tuple(ranks)).over_points(
        {"": 0.652, **{f"rank_{rank}": value for rank, value in zip(ranks[:-1], values, strict=False)}}
    )
    assert over == pytest.approx({"aurac": 0.639871, "aurac_log": 0.6132}, abs=1e-6)


def test_every_rank_is_a_lora_that_merges_and_comes_back() -> None:
    frozen = features(pairing(Frozen()))
    model = pairing(nested())
    assert torch.equal(features(model), frozen)
    kept = {name: value.clone() for name, value in model.state_dict().items() if name not in model.trainable}
    model.method.train()
    step(model)
    model.eval()
    assert all(torch.equal(model.state_dict()[name], value) for name, value in kept.items())
    found = {8: features(model)}
    for rank, within in ((rank, model.method.points()[f"rank_{rank}"]) for rank in (1, 2, 4)):
        with within():
            found[rank] = features(model)
    assert torch.equal(features(model), found[8])
    for rank, expected in found.items():
        assert not torch.allclose(expected, frozen, atol=1e-3)
        other = pairing(nested(rank=rank), seed=5)
        other.load_trainable(model.trainable_state())
        assert torch.equal(features(other), expected)
        plain = pairing(Frozen())
        deltas = by_place(other.backbones, other.method.deltas())["vision"]
        assert {len(delta.factors.down) for delta in deltas.values()} == {rank}
        plain.backbones["vision"].load_state_dict(merged.folded(other.backbones["vision"], deltas))
        torch.testing.assert_close(features(plain), expected, atol=1e-5, rtol=1e-4)
    assert len({float(each.sum()) for each in found.values()}) == 4
    torch.testing.assert_close(features(model, [1]), found[8][1:], atol=1e-5, rtol=1e-4)
    with model.method.without():
        assert torch.equal(features(model), frozen)


def test_all_rows_learn_in_one_step() -> None:
    model = pairing(nested())
    model.method.train()
    torch.stack(list(model.losses(batch()).values())).sum().backward()
    assert all(bool((pair.up.grad.abs().sum(0) > 0).all()) for pair in model.method.updates.values())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"ranks": (2, 2)}, r"method\.ranks = \[2, 2\]: expected increasing numbers"),
        ({"rank": 3}, r"method\.rank = 3: trained were 1, 2, 4, 8"),
    ],
)
def test_ranks_that_cannot_be_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        nested(**settings)


def test_a_rank_above_the_weights_is_refused() -> None:
    with pytest.raises(
        SettingError, match=r"method\.ranks = \[1, 9999\]: a weight of \(192, 192\) has no rank of 9999"
    ):
        pairing(nested(ranks=(1, 9999)))


def test_what_training_fixed_stays_fixed() -> None:
    with pytest.raises(SettingError, match=r"method\.scaling is fixed by training; .*: method\.rank"):
        nested().choose(scaling="none")
    with pytest.raises(SettingError, match="none of this method's"):
        Frozen().choose(rank=1)
