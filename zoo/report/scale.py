"""Pictures about pictures seen from above and their ground sampling distance (GSD): plain arrays in, PNG files out."""

from pathlib import Path
from statistics import NormalDist

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from zoo.metrics.by_scale import UNKNOWN, accuracy_by_gsd
from zoo.metrics.wilson import wilson
from zoo.report.figures import save

INSIDE, OUTSIDE, GREY = "#2b6cb0", "#c05621", "#8a8a8a"

FINE, COARSE = "Blues", "Oranges"

NINETY = NormalDist().inv_cdf(0.95)

BARS = 120
"""Most samples whose intervals are drawn; more would be a carpet."""

DISTINCT = 8

SPREAD = 0.09
"""Width in decades over which samples of one GSD are drawn side by side, where there are only a few GSDs."""


def openness(
    z: NDArray[np.floating], gates: NDArray[np.floating], told: NDArray[np.floating], path: Path, *, unit: str = "m"
) -> None:
    """How far each rank dimension is open at each GSD, above the GSDs of the test split.

    Args:
        z: log10(GSD), [N], rising.
        gates: openness at z, [N, r].
        told: log10(GSD) of the test samples, NaN where unknown, [M].
        path: of the PNG.
        unit: of the GSD.
    """
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
    opens_fine = gates[0] >= gates[-1]
    # Curves of one direction are shaded by the scale at which they are half way, so that an order can be seen.
    middle = np.array([_half_way(z, curve) for curve in gates.T])
    for which, colours in ((opens_fine, FINE), (~opens_fine, COARSE)):
        shades = np.linspace(0.45, 0.95, max(1, which.sum()))
        for shade, rank in zip(shades, np.flatnonzero(which)[np.argsort(middle[which])], strict=False):
            upper.plot(10**z, gates[:, rank], color=matplotlib.colormaps[colours](shade), lw=1.6)
    upper.plot(10**z, gates.mean(1), color="black", ls="--", lw=1.6)
    handles = [
        Line2D([], [], color=matplotlib.colormaps[FINE](0.75), label=f"ranks open to fine scales: {opens_fine.sum()}"),
        Line2D([], [], color=matplotlib.colormaps[COARSE](0.75), label=f"to coarse scales: {(~opens_fine).sum()}"),
        Line2D([], [], color="black", ls="--", label="mean"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, fontsize=9, frameon=False)
    upper.set(ylim=(-0.03, 1.03), ylabel="openness (mean over layers)")
    upper.grid(alpha=0.25)
    known = told[~np.isnan(told)]
    left, right = min(z[0], *known, z[0]), max(z[-1], *known, z[-1])
    lower.hist(10**known, bins=list(10 ** np.linspace(left, right, 61)), color=GREY)
    lower.set(xscale="log", xlim=(10**left, 10**right), xlabel=f"ground sampling distance ({unit})")
    lower.set(ylabel="test samples", ylim=(0, None) if len(known) else (0, 1))
    missing = len(told) - len(known)
    if missing:
        lower.set_title(f"{missing} of {len(told)} of unknown scale", fontsize=8, loc="right", color="0.4")
    _metres(lower)
    save(figure, path)


def calibration(
    told: NDArray[np.floating],
    mean: NDArray[np.floating],
    deviation: NDArray[np.floating],
    path: Path,
    *,
    unit: str = "m",
) -> None:
    """Left, estimated beside told GSDs with 90 % intervals; right, how often intervals of any size hold the truth.

    Args:
        told: log10(GSD), NaN where unknown, [N].
        mean: estimates, [N].
        deviation: of the estimates, in decades, [N].
        path: of the PNG.
        unit: of the GSD.
    """
    known = ~np.isnan(told)
    told, mean, deviation = told[known], mean[known], deviation[known]
    figure = Figure(figsize=(10.5, 4.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    holds = np.abs(told - mean) <= NINETY * deviation
    chosen = np.unique(np.linspace(0, len(told) - 1, min(BARS, len(told))).astype(int))
    place = _side_by_side(told[chosen], mean[chosen])
    for shown, colour in ((holds[chosen], INSIDE), (~holds[chosen], OUTSIDE)):
        rows, x = chosen[shown], 10 ** place[shown]
        half = NINETY * deviation[rows]
        left.vlines(x, 10 ** (mean[rows] - half), 10 ** (mean[rows] + half), color=colour, lw=1, alpha=0.45)
        left.plot(x, 10 ** mean[rows], "o", ms=3, color=colour)
    ends = 10 ** np.array([min(place.min(), told.min()) - 0.1, max(place.max(), told.max()) + 0.1])
    left.plot(ends, ends, color="0.6", lw=1, ls=":")
    # Where samples stand aside of their GSD, the diagonal is not what they are to be compared with.
    left.plot(10**place, 10 ** told[chosen], "_", ms=5, color="black")
    # All but the most extreme intervals, which would squeeze the others.
    low, high = np.quantile(mean - NINETY * deviation, 0.01), np.quantile(mean + NINETY * deviation, 0.99)
    limits = 10 ** min(low, told.min() - 0.1), 10 ** max(high, told.max() + 0.1)
    left.set(xscale="log", yscale="log", xlim=ends, ylim=limits)
    left.set(xlabel=f"told GSD ({unit})", ylabel=f"estimated GSD ({unit}), 90 % interval")
    few = f", {len(chosen)} of them drawn" if len(chosen) < len(told) else ""
    left.set_title(f"{holds.mean():.0%} of {len(told)} intervals hold the truth (black){few}", fontsize=10)
    for axes in (left, right):
        axes.grid(alpha=0.25, which="major")
    _metres(left, both=True)

    levels = np.linspace(0.02, 0.98, 49)
    width = np.array([NormalDist().inv_cdf(0.5 + level / 2) for level in levels])
    found = (np.abs(told - mean) <= width[:, None] * deviation).mean(1)
    band = np.array([wilson(float(level), len(told)) for level in levels])
    right.fill_between(levels, band[:, 0], band[:, 1], color="0.87", label="95 % by chance, were it calibrated")
    right.plot([0, 1], [0, 1], color="black", lw=1)
    right.plot(levels, found, color=INSIDE, lw=2, label="measured")
    right.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    right.set(xlabel="nominal: probability of the central interval", ylabel="empirical: share that holds the truth")
    for x, y, words in ((0.05, 0.93, "intervals too wide"), (0.95, 0.05, "intervals too narrow")):
        right.text(x, y, words, fontsize=8, color="0.4", ha="left" if x < 0.5 else "right")
    right.legend(fontsize=8, loc="upper left", bbox_to_anchor=(0.0, 0.9), frameon=False)
    octaves = np.abs(told - mean).mean() / np.log10(2)
    right.set_title(f"mean error {octaves:.2f} octaves", fontsize=10)
    save(figure, path)


def by_gsd(gsd: NDArray[np.floating], right: NDArray[np.floating], path: Path, *, unit: str = "m") -> None:
    """Accuracy by GSD with Wilson's 95 % intervals and numbers of samples; samples of unknown scale are a bar apart.

    Args:
        gsd: NaN where unknown, [N].
        right: whether each answer is right, [N].
        path: of the PNG.
        unit: of the GSD.
    """
    bins = accuracy_by_gsd(gsd, right)
    figure = Figure(figsize=(max(5.0, 1.6 + 1.1 * len(bins)), 4.2), layout="constrained")
    axes = figure.subplots()
    value = np.array([part.accuracy for part in bins])
    ends = np.array([wilson(part.accuracy, part.n) for part in bins])
    # An interval around 0 or 1 lies on one side of it alone, up to rounding.
    errors = np.abs(np.stack([value - ends[:, 0], ends[:, 1] - value])).clip(0)
    colours = [GREY if part.name == UNKNOWN else INSIDE for part in bins]
    axes.bar(range(len(bins)), value, width=0.72, color=colours, alpha=0.85)
    axes.errorbar(range(len(bins)), value, yerr=errors, fmt="none", ecolor="black", elinewidth=1.2, capsize=4)
    for k, part in enumerate(bins):
        axes.text(k, ends[k, 1] + 0.015, f"{part.accuracy:.0%}", ha="center", va="bottom", fontsize=9)
    axes.axhline(right.mean(), color="black", ls="--", lw=1)
    axes.set_xticks(range(len(bins)), [f"{part.name}\nn = {part.n}" for part in bins], fontsize=8)
    axes.set(ylim=(0, 1.1), xlim=(-0.6, len(bins) - 0.4), ylabel="accuracy, 95 % interval")
    axes.set_xlabel(f"ground sampling distance ({unit})")
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)
    axes.set_title(f"{right.mean():.1%} of all {len(right)} (dashed)", fontsize=10)
    save(figure, path)


def _half_way(z: NDArray[np.floating], curve: NDArray[np.floating]) -> float:
    """Where a curve [N] over z [N] is nearest to one half."""
    return float(z[np.abs(curve - 0.5).argmin()])


def _side_by_side(told: NDArray[np.floating], mean: NDArray[np.floating]) -> NDArray[np.floating]:
    """Places of samples [N] on the axis of told GSDs: in order of their estimates beside each other where many share
    one, else where they are."""
    distinct = np.unique(told)
    if len(distinct) > DISTINCT:
        return told
    place = told.astype(float)
    gap = np.diff(distinct).min() if len(distinct) > 1 else 1.0
    for value in distinct:
        rows = np.flatnonzero(told == value)
        offsets = np.linspace(-1, 1, len(rows)) if len(rows) > 1 else np.zeros(1)
        place[rows[np.argsort(mean[rows], kind="stable")]] += offsets * min(SPREAD, gap / 3)
    return place


def _metres(axes: Axes, *, both: bool = False) -> None:
    """Plain numbers on logarithmic axes, in place of powers of ten."""
    for axis in (axes.xaxis, axes.yaxis) if both else (axes.xaxis,):
        axis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
