"""The page: what the adapter is, samples and fields on the left, the answer on the right."""

import importlib
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from data_modules.errors import DataError
from data_modules.kinds.picture_probes import GSD
from zoo.demos import pointing
from zoo.demos.answer import ask
from zoo.demos.heading import WARNING
from zoo.demos.offers import Offer, own
from zoo.demos.parts import alone, parts
from zoo.demos.style import caption
from zoo.errors import UserError
from zoo.inference.settings import PROMPTS
from zoo.pairing import Pairing

if TYPE_CHECKING:
    from data_modules.base import DataModule

SHOWN = 16
"""Suffixes of files that are named."""

BUSY = '<p class="zoo-said">&nbsp;<br>&nbsp;</p>'

COLUMNS, ROW, MARGIN = 3, 108, 12
"""Of the samples' pictures; heights in pixels."""

REFUSED = Markup('<p class="zoo-refused">No answer. <span>{}</span></p>')

REPLACE = "Replace its parts, one at a time"

HINT = '<p class="zoo-said">Nothing asked yet <small>pick a sample or drop a file, then press Answer</small></p>'


def kind(data: "DataModule") -> ModuleType:
    """The module that shows such data: `zoo/demos/KIND.py`, by the kind of its samples.

    Raises:
        DataError: the data say no class of samples.
    """
    if data.sample is None:
        raise DataError(f"{data.name}: there is no page for its samples; expected `sample`, their class in zoo.batch")
    return importlib.import_module(f"zoo.demos.{data.sample.kind}")


def defaults(data: "DataModule", pairing: Pairing) -> dict[str, str]:
    """What the fields say before anybody touches them."""
    fields: dict[str, Any] = kind(data).fields(data, pairing)
    return {name: field.value for name, field in fields.items() if field.value}


class Answerer:
    """What the page calls: from an offer or a file, and the fields, to the values of the components shown.

    Args:
        pairing: loaded, in evaluation mode.
        data: reads files.
        offers: samples.
    """

    def __init__(self, pairing: Pairing, data: "DataModule", offers: list[Offer]) -> None:
        self.pairing, self.data, self.offers, self.kind = pairing, data, offers, kind(data)
        self.asking = threading.Lock()  # a part that is replaced for one visitor is replaced for all

    def answer(self, chosen: int | None, upload: str | None, settings: dict[str, str]) -> list[Any]:
        """Values for the notes, and for `kind.outputs()`.

        Args:
            chosen: index of an offer; None where a file counts.
            upload: path of a file.
            settings: fields that are not empty.

        Raises:
            UserError: nothing chosen, a field that is wrong, or a file that is no sample; in words for the visitor.
        """
        sample, notes = self._sample(chosen, upload, settings)
        with self.asking:
            answered = ask(self.pairing, sample)
        shown: list[Any] = self.kind.show(answered, self.data, self.pairing)
        # What every answer says stands above them all.
        said_of_it = [note for note in answered.record.get("notes", []) if note not in self.pairing.caveats]
        # A command is told by words; here fields are filled in.
        notes = [re.sub(r"\w+=[A-Z]+ tells it", "the field tells it", note) for note in [*notes, *said_of_it]]
        notes = [*notes, *(f"forced: {line}" for line in self.pairing.forced)]
        said = Markup("").join(WARNING.format("note", note) for note in notes)
        return [gr.update(value=str(said), visible=bool(notes)), *shown]

    def parts(self, chosen: int | None, upload: str | None, settings: dict[str, str]) -> str:
        """What replacing the method's parts changes of the answer, as HTML; arguments and errors as of `answer`."""
        sample, _ = self._sample(chosen, upload, settings)
        with self.asking:
            return parts(self.pairing, ask(self.pairing, sample))

    def _sample(self, chosen: int | None, upload: str | None, settings: dict[str, str]) -> tuple[Any, list[str]]:
        offer = None if chosen is None else self.offers[chosen]
        path = upload if offer is None else offer.path
        if path is not None:
            return own(self.data, Path(path), settings)
        if offer is None:
            raise UserError("pick a sample or drop a file first")
        return self.kind.retold(offer.sample, self.data, settings), []

    def picture(self, chosen: int | None, upload: str | None, settings: dict[str, str]) -> NDArray[np.uint8]:
        """The whole picture that prompts point at, uint8 [H, W, 3]; arguments and errors as of `answer`."""
        sample, _ = self._sample(chosen, upload, {name: text for name, text in settings.items() if name not in PROMPTS})
        image: NDArray[np.uint8] = sample.image
        return image

    def fill(self, chosen: int) -> dict[str, str]:
        """Values of fields for an offer; empty for a file, which says for itself what it can."""
        offer = self.offers[chosen]
        known: dict[str, str] = self.kind.filled(offer.sample)
        return dict.fromkeys(known, "") if offer.path else known


def build(answerer: Answerer, *, heading: str, card: str, window: str, source: str) -> gr.Blocks:
    """The page.

    Args:
        answerer: answers.
        heading: HTML.
        card: the model card as HTML.
        window: its title.
        source: what the samples are.
    """
    data, module = answerer.data, answerer.kind
    suffixes = [suffix.removeprefix(".") for suffix in data.readable]
    kinds = ", ".join(suffixes[:SHOWN]) + ", ..." * (len(suffixes) > SHOWN)
    with gr.Blocks(title=window, analytics_enabled=False) as page:
        gr.HTML(heading)
        with gr.Accordion("Model card", open=False):
            gr.HTML(card)
        with gr.Row():
            with gr.Column(scale=2, min_width=330):
                chosen = gr.State()
                gallery = _gallery(answerer.offers, data, module, source)
                caption("A file of your own", f"{module.FILES}: {kinds}")
                upload = gr.File(show_label=False, height=130, elem_id="upload")
                fields: dict[str, Any] = module.fields(data, answerer.pairing)
                canvas = pointing.Canvas(names) if (names := pointing.taken(answerer.pairing)) else None
                button = gr.Button("Answer", variant="primary", elem_id="answer")
            with gr.Column(scale=5, min_width=420, elem_id="result"):
                hint = gr.HTML(HINT, padding=False)
                with gr.Column(visible=False) as result:
                    notes = gr.HTML(padding=False)
                    outputs = module.outputs()
                    replace = gr.Button(REPLACE, visible=bool(alone(answerer.pairing)), elem_id="replace")
                    replaced = gr.HTML(padding=False)

        def pick(event: gr.SelectData) -> list[Any]:
            known = answerer.fill(event.index)
            return [event.index, None, *asked_anew(), *(known.get(name, gr.skip()) for name in fields)]

        def asked_anew() -> list[Any]:
            """What was said of the sample before, an error too, is not said of this one."""
            return [gr.update(value=HINT, visible=True), gr.update(visible=False)]

        def begin() -> list[Any]:
            return [gr.update(value=BUSY, visible=True), gr.update(visible=False)]

        def settings_of(values: Sequence[str | None]) -> dict[str, str]:
            return {name: value for name, value in zip(fields, values, strict=True) if value and value.strip()}

        def pointed_at(index: int | None, path: str | None, *values: str | None) -> NDArray[np.uint8]:
            return answerer.picture(index, path, settings_of(values))

        def replace_parts(index: int | None, path: str | None, *values: str | None) -> str:
            try:
                return answerer.parts(index, path, settings_of(values))
            except UserError as error:
                return refusal(error, path)

        def answer(index: int | None, path: str | None, *values: str | None) -> list[Any]:
            try:
                shown = answerer.answer(index, path, settings_of(values))
            except UserError as error:
                kept = [gr.skip()] * (2 + len(outputs))
                return [gr.update(value=refusal(error, path), visible=True), gr.update(visible=False), *kept]
            return [gr.update(visible=False), gr.update(visible=True), "", *shown]

        picked = gallery.select(pick, None, [chosen, upload, hint, result, *fields.values()], show_progress="hidden")
        # What was told of the sample before is not told of the file.
        told = [fields[GSD]] if GSD in fields else []
        uploaded = upload.upload(
            lambda: [None, gr.update(selected_index=None), *asked_anew(), *("" for _ in told)],
            None,
            [chosen, gallery, hint, result, *told],
            show_progress="hidden",
        )
        if canvas is not None:
            texts = [fields[name] for name in canvas.names]
            canvas.wire([picked, uploaded], pointed_at, [chosen, upload, *fields.values()], texts)
        # An answer that fails leaves nothing of the one before, and its mark on the hint alone.
        pressed = button.click(begin, None, [hint, result], show_progress="hidden", queue=False)
        pressed.then(
            answer,
            [chosen, upload, *fields.values()],
            [hint, result, replaced, notes, *outputs],
            show_progress_on=[hint],
        )
        replace.click(replace_parts, [chosen, upload, *fields.values()], [replaced], show_progress_on=[replaced])
    return page


def _gallery(offers: list[Offer], data: "DataModule", module: ModuleType, source: str) -> gr.Gallery:
    if offers:
        caption("Samples", source)
    return gr.Gallery(
        [module.thumbnail(offer.sample, data) for offer in offers],
        show_label=False,
        columns=COLUMNS,
        height=ROW * -(-len(offers) // COLUMNS) + MARGIN,
        object_fit="cover",
        allow_preview=False,
        interactive=False,
        visible=bool(offers),
        elem_id="samples",
        buttons=[],
    )


def refusal(error: Exception, path: str | None) -> str:
    """What is the visitor's to mend, where the answer would stand: a line of HTML that names their file as they do."""
    told = str(error) if path is None else str(error).replace(path, Path(path).name)
    return str(REFUSED.format(told[:1].upper() + told[1:] if path is None else told))
