"""Questions about the real pictures of RSSCN7: four kinds, made by templates from what the set knows of a picture.

    land_use    which of four named land uses a picture shows
    yes_no      whether it shows a given one
    open        which one it shows, without any named
    view        from how near it is seen: which of the four map scales

All are answered in words; land uses go by several names, and the one in the question is the answer. Pictures are
split as `data_modules.rsscn7` splits them. Kinds, the place of the right words, and yes are dealt like cards, within
every land use, so that a question tells nothing of its answer. The sentences of the test split are none of those of
training and validation. The scale is withheld: it would answer `view`.
"""

import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np

from data_modules.check import check_command
from data_modules.kinds.picture_probes import Probe
from data_modules.kinds.picture_set import PictureRecord, PictureSet
from data_modules.kinds.pictures import PictureDataModule
from data_modules.rsscn7 import CLASSES, GSD, RSSCN7
from zoo.batch import Picture, Question, SampleSet

VERSION = 1
"""Part of every draw: raise it whenever the same settings come to ask anything else."""

CHOICES = 4

KINDS = ["land_use", "yes_no", "open", "view"]

NAMES = {
    "field": ("a field", "farmland", "crops"),
    "forest": ("a forest", "trees", "woodland"),
    "grass": ("grass", "grassland", "a meadow"),
    "industry": ("industry", "factories", "an industrial area"),
    "parking": ("a parking lot", "parked cars", "a car park"),
    "residential": ("houses", "a residential area", "homes"),
    "river_lake": ("water", "a river", "a lake"),
}
"""What the land uses are called; the first name is the answer to an open question."""

VIEWS = ("very near", "near", "far", "very far")
"""Names of the map scales, the finest first."""

SENTENCES: dict[str, tuple[str, ...]] = {
    "land_use": ("What does this picture show: {}?", "What is this: {}?", "Is this {}?", "What do you see, {}?"),
    "yes_no": ("Is this {}?", "Does this picture show {}?", "Do you see {}?"),
    "open": ("What does this picture show?", "What is this?", "What covers the ground?", "What do you see?"),
    "view": ("Is this seen from {}?", "How near is the ground: {}?", "Is the camera {}?"),
}

NEW_SENTENCES: dict[str, tuple[str, ...]] = {
    "land_use": ("Which of these is seen from above: {}?", "What kind of place is it, {}?"),
    "yes_no": ("Would you say that this is {}?", "Can {} be seen here?"),
    "open": ("What can be seen from above?", "What kind of place is it?"),
    "view": ("At what distance was the picture taken: {}?", "From where does one look down, {}?"),
}
"""Of the test split."""

CONTROLS = 5
"""No multiple of the number of kinds, so that the controls are of every kind."""

INSTRUCTION = "Answer briefly."  # a small model on a CPU pays for every token


class Deck:
    """Cards that are dealt in random order, and shuffled again once all are out."""

    def __init__(self, rng: np.random.Generator, cards: Sequence[str]) -> None:
        self.rng, self.cards, self.left = rng, list(cards), list[str]()

    def deal(self) -> str:
        """The next card."""
        if not self.left:
            self.left = [self.cards[i] for i in self.rng.permutation(len(self.cards))]
        return self.left.pop()


class Asker:
    """Asks about one picture after another."""

    def __init__(self, rng: np.random.Generator, sentences: dict[str, tuple[str, ...]]) -> None:
        self.rng, self.sentences = rng, sentences
        places = [str(place) for place in range(CHOICES)]
        self.places = {name: Deck(rng, places) for name in (*CLASSES, *VIEWS)}
        self.truth = {name: Deck(rng, ("yes", "no")) for name in CLASSES}
        self.others = {name: Deck(rng, [other for other in CLASSES if other != name]) for name in CLASSES}

    def ask(self, kind: str, land: str, view: str) -> Question:
        """A question of one kind about a picture of this land use and view."""
        named, answer = "", NAMES[land][0]
        match kind:
            case "land_use":
                others = [name for name in CLASSES if name != land]
                wrong = [self._pick(NAMES[others[i]]) for i in self.rng.permutation(len(others))[: CHOICES - 1]]
                answer = self._pick(NAMES[land])
                named = self._listed(answer, wrong, self.places[land])
            case "view":
                answer = view
                wrong = [VIEWS[i] for i in self.rng.permutation(len(VIEWS)) if VIEWS[i] != view]
                named = self._listed(answer, wrong, self.places[view])
            case "yes_no":
                answer = self.truth[land].deal()
                named = self._pick(NAMES[land if answer == "yes" else self.others[land].deal()])
        return Question(self._pick(self.sentences[kind]).format(named), (), answer, kind, instruction=INSTRUCTION)

    def _pick(self, words: Sequence[str]) -> str:
        return words[int(self.rng.integers(len(words)))]

    @staticmethod
    def _listed(right: str, wrong: list[str], places: Deck) -> str:
        """`a, b, c or d`."""
        place = int(places.deal())
        named = [*wrong[:place], right, *wrong[place:]]
        return f"{', '.join(named[:-1])} or {named[-1]}"


class RSSCN7Questions(PictureDataModule):
    """Questions about RSSCN7.

    Args:
        root: folder that holds the pictures.
        rounds: questions about every training picture, of each kind in turn; of the other splits every picture has one.
        generator_seed: of the questions; the recipe's `seed` changes only the training.
    """

    name = "RSSCN7 questions"
    license = "research use"
    classes = KINDS
    instruction = INSTRUCTION
    own_files = "data_modules.folder_pictures.OpenQuestionFolder"
    settings = ("question", "bands", "stretch")
    conditions = ()

    def __init__(
        self,
        *,
        root: str,
        rounds: Annotated[int, ">= 1"] = 4,
        generator_seed: Annotated[int, ">= 0"] = 0,
    ) -> None:
        super().__init__()
        self.source = RSSCN7(root=root)
        self.rounds, self.generator_seed = rounds, generator_seed

    def splits(self) -> dict[str, SampleSet[Picture]]:
        """RSSCN7's own splits, with questions about every picture."""
        sets: dict[str, SampleSet[Picture]] = {}
        for place, (split, shots) in enumerate(self.source.shots_by_split().items()):
            rng = np.random.default_rng([VERSION, self.generator_seed, place])
            asker = Asker(rng, NEW_SENTENCES if split == "test" else SENTENCES)
            sets[split] = self.pictures(
                [
                    _asked(shot, asker, KINDS[(row + number) % len(KINDS)], number)
                    for number in range(self.rounds if split == "train" else 1)
                    for row, shot in enumerate(shots)
                ]
            )
        return sets

    def probes(self, conditions: Collection[str]) -> dict[str, SampleSet[Picture]]:
        """One question in CONTROLS of the test split about a blank picture, and about another of its pictures."""
        test = self.sets["test"]
        assert isinstance(test, PictureSet)
        rows = range(0, len(test), CONTROLS)
        order = np.random.default_rng([VERSION, self.generator_seed, len(self.sets)]).permutation(rows).tolist()
        pairs = zip(order, [order[-1], *order[:-1]], strict=True)
        other = [replace(test.shots[row], sources=test.shots[shown].sources) for row, shown in pairs]
        return {"blank_image": Probe(test, rows, gsd=None, blank=True), "other_picture": self.pictures(other)}

    def check(self) -> list[str]:
        """Pictures that are missing from the whole set."""
        return self.source.check()


def _asked(shot: PictureRecord, asker: Asker, kind: str, number: int) -> PictureRecord:
    """A picture of RSSCN7 with a question in the place of its label and its scale."""
    assert shot.label is not None
    assert shot.gsd is not None
    question = asker.ask(kind, CLASSES[shot.label], VIEWS[GSD.index(shot.gsd)])
    return replace(shot, id=f"{shot.id}#{number}", label=None, gsd=None, question=question)


if __name__ == "__main__":
    sys.exit(check_command("data_modules.rsscn7_questions", lambda root: RSSCN7Questions(root=root)))
