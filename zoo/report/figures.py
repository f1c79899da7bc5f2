"""What pictures of every kind of sample are drawn with: plain arrays in, PNG files out."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from zoo.metrics.names import CALIBRATION, directed

RIGHT, WRONG = "#1a7f37", "#c62828"

ACCENT, GREY, NOTE = "#2b6cb0", "0.8", "0.4"

WIDE = 46
"""Letters of a line of text."""

SIDE = 300
"""Pixels of a picture's longer side as drawn."""

DPI = 110
"""Resolution of all pictures of a run."""

BESIDE = ("id", "start", "end", "notes", "forced", "unlike_training", "likely")
"""Keys of a record that are no prediction, or that bars show."""


def save(figure: Figure, path: Path) -> None:
    """Write a PNG."""
    figure.set_dpi(DPI)
    if engine := figure.get_layout_engine():
        engine.execute(figure)
        figure.set_layout_engine("none")  # or Matplotlib draws everything twice
    figure.savefig(path)


def curves(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Loss and the validation metrics by epoch; a row has what was measured there."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    loss, metric = figure.subplots(1, 2)

    def draw(axes: Axes, name: str, label: str) -> None:
        points = [(row["epoch"] + 1, row[name]) for row in history if name in row]
        axes.plot([x for x, _ in points], [y for _, y in points], marker="o", ms=3, label=label)

    for split in ("train", "val"):
        draw(loss, f"{split}/loss", split)
    loss.set(title="loss", xlabel="epoch")
    seen = dict.fromkeys(name for row in history for name in row)
    left_out = {"val/loss", "val/selected", *(f"val/{name}" for name in CALIBRATION)}  # of other units
    names = [name for name in seen if name.startswith("val/") and name not in left_out]
    for name in names[:6]:
        draw(metric, name, directed(name.removeprefix("val/")))
    metric.set(title="validation metrics", xlabel="epoch")
    for axes in (loss, metric):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
        axes.xaxis.get_major_locator().set_params(integer=True)
    save(figure, path)


def confusion(
    truth: NDArray[np.int64], prediction: NDArray[np.int64], names: Sequence[str], path: Path, *, what: str = "segments"
) -> None:
    """Row-normalised confusion matrix of what is named, counts written in: truth [N], prediction [N]."""
    k = len(names)
    counts = np.zeros((k, k), dtype=int)
    np.add.at(counts, (truth, prediction), 1)
    share = counts / np.maximum(1, counts.sum(1, keepdims=True))
    side = max(5.5, 0.42 * k + 2)
    figure = Figure(figsize=(side, side * 0.92), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for i, j in zip(*np.nonzero(counts), strict=True):
        axes.text(
            j,
            i,
            str(counts[i, j]),
            ha="center",
            va="center",
            fontsize=7,
            color="white" if share[i, j] > 0.55 else "black",
        )
    axes.set(title=f"{what}: truth by row, prediction by column", xlabel="prediction", ylabel="truth")
    axes.set_xticks(range(k), names, rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(k), names, fontsize=8)
    figure.colorbar(image, ax=axes, shrink=0.7, label="share of the row")
    save(figure, path)


def select(classes: NDArray[np.int64], wrong: NDArray[np.int64], number: int) -> list[int]:
    """Up to `number` samples to show: mistakes first, up to a third, then the first other one of every class.

    Args:
        classes: of the samples, [N].
        wrong: the mistakes, those to show first in front.
        number: of samples to show; where classes are fewer, the next ones in data order fill up.
    """
    chosen = wrong[: number // 3].tolist()
    mistaken = set(wrong.tolist())
    right = [i for i in range(len(classes)) if i not in mistaken]
    firsts = {int(classes[i]): i for i in reversed(right)}
    order = dict.fromkeys([*chosen, *sorted(firsts.values()), *right, *wrong.tolist()])
    return list(order)[:number]


def wrapped(text: str, wide: int, most: int) -> list[str]:
    """At least one line, at most so many, the last cut off where there is more; what cannot be printed is a blank."""
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return textwrap.wrap(" ".join(text.split()), wide, max_lines=most, placeholder=" …") or [""]


def small(image: NDArray[np.uint8], side: int = SIDE) -> NDArray[np.uint8]:
    """No larger than it is drawn, on `side` pixels; small ones grow by whole pixels, so that they can be counted."""
    height, width = image.shape[:2]
    share = side / max(height, width)
    if share >= 1:
        return image.repeat(max(1, int(share)), 0).repeat(max(1, int(share)), 1)
    size = max(1, round(width * share)), max(1, round(height * share))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))


def bars(axes: Axes, shares: Mapping[str, float], what: str) -> None:
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


def write(axes: Axes, lines: list[tuple[str, str, bool]]) -> None:
    """Text, colour and boldness of lines below each other."""
    axes.axis("off")
    for number, (text, colour, bold) in enumerate(lines):
        weight = "bold" if bold else "normal"
        axes.text(
            0, 0.96 - 0.048 * number, text, fontsize=10, color=colour, fontweight=weight, va="top", parse_math=False
        )


def plain(record: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """Lines for `write` that say a prediction no picture is made for: its keys with their values."""
    predicted = (f"{key}: {value}" for key, value in record.items() if key not in BESIDE and not key.startswith("gsd"))
    return [(line, "black", True) for text in predicted for line in wrapped(text, WIDE - 4, 6)]


def short(name: str, most: int = 40) -> str:
    """The end of a name: its beginning is a folder, and the same for all."""
    return name if len(name) <= most else f"...{name[3 - most :]}"
