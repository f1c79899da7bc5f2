"""Pictures of what sounds: the central squares of a clip's pictures under the masks of label and prediction."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from zoo.batch import Clip
from zoo.ops.frame import IGNORE
from zoo.report.figures import save
from zoo.report.over_time import draw_film, seen
from zoo.report.run import One, Run

COLOUR = (255, 196, 0)

SIDE = 128
"""Pixels of a drawn square."""


def painted(frames: NDArray[np.uint8], masks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Central squares of pictures [T, H, W, 3], dark but for what sounds by masks [T, S, S]; as they are where nothing
    is known, uint8 [T, SIDE, SIDE, 3]."""
    height, width = frames.shape[1:3]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    found = []
    for frame, mask in zip(frames, masks, strict=True):
        square = np.asarray(Image.fromarray(frame[top : top + short, left : left + short]).resize((SIDE, SIDE)))
        shown = np.asarray(Image.fromarray(mask).resize((SIDE, SIDE), Image.Resampling.NEAREST))[..., None]
        lit = (2 * square.astype(int) + COLOUR) // 3
        found.append(np.where(shown == IGNORE, square, np.where(shown == 1, lit, square // 3)).astype(np.uint8))
    return np.stack(found)


def film(sample: Clip, output: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
    """A picture a segment, [T, H, W, 3]: what sounds in it where a prediction says so, else what is seen."""
    return painted(sample.frames, output["masks"].astype(np.uint8)) if "masks" in output else seen(sample)


def in_words(record: Mapping[str, Any]) -> str:
    """In which pictures something sounds, and how much of each."""
    shares = [f"{100 * found['share']:.0f} %" if found else "nothing" for found in record["sounding"]]
    return f"what sounds, of each picture's central square: {', '.join(shares)}"


def clips(run: Run) -> None:
    """`sounding`: the first test clips, label above prediction."""
    kept = run.array(run.predictions.prediction, "masks").astype(np.uint8)
    truth = run.array(run.predictions.target, "masks").astype(np.uint8)
    figure = Figure(figsize=(1.5 * kept.shape[1] + 1, 3.3 * len(kept) + 0.3), layout="constrained")
    rows = figure.subplots(2 * len(kept), 1, squeeze=False)[:, 0]
    for index, masks in enumerate(kept):
        frames = run.samples[index].frames
        for axes, what, shown in zip(
            rows[2 * index : 2 * index + 2], ("label", "prediction"), (truth[index], masks), strict=True
        ):
            draw_film(axes, painted(frames, shown))
            axes.set_title(f"{run.predictions.ids[index]}: {what}", fontsize=9, loc="left")
    figure.supxlabel("lit: what sounds; a picture without a label is left as it is", fontsize=8)
    save(figure, run.folder / "sounding.png")


def clip(one: One) -> Figure:
    """One clip with what sounds in it."""
    shown = film(one.sample, one.prediction)
    figure = Figure(figsize=(1.5 * len(shown) + 1, 2.0), layout="constrained")
    axes = figure.subplots()
    draw_film(axes, shown)
    axes.set_title(in_words(one.record), fontsize=9, loc="left")
    figure.supxlabel("one picture a segment; lit: what sounds", fontsize=8)
    return figure
