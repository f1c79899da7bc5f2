"""Tables and pictures of a run. Plain numbers in, files or rich renderables out."""

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
from numpy.typing import NDArray
from rich.console import Console, Group
from rich.table import Table

from zoo import comparison

BACKGROUND = "#d9d9d9"


@dataclass(frozen=True)
class Timeline:
    """One clip: labels and predictions [T], probabilities [T, K + 1], pictures uint8 [T, H, W, 3]."""

    id: str
    truth: NDArray[np.int64]
    prediction: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    frames: NDArray[np.uint8]
    segment_seconds: float


# --- tables -----------------------------------------------------------------------------------------------------------


def show(renderable: Any) -> None:
    """Print a renderable; a pipe gets plain text, 100 columns wide."""
    console = Console()
    (console if console.is_terminal else Console(width=100)).print(renderable)


def number(value: float | None, unit: str) -> str:
    """A metric for a reader: per cent with two decimals, whatever unit it is kept in."""
    if value is None or value != value:
        return "-"
    return f"{value * (100 if unit == 'fraction' else 1):.2f} %"


def size(count: float) -> str:
    """Bytes for a reader."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.2f} GiB"


def seconds(value: float | None) -> str:
    """A duration for a reader; "-" where there was none."""
    return "-" if value is None else f"{value:.1f} s"


def _metrics(record: Mapping[str, Any], title: str) -> Table:
    unit, synthetic = record["unit"], record.get("manifest", {}).get("data", {}).get("synthetic")
    table = Table(title=title, caption="a synthetic set: not a benchmark result" if synthetic else None)
    table.add_column("metric")
    table.add_column("test", justify="right", style="bold")
    table.add_column("95 % interval over videos", justify="right")
    for name in record["baselines"]:
        table.add_column(name.replace("_", " "), justify="right", style="dim")
    for metric, value in record["metrics"].items():
        low, high = record["intervals"].get(metric, (None, None))
        table.add_row(
            metric.replace("_", " "),
            number(value, unit),
            f"{number(low, unit)} to {number(high, unit)}" if low is not None else "",
            *(number(values.get(metric), unit) for values in record["baselines"].values()),
        )
    return table


def summary(record: Mapping[str, Any], run_dir: Path) -> Group:
    """The last screen of a training: metrics beside trivial baselines, cost, and where everything lies."""
    manifest = record["manifest"]
    cost, count = manifest["cost"], manifest["parameters"]
    rows = {
        "trainable parameters": "{trainable:,} of {total:,} ({share:.2%})".format(
            **count, share=count["trainable"] / count["total"]
        ),
        "peak memory": size(cost["peak_memory_bytes"]),
        "median step": f"{cost['median_step_s'] * 1000:.0f} ms",
        "first epoch, later epochs": ", ".join(seconds(cost[name]) for name in ("first_epoch_s", "later_epoch_s")),
        "checkpoint": size(cost["checkpoint_bytes"]),
        "whole run": f"{manifest['seconds']:.0f} s on {manifest['hardware']}",
        "run folder": str(run_dir),
        "  adapter": "adapter/ (safetensors, recipe, metrics, card, checksums)",
        "  pictures": ", ".join(sorted(p.name for p in (run_dir / "report").glob("*.png"))),
    }
    table = Table(show_header=False, box=None, padding=(0, 2))
    for name, value in rows.items():
        table.add_row(name, value)
    title = (
        f"{manifest['recipe']} on {manifest['data']['name']} (n = {record['n']}, selected on {manifest['selected_on']})"
    )
    return Group(_metrics(record, title), table)


def evaluation(record: Mapping[str, Any], stored: Mapping[str, Any]) -> Table:
    """Measured now beside what the adapter's metrics.json says."""
    table = Table(title=f"measured on {record['split']} (n = {record['n']})")
    for name in ("metric", "now", "stored", "95 % interval now"):
        table.add_column(name, justify="left" if name == "metric" else "right")
    for metric, value in record["metrics"].items():
        low, high = record["intervals"].get(metric, (None, None))
        interval = f"{number(low, record['unit'])} to {number(high, record['unit'])}" if low is not None else ""
        was = stored["metrics"].get(metric)
        table.add_row(metric.replace("_", " "), number(value, record["unit"]), number(was, record["unit"]), interval)
    return table


def compared(record: Mapping[str, Any]) -> Group:
    """A recipe beside its controls, from `comparison.gather`: one table of what they reach, one of what they cost."""
    about = record["about"]
    header, rows = comparison.cells(record)
    reached = len(header) - len(comparison.COST)
    title = f"{about['dataset']}, {about['split']} (n = {about['n']}, seeds {about['seeds']})"
    quality = _grid(title, header[:reached], [row[:reached] for row in rows])
    quality.caption = "a synthetic set: not a benchmark result" if about["synthetic"] else None
    costs = [[row[0], *row[reached:]] for row in rows[: len(record["rows"])]]
    return Group(quality, _grid("what it costs", [header[0], *header[reached:]], costs))


def _grid(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title)
    for name in header:
        first = name == header[0]
        table.add_column(name, justify="left" if first else "right", no_wrap=first)
    for row in rows:
        table.add_row(*row)
    return table


# --- pictures ---------------------------------------------------------------------------------------------------------


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
        label = name.removeprefix("val/").replace("_", " ")
        metric.plot(epochs, [row.get(name, np.nan) for row in history], marker="o", ms=3, label=label)
    metric.set(title="validation metrics", xlabel="epoch")
    for axes in (loss, metric):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
        axes.xaxis.get_major_locator().set_params(integer=True)
    _save(figure, path)


def confusion(truth: NDArray[np.int64], prediction: NDArray[np.int64], names: Sequence[str], path: Path) -> None:
    """Row-normalised confusion matrix of segments, counts written in: truth [N], prediction [N]."""
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
    axes.set(title="segments: truth by row, prediction by column", xlabel="prediction", ylabel="truth")
    axes.set_xticks(range(k), names, rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(k), names, fontsize=8)
    figure.colorbar(image, ax=axes, shrink=0.7, label="share of the row")
    _save(figure, path)


def timelines(clips: Sequence[Timeline], names: Sequence[str], path: Path) -> None:
    """Pictures, truth, prediction and the leading classes' probabilities of some clips."""
    figure = Figure(figsize=(11, 3.5 * len(clips)), layout="constrained")
    colours = [matplotlib.colormaps["tab20"](i % 20) for i in range(len(names) - 1)] + [to_rgb(BACKGROUND)]
    grid = figure.add_gridspec(3 * len(clips), 1, height_ratios=[1.1, 0.7, 1.5] * len(clips))
    for row, clip in enumerate(clips):
        length = len(clip.truth)
        film = figure.add_subplot(grid[3 * row])
        film.imshow(
            np.concatenate([_thumbnail(f) for f in clip.frames], axis=1), aspect="auto", extent=(0, length, 0, 1)
        )
        film.set_title(clip.id, fontsize=10, loc="left")
        film.axis("off")
        strips = figure.add_subplot(grid[3 * row + 1])
        for y, labels in ((1, clip.truth), (0, clip.prediction)):
            _strip(strips, y, labels, names, colours)
        strips.set(xlim=(0, length), ylim=(0, 2), yticks=[0.5, 1.5], yticklabels=["prediction", "truth"], xticks=[])
        strips.tick_params(labelsize=8)
        heat = figure.add_subplot(grid[3 * row + 2])
        wanted = list(dict.fromkeys([*clip.truth.tolist(), *np.argsort(-clip.probabilities.mean(0)).tolist()]))[:5]
        heat.imshow(
            clip.probabilities[:, wanted].T,
            aspect="auto",
            cmap="magma",
            vmin=0,
            vmax=1,
            extent=(0, length, len(wanted), 0),
        )
        heat.set_yticks(np.arange(len(wanted)) + 0.5, [names[k] for k in wanted], fontsize=8)
        ticks = np.arange(0, length + 1, 2)
        heat.set_xticks(ticks, [f"{t * clip.segment_seconds:g}" for t in ticks], fontsize=8)
        if row == len(clips) - 1:
            heat.set_xlabel("seconds; colour: probability from 0 (black) to 1 (yellow)", fontsize=8)
    _save(figure, path)


def _thumbnail(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    step = max(1, min(frame.shape[:2]) // 96)
    return frame[::step, ::step]


def _strip(axes: Axes, y: int, labels: NDArray[np.int64], names: Sequence[str], colours: Sequence[Any]) -> None:
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
        axes.set_xlabel("channel, grouped by the class it reacts to most", fontsize=8)
    for axes in panels[count:]:
        axes.axis("off")
    if image is not None:
        figure.colorbar(image, ax=panels.tolist(), shrink=0.6, label="openness minus the channel's mean over classes")
    figure.suptitle("Which channels opened for which class (mean over test segments)", fontsize=11)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=110)
