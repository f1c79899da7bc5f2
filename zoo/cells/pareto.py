"""The picture of one pairing of a matrix: the metric over every cost, and the front that no method beats in both."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

DECADE = 10


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points (cost, worth) that no other beats: none is as cheap and worth more, or cheaper and worth
    as much; from cheap to dear."""
    found: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not found or points[i][1] > points[found[-1]][1]:
            found.append(i)
    return found


def draw(path: Path, pairing: Mapping[str, Any], costs: Mapping[str, tuple[str, float]]) -> None:
    """A panel a cost; bars are deviations over seeds.

    Args:
        path: of the picture.
        pairing: of the record.
        costs: what is on the axes below, and its unit, by key of a row.
    """
    rows = pairing["rows"]
    figure = Figure(figsize=(11, 8), layout="constrained")
    panels = figure.subplots(2, (len(costs) + 1) // 2, squeeze=False, sharey=True)
    for panel, (key, (words, unit)) in zip(panels.flat, costs.items(), strict=False):
        values = [row[key] / unit for row in rows]
        # Over less than a decade a logarithmic axis has labels that overlap; on a longer one zero stands at one.
        long = max(values) > DECADE * max(min(values), 1)
        points = [(max(value, 1) if long else value, row["mean"]) for value, row in zip(values, rows, strict=True)]
        best = front(points)
        for i, (row, (x, y)) in enumerate(zip(rows, points, strict=True)):
            color = "tab:blue" if i in best else "tab:gray"
            panel.errorbar(x, y, yerr=row["std"] or 0, fmt="o", color=color, markersize=4, elinewidth=0.8)
            panel.annotate(row["method"], (x, y), xytext=(4, 3), textcoords="offset points", fontsize=7, color=color)
        panel.step([points[i][0] for i in best], [points[i][1] for i in best], where="post", color="tab:blue", lw=0.8)
        panel.set_xscale("log" if long else "linear")
        panel.margins(x=0.15)  # for names at the right
        panel.set_xlabel(words)
    for line in panels:
        line[0].set_ylabel(f"{pairing['metric'].replace('_', ' ')}, %")
    figure.suptitle(f"{pairing['title']}: blue, what no method beats in both")
    figure.savefig(path, dpi=110)
