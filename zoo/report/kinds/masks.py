"""Pictures with masks: what was found, what was missed, and what was claimed wrongly."""

from collections.abc import Sequence
from typing import cast

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray

from zoo.metrics import segmentation as metrics
from zoo.ops.frame import IGNORE
from zoo.report import figures
from zoo.report.figures import NOTE, plain, small, write
from zoo.report.run import Drawer, One, Run
from zoo.tasks.base import Task
from zoo.tasks.label_objects import scores
from zoo.tasks.promptable import PromptableSegmentation
from zoo.tasks.segmentation import Segmentation

MISSED, CLAIMED = (214, 39, 40), (31, 119, 180)
"""Colours of pixels that are missed, or wrongly claimed."""

PALETTE = (
    (255, 255, 255),
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (204, 121, 167),
    (0, 114, 178),
)
"""Of classes, the first one's left clear; they are told apart by colour-blind readers as well (Okabe and Ito 2008)."""

SIDE = 420
"""Pixels of a drawn picture's longer side."""


def colours(classes: int) -> NDArray[np.uint8]:
    """RGB of every class, uint8 [K, 3]; beyond the palette drawn from a fixed seed."""
    further = np.random.default_rng(0).integers(40, 220, (max(0, classes - len(PALETTE)), 3))
    return np.concatenate([np.array(PALETTE), further])[:classes].astype(np.uint8)


def painted(image: NDArray[np.uint8], mask: NDArray[np.uint8], classes: int) -> NDArray[np.uint8]:
    """A picture [H, W, 3] under half-clear colours of its classes [H, W], the first one's left out."""
    over = colours(classes)[np.minimum(mask, classes - 1)]
    marked = ((mask > 0) & (mask != IGNORE))[..., None]
    return np.where(marked, (image.astype(int) + over) // 2, image).astype(np.uint8)


def errors(image: NDArray[np.uint8], mask: NDArray[np.uint8], truth: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A grey picture with red where a region was missed, blue where one was claimed that is none."""
    found = np.repeat(image.mean(-1, keepdims=True), 3, axis=-1).astype(np.uint8)
    wrong = (mask != truth) & (truth != IGNORE)
    found[wrong & (truth > 0)] = MISSED
    found[wrong & (truth == 0)] = CLAIMED
    return found


def masks(run: Run) -> None:
    """`masks`: the test pictures of the highest, the middle and the lowest IoU, with their labels and errors."""
    counted = cast(Segmentation, run.pairing.task).seen
    drawn = {index: one.predicted for index, one in counted.items() if one.predicted is not None}
    if not drawn:
        return
    values = {index: float(metrics.iou(counted[index].counts).nanmean()) for index in drawn}
    ranked = sorted(drawn, key=lambda index: -values[index])
    chosen = dict.fromkeys([ranked[0], ranked[len(ranked) // 2], ranked[-1]])
    figure = Figure(figsize=(12.4, 3.3 * len(chosen) + 0.6), layout="constrained")
    axes = figure.subplots(len(chosen), 4, squeeze=False)
    for row, index in zip(axes, chosen, strict=True):
        image, truth = run.samples.pictures[index].image()[0], run.samples.labels(index)
        predicted, classes = drawn[index], len(run.classes)
        sheets = (
            image,
            painted(image, truth, classes),
            painted(image, predicted, classes),
            errors(image, predicted, truth),
        )
        for axis, sheet in zip(row, sheets, strict=True):
            axis.imshow(small(sheet, SIDE))
            axis.axis("off")
        row[0].set_title(f"{figures.short(counted[index].name, 40)}\nIoU {100 * values[index]:.1f} %", fontsize=9)
    for axis, title in zip(axes[0][1:], ("label", "prediction", "missed (red), wrongly claimed (blue)"), strict=True):
        axis.set_title(title, fontsize=9)
    _legend(figure, run.classes)
    figures.save(figure, run.folder / "masks.png")


def objects(run: Run) -> None:
    """`objects`: the test objects of the highest, the middle and the lowest Dice, with box, label and errors."""
    task = cast(PromptableSegmentation, run.pairing.task)
    drawn = [(one, one.drawn) for one in task.seen if one.drawn is not None]
    if not drawn:
        return
    values = scores([one.own[-1] for one, _ in drawn])[0].tolist()
    ranked = sorted(range(len(drawn)), key=lambda index: -values[index])
    chosen = dict.fromkeys([ranked[0], ranked[len(ranked) // 2], ranked[-1]])
    squares = {run.samples.id(index): index for index in range(len(run.samples))}
    figure = Figure(figsize=(9.6, 3.3 * len(chosen) + 0.4), layout="constrained")
    axes = figure.subplots(len(chosen), 3, squeeze=False)
    for row, index in zip(axes, chosen, strict=True):
        one, (truth, claimed, box) = drawn[index]
        image = run.samples[squares[one.square]].image
        label, mask = (part.numpy().astype(np.uint8) for part in (truth, claimed))
        for axis, sheet in zip(
            row, (painted(image, label, 2), painted(image, mask, 2), errors(image, mask, label)), strict=True
        ):
            axis.imshow(sheet)
            axis.axis("off")
        if task.prompts == "box":
            left, top, right, bottom = box.tolist()
            frame = Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor="lime", linewidth=1.2)
            row[0].add_patch(frame)
        row[0].set_title(f"label of {figures.short(one.name, 40)}\nDice {100 * values[index]:.1f} %", fontsize=9)
    for axis, title in zip(axes[0][1:], ("prediction", "missed (red), wrongly claimed (blue)"), strict=True):
        axis.set_title(title, fontsize=9)
    figure.supxlabel(f"objects of labels; {task.note}" if task.note else "objects of labels", fontsize=9)
    figures.save(figure, run.folder / "objects.png")


PICTURES: dict[str, Drawer] = {"masks": masks, "objects": objects}


def observed(run: Run) -> None:
    """Nothing: what methods show of pictures with masks is not drawn."""


def named(task: Task, classes: Sequence[str]) -> list[str]:
    """Names of the numbers in a predicted mask: the classes, or background and the object that was asked for."""
    return list(getattr(task, "names", classes))


def one(one: One) -> Figure:
    """The picture under the colours of its classes, beside their shares."""
    names = named(one.task, one.data.classes)
    image, mask = one.sample.image, one.prediction["mask"]
    figure = Figure(figsize=(9.6, 5.2), layout="constrained")
    left, side = figure.subplots(1, 2, width_ratios=[1.15, 1])
    left.imshow(small(painted(image, mask, len(names)), 560))
    left.axis("off")
    lines = [
        (f"{name}: {100 * found['share']:.2f} % of the picture, probability {found['probability']:.2f}", "black", False)
        for name, found in one.record["classes"].items()
    ]
    further = {key: value for key, value in one.record.items() if key not in ("classes", "size")}
    write(side, [*lines, ("", "black", False), *((text, NOTE, bold) for text, _, bold in plain(further))])
    _legend(figure, names)
    return figure


def _legend(figure: Figure, names: Sequence[str]) -> None:
    """Colours of the classes, below the figure."""
    shown = colours(len(names)) / 255
    patches = [Patch(color=shown[k], label=names[k]) for k in range(1, len(names))]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(6, len(patches)), frameon=False, fontsize=9)
