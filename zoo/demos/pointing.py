"""Pointing at an object of a picture: clicks become the fields `points` and `box`, which can be typed as well."""

from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from zoo.demos.style import caption
from zoo.errors import SettingError, UserError
from zoo.ops.prompts import BOX, EXPECTED, POINTS, Prompts
from zoo.pairing import Pairing
from zoo.report.figures import small
from zoo.tasks.promptable import PromptableSegmentation

SIDE = 640
"""Pixels of the longer side of the picture that is clicked."""

ON, OFF, CORNER = "the object", "not the object", "a corner of its box"
"""What a click may mean."""

GREEN, RED, WIDTH = (56, 161, 105), (229, 62, 62), 3

Picture = NDArray[np.uint8]
Corner = tuple[int, int] | None


def taken(pairing: Pairing) -> tuple[str, ...]:
    """Names of the prompts that an adapter takes."""
    return pairing.task.takes if isinstance(pairing.task, PromptableSegmentation) else ()


def fields(names: tuple[str, ...]) -> dict[str, gr.components.Component]:
    """Text fields of the prompts, which clicks fill in."""
    return {
        name: gr.Textbox(label=name.capitalize(), placeholder=f"click, or type {EXPECTED[name]}", max_lines=2)
        for name in names
    }


def told(x: int, y: int, meaning: str, texts: Mapping[str, str], corner: Corner) -> tuple[dict[str, str], Corner]:
    """The fields after a click on a pixel, and the corner of a box that waits for the one opposite."""
    texts = dict(texts)
    if meaning != CORNER:
        clicked = f"{x},{y},{int(meaning == ON)}"
        texts[POINTS] = f"{texts[POINTS]}|{clicked}" if texts.get(POINTS) else clicked
        return texts, corner
    if corner is None or x == corner[0] or y == corner[1]:
        return texts, (x, y)
    (left, right), (top, bottom) = sorted((x, corner[0])), sorted((y, corner[1]))
    texts[BOX] = f"{left},{top},{right},{bottom}"
    return texts, None


def pixel(at: tuple[int, int], shown: tuple[int, ...], size: tuple[int, int]) -> tuple[int, int]:
    """Column and row in the picture of what was clicked.

    Args:
        at: column and row in the picture as it is shown.
        shown: its height and width there.
        size: its own height and width.
    """
    x, y = (
        min(max(int((place + 0.5) * own / length), 0), own - 1)
        for place, own, length in zip(at, size[::-1], shown[1::-1], strict=True)
    )
    return x, y


def marked(plain: Picture, size: tuple[int, int], texts: Mapping[str, str], corner: Corner) -> Picture:
    """The picture as it is shown, with its prompts; without those that are not typed to their end.

    Args:
        plain: uint8 [H', W', 3], as it is shown.
        size: its own height and width.
        texts: of the fields.
        corner: of a box that is begun.
    """
    try:
        prompts = Prompts.parse({name: text for name, text in texts.items() if text.strip()}) or Prompts()
    except SettingError:
        prompts = Prompts()
    image = Image.fromarray(plain)
    draw = ImageDraw.Draw(image)
    scale = image.width / size[1], image.height / size[0]

    def at(x: float, y: float) -> tuple[float, float]:
        return (x + 0.5) * scale[0], (y + 0.5) * scale[1]

    if prompts.box is not None:
        draw.rectangle((*at(*prompts.box[:2]), *at(*prompts.box[2:])), outline=GREEN, width=WIDTH)
    for x, y, on in prompts.points:
        draw.circle(at(x, y), 2 * WIDTH, fill=GREEN if on else RED, outline="white")
    if corner is not None:
        draw.circle(at(*corner), WIDTH, outline=GREEN, width=2)
    return np.asarray(image)


class Canvas:
    """The picture to point at, below the fields.

    Args:
        names: prompts that are taken.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        meanings = [*([ON, OFF] if POINTS in names else []), *([CORNER] if BOX in names else [])]
        with gr.Column(visible=False) as self.column:
            caption("Point at it", "two clicks are opposite corners of a box" if BOX in names else "")
            self.meaning = gr.Radio(meanings, value=meanings[0], label="A click is", visible=len(meanings) > 1)
            self.image = gr.Image(
                show_label=False, interactive=False, buttons=[], elem_id="canvas", sources=[], format="png"
            )
            self.clear = gr.Button("Take the clicks back", size="sm", elem_id="clear")
        self.plain, self.size, self.corner = gr.State(), gr.State(), gr.State()

    def wire(
        self,
        picked: list[gr.events.Dependency],
        read: Callable[[int | None, str | None], Picture],
        sources: list[Any],
        texts: list[Any],
    ) -> None:
        """Show whatever is picked, and take clicks on it.

        Args:
            picked: events after which another picture is there.
            read: that picture, by the values of `sources`.
            sources: components that say which.
            texts: fields of the prompts, in the order of `names`.
        """
        empty = [""] * len(texts)
        state = [self.plain, self.size, *texts]

        def show(*source: Any) -> list[Any]:
            try:
                image = read(*source)
            except UserError:  # the answer will say what is wrong with it
                return [gr.update(visible=False), None, None, None, None, *empty]
            plain = small(image, SIDE)
            return [gr.update(visible=True), plain, plain, image.shape[:2], None, *empty]

        def click(event: gr.SelectData, meaning: str, corner: Corner, plain: Picture, size: Any, *values: str) -> Any:
            at = pixel(tuple(event.index), plain.shape, size)
            after, corner = told(*at, meaning, self._texts(values), corner)
            return [marked(plain, size, after, corner), corner, *(after[name] for name in self.names)]

        def typed(plain: Picture | None, size: Any, *values: str) -> Any:
            return gr.skip() if plain is None else marked(plain, size, self._texts(values), None)

        quiet: dict[str, Any] = {"show_progress": "hidden"}
        shown = [self.column, self.image, self.plain, self.size, self.corner, *texts]
        for event in picked:
            event.then(show, sources, shown, **quiet)
        self.image.select(click, [self.meaning, self.corner, *state], [self.image, self.corner, *texts], **quiet)
        for text in texts:
            text.input(typed, state, [self.image], **quiet)
        self.clear.click(lambda plain: [plain, None, *empty], [self.plain], [self.image, self.corner, *texts], **quiet)

    def _texts(self, values: tuple[str, ...]) -> dict[str, str]:
        return dict(zip(self.names, values, strict=True))
