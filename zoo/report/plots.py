"""Pictures of a run: plain arrays in, PNG files out."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from zoo.metrics.names import directed

BACKGROUND = "#d9d9d9"


@dataclass(frozen=True)
class Example:
    """One clip beside its prediction; pictures uint8 [T, H, W, 3].

    One label a segment: truth and prediction int [T], probabilities [T, K + 1]. Several by modality (audio, visual):
    truth and prediction bool [2, T, K], probabilities [2, T, K].
    """

    id: str
    truth: NDArray[Any]
    prediction: NDArray[Any]
    probabilities: NDArray[np.float32]
    frames: NDArray[np.uint8]
    segment_seconds: float


def curves(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Loss and the validation metrics by epoch."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    loss, metric = figure.subplots(1, 2)
    epochs = [row["epoch"] + 1 for row in history]
    for split in ("train", "val"):
        loss.plot(epochs, [row.get(f"{split}/loss", np.nan) for row in history], marker="o", ms=3, label=split)
    loss.set(title="loss", xlabel="epoch")
    names = [
        n for n in (history[-1] if history else {}) if n.startswith("val/") and n not in ("val/loss", "val/selected")
    ]
    for name in names[:6]:
        label = directed(name.removeprefix("val/"))
        metric.plot(epochs, [row.get(name, np.nan) for row in history], marker="o", ms=3, label=label)
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


def timelines(clips: Sequence[Example], names: Sequence[str], path: Path) -> None:
    """Pictures, truth, prediction and the leading classes' probabilities of some clips."""
    figure = Figure(figsize=(11, 3.5 * len(clips)), layout="constrained")
    colours = event_colours(len(names) - 1)
    grid = figure.add_gridspec(3 * len(clips), 1, height_ratios=[1.1, 0.7, 1.5] * len(clips))
    for row, clip in enumerate(clips):
        length = len(clip.truth)
        film = figure.add_subplot(grid[3 * row])
        draw_film(film, clip.frames)
        film.set_title(clip.id, fontsize=10, loc="left")
        strips = figure.add_subplot(grid[3 * row + 1])
        for y, labels in ((1, clip.truth), (0, clip.prediction)):
            draw_strip(strips, y, labels, names, colours)
        strips.set(xlim=(0, length), ylim=(0, 2), yticks=[0.5, 1.5], yticklabels=["prediction", "truth"], xticks=[])
        strips.tick_params(labelsize=8)
        heat = figure.add_subplot(grid[3 * row + 2])
        wanted = list(dict.fromkeys([*clip.truth.tolist(), *np.argsort(-clip.probabilities.mean(0)).tolist()]))[:5]
        draw_heat(heat, clip.probabilities[:, wanted], [names[k] for k in wanted], clip.segment_seconds)
        if row == len(clips) - 1:
            heat.set_xlabel("seconds; colour: probability from 0 (black) to 1 (yellow)", fontsize=8)
    save(figure, path)


def parsed(clips: Sequence[Example], names: Sequence[str], path: Path) -> None:
    """Pictures, and for each modality the probabilities of the classes that are true or predicted: a green frame is
    truth, a dot a prediction."""
    figure = Figure(figsize=(11, 4.2 * len(clips)), layout="constrained")
    grid = figure.add_gridspec(3 * len(clips), 1, height_ratios=[1.1, 1.4, 1.4] * len(clips))
    for row, clip in enumerate(clips):
        film = figure.add_subplot(grid[3 * row])
        draw_film(film, clip.frames)
        film.set_title(clip.id, fontsize=10, loc="left")
        said = np.logical_or(clip.truth, clip.prediction).max(1)  # [2, K]
        for m, modality in enumerate(("audio", "visual")):
            likely = np.lexsort((-clip.probabilities[m].max(0), ~clip.truth[m].any(0)))  # true classes first
            wanted = [k for k in likely if said[m, k]][:6] or likely[:2]
            heat = figure.add_subplot(grid[3 * row + 1 + m])
            draw_heat(heat, clip.probabilities[m][:, wanted], [names[k] for k in wanted], clip.segment_seconds)
            for t, y in itertools.product(range(len(clip.frames)), range(len(wanted))):
                if clip.truth[m, t, wanted[y]]:
                    heat.add_patch(Rectangle((t + 0.03, y + 0.05), 0.94, 0.9, fill=False, ec="#2ca02c", lw=2.5))
                if clip.prediction[m, t, wanted[y]]:
                    heat.plot(t + 0.5, y + 0.5, "o", color="#17becf", ms=5)
            heat.set_ylabel(modality, fontsize=9)
    figure.supxlabel("seconds; colour: probability; green frame: truth; dot: predicted", fontsize=8)
    save(figure, path)


def event_colours(classes: int) -> list[Any]:
    """A colour for each of K classes and, last, for background."""
    return [matplotlib.colormaps["tab20"](i % 20) for i in range(classes)] + [to_rgb(BACKGROUND)]


def draw_film(axes: Axes, frames: NDArray[np.uint8]) -> None:
    """Pictures [T, H, W, 3] side by side, each as wide as its segment."""
    strip = np.concatenate([_thumbnail(frame) for frame in frames], axis=1)
    axes.imshow(strip, aspect="auto", extent=(0, len(frames), 0, 1))
    axes.axis("off")


def draw_heat(
    axes: Axes, values: NDArray[np.float32], names: Sequence[str], segment_seconds: float, *, start: float = 0.0
) -> None:
    """Probabilities [T, rows] over seconds, from `start` on."""
    length, rows = values.shape
    axes.imshow(values.T, aspect="auto", cmap="magma", vmin=0, vmax=1, extent=(0, length, rows, 0))
    axes.set_yticks(np.arange(rows) + 0.5, names, fontsize=8)
    ticks = np.arange(0, length + 1, 2)
    axes.set_xticks(ticks, [f"{start + t * segment_seconds:g}" for t in ticks], fontsize=8)


def _thumbnail(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    step = max(1, min(frame.shape[:2]) // 96)
    return frame[::step, ::step]


def draw_strip(axes: Axes, y: int, labels: NDArray[np.int64], names: Sequence[str], colours: Sequence[Any]) -> None:
    """Labels [T] as bars in row y; equal neighbours are one."""
    edges = np.flatnonzero(np.diff(labels, prepend=-1, append=-1))
    for start, end in itertools.pairwise(edges.tolist()):
        label = int(labels[start])
        axes.broken_barh([(start, end - start)], (y + 0.08, 0.84), facecolors=[colours[label]])
        axes.text((start + end) / 2, y + 0.5, names[label], ha="center", va="center", fontsize=8)


def gates(openness: Mapping[str, NDArray[np.float32]], names: Sequence[str], path: Path) -> None:
    """Mean gate by class and channel, one panel a site and stream: {panel: [K, r]}; channels ordered by preference."""
    count = len(openness)
    figure = Figure(figsize=(12, (1.1 + 0.2 * len(names)) * ((count + 1) // 2)), layout="constrained")
    panels = figure.subplots((count + 1) // 2, min(2, count), squeeze=False).ravel()
    reach = max(float(np.abs(v - v.mean(0)).max()) for v in openness.values()) or 1.0
    image = None
    for axes, (name, value) in zip(panels, openness.items(), strict=False):
        deviation = value - value.mean(0)
        order = np.lexsort((-np.abs(deviation).max(0), np.abs(deviation).argmax(0)))
        image = axes.imshow(deviation[:, order], aspect="auto", cmap="RdBu_r", vmin=-reach, vmax=reach)
        title = name.replace("gate/", "").replace("/", ", ").replace("_", " ")
        axes.set_title(
            f"{title}: mean openness {value.mean():.2f}, from {value.min():.2f} to {value.max():.2f}", fontsize=9
        )
        axes.set_yticks(range(len(names)), names, fontsize=7)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("channel, grouped by the class it reacts to most", fontsize=8)
    for axes in panels[count:]:
        axes.axis("off")
    if image is not None:
        figure.colorbar(image, ax=panels.tolist(), shrink=0.6, label="openness minus the channel's mean over classes")
    figure.suptitle("How far the gates open for each class: a column a channel, mean of the test segments", fontsize=11)
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write a PNG, at the resolution of all pictures of a run."""
    figure.savefig(path, dpi=110)
