"""A *synthetic* set of aerial scenes with questions whose answers depend on the scale, made on the fly. No download.

One picture and one question a sample, at one of four ground sampling distances (GSD) from a quarter of a metre to two
metres, give or take 15 %. `object` and `width` ask about a bright rectangle that looks the same whatever it is: at a
given scale the possible answers are equally frequent, and a given number of pixels can be a car, a house or a hangar.
Only pixels times scale decide. Most pictures show things of known size (lanes, bays, cars, boats); in CUE_FREE of those
that can do without, nothing tells the scale, so that an estimate of it must be unsure. The other kinds need no scale.
Kinds, scales and answers are dealt like cards, so that even small splits are balanced. The set shows a method at work
and catches broken code. It says nothing about real pictures from above.
"""

import hashlib
import math
from dataclasses import dataclass, replace
from typing import Annotated, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from data_modules.kinds.pictures import PictureDataModule
from data_modules.synthetic.scene_cues import Layout
from data_modules.synthetic.scene_pictures import Ground, Scene, draw
from zoo.batch import Picture, Question, SampleSet
from zoo.errors import SettingError

VERSION = 1
"""Part of every sample's key: raise it whenever the generator, or its pictures, draw anything else."""

SPLITS = ("train", "val", "test")

LEVELS = (0.25, 0.5, 1.0, 2.0)
"""Metres per pixel."""

JITTER = 1.15
"""The GSD is log-uniform between a level divided and multiplied by this."""

CUE_FREE = 0.4
"""Share of pictures without anything that tells the scale, of every kind but `car_visible`, which needs a road."""

METRES = ((4.0, 6.0), (10.0, 18.0), (30.0, 50.0))
"""Lengths of a car, a house and a hangar; 5, 15 and 40 metres stand for the same ranges."""

PIXELS = (4.0, 100.0)
"""Shortest and longest bright rectangle: a patch encoder sees the one, and the other fits into the picture."""

BINS = ((4.0, 8.0), (9.0, 20.0), (21.0, 45.0), (46.0, 100.0))
"""Answers to `pixels`."""

HOUSES = (10.0, 22.0)
"""Pixels of the rectangles to be counted, at any scale."""

INSTRUCTION = "Letter:"  # a small model on a CPU pays for every token

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


@dataclass(frozen=True)
class Record:
    """All that a sample is, but for pixels.

    Attributes:
        kind: of question.
        level: metres per pixel, of which the GSD is within 15 %.
        answer: index of the right choice.
        scene: what the picture shows, at which GSD.
    """

    kind: Kind
    level: float
    answer: int
    scene: Scene

    @property
    def cues(self) -> bool:
        """Whether anything in the picture tells its scale."""
        return self.scene.layout is not None

    @property
    def question(self) -> Question:
        """What is asked."""
        text, choices = QUESTIONS[self.kind]
        return Question(text, choices, "ABCD"[self.answer], self.kind, instruction=INSTRUCTION)


def span(answer: int, gsd: float) -> tuple[float, float]:
    """Least and greatest length in metres that a class may have at a GSD, for its pixels to stay within bounds."""
    low, high = METRES[answer]
    return max(low, PIXELS[0] * gsd), min(high, PIXELS[1] * gsd)


def possible(kind: Kind, level: float) -> list[int]:
    """Answers that occur at a level: those whose rectangles fit at every GSD of it."""
    answers = range(len(QUESTIONS[kind][1]))
    if kind not in SCALED:
        return list(answers)
    ends = [span(a, gsd) for a in answers for gsd in (level / JITTER, level * JITTER)]
    return [a for a in answers if all(low < high for low, high in ends[2 * a : 2 * a + 2])]


def _shares(kinds: tuple[Kind, ...], scale_share: float) -> list[float]:
    """Share of questions by kind; alike within those that depend on the scale, and within those that do not."""
    scaled = sum(kind in SCALED for kind in kinds)
    if scaled in (0, len(kinds)):
        return [1 / len(kinds)] * len(kinds)
    return [scale_share / scaled if kind in SCALED else (1 - scale_share) / (len(kinds) - scaled) for kind in kinds]


class Card(NamedTuple):
    """What is settled of a sample before anything is drawn for it."""

    kind: Kind
    level: float
    answer: int
    cues: bool


def _deck(kind: Kind) -> list[tuple[float, int]]:
    """Levels and answers of one kind: as many cards of every level, and within a level of every answer."""
    # A car has two pixels at the coarsest level.
    answers = {level: possible(kind, level) for level in (LEVELS[:-1] if kind == "car_visible" else LEVELS)}
    cards = math.lcm(*(len(found) for found in answers.values()))
    return [(level, answer) for level, found in answers.items() for answer in found * (cards // len(found))]


def deal(rng: np.random.Generator, size: int, kinds: tuple[Kind, ...], scale_share: float) -> list[Card]:
    """So many cards; the first of them are the same however many are asked for."""
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


def _surroundings(rng: np.random.Generator, card: Card) -> tuple[Ground, Layout | None]:
    """A ground and what stands on it; they tell nothing about an answer but what covers the ground."""
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


class SceneSet(SampleSet[Picture]):
    """One split of the set.

    Args:
        split: its name; splits draw from disjoint streams of random numbers.
        size: pictures.
        kinds: of questions.
        scale_share: share of questions that depend on the scale.
        told: share of pictures whose GSD is told.
        seed: of the whole set.
    """

    def __init__(
        self, split: str, size: int, *, kinds: tuple[Kind, ...], scale_share: float, told: float, seed: int
    ) -> None:
        self.split, self.told, self.seed = split, told, seed
        self.cards = deal(np.random.default_rng([VERSION, seed, SPLITS.index(split)]), size, kinds, scale_share)

    def __len__(self) -> int:
        return len(self.cards)

    def id(self, index: int) -> str:
        """`<split>/<index>`."""
        return f"{self.split}/{index:04d}"

    def key(self, index: int) -> str:
        """Generator version, random stream and record; whether the GSD is told changes no pixel."""
        told = replace(record := self.record(index), scene=record.scene.told)
        text = f"synthetic_scenes|{VERSION}|{self.seed}|{self.split}|{index}|{told}"
        return hashlib.sha256(text.encode()).hexdigest()

    def _rng(self, index: int, part: int) -> np.random.Generator:
        return np.random.default_rng([VERSION, self.seed, SPLITS.index(self.split), index, part])

    def record(self, index: int) -> Record:
        """Sample `index` without its pixels."""
        kind, level, answer, _ = card = self.cards[index]
        rng = self._rng(index, 0)
        gsd = level * JITTER ** float(rng.uniform(-1, 1))
        ground, layout = _surroundings(rng, card)
        marks, cars = tuple[float, ...](), None
        match kind:
            case "object" | "width":
                low, high = span(answer, gsd)
                marks = (_between(rng, low / gsd, high / gsd),)
            case "pixels":
                marks = (_between(rng, *BINS[answer]),)
            case "count":
                marks = tuple(_between(rng, *HOUSES) for _ in range(answer + 1))
            case "car_visible":
                cars = 1 - answer
        return Record(kind, level, answer, Scene(ground, gsd, layout, marks, cars))

    def target(self, index: int) -> dict[str, Tensor]:
        """Nothing: the label is the question's answer."""
        return {}

    def conditions(self, index: int) -> dict[str, Tensor]:
        """`gsd`: float32 [], metres per pixel, NaN where it is not told."""
        told = self._rng(index, 2).random() < self.told
        return {"gsd": torch.tensor(self.record(index).scene.gsd if told else math.nan, dtype=torch.float32)}

    def question(self, index: int) -> Question:
        """What is asked about picture `index`."""
        return self.record(index).question

    def __getitem__(self, index: int) -> Picture:
        record = self.record(index)
        image = draw(self._rng(index, 1), record.scene)
        return Picture(self.id(index), (image,), self.target(index), self.conditions(index), record.question)


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    """A log-uniform number."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


class SyntheticScenes(PictureDataModule):
    """The synthetic scenes as a data module.

    Args:
        train_questions: size of the training split.
        val_questions: size of the validation split.
        test_questions: size of the test split.
        kinds: of questions that are asked.
        scale_share: share of questions that depend on the scale, where both sorts are asked.
        metadata: share of training pictures whose GSD is told; in the other splits all are.
        generator_seed: of the set itself; the recipe's `seed` changes only the training.
    """

    name = "synthetic scenes"
    synthetic = True
    instruction = INSTRUCTION
    own_files = "data_modules.folder_pictures.QuestionFolder"
    license = "none needed (generated)"
    side = 112

    def __init__(
        self,
        *,
        train_questions: Annotated[int, ">= 1"] = 1600,
        val_questions: Annotated[int, ">= 1"] = 200,
        test_questions: Annotated[int, ">= 1"] = 400,
        kinds: tuple[Kind, ...] = KINDS,
        scale_share: Annotated[float, ">= 0", "<= 1"] = 0.7,
        metadata: Annotated[float, ">= 0", "<= 1"] = 1.0,
        generator_seed: Annotated[int, ">= 0"] = 0,
    ) -> None:
        super().__init__()
        if not kinds or len(set(kinds)) < len(kinds) or not set(kinds) <= set(get_args(Kind)):
            raise SettingError(f"kinds: expected some of {', '.join(get_args(Kind))}, each once; got {list(kinds)}")
        self.sizes = {"train": train_questions, "val": val_questions, "test": test_questions}
        self.kinds, self.classes = tuple(kinds), list(kinds)
        self.scale_share, self.metadata, self.generator_seed = scale_share, metadata, generator_seed

    def splits(self) -> dict[str, SampleSet[Picture]]:
        """Three disjoint streams of pictures."""
        return {
            split: SceneSet(
                split,
                size,
                kinds=self.kinds,
                scale_share=self.scale_share,
                told=self.metadata if split == "train" else 1.0,
                seed=self.generator_seed,
            )
            for split, size in self.sizes.items()
        }
