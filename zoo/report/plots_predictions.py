"""One picture of one answer: a clip's timeline, a cloud, or a picture from above beside what was said about it."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from zoo.backbones.vision_language import LETTERS
from zoo.batch import Clip, Cloud, Picture
from zoo.report import plots, plots_clouds
from zoo.report.plots_answers import small, wrapped
from zoo.report.plots_clouds import AXES, WRONG, Up

if TYPE_CHECKING:
    from data_modules.base import DataModule
    from data_modules.kinds.clips import ClipDataModule

Arrays = Mapping[str, NDArray[Any]]

LIKELY = 5
"""Classes whose probabilities are drawn over time."""

ACCENT, GREY, NOTE = "#2b6cb0", "0.8", "0.4"

SAID = {"told": "as told", "file": "as its file says", "estimated": "estimated", "default": "the default"}
"""Who says a ground sampling distance."""

WIDE = 46
"""Letters of a line of text."""


def draw(
    path: Path,
    sample: Clip | Cloud | Picture,
    record: Mapping[str, Any],
    prediction: Arrays,
    observed: Arrays,
    data: "DataModule",
) -> None:
    """Write a PNG of an answer.

    Args:
        path: of the PNG.
        sample: that was asked about.
        record: what was answered, in plain values.
        prediction: the task's decoded output for it.
        observed: of the method, one row a segment.
        data: its classes, and how it cuts clips or which way is up.
    """
    if isinstance(sample, Clip):
        figure = _clip(sample, prediction, observed, cast("ClipDataModule", data))
    elif isinstance(sample, Cloud):
        figure = _cloud(sample, record, prediction, data)
    else:
        figure = _picture(sample, record)
    title = "\n".join([_name(sample.id), *(f"forced: {line}" for line in record.get("forced", ()))])
    colour = WRONG if "forced" in record else "black"
    figure.suptitle(title, fontsize=10, x=0.02, ha="left", color=colour, parse_math=False)
    with warnings.catch_warnings():
        # A model may write in any script, and files may be called in any; what the font lacks is a box.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        plots.save(figure, path)


def _clip(sample: Clip, prediction: Arrays, observed: Arrays, data: "ClipDataModule") -> Figure:
    """Pictures, what was said, probabilities and, where a method has gates, how open they are."""
    names, seconds = [*data.classes, "background"], data.segment_seconds
    by_modality = prediction["probabilities"].ndim == 3
    maps = ("audio", "visual") if by_modality else ("",)
    gates = {name: value for name, value in observed.items() if name.startswith("gate/")}
    heights = [1.3, *([0.42] * (not by_modality)), *([1.6] * len(maps))] + ([0.3 + 0.45 * len(gates)] if gates else [])
    figure = Figure(figsize=(11, 0.6 + 1.15 * sum(heights)), layout="constrained")
    rows = list(figure.subplots(len(heights), 1, height_ratios=heights))
    plots.draw_film(rows.pop(0), sample.frames)
    if not by_modality:
        strip = rows.pop(0)
        plots.draw_strip(strip, 0, prediction["segments"], names, plots.event_colours(len(names) - 1))
        strip.set(xlim=(0, len(sample.frames)), ylim=(0, 1), yticks=[0.5], yticklabels=["event"], xticks=[])
        strip.tick_params(labelsize=9, length=0)
    for modality in maps:
        axes = rows.pop(0)
        values = prediction["probabilities"]
        values = values[("audio", "visual").index(modality)] if by_modality else values
        wanted = np.argsort(-values.max(0), kind="stable")[:LIKELY]
        plots.draw_heat(axes, values[:, wanted], [names[k] for k in wanted], seconds, start=sample.start)
        for (t, row), value in np.ndenumerate(values[:, wanted]):
            axes.text(
                t + 0.5,
                row + 0.5,
                f"{value:.2f}".removeprefix("0") if value < 1 else "1",
                ha="center",
                va="center",
                fontsize=7,
                color="black" if value > 0.6 else "white",
            )
        if by_modality:
            axes.set_ylabel(modality, fontsize=9)
            said = prediction[modality][:, wanted]
            segments, places = np.nonzero(said)
            axes.plot(segments + 0.12, places + 0.2, "o", color="#17becf", ms=5)
    if gates:
        _gates(rows.pop(0), gates, seconds, sample.start)
    dots = "dot: predicted; " if by_modality else ""
    figure.supxlabel(f"seconds; {dots}colour and number: probability", fontsize=8)
    return figure


def _gates(axes: Axes, gates: Arrays, seconds: float, start: float) -> None:
    """What opens when: every channel of every site [T, r], less its mean over the clip, ordered by when it opens."""
    blocks = []
    for value in gates.values():
        change = (value - value.mean(0)).T
        blocks.append(change[np.argsort(change.argmax(1), kind="stable")])
    edges = np.cumsum([0, *map(len, blocks)])
    change = np.concatenate(blocks)
    reach = float(np.abs(change).max()) or 1.0
    extent = (start, start + change.shape[1] * seconds, edges[-1], 0)
    image = axes.imshow(change, aspect="auto", cmap="RdBu_r", vmin=-reach, vmax=reach, extent=extent)
    for edge in edges[1:-1]:
        axes.axhline(edge, color="black", lw=0.8)
    sites = [name.removeprefix("gate/").replace("/", ", ").replace("_", " ") for name in gates]
    axes.set_yticks((edges[1:] + edges[:-1]) / 2, sites, fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    told = "gates of the method: red where a channel opens further than its mean over the clip, blue where less"
    axes.set_title(told, fontsize=9, loc="left")
    bar = axes.figure.colorbar(image, ax=axes, fraction=0.02, pad=0.01)
    bar.ax.tick_params(labelsize=7)


def _cloud(sample: Cloud, record: Mapping[str, Any], prediction: Arrays, data: "DataModule") -> Figure:
    """The points as the model saw them, beside classes with their probabilities or parts with their colours."""
    up: Up = getattr(data, "up", "y")
    figure = Figure(figsize=(8.6, 5.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.5, 1])
    points = sample.points
    if "parts" in record:
        of = np.array(record["parts"])
        names, labels = np.unique(of, return_inverse=True)
        colours = matplotlib.colormaps["tab10"](labels % 10)
        _bars(right, {name: float((labels == k).mean()) for k, name in enumerate(names)}, "share of the points")
        for k, bar in enumerate(right.patches):
            bar.set_facecolor(matplotlib.colormaps["tab10"](k % 10))
    else:
        height = points[:, AXES.index(up)]
        colours = matplotlib.colormaps["viridis"](0.88 * (height - height.min()) / (np.ptp(height) or 1.0))
        if "likely" in record:
            _bars(right, record["likely"], "probability")
        else:
            _write(right, [(f"{key}: {value}", "black", True) for key, value in record.items() if key != "id"])
    plots_clouds.draw(left, points, colours, up)
    return figure


def _picture(sample: Picture, record: Mapping[str, Any]) -> Figure:
    """The picture beside what was asked and said, and its scale."""
    figure = Figure(figsize=(9.6, 5.0), layout="constrained")
    left, side = figure.subplots(1, 2, width_ratios=[1.15, 1])
    left.imshow(small(sample.images[0], 560))
    left.axis("off")
    lines: list[tuple[str, str, bool]] = []
    if "likely" in record:
        _bars(side.inset_axes((0.0, 0.5, 1.0, 0.44)), record["likely"], "probability")
        lines += [("", "black", False)] * 12
    if (question := sample.question) and "written" in record:
        lines += [(line, "black", True) for line in wrapped(question.text, WIDE - 4, 8)]
        for letter, words in zip(LETTERS, question.choices, strict=False):
            chosen = letter in (record.get("letter") or "").split()
            first, *rest = wrapped(f"{letter}. {words}", WIDE - 3, 2)
            colour = ACCENT if chosen else "0.25"
            lines += [
                (("● " if chosen else "   ") + first, colour, chosen),
                *((f"     {r}", colour, chosen) for r in rest),
            ]
        said = wrapped(f"wrote: {record['written'].strip() or '(nothing)'}", WIDE - 4, 6)
        lines += [("", "black", False), *((line, ACCENT, True) for line in said)]
    _write(side, [*lines, ("", "black", False), *((line, NOTE, False) for line in scale(record))])
    return figure


def scale(record: Mapping[str, Any]) -> list[str]:
    """What an answer says of the ground sampling distance it used, in sentences; none where its method uses none."""
    if "gsd" not in record:
        return []
    unit, clamped = record["gsd_unit"], ", clamped to what training saw" if record.get("gsd_clamped") else ""
    found = wrapped(
        f"ground sampling distance {record['gsd']:.3g} {unit}, {SAID[record['gsd_from']]}{clamped}", WIDE, 3
    )
    if estimate := record.get("gsd_estimate"):
        middle, low, high = (f"{estimate[end]:.3g}" for end in ("middle", "low", "high"))
        found.append(f"estimate {middle} {unit}, {low} to {high} in 90 of 100 cases")
    return found


def _bars(axes: Axes, shares: Mapping[str, float], what: str) -> None:
    """Names with their shares, the largest on top and in bold."""
    names = [" ".join(wrapped(name, 22, 1)) for name in shares]
    places = np.arange(len(names))[::-1]
    values = list(shares.values())
    axes.barh(places, values, height=0.36, color=[ACCENT if v == max(values) else GREY for v in values])
    for place, name, value in zip(places, names, values, strict=True):
        best = value == max(values)
        label = f"{name}  {value:.2f}"
        axes.text(
            0, place + 0.36, label, fontsize=11 if best else 9, fontweight="bold" if best else "normal", va="bottom"
        )
    axes.set(xlim=(0, 1), ylim=(-0.5, max(3.0, len(names)) - 0.2), yticks=[], xticks=[0, 0.5, 1])
    axes.tick_params(labelsize=8)
    axes.set_xlabel(what, fontsize=8, color=NOTE)
    for border in ("top", "right", "left"):
        axes.spines[border].set_visible(False)


def _write(axes: Axes, lines: list[tuple[str, str, bool]]) -> None:
    """Text, colour and boldness of lines below each other."""
    axes.axis("off")
    for number, (text, colour, bold) in enumerate(lines):
        weight = "bold" if bold else "normal"
        axes.text(
            0, 0.96 - 0.048 * number, text, fontsize=10, color=colour, fontweight=weight, va="top", parse_math=False
        )


def _name(name: str, most: int = 90) -> str:
    """The end of a name: its beginning is a folder."""
    return name if len(name) <= most else f"...{name[3 - most :]}"
