"""Pictures to segment on the page: the classes over the picture, their shares of its area, and the mask as a file."""

import os
import tempfile
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import gradio as gr
import numpy as np
import torch
from numpy.typing import NDArray

from data_modules.errors import DataError
from data_modules.kinds.tiles import Surface, TileSet
from zoo.batch import Tile
from zoo.demos import pointing
from zoo.demos.answer import Answer
from zoo.demos.style import caption, words
from zoo.inference import surfaces
from zoo.metrics import segmentation as metrics
from zoo.ops.frame import IGNORE
from zoo.ops.prompts import Prompts
from zoo.pairing import Pairing
from zoo.report.figures import small
from zoo.report.kinds.masks import colours, errors, named, painted

if TYPE_CHECKING:
    from data_modules.base import DataModule

FILES = "a picture"

SIDE, THUMBNAIL = 900, 200
"""Pixels of a shown picture's longer side, and of one to pick."""

CHIP = '<span class="zoo-chip" style="background: rgb({0}); border: 1px solid #718096">&nbsp;</span>'


def fields(data: "DataModule", pairing: Pairing) -> dict[str, gr.components.Component]:
    """What can be told about a file, by the name of the setting."""
    return {
        **pointing.fields(pointing.taken(pairing)),
        "window": gr.Textbox(
            label="Window", placeholder="empty: as in training; or LOW..HIGH, like -160..240", max_lines=1
        ),
        "bands": gr.Textbox(
            label="Bands", placeholder="empty: as the file says; or sentinel-2-l2a, 3,2,1", max_lines=1
        ),
    }


def filled(sample: Tile | Surface) -> dict[str, str]:
    """Fields of an offered picture: nothing is told of it."""
    return {"window": "", "bands": ""}


def retold(sample: Tile | Surface, data: "DataModule", settings: dict[str, str]) -> Surface:
    """The whole picture that an offered square is of.

    Raises:
        DataError: a field is filled in, which counts for files alone.
    """
    if told := [name for name in ("window", "bands") if settings.get(name)]:
        raise DataError(f"{' and '.join(told)}: this sample is read already; expected a file of your own beside them")
    if isinstance(sample, Surface):
        return sample
    samples = cast(TileSet, data.sets["test"])
    index = next(k for k in range(len(samples)) if samples.id(k) == sample.id)
    return samples.surface(index, Prompts.parse(settings))


def thumbnail(sample: Tile | Surface, data: "DataModule") -> NDArray[np.uint8]:
    """The picture, or a square of it."""
    return small(sample.image, THUMBNAIL)


def outputs() -> list[gr.components.Component]:
    """Components for `show`."""
    said = gr.HTML(padding=False)
    with gr.Row():
        with gr.Column(min_width=320):
            caption("The picture")
            plain = gr.Image(show_label=False, interactive=False, buttons=["fullscreen"], elem_id="picture")
        with gr.Column(min_width=320):
            caption("Its classes", "the first one left clear")
            over = gr.Image(show_label=False, interactive=False, buttons=["fullscreen"], elem_id="mask")
    with gr.Column(visible=False) as judged:
        caption("Beside its label", "missed in red, wrongly claimed in blue")
        wrong = gr.Image(show_label=False, interactive=False, buttons=["fullscreen"], elem_id="errors")
    caption("The mask", "an index a pixel, with a palette")
    file = gr.File(show_label=False, interactive=False, height=80, elem_id="download")
    return [said, plain, over, judged, wrong, file]


def show(answered: Answer, data: "DataModule", pairing: Pairing) -> list[Any]:
    """Shares, picture, mask over it, errors where the label is known, and the file of one answer."""
    surface, mask, truth = answered.sample, answered.output["mask"], answered.truth("mask")
    image, number = surface.image, len(named(pairing.task, pairing.classes))
    folder = tempfile.mkdtemp(prefix="mask-", dir=os.environ.get("GRADIO_TEMP_DIR"))
    source = surface.file or Path(surface.id)
    stem = source.stem if surface.slice is None else f"{source.name}-{surface.slice}"
    file = surfaces.write(mask, surface, Path(folder) / f"{stem}-mask", number)
    return [
        headline(answered, pairing),
        small(image, SIDE),
        small(painted(image, mask, number), SIDE),
        gr.update(visible=truth is not None),
        None if truth is None else small(errors(image, mask, truth), SIDE),
        str(file),
    ]


def headline(answered: Answer, pairing: Pairing) -> str:
    """Classes with colour, share of the area and mean probability, as HTML; beside a known label the IoU."""
    found, names = answered.record["classes"], named(pairing.task, pairing.classes)
    rows = "".join(
        f"<tr><td>{CHIP.format(', '.join(map(str, colour)))} {escape(words(name))}</td>"
        f"<td>{100 * found[name]['share']:.2f} %</td><td>{found[name]['probability']:.2f}</td></tr>"
        for name, colour in zip(names, colours(len(names)).tolist(), strict=True)
        if name in found
    )
    head = "<tr><th>class</th><th>of the picture</th><th>mean probability</th></tr>"
    return f'<table class="zoo-table">{head}{rows}</table><p class="zoo-note">{judged(answered)}{answered.footer}</p>'


def judged(answered: Answer) -> str:
    """The mean IoU of one picture beside its label; empty where there is none."""
    truth = answered.truth("mask")
    if truth is None:
        return ""
    mask = torch.from_numpy(answered.output["mask"])
    counted = metrics.counts(mask, torch.from_numpy(truth), len(answered.output["confidence"]), ignore=IGNORE)
    return f"Beside its label: mean IoU {100 * float(metrics.mean_iou(counted)):.1f} %. "
