"""A *synthetic* set of aerial scenes with questions whose answers depend on the scale, generated on the fly.

One picture and one question a sample, at one of four ground sampling distances (GSD) from a quarter of a metre to two
metres, give or take 15 %. `object` and `width` ask about a bright rectangle that looks the same whatever it is: at a
given scale the possible answers are equally frequent, and a given number of pixels can be a car, a house or a hangar.
Only pixels times scale decide. Most pictures show things of known size (lanes, bays, cars, boats). In a share CUE_FREE
of the others no cue gives the scale away, so that an estimate of it must be uncertain. The other kinds need no scale.
Kinds, scales and answers are balanced (`data_modules.synthetic.scene_deal`). The set shows a method at work and catches
broken code. It says nothing about real overhead pictures.
"""

import hashlib
import math
from dataclasses import dataclass, replace
from typing import Annotated, get_args

import numpy as np
import torch
from torch import Tensor

from data_modules.kinds.pictures import PictureDataModule
from data_modules.synthetic.scene_deal import JITTER, KINDS, QUESTIONS, Kind, deal, span, surroundings
from data_modules.synthetic.scene_pictures import Scene, draw
from zoo.batch import Picture, Question, SampleSet
from zoo.errors import SettingError

VERSION = 1
"""Part of every sample's key: raise it whenever the generator, or its pictures, draw anything else."""

SPLITS = ("train", "val", "test")

BINS = ((4.0, 8.0), (9.0, 20.0), (21.0, 45.0), (46.0, 100.0))
"""Answers to `pixels`."""

HOUSES = (10.0, 22.0)
"""Pixels of the rectangles to be counted, at any scale."""

INSTRUCTION = "Letter:"  # a small model on a CPU pays for every token


@dataclass(frozen=True)
class Record:
    """A sample without its pixels.

    Attributes:
        kind: of question.
        level: nominal GSD in metres per pixel; the GSD is within 15 % of it.
        answer: index of the right choice.
        scene: content of the picture, and its GSD.
    """

    kind: Kind
    level: float
    answer: int
    scene: Scene

    @property
    def cues(self) -> bool:
        """Whether the picture holds a cue to its scale."""
        return self.scene.layout is not None

    @property
    def question(self) -> Question:
        """The question about the picture."""
        text, choices = QUESTIONS[self.kind]
        return Question(text, choices, "ABCD"[self.answer], self.kind, instruction=INSTRUCTION)


class SceneSet(SampleSet[Picture]):
    """One split of the set.

    Args:
        split: its name; splits draw from disjoint streams of random numbers.
        size: pictures.
        kinds: of questions.
        scale_share: share of questions that depend on the scale.
        metadata: share of pictures whose GSD is given as metadata.
        seed: of the whole set.
    """

    def __init__(
        self, split: str, size: int, *, kinds: tuple[Kind, ...], scale_share: float, metadata: float, seed: int
    ) -> None:
        self.split, self.metadata, self.seed = split, metadata, seed
        self.cards = deal(np.random.default_rng([VERSION, seed, SPLITS.index(split)]), size, kinds, scale_share)

    def __len__(self) -> int:
        return len(self.cards)

    def id(self, index: int) -> str:
        """`<split>/<index>`."""
        return f"{self.split}/{index:04d}"

    def key(self, index: int) -> str:
        """Generator version, random stream and record; the metadata change no pixel."""
        stable = replace(record := self.record(index), scene=record.scene.rounded)
        text = f"synthetic_scenes|{VERSION}|{self.seed}|{self.split}|{index}|{stable}"
        return hashlib.sha256(text.encode()).hexdigest()

    def _rng(self, index: int, part: int) -> np.random.Generator:
        return np.random.default_rng([VERSION, self.seed, SPLITS.index(self.split), index, part])

    def record(self, index: int) -> Record:
        """Sample `index` without its pixels."""
        kind, level, answer, _ = card = self.cards[index]
        rng = self._rng(index, 0)
        gsd = level * JITTER ** float(rng.uniform(-1, 1))
        ground, layout = surroundings(rng, card)
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
        """Empty: the label is the question's answer."""
        return {}

    def conditions(self, index: int) -> dict[str, Tensor]:
        """`gsd`: float32 [], metres per pixel, or NaN without metadata."""
        known = self._rng(index, 2).random() < self.metadata
        return {"gsd": torch.tensor(self.record(index).scene.gsd if known else math.nan, dtype=torch.float32)}

    def question(self, index: int) -> Question:
        """The question about picture `index`."""
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
        kinds: of questions.
        scale_share: share of questions that depend on the scale, if `kinds` has both sorts.
        metadata: share of training pictures whose GSD is given; in the other splits it always is.
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
                metadata=self.metadata if split == "train" else 1.0,
                seed=self.generator_seed,
            )
            for split, size in self.sizes.items()
        }
