"""Rows of a picture that share a time axis of T segments: frames, labels and probabilities."""

import itertools
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import mlab
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from zoo.batch import Clip

BACKGROUND = "#d9d9d9"

WINDOW = 512
"""Sound samples of a column of a spectrogram."""


def event_colours(classes: int) -> list[Any]:
    """A colour for each of K classes and, last, for background."""
    return [matplotlib.colormaps["tab20"](i % 20) for i in range(classes)] + [to_rgb(BACKGROUND)]


def seen(clip: Clip) -> NDArray[np.uint8]:
    """A picture a segment, uint8 [T, H, W, 3]: the clip's own or, where all are one grey, its sound's spectrogram."""
    if clip.frames.min() != clip.frames.max():
        return clip.frames
    window = min(WINDOW, max(2, clip.audio.shape[1] // 2))
    powers = [mlab.specgram(sound, NFFT=window, noverlap=window // 2)[0] for sound in clip.audio]
    level = 10 * np.log10(np.stack(powers)[:, ::-1] + 1e-10)  # low notes below
    lowest, loudest = np.quantile(level, 0.05), max(level.max(), np.quantile(level, 0.05) + 1)
    coloured = matplotlib.colormaps["magma"](np.clip((level - lowest) / (loudest - lowest), 0, 1), bytes=True)
    return np.ascontiguousarray(coloured[..., :3])


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
