"""Pictures seen from above beside what was asked and answered about them: plain values in, a PNG file out."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from zoo.backbones.vision_language import LETTERS
from zoo.batch import Question
from zoo.report.figures import RIGHT, WRONG, save, small, wrapped

QUESTION, CHOICE, SAID = 6, 2, 3
"""Most lines of a question, of a choice and of an answer: some benchmarks ask in paragraphs."""

PICTURE, LINE, LETTER, GAP = 2.1, 0.158, 0.066, 0.22
"""Inches: side of a picture, height of a line, width of a letter, room between two rows."""


class Scale(NamedTuple):
    """The ground sampling distance that an answer used, in metres or the data's own unit.

    Attributes:
        used: by the method.
        branch: where that came from.
        interval: 90 % of the method's estimate, where it makes one.
    """

    used: float
    branch: str
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class SceneExample:
    """One picture and its answer.

    Attributes:
        id: of the sample.
        image: uint8 [H, W, 3].
        truth: the right class, or the right answer in the benchmark's words (letters, where there are choices).
        predicted: the class, or what was written.
        right: whether that counts as right; None without a target.
        probability: of the class.
        question: where one was asked.
        scale: where a method used one.
        further: number of pictures beside the one shown.
    """

    id: str
    image: NDArray[np.uint8]
    truth: str
    predicted: str
    right: bool | None
    probability: float | None = None
    question: Question | None = None
    scale: Scale | None = None
    further: int = 0


def answers(examples: Sequence[SceneExample], path: Path, *, unit: str = "m") -> None:
    """A grid of pictures, each beside its text: green what is right, red a wrong answer."""
    columns, wide = (2, 56) if any(example.question for example in examples) else (3, 38)
    texts = [_lines(example, wide, unit) for example in examples]
    starts = range(0, len(examples), columns)
    talls = [max(PICTURE, *(LINE * len(lines) for lines in texts[k : k + columns])) for k in starts]
    # Placed by hand, in inches: a layout engine would give every column the width of its own longest line.
    panel, height = PICTURE + GAP + LETTER * wide, sum(talls) + GAP * len(talls)
    figure = Figure(figsize=(columns * panel, height))
    top = height - GAP / 2
    for start, tall in zip(starts, talls, strict=True):
        for column, k in enumerate(range(start, min(start + columns, len(examples)))):
            left = column * panel + GAP / 4
            box = (left, top - PICTURE, PICTURE, PICTURE)
            axes = figure.add_axes(tuple(np.divide(box, (columns * panel, height) * 2)), anchor="N")
            axes.imshow(small(examples[k].image))
            axes.axis("off")
            _write(figure, texts[k], (left + PICTURE + GAP / 2, top))
        top -= tall + GAP
    with warnings.catch_warnings():
        # A model may write in any script; what the font lacks is a box.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        save(figure, path)


def _write(figure: Figure, lines: Sequence["_Line"], corner: tuple[float, float]) -> None:
    """Lines below each other from an upper left corner, in inches."""
    for number, line in enumerate(lines):
        figure.text(
            corner[0] / figure.get_figwidth(),
            (corner[1] - number * LINE) / figure.get_figheight(),
            line.text,
            fontsize=line.size,
            color=line.colour,
            fontweight="bold" if line.bold else "normal",
            va="top",
            parse_math=False,
        )


class _Line(NamedTuple):
    text: str
    colour: str = "black"
    size: float = 8.5
    bold: bool = False


def _lines(example: SceneExample, wide: int, unit: str) -> list[_Line]:
    answer = {True: RIGHT, False: WRONG, None: "black"}[example.right]
    probability = "" if example.probability is None else f"  p={example.probability:.2f}"
    found: list[_Line] = []
    if question := example.question:
        found += [_Line(line, bold=True) for line in wrapped(question.text, wide - 4, QUESTION)]
        for letter, words in zip(LETTERS, question.choices, strict=False):
            true = letter in example.truth.split()
            mark, colour = ("✓ ", RIGHT) if true else ("   ", "0.25")
            first, *rest = wrapped(f"{letter}. {words}", wide - 3, CHOICE)
            found += [_Line(mark + first, colour), *(_Line(f"     {line}", colour) for line in rest)]
        if not question.choices:
            found += [_Line(line, RIGHT) for line in wrapped(f"right: {example.truth}", wide, SAID)]
        predicted = f"wrote: {example.predicted.strip() or '(nothing)'}"
        found += [_Line(line, answer, bold=True) for line in wrapped(predicted, wide - 4, SAID)]
    else:
        target = [_Line(line, bold=True) for line in wrapped(example.truth, wide - 4, SAID)] if example.truth else []
        prediction = wrapped(f"predicted: {example.predicted}{probability}", wide, SAID)
        found += [*target, *(_Line(line, answer) for line in prediction)]
    if scale := example.scale:
        found += [_Line(""), _Line(f"GSD {scale.used:.3g} {unit}, {scale.branch}", "0.25", 8)]
        if scale.interval:
            low, high = (f"{end:.3g}" for end in scale.interval)
            found.append(_Line(f"estimate {low} to {high} {unit} (90 %)", "0.25", 8))
    more = f" (one of {example.further + 1} pictures)" if example.further else ""
    name = example.id if len(example.id) <= wide else f"...{example.id[3 - wide :]}"
    return [*found, _Line(name + more, "0.55", 6.5)]
