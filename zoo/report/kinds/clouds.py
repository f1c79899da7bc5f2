"""Point clouds: seen from above and aside, coloured by height, by part or by a method's control signal."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from zoo.metrics.part_segmentation import shape_iou
from zoo.report.figures import RIGHT, WRONG, bars, plain, save, select, short, write
from zoo.report.run import Drawer, One, Run, confusion, examples, reliability

if TYPE_CHECKING:
    from data_modules.base import DataModule

CLOUDS, PARTS = 12, 6
"""How many clouds a picture shows."""

COLUMNS, SHOWN = 4, 4

AXES = ("x", "y", "z")

AZIMUTH, ELEVATION = np.radians(-55), np.radians(22)

Up = Literal["x", "y", "z"]


def upwards(data: "DataModule") -> Up:
    """The axis drawn upwards."""
    return cast(Up, getattr(data, "up", "y"))


def clouds(run: Run) -> None:
    """`examples`: some clouds under target and prediction in words."""
    shown = [
        CloudExample(
            id=run.predictions.ids[example.index],
            points=run.samples[example.index].points,
            truth=example.target,
            predicted=example.prediction,
            probability=example.probability,
        )
        for example in examples(run, CLOUDS)
    ]
    draw_clouds(shown, run.folder / "clouds.png", up=upwards(run.data))


def parts(run: Run) -> None:
    """`parts`: one part a point, of classes called Category/part, of targets and predictions `parts` [N, P]."""
    truth, predicted = run.pair("parts")
    of = [name.partition("/")[0] for name in run.classes]
    own = [[k for k, category in enumerate(of) if category == of[row[0]]] for row in truth]
    pairs = zip(torch.from_numpy(predicted), torch.from_numpy(truth), own, strict=True)
    ious = np.array([shape_iou(a, b, labels) for a, b, labels in pairs])
    poorest = np.argsort(ious, kind="stable")[: PARTS // 3]
    shown = [
        PartsExample(
            id=run.predictions.ids[i],
            category=of[own[i][0]],
            iou=float(ious[i]),
            points=run.samples[i].points,
            truth=np.searchsorted(own[i], truth[i]),
            predicted=np.searchsorted(own[i], predicted[i]),
        )
        for i in select(np.array([labels[0] for labels in own]), poorest, PARTS)
    ]
    draw_parts(shown, run.folder / "parts.png", up=upwards(run.data))


PICTURES: dict[str, Drawer] = {
    "confusion": confusion,
    "examples": clouds,
    "parts": parts,
    "reliability": reliability,
}


def observed(run: Run) -> None:
    """A method's `control` signal at its `centres`."""
    if found := run.observed("control", "centres"):
        control, centres = found
        draw_control(control, centres, run.predictions.ids, run.folder / "control.png", up=upwards(run.data))


def one(one: One) -> Figure:
    """The points as the model saw them, beside classes with their probabilities or parts with their colours."""
    up, points, record = upwards(one.data), one.sample.points, one.record
    figure = Figure(figsize=(8.6, 5.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.5, 1])
    if one.task.wants("parts"):
        of = np.array(record["parts"])
        names, labels = np.unique(of, return_inverse=True)
        colours = matplotlib.colormaps["tab10"](labels % 10)
        bars(right, {name: float((labels == k).mean()) for k, name in enumerate(names)}, "share of the points")
        for k, bar in enumerate(right.patches):
            bar.set_facecolor(matplotlib.colormaps["tab10"](k % 10))
    else:
        height = points[:, AXES.index(up)]
        colours = matplotlib.colormaps["viridis"](0.88 * (height - height.min()) / (np.ptp(height) or 1.0))
        if "likely" in record:
            bars(right, record["likely"], "probability")
        else:
            write(right, plain(record))
    draw(left, points, colours, up)
    return figure


@dataclass(frozen=True)
class CloudExample:
    """One cloud [N, 3] beside what it is, what it was predicted to be, and how probable that was."""

    id: str
    points: NDArray[np.float32]
    truth: str
    predicted: str
    probability: float | None


@dataclass(frozen=True)
class PartsExample:
    """One cloud [N, 3] beside the true and the predicted part of every point: int [N], counted within its category."""

    id: str
    category: str
    iou: float
    points: NDArray[np.float32]
    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]


def draw_clouds(examples: Sequence[CloudExample], path: Path, *, up: Up = "y") -> None:
    """A grid of clouds, coloured by height, each under its class and the prediction: green if right, red if wrong."""
    rows = -(-len(examples) // COLUMNS)
    figure = Figure(figsize=(2.9 * COLUMNS, 3.4 * rows), layout="constrained")
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes, cloud in zip(panels, examples, strict=False):
        height = cloud.points[:, AXES.index(up)]
        share = (height - height.min()) / (np.ptp(height) or 1.0)
        draw(axes, cloud.points, matplotlib.colormaps["viridis"](0.88 * share), up)  # the last yellow is too pale
        colour = (RIGHT if cloud.predicted == cloud.truth else WRONG) if cloud.truth else "black"
        axes.set_title(f"{cloud.truth}\n", fontsize=10, color="black")
        predicted = f"predicted: {cloud.predicted}" + (
            "" if cloud.probability is None else f"  p={cloud.probability:.2f}"
        )
        axes.text(0.5, 1.025, predicted, transform=axes.transAxes, ha="center", fontsize=9, color=colour)
        axes.text(0.5, -0.02, short(cloud.id), transform=axes.transAxes, ha="center", va="top", fontsize=6, color="0.5")
    for axes in panels[len(examples) :]:
        axes.axis("off")
    save(figure, path)


def draw_parts(examples: Sequence[PartsExample], path: Path, *, up: Up = "y") -> None:
    """Clouds coloured by part, one a column: truth above prediction, under the category and its IoU."""
    figure = Figure(figsize=(2.5 * len(examples) + 0.4, 5.8), layout="constrained")
    panels = figure.subplots(2, len(examples), squeeze=False)
    for column, cloud in enumerate(examples):
        for axes, labels in zip(panels[:, column], (cloud.truth, cloud.predicted), strict=True):
            draw(axes, cloud.points, matplotlib.colormaps["tab10"](labels % 10), up)
        panels[0, column].set_title(f"{cloud.category}\nIoU {cloud.iou:.2f}", fontsize=10)
        place = {"transform": panels[1, column].transAxes, "ha": "center", "va": "top"}
        panels[1, column].text(0.5, -0.02, short(cloud.id), fontsize=6, color="0.5", **place)
    for axes, word in zip(panels[:, 0], ("truth", "prediction"), strict=True):
        axes.text(-0.04, 0.5, word, transform=axes.transAxes, rotation=90, ha="right", va="center", fontsize=10)
    save(figure, path)


def draw_control(
    control: NDArray[np.float32],
    centres: NDArray[np.float32],
    ids: Sequence[str],
    path: Path,
    *,
    up: Up = "y",
) -> None:
    """How the control signal of state-aware adapters varies over a cloud's tokens.

    Left, its deviation over tokens by adapted mixer and channel, averaged over clouds; right, the channel that
    varies most, at the group centres of some clouds.

    Args:
        control: of every adapted mixer, [N, blocks, G, r].
        centres: of the groups, [N, G, 3].
        ids: of the N clouds.
        path: of the PNG.
        up: the axis drawn upwards.
    """
    mean = control.std(2).mean(0)  # [blocks, r]
    mixer, channel = (int(k) for k in np.unravel_index(mean.argmax(), mean.shape))
    figure = Figure(figsize=(11.5, 5.4), layout="constrained")
    halves: Any = figure.subfigures(1, 2, width_ratios=[1, 1.4])  # each half has a title and a scale of its own
    left, right = halves
    axes = left.subplots()
    image = axes.imshow(mean, aspect="auto", cmap="viridis", vmin=0)
    axes.set(xlabel="channel", ylabel="adapted mixer, the first on top")
    axes.set_yticks(range(len(mean)), [str(k + 1) for k in range(len(mean))])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.colorbar(image, ax=axes, shrink=0.8)
    told = "How far the control signal's channels vary within a cloud\n(standard deviation, mean of the test clouds)"
    left.suptitle(told, fontsize=10)

    chosen = np.unique(np.linspace(0, len(ids) - 1, SHOWN).astype(int)).tolist()
    values = control[chosen, mixer, :, channel]
    scale = ScalarMappable(Normalize(values.min(), values.max()), "plasma")
    panels = right.subplots(2, SHOWN // 2, squeeze=False).ravel()
    for axes, index, value in zip(panels, chosen, values, strict=False):
        draw(axes, centres[index], scale.to_rgba(value), up, fade=0)
        axes.set_title(short(ids[index]), fontsize=7)
    for axes in panels[len(chosen) :]:
        axes.axis("off")
    right.colorbar(scale, ax=panels.tolist(), shrink=0.8)
    title = f"The channel that varies most (channel {channel} of mixer {mixer + 1}), by place in some test clouds"
    right.suptitle(title, fontsize=10)
    save(figure, path)


def draw(axes: Axes, points: NDArray[np.float32], colours: NDArray[np.float64], up: Up, *, fade: float = 0.5) -> None:
    """A cloud [N, 3] in colours [N, 4], seen from above and aside without perspective, what is far paler by `fade`.

    The projection is our own: axes of Matplotlib's 3D kit either cut a cloud's corners off or leave it small.
    """
    k, (sa, ca), (se, ce) = AXES.index(up), *((np.sin(a), np.cos(a)) for a in (AZIMUTH, ELEVATION))
    rightwards, upwards, near = [-sa, ca, 0], [-ca * se, -sa * se, ce], [ca * ce, sa * ce, se]
    turned = points[:, [(k + 1) % 3, (k + 2) % 3, k]] @ np.array([rightwards, upwards, near]).T  # cyclic: not mirrored
    turned = turned[order := turned[:, 2].argsort()]
    depth = (turned[-1, 2] - turned[:, 2]) / (turned[-1, 2] - turned[0, 2] or 1.0)
    pale = fade * depth[:, None]
    shown = colours[order, :3] * (1 - pale) + pale
    axes.scatter(turned[:, 0], turned[:, 1], s=np.clip(7000 / len(points), 4, 40), c=shown, lw=0)
    low, high = turned[:, :2].min(0), turned[:, :2].max(0)
    middle, reach = (low + high) / 2, 0.53 * float((high - low).max()) or 1.0
    axes.set(xlim=(middle[0] - reach, middle[0] + reach), ylim=(middle[1] - reach, middle[1] + reach), aspect="equal")
    axes.set(xticks=[], yticks=[])  # which would be laid out, although nobody sees them
    axes.axis("off")
