"""Pictures from above on the page: the answer, and the ground sampling distance (GSD) that it rests on."""

import math
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Any, cast

import gradio as gr
import numpy as np
import plotly.graph_objects as go
import torch
from numpy.typing import NDArray

from data_modules.errors import DataError
from data_modules.kinds.picture_probes import GSD
from data_modules.kinds.picture_set import plausible
from zoo.backbones.vision_language import LETTERS
from zoo.batch import METRES, Picture, Question
from zoo.demos.answer import Answer
from zoo.demos.style import BLUE, GREY, ORANGE, caption, shares, styled, verdict, words
from zoo.pairing import Pairing
from zoo.tasks.language import LanguageTask

if TYPE_CHECKING:
    from data_modules.base import DataModule
    from data_modules.kinds.pictures import PictureDataModule

FILES = "a picture"

SIDE = 300
"""Height of the picture, in pixels."""

TICKS = [digit * 10.0**decade for decade in range(-3, 4) for digit in (1, 2, 5)]

FROM = {
    "told": "told, which goes before any estimate",
    "file": "as the file says, which goes before any estimate",
    "estimated": "estimated: nobody tells it, and the estimate is sure enough to be trusted",
    "default": "default: nobody tells it, and the estimate is not to be trusted",
}


def fields(data: "DataModule", pairing: Pairing) -> dict[str, gr.components.Component]:
    """What can be told about a picture, by the name of the setting: only what this adapter uses."""
    unit, found = pairing.ground.unit, {}
    if GSD in pairing.method.conditions:
        label = f"Ground sampling distance of a pixel ({unit})"
        empty = "empty: unknown, or as the GeoTIFF says" if unit == METRES else "empty: unknown"
        found[GSD] = gr.Textbox(label=label, placeholder=empty, max_lines=1)
    if isinstance(pairing.task, LanguageTask):
        found["question"] = gr.Textbox(label="Question", lines=2)
        found["choices"] = gr.Textbox(label="Choices", placeholder="one|two|three", max_lines=1)
    found["bands"] = gr.Textbox(
        label="Bands", placeholder="empty: as the file says; or sentinel-2-l2a, 3,2,1", max_lines=1
    )
    found["stretch"] = gr.Textbox(label="Stretch", placeholder="empty: as the sensor's; or 0..3000", max_lines=1)
    return found


def filled(picture: Picture) -> dict[str, str]:
    """Fields of an offered picture."""
    gsd, asked = _known(picture), picture.question
    return {
        GSD: "" if gsd is None else f"{gsd:.4g}",
        "question": asked.text if asked else "",
        "choices": "|".join(asked.choices) if asked else "",
        "bands": "",
        "stretch": "",
    }


def retold(picture: Picture, data: "DataModule", settings: dict[str, str]) -> Picture:
    """An offered picture with the fields as they stand; what was not touched stays exactly what it was.

    Raises:
        DataError: a GSD that is none, or choices without a question.
    """
    module, before = cast("PictureDataModule", data), filled(picture)
    if reads := [name for name in ("bands", "stretch") if settings.get(name)]:
        raise DataError(f"{' and '.join(reads)}: this sample is read already; expected a file of your own beside them")
    told = module.provided(settings)
    if ("" if told.gsd is None else f"{told.gsd:.4g}") != before[GSD]:
        gsd = math.nan if told.gsd is None else plausible(told.gsd, GSD, module.bounds, module.gsd_unit)
        given = {**picture.conditions, GSD: torch.tensor(gsd, dtype=torch.float32)}
        picture = replace(picture, conditions=given, origin="told")
    if told.question is None or (told.question.text, told.question.choices) != _asked(picture):
        picture = replace(picture, question=told.question)
    return picture


def thumbnail(picture: Picture, data: "DataModule") -> NDArray[np.uint8]:
    """The first image."""
    return picture.images[0]


def outputs() -> list[gr.components.Component]:
    """Components for `show`."""
    with gr.Row():
        with gr.Column(scale=2, min_width=260):
            picture = gr.Image(
                show_label=False, interactive=False, height=SIDE, buttons=["fullscreen"], elem_id="picture"
            )
        with gr.Column(scale=3, min_width=300):
            answer = gr.HTML(padding=False)
            likely = gr.Label(show_label=False, show_heading=False, num_top_classes=5)
    with gr.Column(visible=False) as scaled:
        caption("Ground sampling distance")
        distance = gr.HTML(padding=False)
        gates = gr.Plot(show_label=False, elem_id="gsd")
    return [picture, answer, likely, scaled, distance, gates]


def show(answered: Answer, data: "DataModule", pairing: Pairing) -> list[Any]:
    """Picture, answer, probabilities, scale and gates of one answer."""
    likely = answered.output.get("probabilities")
    scaled = "gsd" in answered.record
    curve = pairing.method.curves().get("openness")
    arrays = None if curve is None else (curve[0].cpu().numpy(), curve[1].cpu().numpy())
    return [
        _enlarged(answered.sample.images[0]),
        headline(answered, pairing),
        gr.update(visible=False) if likely is None else gr.update(value=shares(pairing.classes, likely), visible=True),
        gr.update(visible=scaled),
        scale(answered, pairing.ground.unit) if scaled else "",
        scale_figure(answered, arrays, pairing.ground.unit) if scaled else None,
    ]


def headline(answered: Answer, pairing: Pairing) -> str:
    """The class, or what was written, as HTML; with what is right, where that is known."""
    record, asked, truth = answered.record, answered.sample.question, answered.truth("label")
    if "label" not in answered.output and not pairing.task.wants("answers"):
        return f'<p class="zoo-said">{answered.plain}</p>{_footer("", answered)}'
    if asked is None:
        name = pairing.classes[int(answered.output["label"])]
        true = None if truth is None else pairing.classes[int(truth)]
        shown = f"{escape(words(name))} <small>p = {answered.output['probabilities'].max():.2f}</small>"
        judged = "" if true is None else verdict(name == true, f"it is: {words(true)}")
        return f'<p class="zoo-said">{shown}</p>{_footer(judged, answered)}'
    written = record["written"].strip()
    letters = (record.get("letter") or "").split()
    right = bool(asked.answer) and " ".join(letters) == asked.answer if asked.choices else written == asked.answer
    judged = verdict(right, f"right is {asked.answer}") if asked.answer else ""
    shown = ", ".join(asked.choices[LETTERS.index(letter)] for letter in letters) or written or "nothing was written"
    note = "" if letters or not asked.choices else " This names no choice."
    return (
        f'<p class="zoo-line">{escape(asked.text)}</p><p class="zoo-said">{escape(shown)}</p>'
        f"{_choices(asked, letters)}{_footer(judged, answered, f'It wrote “{escape(written)}”.{note} ')}"
    )


def scale(answered: Answer, unit: str) -> str:
    """Which GSD was used, where it came from, and the estimate with its interval, as HTML."""
    record, unit = answered.record, escape(unit)
    lines = [
        f'<p class="zoo-said">{record["gsd"]:.3g} {unit} <small>a pixel, {FROM[record["gsd_from"]]}</small></p>',
    ]
    estimate = record.get("gsd_estimate")
    if record.get("gsd_clamped"):
        found = estimate["middle"] if estimate and record["gsd_from"] == "estimated" else _known(answered.sample)
        lines.append(f'<p class="zoo-line">Moved from {found:.3g} {unit} to the border of what training saw.</p>')
    if estimate:
        low, middle, high = (f"{estimate[end]:.3g}" for end in ("low", "middle", "high"))
        lines.append(
            f'<p class="zoo-line">The method\'s own estimate: <b>{middle} {unit}</b>, 90 % interval <b>{low} to {high} '
            f"{unit}</b>{_beside(answered)}.</p>"
        )
    return "".join(lines)


def scale_figure(answered: Answer, curve: tuple[NDArray[Any], NDArray[Any]] | None, unit: str) -> go.Figure:
    """Openness of the gates over the GSD, with the GSD used and the estimate's interval.

    Args:
        answered: with a GSD.
        curve: log10(GSD) [N] and openness [N, r], where the method has gates; of the GSD that the encoder sees.
        unit: of the GSD.
    """
    figure, record = go.Figure(), answered.record
    if curve is not None:
        # Over the GSD of this picture's own pixels, as everything else here.
        times = record["gsd"] / 10 ** float(answered.observed["gsd/used"].item())
        metres, gates = 10 ** curve[0] * times, curve[1]
        for rank, values in enumerate(gates.T):
            style = {"color": BLUE if values[0] >= values[-1] else ORANGE, "width": 1}
            hover = f"rank {rank + 1}: %{{y:.2f}} open at %{{x:.3g}} {unit}<extra></extra>"
            figure.add_scatter(x=metres, y=values, line=style, opacity=0.45, hovertemplate=hover, showlegend=False)
        for name, colour in (("open to fine scales", BLUE), ("open to coarse scales", ORANGE)):
            figure.add_scatter(x=[None], y=[None], mode="lines", line={"color": colour}, name=name)
        figure.add_scatter(x=metres, y=gates.mean(1), line={"color": GREY, "dash": "dash", "width": 2}, name="mean")
    if estimate := record.get("gsd_estimate"):
        figure.add_vrect(x0=estimate["low"], x1=estimate["high"], fillcolor=GREY, opacity=0.16, line_width=0)
        bar = {"mode": "markers", "marker": {"symbol": "square", "size": 12, "color": GREY, "opacity": 0.35}}
        figure.add_scatter(x=[None], y=[None], name="90 % interval of the estimate", **bar)
    figure.add_vline(x=record["gsd"], line={"color": "#be123c", "width": 2.5})
    figure.add_scatter(x=[None], y=[None], mode="lines", line={"color": "#be123c", "width": 2.5}, name="used")
    figure.update_xaxes(type="log", title=f"ground sampling distance<br>({escape(unit)})", showgrid=False)
    figure.update_xaxes(tickvals=TICKS, ticktext=[f"{tick:g}" for tick in TICKS])
    figure.update_yaxes(range=[-0.03, 1.03], title="openness", visible=curve is not None)
    height = 340 if curve is not None else 180
    return styled(figure, height=height, legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"})


def _enlarged(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A small picture with every pixel drawn several times: what a pixel covers is what this is about."""
    factor = max(1, SIDE // max(image.shape[:2]))
    return image.repeat(factor, 0).repeat(factor, 1)


def _known(picture: Picture) -> float | None:
    """The GSD told of a picture."""
    gsd = float(picture.conditions[GSD]) if GSD in picture.conditions else math.nan
    return None if math.isnan(gsd) else gsd


def _asked(picture: Picture) -> tuple[str, tuple[str, ...]] | None:
    return None if picture.question is None else (picture.question.text, picture.question.choices)


def _beside(answered: Answer) -> str:
    """Whether the interval holds what is told."""
    told, estimate = _known(answered.sample), answered.record["gsd_estimate"]
    if told is None:
        return ""
    return (
        ", which holds what is told" if estimate["low"] <= told <= estimate["high"] else ", which misses what is told"
    )


def _choices(asked: Question, letters: list[str]) -> str:
    if not asked.choices:
        return ""
    rows = [
        f'<li class="{"chosen" if letter in letters else ""}">{letter}. {escape(words)}</li>'
        for letter, words in zip(LETTERS, asked.choices, strict=False)
    ]
    return f'<ul class="zoo-choices">{"".join(rows)}</ul>'


def _footer(judged: str, answered: Answer, more: str = "") -> str:
    return f'<p class="zoo-note">{judged}{more}{answered.footer}</p>'
