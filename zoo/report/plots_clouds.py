"""Pictures of point clouds: plain arrays in, PNG files out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from zoo.report.plots import save

RIGHT, WRONG = "#1a7f37", "#c62828"

COLUMNS, SHOWN = 4, 4

AXES = ("x", "y", "z")

AZIMUTH, ELEVATION = np.radians(-55), np.radians(22)

Up = Literal["x", "y", "z"]


@dataclass(frozen=True)
class CloudExample:
    """One cloud [N, 3] beside what it is, what it was said to be, and how probable that was."""

    id: str
    points: NDArray[np.float32]
    truth: str
    said: str
    probability: float


@dataclass(frozen=True)
class PartsExample:
    """One cloud [N, 3] beside the true and the predicted part of every point: int [N], counted within its category."""

    id: str
    category: str
    iou: float
    points: NDArray[np.float32]
    truth: NDArray[np.int64]
    said: NDArray[np.int64]


def clouds(examples: Sequence[CloudExample], path: Path, *, up: Up = "y") -> None:
    """A grid of clouds, coloured by height, each under its truth and what was said: green if right, red if wrong."""
    rows = -(-len(examples) // COLUMNS)
    figure = Figure(figsize=(2.9 * COLUMNS, 3.4 * rows), layout="constrained")
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes, cloud in zip(panels, examples, strict=False):
        height = cloud.points[:, AXES.index(up)]
        share = (height - height.min()) / (np.ptp(height) or 1.0)
        draw(axes, cloud.points, matplotlib.colormaps["viridis"](0.88 * share), up)  # the last yellow is too pale
        colour = RIGHT if cloud.said == cloud.truth else WRONG
        axes.set_title(f"{cloud.truth}\n", fontsize=10, color="black")
        said = f"said: {cloud.said}  p={cloud.probability:.2f}"
        axes.text(0.5, 1.025, said, transform=axes.transAxes, ha="center", fontsize=9, color=colour)
        axes.text(
            0.5, -0.02, _short(cloud.id), transform=axes.transAxes, ha="center", va="top", fontsize=6, color="0.5"
        )
    for axes in panels[len(examples) :]:
        axes.axis("off")
    save(figure, path)


def parts(examples: Sequence[PartsExample], path: Path, *, up: Up = "y") -> None:
    """Clouds coloured by part, one a column: truth above prediction, under the category and its IoU."""
    figure = Figure(figsize=(2.5 * len(examples) + 0.4, 5.8), layout="constrained")
    panels = figure.subplots(2, len(examples), squeeze=False)
    for column, cloud in enumerate(examples):
        for axes, labels in zip(panels[:, column], (cloud.truth, cloud.said), strict=True):
            draw(axes, cloud.points, matplotlib.colormaps["tab10"](labels % 10), up)
        panels[0, column].set_title(f"{cloud.category}\nIoU {cloud.iou:.2f}", fontsize=10)
        place = {"transform": panels[1, column].transAxes, "ha": "center", "va": "top"}
        panels[1, column].text(0.5, -0.02, _short(cloud.id), fontsize=6, color="0.5", **place)
    for axes, word in zip(panels[:, 0], ("truth", "prediction"), strict=True):
        axes.text(-0.04, 0.5, word, transform=axes.transAxes, rotation=90, ha="right", va="center", fontsize=10)
    save(figure, path)


def control(
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
        axes.set_title(_short(ids[index]), fontsize=7)
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
    axes.axis("off")


def _short(name: str, most: int = 40) -> str:
    """The end of a name: the beginning is a folder, and the same for all."""
    return name if len(name) <= most else f"...{name[3 - most :]}"
