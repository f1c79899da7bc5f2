"""The picture of a sweep: the validation metric over every searched key."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter


def draw(path: Path, record: dict[str, Any]) -> None:
    """One panel a key and one dot a trial, filled for the winner's; nothing where no trial was finished."""
    winner = record["winner"] and record["winner"]["values"]
    dots = [(point["values"], one["val"]) for point in record["points"] for one in point["trials"]]
    dots = [(values, val) for values, val in dots if val is not None]
    if not dots:
        return
    figure = Figure(figsize=(4 * len(record["space"]), 3.2), layout="constrained")
    panels = figure.subplots(1, len(record["space"]), squeeze=False, sharey=True)[0]
    for panel, (key, told) in zip(panels, record["space"].items(), strict=True):
        listed = isinstance(told, list)
        for values, val in dots:
            place = told.index(values[key]) if listed else values[key]
            panel.plot(place, val, "o", color="tab:blue", fillstyle="full" if values == winner else "none")
        if listed:
            panel.set_xticks(range(len(told)), [str(value) for value in told])
            panel.margins(x=0.2)
        elif told.startswith("loguniform"):
            panel.set_xscale("log")
            panel.xaxis.set_minor_formatter(NullFormatter())  # a decade or two: labels of parts of it collide
        panel.set_xlabel(key)
    panels[0].set_ylabel("validation metric (filled: the winner)")
    figure.savefig(path, dpi=120)
