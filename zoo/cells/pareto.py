"""The picture of one pairing of a matrix: the metric over every cost, and the front that no method beats in both."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points (cost, worth) that no other beats: none is as cheap and worth more, or cheaper and worth
    as much; from cheap to dear."""
    found: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not found or points[i][1] > points[found[-1]][1]:
            found.append(i)
    return found


def draw(path: Path, pairing: Mapping[str, Any], costs: Mapping[str, str]) -> None:
    """A panel a cost; bars are deviations over seeds.

    Args:
        path: of the picture.
        pairing: of the record.
        costs: what is on the axes below, by key of a row.
    """
    rows = pairing["rows"]
    figure = Figure(figsize=(11, 8), layout="constrained")
    panels = figure.subplots(2, (len(costs) + 1) // 2, squeeze=False, sharey=True)
    for panel, (key, words) in zip(panels.flat, costs.items(), strict=False):
        points = [(max(row[key], 1), row["mean"]) for row in rows]
        best = front(points)
        for i, (row, (x, y)) in enumerate(zip(rows, points, strict=True)):
            color = "tab:blue" if i in best else "tab:gray"
            panel.errorbar(x, y, yerr=row["std"] or 0, fmt="o", color=color, markersize=4, elinewidth=0.8)
            panel.annotate(row["method"], (x, y), xytext=(4, 3), textcoords="offset points", fontsize=7, color=color)
        panel.step([points[i][0] for i in best], [points[i][1] for i in best], where="post", color="tab:blue", lw=0.8)
        panel.set_xscale("log")
        panel.set_xlabel(words)
    for line in panels:
        line[0].set_ylabel(f"{pairing['metric'].replace('_', ' ')}, %")
    figure.suptitle(f"{pairing['title']}: blue, what no method beats in both")
    figure.savefig(path, dpi=110)
