"""Control signals pass unchanged, are watched over a split, and are replaced by what an intervention names."""

import pytest
import torch

from zoo.methods.signals import Controlled, Signal, described, interventions, watching


def watched(value: torch.Tensor, *, each: int = 1, span: tuple[float, float] | None = None) -> dict[str, float]:
    controlled = {"control": Controlled([Signal(span)])}
    with watching(controlled):
        for part in value.split(4 * each):
            controlled["control"].signals[0](part, each)
    return described(controlled)["control"]


def test_a_signal_passes_as_it_is_and_keeps_nothing() -> None:
    value, signal = torch.randn(3, 5), Signal()
    assert signal(value) is value
    assert signal.watched is None


def test_effective_rank_counts_directions() -> None:
    torch.manual_seed(0)
    even = torch.randn(4000, 8)
    assert watched(even)["effective_rank"] == pytest.approx(8, abs=0.05)
    line = torch.randn(4000, 1) * torch.randn(8) + 3
    assert watched(line)["effective_rank"] == pytest.approx(1, abs=1e-3)
    assert watched(torch.full((10, 8), 0.7))["effective_rank"] == 0
    # Singular values 3 and 1: exp(entropy of 3/4 and 1/4).
    two = torch.zeros(4, 2)
    two[:, 0], two[:, 1] = torch.tensor([3.0, -3, 0, 0]), torch.tensor([0.0, 0, 1, -1])
    assert watched(two)["effective_rank"] == pytest.approx(4 / 3**0.75, abs=1e-6)


def test_spread_is_over_samples_and_not_over_their_tokens() -> None:
    tokens = torch.tensor([-1.0, 1.0]).repeat(6)[:, None]  # six samples of two rows each, all alike
    assert watched(tokens, each=2)["spread"] == 0
    assert watched(tokens)["spread"] == pytest.approx(1)


def test_saturation_is_the_share_near_either_end() -> None:
    value = torch.tensor([[0.0, 0.5], [0.99, 0.5], [0.03, 0.97], [0.5, 1.0]])
    assert watched(value, span=(0.0, 1.0))["saturated"] == pytest.approx(3 / 8)
    assert "saturated" not in watched(value)


def test_the_mean_is_that_of_the_watched_split() -> None:
    controlled = {"control": Controlled([Signal(), Signal()])}
    first, second = controlled["control"].signals
    with watching(controlled):
        first(torch.tensor([[1.0, 10.0], [3.0, 30.0]]))
        second(torch.tensor([[5.0]]))
    with interventions(controlled)["control_mean"]():
        assert first(torch.zeros(3, 4, 2)).tolist() == [[[2.0, 20.0]] * 4] * 3
        assert second(torch.zeros(1, 1)).tolist() == [[5.0]]
    value = torch.zeros(2, 2)
    assert first(value) is value


def test_another_sample_is_the_one_before_over_batches() -> None:
    controlled = {"control": Controlled([Signal()])}
    (signal,) = controlled["control"].signals
    rows = torch.arange(10.0)[:, None]  # five samples of two rows
    with interventions(controlled)["control_other"]():
        given = torch.cat([signal(part, 2) for part in (rows[:4], rows[4:6], rows[6:])])
    # The first sample has none before it and takes the last of its batch.
    assert given.flatten().tolist() == [2, 3, 0, 1, 2, 3, 4, 5, 6, 7]


def test_a_gate_can_be_held_open() -> None:
    gate = {"gate": Controlled([Signal((0.0, 1.0))], ("open",))}
    with interventions(gate)["gate_open"]():
        assert (gate["gate"].signals[0](torch.rand(3, 2)) == 1).all()


def test_a_replacement_ends_with_an_error() -> None:
    controlled = {"gate": Controlled([Signal()], ("open",))}
    with pytest.raises(RuntimeError, match="stop"), interventions(controlled)["gate_open"]():
        raise RuntimeError("stop")
    assert controlled["gate"].signals[0].replacement is None
