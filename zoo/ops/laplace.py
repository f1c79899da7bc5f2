"""Laplace approximation of a classifier's posterior over P numbers, by the Gauss-Newton matrix.

    H = sum_n J_n^T (diag p_n - p_n p_n^T) J_n     J_n [K, P]: of the logits at the trained numbers; p_n: their softmax
    posterior: Gaussian around the trained numbers theta, of covariance (H + lambda I)^-1; prior: of precision lambda
    log evidence = log p(D | theta) - lambda / 2 |theta|^2 + P / 2 log lambda - 1/2 log det(H + lambda I)

(MacKay 1992; Daxberger et al. 2021, arXiv 2106.14806.) The evidence is largest where lambda |theta|^2 is the number of
effective parameters, sum_i h_i / (h_i + lambda) over the eigenvalues h of H.

A linearised prediction (Immer et al. 2021, arXiv 2008.08216) takes logits for linear in theta, f + J (theta' - theta),
so that they are Gaussian, too, and averages their softmax over draws.
"""

import math

import torch
from torch import Tensor

from zoo.errors import SettingError


def gauss_newton(jacobians: Tensor, probabilities: Tensor) -> Tensor:
    """H of some samples, float64 [P, P].

    Args:
        jacobians: [B, K, P].
        probabilities: [B, K].
    """
    weights, rows = probabilities.double()[..., None], jacobians.double()
    # diag p - p p^T is the covariance of a drawn class: positive also after rounding.
    parts = (weights.sqrt() * (rows - (weights * rows).sum(1, keepdim=True))).flatten(0, 1)
    return parts.T @ parts


def effective(curvature: Tensor, precision: float) -> float:
    """How many of the numbers the data determine.

    Args:
        curvature: H, float64 [P, P].
        precision: lambda.
    """
    values = _eigenvalues(curvature)
    return (values / (values + precision)).sum().item()


def best_precision(curvature: Tensor, trained: Tensor) -> float:
    """The lambda of the largest evidence.

    Args:
        curvature: H, float64 [P, P].
        trained: theta, [P].

    Raises:
        SettingError: there is none, as nothing was trained or the data say nothing.
    """
    from scipy.optimize import brentq  # a tenth of a second that predictions do not need

    values, square = _eigenvalues(curvature), trained.double().square().sum().item()
    largest = values.max().item()
    if square == 0 or largest == 0:
        zero = "the trained numbers are all 0" if square == 0 else "the training split determines none of the numbers"
        raise SettingError(f"method.prior: {zero}, so that no prior has the largest evidence; set method.prior")

    def slope(log: float) -> float:
        precision = math.exp(log)
        return (values / (values + precision)).sum().item() - precision * square

    # Where the largest eigenvalue alone, or all P numbers whole, would be what counts.
    low = 2 * largest / (square * largest + math.sqrt((square * largest) ** 2 + 4 * square * largest))
    return math.exp(brentq(slope, math.log(low / 2), math.log(2 * len(values) / square)))


def log_evidence(curvature: Tensor, trained: Tensor, precision: float, log_likelihood: float) -> float:
    """Of the data, in nats.

    Args:
        curvature: H, float64 [P, P].
        trained: theta, [P].
        precision: lambda.
        log_likelihood: of the data at theta.
    """
    prior = len(trained) * math.log(precision) - precision * trained.double().square().sum().item()
    return log_likelihood + (prior - (_eigenvalues(curvature) + precision).log().sum().item()) / 2


def root(curvature: Tensor, precision: float) -> Tensor:
    """An upper triangular R with R R^T = (H + lambda I)^-1, float64 [P, P]; there is only one with a positive diagonal.

    Args:
        curvature: H, float64 [P, P].
        precision: lambda, above 0.
    """
    one = torch.eye(len(curvature), dtype=curvature.dtype, device=curvature.device)
    lower = torch.linalg.cholesky(curvature + precision * one)
    solved: Tensor = torch.linalg.solve_triangular(lower.T, one, upper=True)
    return solved


def noise(draws: int, size: int) -> Tensor:
    """Standard normal draws, the same ones always, float32 [draws, P]."""
    return torch.randn(draws, size, generator=torch.Generator().manual_seed(0))


def linearised(logits: Tensor, jacobians: Tensor, deviations: Tensor) -> Tensor:
    """Mean softmax of linearised logits, [B, K].

    Args:
        logits: f, [B, K].
        jacobians: [B, K, P].
        deviations: draws of the posterior less its mean, [S, P]; the same ones for every sample.
    """
    drawn = logits[..., None] + jacobians @ deviations.T
    return drawn.softmax(1).mean(-1)


def _eigenvalues(curvature: Tensor) -> Tensor:
    values: Tensor = torch.linalg.eigvalsh(curvature)
    return values.clamp(min=0)
