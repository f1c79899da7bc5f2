"""Kind, scale and answer of every synthetic scene, dealt like cards so that even small splits are balanced."""

import math
from typing import Literal, NamedTuple

import numpy as np

from data_modules.synthetic.scene_cues import Layout
from data_modules.synthetic.scene_pictures import Ground

LEVELS = (0.25, 0.5, 1.0, 2.0)
"""GSD in metres per pixel."""

JITTER = 1.15
"""The GSD is log-uniform between a level divided and multiplied by this."""

CUE_FREE = 0.4
"""Share of pictures without any cue to the scale, of every kind but `car_visible`, which needs a road."""

METRES = ((4.0, 6.0), (10.0, 18.0), (30.0, 50.0))
"""Lengths of a car, a house and a hangar; 5, 15 and 40 metres stand for the same ranges."""

PIXELS = (4.0, 100.0)
"""Shortest and longest bright rectangle: a patch encoder sees the shortest, and the longest fits into the picture."""

Kind = Literal["object", "width", "count", "land_use", "car_visible", "pixels"]

KINDS: tuple[Kind, ...] = ("object", "width", "count", "land_use", "car_visible")

SCALED: tuple[Kind, ...] = ("object", "width")
"""Kinds whose answer depends on the scale."""

COVERS: tuple[Ground, ...] = ("field", "forest", "water", "bare")

QUESTIONS: dict[Kind, tuple[str, tuple[str, ...]]] = {
    "object": ("What is the bright rectangle?", ("a car", "a house", "a hangar")),
    "width": ("About how long is the bright rectangle?", ("5 metres", "15 metres", "40 metres")),
    "count": ("How many houses are there?", ("1", "2", "3", "4")),
    "land_use": ("What covers the ground?", ("field", "forest", "water", "bare soil")),
    "car_visible": ("Is a single car visible?", ("yes", "no")),
    "pixels": ("How many pixels long is the bright rectangle?", ("4 to 8", "9 to 20", "21 to 45", "more")),
}

# Multiples of these, modulo 1, fill a square evenly, however many are taken and wherever they start.
STEPS = np.sqrt([2.0, 3.0])


def span(answer: int, gsd: float) -> tuple[float, float]:
    """Shortest and longest length in metres of a class at a GSD, so that its pixels stay within bounds."""
    low, high = METRES[answer]
    return max(low, PIXELS[0] * gsd), min(high, PIXELS[1] * gsd)


def possible(kind: Kind, level: float) -> list[int]:
    """Answers that occur at a level: their rectangles fit at every GSD of the level."""
    answers = range(len(QUESTIONS[kind][1]))
    if kind not in SCALED:
        return list(answers)
    ends = [span(a, gsd) for a in answers for gsd in (level / JITTER, level * JITTER)]
    return [a for a in answers if all(low < high for low, high in ends[2 * a : 2 * a + 2])]


def _shares(kinds: tuple[Kind, ...], scale_share: float) -> list[float]:
    """Share of questions by kind; equal among kinds that depend on the scale, and among the others."""
    scaled = sum(kind in SCALED for kind in kinds)
    if scaled in (0, len(kinds)):
        return [1 / len(kinds)] * len(kinds)
    return [scale_share / scaled if kind in SCALED else (1 - scale_share) / (len(kinds) - scaled) for kind in kinds]


class Card(NamedTuple):
    """The balanced properties of a sample, fixed before anything is drawn for it."""

    kind: Kind
    level: float
    answer: int
    cues: bool


def _deck(kind: Kind) -> list[tuple[float, int]]:
    """Levels and answers of one kind: equally many cards of every level, and of every answer within a level."""
    # A car has two pixels at the coarsest level.
    answers = {level: possible(kind, level) for level in (LEVELS[:-1] if kind == "car_visible" else LEVELS)}
    cards = math.lcm(*(len(found) for found in answers.values()))
    return [(level, answer) for level, found in answers.items() for answer in found * (cards // len(found))]


def deal(rng: np.random.Generator, size: int, kinds: tuple[Kind, ...], scale_share: float) -> list[Card]:
    """`size` cards; a larger `size` only appends cards."""
    ends = np.cumsum(_shares(kinds, scale_share))
    decks: dict[Kind, list[tuple[float, int]]] = {kind: [] for kind in kinds}
    cards, start = [], rng.random(2)
    for index in range(size):
        which, cue = (start + index * STEPS) % 1
        kind = kinds[min(int(np.searchsorted(ends, which, side="right")), len(kinds) - 1)]
        if not decks[kind]:
            full = _deck(kind)
            decks[kind] = [full[i] for i in rng.permutation(len(full))]
        cards.append(Card(kind, *decks[kind].pop(), kind == "car_visible" or bool(cue >= CUE_FREE)))
    return cards


def surroundings(rng: np.random.Generator, card: Card) -> tuple[Ground, Layout | None]:
    """A ground and the layout on it; independent of the answer, except for the question about land use."""
    kind, level, answer, cues = card
    grounds: tuple[Ground, ...] = ("field", "bare")
    if kind == "land_use":
        grounds = (COVERS[answer],)
    elif kind not in ("count", "car_visible"):
        grounds = (*grounds, "water")
    if cues and kind != "land_use":
        grounds = (*grounds, "urban")
    ground = grounds[int(rng.integers(len(grounds)))]
    layouts: list[Layout] = ["street"]
    if ground == "water":
        layouts = ["marina"]
    elif kind != "car_visible":
        layouts.append("parking")
        if kind != "count":  # roofs would be counted
            layouts.append("suburb")
        if level >= 1:  # a runway is 45 m wide
            layouts.append("runway")
    return ground, layouts[int(rng.integers(len(layouts)))] if cues else None
