"""Clips: pictures over time of labels a segment, of labels by modality, and of the gates that a method opens."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from zoo.report import sounding
from zoo.report.figures import RIGHT, WRONG, bars, plain, save, write
from zoo.report.figures import confusion as draw_confusion
from zoo.report.over_time import draw_film, draw_heat, draw_strip, event_colours, seen
from zoo.report.run import Arrays, Drawer, One, Run, confusion, examples, reliability

if TYPE_CHECKING:
    from data_modules.kinds.clips import ClipDataModule

CLIPS = 4
"""How many clips a picture shows."""

LIKELY = 5
"""Classes whose probabilities are drawn over time."""

MODALITIES = ("audio", "visual")


def segments(run: Run) -> None:
    """`segments`: one class or background a segment, of targets and predictions `segments` [N, T]."""
    target, prediction = run.pair("segments")
    names = [*run.classes, "background"]
    draw_confusion(target.ravel(), prediction.ravel(), names, run.folder / "confusion.png", what="segments")
    clips = _examples(run, of_different_classes(target, len(run.classes)), target, prediction)
    timelines(clips, names, run.folder / "timelines.png")


def modalities(run: Run) -> None:
    """`modalities`: any classes a segment, of targets and predictions `audio` and `visual` [N, T, K]."""
    target, prediction = (_both(run, part) for part in (run.predictions.target, run.predictions.prediction))
    # Some event starts or ends in the clip.
    within = (target.any(2) & ~target.all(2)).reshape(len(target), -1).any(1)
    clips = _examples(run, np.flatnonzero(within).tolist(), target, prediction)
    parsed(clips, run.classes, run.folder / "timelines.png")


def films(run: Run) -> None:
    """`examples`: what is seen of some clips under target and prediction in words."""
    shown = examples(run, CLIPS)
    figure = Figure(figsize=(11, 1.6 * len(shown)), layout="constrained")
    for axes, example in zip(figure.subplots(len(shown), 1, squeeze=False).ravel(), shown, strict=True):
        clip = run.samples[example.index]
        draw_film(axes, seen(clip))
        colour = {True: RIGHT, False: WRONG, None: "black"}[example.right]
        target = f"{example.target}; " if example.target else ""
        axes.set_title(f"{clip.id}: {target}prediction {example.prediction}", fontsize=10, loc="left", color=colour)
    save(figure, run.folder / "examples.png")


PICTURES: dict[str, Drawer] = {
    "confusion": confusion,
    "examples": films,
    "segments": segments,
    "modalities": modalities,
    "reliability": reliability,
    "sounding": sounding.clips,
}


def observed(run: Run) -> None:
    """Mean openness of a method's `gate/...` [N * T, r] by class, where the task names what is in a segment."""
    names = [name for name in run.predictions.observed if name.startswith("gate/")]
    present = _present(run)
    if not names or present is None:
        return
    opened = dict(zip(names, run.observed(*names), strict=True))
    present = present.repeat(len(opened[names[0]]) // len(present), axis=0)
    classes = [*run.classes, "background"]
    shown = [k for k in range(len(classes)) if present[:, k].any()]
    openness = {name: np.stack([value[present[:, k]].mean(0) for k in shown]) for name, value in opened.items()}
    gates(openness, [classes[k] for k in shown], run.folder / "gates.png")


def _present(run: Run) -> NDArray[np.bool_] | None:
    """Which class is in which segment, [N * T, K + 1], or in which clip, [N, K + 1]."""
    task, every = run.pairing.task, np.eye(len(run.classes) + 1, dtype=bool)
    if task.wants("segments"):
        return cast(NDArray[np.bool_], every[run.pair("segments")[0].ravel()])
    if task.wants("modalities"):
        either = _both(run, run.predictions.target).any(1)
        return np.concatenate([either, ~either.any(-1, keepdims=True)], axis=-1).reshape(-1, len(every))
    return cast(NDArray[np.bool_], every[run.pair("label")[0]]) if task.wants("confusion") else None


def _both(run: Run, part: Mapping[str, Any]) -> NDArray[np.bool_]:
    """[N, 2, T, K]."""
    return np.stack([run.array(part, name) for name in MODALITIES], axis=1) > 0


def _examples(run: Run, chosen: list[int], target: NDArray[Any], prediction: NDArray[Any]) -> list["Example"]:
    """The chosen clips, or the first ones where none was."""
    probabilities = run.array(run.predictions.prediction, "probabilities")
    seconds = cast("ClipDataModule", run.data).segment_seconds
    return [
        Example(run.predictions.ids[i], target[i], prediction[i], probabilities[i], seen(run.samples[i]), seconds)
        for i in chosen[:CLIPS] or range(min(CLIPS, len(target)))
    ]


def of_different_classes(truth: NDArray[np.int64], background: int) -> list[int]:
    """The first clip of each class whose event neither fills the clip nor is absent, in data order."""
    share = (truth != background).mean(1)
    chosen: dict[int, int] = {}
    for index in np.flatnonzero((share > 0) & (share < 1)):
        chosen.setdefault(int(truth[index][truth[index] != background][0]), int(index))
    return sorted(chosen.values())


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
        predicted = np.logical_or(clip.truth, clip.prediction).max(1)  # [2, K]
        for m, modality in enumerate(MODALITIES):
            likely = np.lexsort((-clip.probabilities[m].max(0), ~clip.truth[m].any(0)))  # true classes first
            wanted = [k for k in likely if predicted[m, k]][:6] or likely[:2]
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


def one(one: One) -> Figure:
    """Frames, labels and probabilities over time and, where a method has gates, how far they are open."""
    if one.task.wants("sounding"):
        return sounding.clip(one)
    if not (one.task.wants("segments") or one.task.wants("modalities")):
        figure = Figure(figsize=(11, 4.2), layout="constrained")
        film, axes = figure.subplots(2, 1, height_ratios=[1, 1.6])
        draw_film(film, seen(one.sample))
        if "likely" in one.record:
            bars(axes, one.record["likely"], "probability")
        else:
            write(axes, plain(one.record))
        return figure
    return _over_time(one, cast("ClipDataModule", one.data))


def _over_time(one: One, data: "ClipDataModule") -> Figure:
    sample, prediction = one.sample, one.prediction
    names, seconds = [*data.classes, "background"], data.segment_seconds
    by_modality = one.task.wants("modalities")
    maps = MODALITIES if by_modality else ("",)
    gates = {name: value for name, value in one.observed.items() if name.startswith("gate/")}
    heights = [1.3, *([0.42] * (not by_modality)), *([1.6] * len(maps))] + ([0.3 + 0.45 * len(gates)] if gates else [])
    figure = Figure(figsize=(11, 0.6 + 1.15 * sum(heights)), layout="constrained")
    rows = list(figure.subplots(len(heights), 1, height_ratios=heights))
    draw_film(rows.pop(0), seen(sample))
    if not by_modality:
        strip = rows.pop(0)
        draw_strip(strip, 0, prediction["segments"], names, event_colours(len(names) - 1))
        strip.set(xlim=(0, len(sample.frames)), ylim=(0, 1), yticks=[0.5], yticklabels=["event"], xticks=[])
        strip.tick_params(labelsize=9, length=0)
    for modality in maps:
        axes = rows.pop(0)
        values = prediction["probabilities"]
        values = values[MODALITIES.index(modality)] if by_modality else values
        wanted = np.argsort(-values.max(0), kind="stable")[:LIKELY]
        draw_heat(axes, values[:, wanted], [names[k] for k in wanted], seconds, start=sample.start)
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
            predicted = prediction[modality][:, wanted]
            segments, places = np.nonzero(predicted)
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
