"""Laplace approximation: golden values of a logistic toy, and what the equations say, computed otherwise."""

import math

import pytest
import torch
from torch.nn import functional as F

from zoo.errors import SettingError
from zoo.ops import laplace

X = torch.tensor([-2.0, -1.0, 1.0, 2.0], dtype=torch.double)
Y = torch.tensor([0, 0, 1, 1])
W, LAMBDA = 1.006594, 1.0


def toy(w: torch.Tensor, x: torch.Tensor = X) -> torch.Tensor:
    """Logits [N, 2] of a logistic regression without intercept."""
    return torch.stack([torch.zeros_like(x), w * x], dim=-1)


def curvature() -> torch.Tensor:
    jacobians = torch.stack([torch.zeros_like(X), X], dim=-1)[..., None]
    return laplace.gauss_newton(jacobians, toy(torch.tensor(W, dtype=torch.double)).softmax(-1))


def test_the_toy_has_its_golden_values() -> None:
    w = torch.tensor(W, dtype=torch.double, requires_grad=True)
    loss = F.cross_entropy(toy(w), Y, reduction="sum") + LAMBDA / 2 * w**2
    (slope,) = torch.autograd.grad(loss, w)
    assert abs(slope.item()) < 1e-5, "it is the trained number of this prior"
    h = curvature()
    assert h.item() == pytest.approx(1.223563, abs=1e-6)
    root = laplace.root(h, LAMBDA)
    assert (root @ root.T).item() == pytest.approx(0.449729, abs=1e-6)
    likelihood = -F.cross_entropy(toy(w), Y, reduction="sum").item()
    evidence = laplace.log_evidence(h, torch.tensor([W]), LAMBDA, likelihood)
    assert evidence == pytest.approx(-1.779886, abs=1e-6)
    assert laplace.effective(h, LAMBDA) == pytest.approx(1.223563 / 2.223563, abs=1e-6)


def test_a_linearised_prediction_is_the_mean_of_the_sigmoid_over_the_toy_s_gaussian_logit() -> None:
    at = torch.tensor([3.0])
    assert toy(torch.tensor(W), at).softmax(-1)[0, 1].item() == pytest.approx(0.953460, abs=1e-6)
    deviations = laplace.noise(200_000, 1) * laplace.root(curvature(), LAMBDA).float()
    jacobians = torch.tensor([[[0.0], [3.0]]])
    found = laplace.linearised(toy(torch.tensor(W), at), jacobians, deviations)
    assert found.sum().item() == pytest.approx(1, abs=1e-6)
    # By quadrature; MacKay's probit formula lies beside it.
    deviation = 3 * math.sqrt(0.449729)
    grid = torch.linspace(-8, 8, 100_001, dtype=torch.double)
    weights = (-grid.square() / 2).exp() / (-grid.square() / 2).exp().sum()
    expected = (weights * (3 * W + deviation * grid).sigmoid()).sum().item()
    assert found[0, 1].item() == pytest.approx(expected, abs=1e-3)
    probit = torch.sigmoid(torch.tensor(3 * W / math.sqrt(1 + math.pi / 8 * deviation**2))).item()
    assert probit == pytest.approx(0.867219, abs=1e-5)
    assert abs(expected - probit) < 0.02


def random_curvature(size: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    rows = torch.randn(7, 3, size)
    return laplace.gauss_newton(rows, torch.randn(7, 3).softmax(-1)), torch.randn(size)


def test_the_matrix_is_the_sum_over_samples_of_the_formula() -> None:
    torch.manual_seed(0)
    rows, p = torch.randn(7, 3, 5), torch.randn(7, 3).softmax(-1)
    expected = sum(j.T @ (torch.diag(q) - torch.outer(q, q)) @ j for j, q in zip(rows, p, strict=True))
    torch.testing.assert_close(laplace.gauss_newton(rows, p).float(), expected)


def test_no_other_prior_has_more_evidence() -> None:
    h, trained = random_curvature()
    best = laplace.best_precision(h, trained)
    found = laplace.log_evidence(h, trained, best, 0.0)
    others = [laplace.log_evidence(h, trained, best * factor, 0.0) for factor in (1e-3, 0.5, 0.99, 1.01, 2, 1e3)]
    assert found > max(others)
    assert laplace.effective(h, best) == pytest.approx(best * trained.double().square().sum().item())


def test_the_root_is_triangular_and_gives_the_inverse() -> None:
    h, _ = random_curvature()
    root = laplace.root(h, 0.3)
    torch.testing.assert_close(root @ root.T, torch.linalg.inv(h + 0.3 * torch.eye(5, dtype=torch.double)))
    assert torch.equal(root, root.triu())
    assert bool((root.diag() > 0).all())


def test_one_number_has_a_best_prior_too() -> None:
    h = curvature()
    best = laplace.best_precision(h, torch.tensor([W]))
    assert best * W**2 == pytest.approx(1.223563 / (1.223563 + best), abs=1e-5)


@pytest.mark.parametrize(
    ("h", "trained", "words"),
    [
        (torch.eye(3, dtype=torch.double), torch.zeros(3), "the trained numbers are all 0"),
        (torch.zeros(3, 3, dtype=torch.double), torch.ones(3), "the training split determines none of the numbers"),
    ],
)
def test_where_no_prior_is_best_it_has_to_be_given(h: torch.Tensor, trained: torch.Tensor, words: str) -> None:
    with pytest.raises(SettingError, match=f"method.prior: {words}.*; set method.prior"):
        laplace.best_precision(h, trained)
