"""Reliability of class probabilities: how often what has a probability is right. Plain arrays in, a PNG out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from zoo.metrics.wilson import wilson
from zoo.report.figures import ACCENT, GREY, NOTE, save

MEAN = "#c05621"
"""Of a bin's mean probability; also told from the bars by its form."""


@dataclass(frozen=True)
class Bins:
    """Probabilities of the likeliest class in bins of one width from 0 to 1.

    Attributes:
        title: whose they are.
        ece: over these bins.
        count: samples in each, int [B].
        accuracy: share of them that is right, [B]; NaN where there are none.
        confidence: their mean probability, [B]; NaN likewise.
    """

    title: str
    ece: float
    count: NDArray[np.int64]
    accuracy: NDArray[np.floating]
    confidence: NDArray[np.floating]


def reliability(panels: Sequence[Bins], path: Path, *, what: str = "samples", intervals: bool = True) -> None:
    """Bars of accuracy by bin beside the diagonal of perfect calibration, and below how many samples each bin has.

    Args:
        panels: drawn side by side.
        path: of the PNG.
        what: is counted.
        intervals: whether accuracies have Wilson's; those of segments, which come clip by clip, would be too narrow.
    """
    figure = Figure(figsize=(0.6 + 4.9 * len(panels), 6.1), layout="constrained")
    axes = figure.subplots(2, len(panels), sharex=True, squeeze=False, height_ratios=[3.4, 1])
    for (upper, lower), bins in zip(axes.T, panels, strict=True):
        _draw(upper, bins)
        if intervals:
            _intervals(upper, bins)
        _count(lower, bins, max(int(panel.count.max()) for panel in panels))
    axes[0][0].set_ylabel("accuracy")
    axes[1][0].set_ylabel(what)
    handles = [
        Patch(facecolor=ACCENT, alpha=0.85, label=f"accuracy in a bin{', 95 % interval' if intervals else ''}"),
        Line2D([], [], color=MEAN, lw=2.4, label="mean probability in it"),
        Line2D([], [], color="black", lw=1, ls="--", label="perfectly calibrated"),
    ]
    figure.legend(
        handles=handles, loc="outside upper center", ncols=3 if len(panels) > 1 else 1, fontsize=9, frameon=False
    )
    save(figure, path)


def _draw(axes: Axes, bins: Bins) -> None:
    width = 1 / len(bins.count)
    left = np.arange(len(bins.count)) * width
    filled = bins.count > 0
    axes.bar(left[filled], bins.accuracy[filled], 0.92 * width, align="edge", color=ACCENT, alpha=0.85)
    axes.hlines(bins.confidence[filled], left[filled], left[filled] + 0.92 * width, color=MEAN, lw=2.4)
    axes.plot([0, 1], [0, 1], color="black", lw=1, ls="--")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), yticks=np.linspace(0, 1, 6))
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)
    axes.set_title(f"{bins.title}: ECE {bins.ece:.3f} ({len(bins.count)} bins)", fontsize=10)
    words = "bars above the diagonal: too cautious\nbelow it: too sure"
    axes.text(0.03, 0.99, words, fontsize=8, color=NOTE, va="top", bbox={"color": "white", "alpha": 0.8, "pad": 2})


def _intervals(axes: Axes, bins: Bins) -> None:
    filled = np.flatnonzero(bins.count)
    value = bins.accuracy[filled]
    ends = np.array([wilson(float(share), int(n)) for share, n in zip(value, bins.count[filled], strict=True)])
    # An interval around 0 or 1 lies on one side of it alone, up to rounding.
    errors = np.abs(np.stack([value - ends[:, 0], ends[:, 1] - value])).clip(0)
    middle = (filled + 0.46) / len(bins.count)
    axes.errorbar(middle, value, yerr=errors, fmt="none", ecolor="black", elinewidth=0.9, capsize=2)


def _count(axes: Axes, bins: Bins, most: int) -> None:
    """Bars with their numbers; as high for a number in every panel."""
    width = 1 / len(bins.count)
    left = np.arange(len(bins.count)) * width
    axes.bar(left, bins.count, 0.92 * width, align="edge", color=GREY)
    for x, count in zip(left, bins.count, strict=True):
        if count:
            words = str(count) if count < 10_000 else f"{count / 1000:.0f}k"  # as wide as a bar
            axes.text(x + 0.46 * width, count, words, ha="center", va="bottom", fontsize=6.5, color="0.25")
    axes.set(ylim=(0, 1.16 * most), xlabel="probability of the likeliest class", xticks=np.linspace(0, 1, 6))
