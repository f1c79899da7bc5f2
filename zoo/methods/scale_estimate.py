"""SSE-U: the ground sampling distance of a picture from frozen features, with its uncertainty (arXiv 2605.07562).

A heteroscedastic head predicts mean and log-variance s of z = log10(GSD); L = 0.5 exp(-s) (z - mu)^2 + 0.5 s.
Size of the head and bounds of s are our choice, the paper's are not known.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from zoo.errors import SettingError

OCTAVE = math.log10(2)

BOUNDS = (-8.0, 4.0)

METADATA, ESTIMATE, DEFAULT = 0, 1, 2

BRANCHES = ("metadata", "estimate", "default")

ORIGINS = ("told", "estimated", "default")
"""Of the branches, in answers: what is called metadata in measurements is told to the method, by whomever."""

MOVED = 1e-4
"""Decades that are no matter of rounding."""

NINETY = 1.6448536
"""Half the width of a Gaussian's central 90 % interval, in deviations."""


class ScaleEstimate(nn.Module):
    """Mean and log-variance of log10(GSD) from pooled features.

    Args:
        width: of the features.
        hidden: units of the one hidden layer.
        dropout: before and after it: pictures with a known scale are few.
    """

    def __init__(self, width: int, *, hidden: int = 64, dropout: float = 0.15) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.LayerNorm(width),
            nn.Dropout(dropout),
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, 2),
        )

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """[B, width] -> mean [B] and log-variance [B]."""
        mean, log_variance = self.body(pooled).unbind(-1)
        return mean, log_variance.clamp(*BOUNDS)

    @staticmethod
    def loss(told: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
        """Mean Gaussian negative log-likelihood over the samples whose log10(GSD) is told, []; zero where none is."""
        known = ~told.isnan()
        error = torch.where(known, told - mean, 0.0)
        likelihood = 0.5 * (-log_variance).exp() * error.square() + 0.5 * log_variance
        return torch.where(known, likelihood, 0.0).sum() / known.sum().clamp(min=1)

    @staticmethod
    def measure(observed: Mapping[str, Tensor]) -> dict[str, float]:
        """Error and calibration over a split, and shares of the branches.

        `gsd_mae_octaves`, `gsd_constant_mae_octaves` (of always saying the median), `gsd_coverage_90` (share of told
        GSDs inside the 90 % interval), `gsd_deviation_octaves` (median), `branch_...` (shares).
        """
        branch = observed["gsd/branch"]
        shares = {f"branch_{name}": (branch == i).double().mean().item() for i, name in enumerate(BRANCHES)}
        if "gsd/mean" not in observed:
            return shares
        told, mean, deviation = observed["gsd/told"], observed["gsd/mean"], observed["gsd/deviation"]
        known = ~told.isnan()
        found = {"gsd_deviation_octaves": deviation.median().item() / OCTAVE} | shares
        if not known.any():
            return found
        error, spread = (told - mean)[known].abs(), deviation[known]
        return {
            "gsd_mae_octaves": error.mean().item() / OCTAVE,
            "gsd_constant_mae_octaves": (told[known] - told[known].median()).abs().mean().item() / OCTAVE,
            "gsd_coverage_90": (error <= NINETY * spread).double().mean().item(),
        } | found

    @staticmethod
    def remarks(observed: Mapping[str, Tensor]) -> dict[str, Any]:
        """`gsd`, `gsd_from` (told, estimated, default), `gsd_clamped` where training saw none so fine or coarse, and
        `gsd_estimate` with its 90 % interval where there is one."""
        used, branch = observed["gsd/used"].item(), int(observed["gsd/branch"].item())
        found: dict[str, Any] = {"gsd": 10**used, "gsd_from": ORIGINS[branch]}
        source = {METADATA: "gsd/told", ESTIMATE: "gsd/mean"}.get(branch)
        if source and abs(observed[source].item() - used) > MOVED:
            found["gsd_clamped"] = True
        if "gsd/mean" in observed:
            mean, deviation = observed["gsd/mean"].item(), observed["gsd/deviation"].item()
            ends = {"low": -NINETY, "middle": 0.0, "high": NINETY}
            found["gsd_estimate"] = {name: 10 ** (mean + k * deviation) for name, k in ends.items()}
        return found


def logarithm(metres: Tensor, ids: Sequence[str]) -> Tensor:
    """log10 of the ground sampling distances that samples `ids` are told, [B]; NaN where nobody tells it.

    Raises:
        SettingError: one is not positive, or infinite.
    """
    # An exported graph cannot raise: who runs it gives positive metres, or NaN. A compiled one cannot name samples.
    if torch.compiler.is_exporting():
        return metres.log10()
    fine = ~((metres <= 0) | metres.isinf()).any()
    if torch.compiler.is_compiling():
        torch._assert_async(fine, "a gsd is not positive, or infinite; without trainer.compile its sample is named")
    elif not fine:
        pairs = zip(ids, metres.tolist(), strict=True)
        wrong = ", ".join(f"{name} {gsd:g}" for name, gsd in pairs if gsd <= 0 or math.isinf(gsd))
        raise SettingError(f"gsd of {wrong}: expected positive metres per pixel, or NaN for unknown")
    return metres.log10()


def resolve(
    told: Tensor,
    mean: Tensor | None,
    log_variance: Tensor | None,
    *,
    trust: float,
    default: float | Tensor,
    unlike: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The rule of three branches: what is told, else an estimate that is sure enough, else the default.

    An estimate's variance is learnt on the training's pictures and says nothing of others: it is wrong there by octaves
    without growing. So none is taken of a picture that is unlike them.

    Args:
        told: log10(GSD), NaN where nobody tells it, [B].
        mean: estimates [B], or None.
        log_variance: of the estimates [B].
        trust: largest deviation, in decades, with which an estimate is used.
        default: log10(GSD) otherwise, a number or [].
        unlike: as `Batch.unlike`.

    Returns:
        log10(GSD) [B], without gradient, and the branch taken, int64 [B]: an index of `BRANCHES`.
    """
    branch = torch.where(told.isnan(), DEFAULT, METADATA)
    z = torch.where(told.isnan(), default, told)
    if mean is not None and log_variance is not None:
        sure = told.isnan() & ((log_variance / 2).exp() < trust)
        sure = sure if unlike is None else sure & (unlike <= 1)
        branch, z = torch.where(sure, ESTIMATE, branch), torch.where(sure, mean.detach().float(), z)
    return z, branch


def widen(low: Tensor, high: Tensor, told: Tensor) -> None:
    """Let the span of log10(GSD) that training saw, [] and [], take in those told now, [B], of every process."""
    # Unknown scales are neither least nor largest; no branch on values, so that it compiles as one graph.
    low.copy_(torch.minimum(low, told.nan_to_num(math.inf).min()))
    high.copy_(torch.maximum(high, told.nan_to_num(-math.inf).max()))
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(low, torch.distributed.ReduceOp.MIN)
        torch.distributed.all_reduce(high, torch.distributed.ReduceOp.MAX)


def observe(
    told: Tensor, used: Tensor, branch: Tensor, mean: Tensor | None, log_variance: Tensor | None
) -> dict[str, Tensor]:
    """For reports, one row a sample: log10(GSD) told and used, the branch, and the estimate with its deviation."""
    found = {"gsd/told": told, "gsd/used": used, "gsd/branch": branch}
    if mean is not None and log_variance is not None:
        found |= {"gsd/mean": mean.detach(), "gsd/deviation": (log_variance.detach() / 2).exp()}
    return found
