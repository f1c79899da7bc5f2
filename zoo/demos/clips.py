"""Clips on the page: the timeline of events over the pictures, and the gates where a method has them."""

import base64
import io
import itertools
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING, Any, cast

import gradio as gr
import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from PIL import Image
from plotly.subplots import make_subplots

from zoo.batch import Clip
from zoo.demos.answer import Answer
from zoo.demos.style import BACKGROUND, CLASSES, GREY, caption, styled
from zoo.pairing import Pairing
from zoo.report import sounding
from zoo.report.over_time import seen

if TYPE_CHECKING:
    from data_modules.base import DataModule
    from data_modules.kinds.clips import ClipDataModule

FILES = "a video or a sound; of a long one, what follows the second that you say"

ROWS = 12
"""Most classes of a heat map, the likeliest first."""

STRIP, ROW, MAP = 34, 24, 145
"""Heights in pixels: of a line of events, of a class, of the gates of one site."""

SIDE = 96

NARROW, LETTER = 220, 7
"""Pixels: of the time axis on a telephone, and of a letter; a block names its event where that fits."""


def fields(data: "DataModule", pairing: Pairing) -> dict[str, gr.components.Component]:
    """What can be told about a file, by the name of the setting."""
    silence = [("is refused", "error"), ("is taken for silence", "silence")]
    blank = [("is refused", "error"), ("is shown as grey", "blank")]
    makers: dict[str, Callable[[], gr.components.Component]] = {
        "missing_audio": lambda: gr.Radio(silence, value="error", label="A file without sound"),
        "missing_pictures": lambda: gr.Radio(blank, value="error", label="A file without pictures"),
        "start": lambda: gr.Textbox(label="Begin at second", placeholder="empty: at the beginning", max_lines=1),
    }
    # A component is on the page as soon as it is made.
    return {name: make() for name, make in makers.items() if name in data.settings}


def filled(clip: Clip) -> dict[str, str]:
    """Fields of an offered clip."""
    return {}


def retold(clip: Clip, data: "DataModule", settings: dict[str, str]) -> Clip:
    """An offered clip: there is nothing to tell about it."""
    return clip


def thumbnail(clip: Clip, data: "DataModule") -> NDArray[np.uint8]:
    """The middle picture, or the sound's spectrogram there."""
    middle: NDArray[np.uint8] = seen(clip)[len(clip.frames) // 2]
    return middle


def outputs() -> list[gr.components.Component]:
    """Components for `show`."""
    said = gr.HTML(padding=False)
    caption(
        "What is seen", "a picture a segment, of sound alone its spectrogram; underlined in the colour of its event"
    )
    film = gr.HTML(padding=False, elem_id="film")
    with gr.Column(visible=False) as timed:
        caption("Event timeline", "below it the probabilities, the darker the likelier")
        timeline = gr.Plot(show_label=False, elem_id="timeline")
    caption("What is heard")
    sound = gr.Audio(show_label=False, interactive=False, buttons=["download"])
    with gr.Column(visible=False) as gated:
        caption("Gates", "red where a channel of the method opens further than it does over the clip, blue where less")
        gates = gr.Plot(show_label=False, elem_id="gates")
    with gr.Column(visible=False) as listed:
        caption("Segment by segment")
        rows = gr.HTML(padding=False, elem_id="segments")
    return [said, film, timeline, timed, sound, listed, gated, gates, rows]


def show(answered: Answer, data: "DataModule", pairing: Pairing) -> list[Any]:
    """Headline, timeline, sound, gates and table of one answer."""
    clip, seconds = cast(Clip, answered.sample), cast("ClipDataModule", data).segment_seconds
    names = [*pairing.classes, "background"]
    wave = (clip.audio.reshape(-1).clip(-1, 1) * 32767).astype(np.int16)
    gates = {name: value for name, value in answered.observed.items() if name.startswith("gate/")}
    timed = pairing.task.wants("segments") or pairing.task.wants("modalities")
    return [
        headline(answered, names, seconds) if timed else _said(answered),
        filmstrip(answered, names, seconds),
        timeline(answered, names, seconds) if timed else None,
        gr.update(visible=timed),
        (clip.sample_rate, wave),
        gr.update(visible=timed),
        gr.update(visible=bool(gates)),
        gate_maps(gates, seconds, clip.start) if gates else None,
        tabled(table(answered, names, seconds)) if timed else "",
    ]


def lines(answered: Answer, names: list[str]) -> dict[str, NDArray[np.int64]]:
    """Labels [T] to draw as a line each: what is true, where it is known, above what is said.

    Where a segment may have several labels by modality, a line a class and modality holds it or background. None where
    the task predicts nothing over time.
    """
    if "segments" in answered.output:
        truth = answered.truth("segments")
        found = {} if truth is None else {"truth": truth}
        return found | {"prediction": answered.output["segments"]}
    none = len(names) - 1
    if "audio" not in answered.output:
        return {}
    return {
        f"{modality}: {names[k]}": np.where(answered.output[modality][:, k], k, none)
        for modality in ("audio", "visual")
        for k in np.flatnonzero(answered.output[modality].any(0)).tolist()
    }


def probabilities(answered: Answer) -> dict[str, NDArray[np.float32]]:
    """Probabilities [T, K] by modality; one, without a name, where the task does not tell them apart."""
    found = answered.output["probabilities"]
    return {"": found} if found.ndim == 2 else dict(zip(("audio", "visual"), found, strict=True))


def runs(labels: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """(label, first segment, segment after the last) of every stretch of equal labels."""
    edges = np.flatnonzero(np.diff(labels, prepend=-1, append=-1)).tolist()
    return [(int(labels[start]), start, end) for start, end in itertools.pairwise(edges)]


def _said(answered: Answer) -> str:
    said = sounding.in_words(answered.record) if "sounding" in answered.record else answered.plain
    return f'<p class="zoo-said">{said}</p><p class="zoo-note">{answered.footer}</p>'


def headline(answered: Answer, names: list[str], seconds: float) -> str:
    """The events with their times, as HTML."""
    chips, begin = [], answered.sample.start
    for line, labels in lines(answered, names).items():
        modality = line.partition(": ")[0] + ": " if ": " in line else ""
        chips += [
            f'<span class="zoo-chip" style="background:{_colour(label, names)}">'
            f"{escape(modality + names[label])}, {begin + start * seconds:g} to {begin + end * seconds:g} s</span>"
            for label, start, end in runs(labels)
            if line != "truth" and label < len(names) - 1
        ]
    said = "".join(chips) or '<p class="zoo-said">no event: background all along</p>'
    truth = answered.truth("segments")
    right = "" if truth is None else f"{(truth == answered.output['segments']).mean():.0%} of its segments are right. "
    return f'{said}<p class="zoo-note">{right}{answered.footer}</p>'


def filmstrip(answered: Answer, names: list[str], seconds: float) -> str:
    """Every segment's picture with its time, and its events, as HTML that takes as many rows as the page is narrow."""
    found, begin = [row for line, row in lines(answered, names).items() if line != "truth"], answered.sample.start
    none, figures = len(names) - 1, []
    for t, frame in enumerate(sounding.film(answered.sample, answered.output)):
        events = list(dict.fromkeys(int(row[t]) for row in found if row[t] < none))
        colour = _colour(events[0] if events else none, names)
        said = escape(", ".join(names[k] for k in events))
        figures.append(
            f'<figure><img src="{_encoded(frame)}" alt="" style="border-color:{colour}">'
            f"<figcaption>{begin + t * seconds:g} s<br>{said}</figcaption></figure>"
        )
    return f'<div class="zoo-film">{"".join(figures)}</div>'


def tabled(rows: list[list[str]]) -> str:
    """The rows of `table` as HTML, whose cells break where the page is narrow."""
    head = "".join(f"<th>{name}</th>" for name in ("seconds", "event", "p", "next likely"))
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<table class="zoo-table"><tr>{head}</tr>{body}</table>'


def timeline(answered: Answer, names: list[str], seconds: float) -> go.Figure:
    """Lines of events, and probabilities of the likeliest classes, over time."""
    strips, maps = lines(answered, names), probabilities(answered)
    chosen = {title: _likely(values) for title, values in maps.items()}
    heights = [max(1, len(strips)) * STRIP, *(len(rows) * ROW for rows in chosen.values())]
    begin, count = answered.sample.start, len(answered.sample.frames)
    figure = make_subplots(
        rows=len(heights), shared_xaxes=True, vertical_spacing=0.03, row_heights=[h / sum(heights) for h in heights]
    )
    for y, labels in enumerate(reversed(strips.values())):
        for label, first, last in runs(labels):
            _block(figure, label, names, (begin + first * seconds, begin + last * seconds), y, count * seconds)
    ticks = {"tickvals": [y + 0.5 for y in range(len(strips))], "ticktext": list(reversed(strips))}
    figure.update_yaxes(range=[0, max(1, len(strips))], row=1, **ticks)
    centres = begin + (np.arange(count) + 0.5) * seconds
    for row, (title, values) in enumerate(maps.items(), 2):
        shown = [f"{title}: {names[k]}" if title else names[k] for k in chosen[title]]
        figure.add_heatmap(
            x=centres,
            y=shown[::-1],
            z=values[:, chosen[title]].T[::-1],
            zmin=0,
            zmax=1,
            colorscale="Blues",
            xgap=1,
            ygap=1,
            showscale=False,
            hovertemplate="%{y} at %{x:g} s: %{z:.2f}<extra></extra>",
            row=row,
            col=1,
        )
    figure.update_xaxes(range=[begin, begin + count * seconds], showgrid=False, zeroline=False)
    figure.update_yaxes(showgrid=False, zeroline=False, fixedrange=True)
    figure.update_xaxes(title="seconds", row=len(heights))
    return styled(figure, height=sum(heights) + 110)


def gate_maps(gates: dict[str, NDArray[np.float32]], seconds: float, begin: float = 0.0) -> go.Figure:
    """One map a site and stream: gates [T, r] less each channel's mean over the clip, channels by their peak."""
    titles = [
        f"{name.removeprefix('gate/').replace('/', ', ').replace('_', ' ')}<br>mean {value.mean():.2f}, "
        f"from {value.min():.2f} to {value.max():.2f}"
        for name, value in gates.items()
    ]
    count = len(gates)
    figure = make_subplots(rows=count, shared_xaxes=True, subplot_titles=titles, vertical_spacing=0.3 / count)
    deviations = [value - value.mean(0) for value in gates.values()]
    reach = max(float(np.abs(value).max()) for value in deviations) or 1.0
    for row, value in enumerate(deviations, 1):
        figure.add_heatmap(
            x=begin + (np.arange(len(value)) + 0.5) * seconds,
            z=value[:, np.argsort(value.argmax(0), kind="stable")].T,
            zmin=-reach,
            zmax=reach,
            colorscale="RdBu_r",
            showscale=False,
            hovertemplate="at %{x:g} s: %{z:+.3f}<extra></extra>",
            row=row,
            col=1,
        )
        figure.update_yaxes(title="channel", showticklabels=False, row=row)
    figure.update_xaxes(title="seconds", row=count)
    figure.update_annotations(font_size=12, font_color=GREY)
    return styled(figure, height=MAP * count + 75).update_layout(margin_t=45)


def table(answered: Answer, names: list[str], seconds: float) -> list[list[Any]]:
    """A row a segment (and modality): its time, its event, the probability of this, and the runner-up."""
    rows, begin = [], answered.sample.start
    for title, values in probabilities(answered).items():
        for t, row in enumerate(values):
            first, second = np.argsort(-row)[:2].tolist()
            time = f"{begin + t * seconds:g} to {begin + (t + 1) * seconds:g}{f' {title}' if title else ''}"
            rows.append([time, names[first], f"{row[first]:.2f}", f"{names[second]} {row[second]:.2f}"])
    return rows


def _likely(values: NDArray[np.float32]) -> list[int]:
    """The classes of [T, K] with the highest peaks."""
    chosen: list[int] = np.argsort(-values.max(0), kind="stable")[:ROWS].tolist()
    return chosen


def _colour(label: int, names: list[str]) -> str:
    return BACKGROUND if label == len(names) - 1 else CLASSES[label % len(CLASSES)]


def _block(figure: go.Figure, label: int, names: list[str], span: tuple[float, float], y: int, whole: float) -> None:
    background = label == len(names) - 1
    room = NARROW * (span[1] - span[0]) / whole
    box = {"x0": span[0], "x1": span[1], "y0": y + 0.1, "y1": y + 0.9, "line_width": 0}
    figure.add_shape(type="rect", fillcolor=_colour(label, names), row=1, col=1, **box)
    figure.add_annotation(
        x=sum(span) / 2,
        y=y + 0.5,
        text="" if background or LETTER * len(names[label]) > room else escape(names[label]),
        showarrow=False,
        font={"color": "white", "size": 12},
        row=1,
        col=1,
    )


def _encoded(frame: NDArray[np.uint8]) -> str:
    """The middle square of a picture as a data URI."""
    height, width = frame.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(frame[top : top + side, left : left + side]).resize((SIDE, SIDE))
    buffer = io.BytesIO()
    square.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
