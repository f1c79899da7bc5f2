"""Questions about RSSCN7 tell nothing of their answers, and the shipped adapter looks at the picture to answer them."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import picture_files
import pytest
import torch
from kept import kept_encoders

import zoo
from data_modules.kinds.picture_set import PictureSet
from data_modules.rsscn7 import CLASSES, FOLDERS, RSSCN7
from data_modules.rsscn7_questions import KINDS, NAMES, NEW_SENTENCES, SENTENCES, VIEWS, RSSCN7Questions
from zoo.batch import Picture, Question
from zoo.inference.predictor import predict
from zoo.pairing import Pairing
from zoo.recipe.build import build_pairing
from zoo.recipe.compose import compose

__all__ = ["kept_encoders"]  # a fixture of every test here

LAND = {name: land for land, names in NAMES.items() for name in names}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> RSSCN7Questions:
    made = RSSCN7Questions(root=str(picture_files.rsscn7(tmp_path_factory.mktemp("rsscn7"), each=20)), rounds=4)
    made.setup()
    return made


@pytest.fixture(scope="module")
def real(shared_data: Path) -> RSSCN7Questions:
    root = shared_data / "rsscn7"
    if not (root / "labels.csv").is_file():
        pytest.skip(f"{root} does not hold RSSCN7")
    made = RSSCN7Questions(root=str(root))
    made.setup()
    return made


def split(data: RSSCN7Questions, name: str) -> PictureSet:
    samples = data.sets[name]
    assert isinstance(samples, PictureSet)
    return samples


def asked(data: RSSCN7Questions, name: str, kind: str) -> list[tuple[str, Question]]:
    """Land use of the picture (its folder) and question."""
    shots = [shot for shot in split(data, name).shots if shot.question and shot.question.kind == kind]
    return [(FOLDERS[shot.id.partition("/")[0]], shot.question) for shot in shots if shot.question]


def listed(question: Question, sentences: tuple[str, ...]) -> list[str]:
    """Names between the words of the sentence, in order."""
    for sentence in sentences:
        before, _, after = sentence.partition("{}")
        if question.text.startswith(before) and question.text.endswith(after):
            return question.text[len(before) : len(question.text) - len(after)].replace(" or ", ", ").split(", ")
    raise AssertionError(question.text)


@pytest.mark.parametrize(("kind", "known"), [("land_use", LAND), ("view", dict(zip(VIEWS, VIEWS, strict=True)))])
def test_the_right_words_stand_equally_often_in_every_place(
    data: RSSCN7Questions, kind: str, known: dict[str, str]
) -> None:
    places: dict[str, Counter[int]] = {}
    for land, question in asked(data, "train", kind):
        names = listed(question, SENTENCES[kind])
        assert len({known[name] for name in names}) == len(names) == 4
        if kind == "land_use":
            assert known[question.answer] == land
        places.setdefault(known[question.answer], Counter())[names.index(question.answer)] += 1
    assert len(places) == len(set(known.values()))
    for counts in places.values():
        assert max(counts.values()) - min(counts[place] for place in range(4)) <= 1


def test_yes_is_as_often_right_as_no_whatever_land_use_is_asked_about(data: RSSCN7Questions) -> None:
    truth: dict[str, Counter[str]] = {}
    for land, question in asked(data, "train", "yes_no"):
        (name,) = listed(question, SENTENCES["yes_no"])
        assert (question.answer == "yes") == (LAND[name] == land)
        truth.setdefault(LAND[name], Counter())[question.answer] += 1
    assert sorted(truth) == CLASSES
    for counts in truth.values():
        assert abs(counts["yes"] - counts["no"]) <= 0.2 * counts.total()


def test_no_picture_is_in_two_splits_and_the_splits_are_those_of_the_set(data: RSSCN7Questions) -> None:
    pictures = {name: {shot.sources for shot in split(data, name).shots} for name in ("train", "val", "test")}
    known = RSSCN7(root=str(data.source.root)).shots_by_split()
    assert pictures == {name: {shot.sources for shot in shots} for name, shots in known.items()}
    assert sum(map(len, pictures.values())) == len(set.union(*pictures.values())) == 560


def test_a_test_question_is_in_words_that_training_did_not_use(data: RSSCN7Questions) -> None:
    for kind in KINDS:
        assert all(listed(question, NEW_SENTENCES[kind]) for _, question in asked(data, "test", kind))
        assert not set(SENTENCES[kind]) & set(NEW_SENTENCES[kind])


def test_a_picture_is_asked_one_question_of_every_kind_in_four_rounds(data: RSSCN7Questions) -> None:
    kinds: dict[object, list[str]] = {}
    for shot in split(data, "train").shots:
        assert shot.question is not None
        kinds.setdefault(shot.sources, []).append(shot.question.kind)
    assert all(sorted(found) == sorted(KINDS) for found in kinds.values())


def test_the_same_seed_asks_the_same_and_another_something_else(data: RSSCN7Questions) -> None:
    root = str(data.source.root)
    same, other = RSSCN7Questions(root=root), RSSCN7Questions(root=root, generator_seed=1)
    same.setup()
    other.setup()
    assert same.fingerprint() == data.fingerprint() != other.fingerprint()


def test_the_scale_is_not_told(data: RSSCN7Questions) -> None:
    assert all(torch.isnan(split(data, name).conditions(0)["gsd"]) for name in data.sets)


def test_controls_ask_the_same_questions_of_every_kind_about_blank_and_other_pictures(data: RSSCN7Questions) -> None:
    test, probes = split(data, "test"), data.probes(())
    blank, other = probes["blank_image"], probes["other_picture"]
    assert isinstance(other, PictureSet)
    right = {shot.id: shot for shot in test.shots}
    names = [blank.id(row) for row in range(len(blank))]
    assert sorted(names) == sorted(shot.id for shot in other.shots)
    assert len(set(names)) == len(names) == len(test) // 5
    counts = Counter(question.kind for name in names if (question := right[name].question))
    assert sorted(counts) == sorted(KINDS)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert {shot.sources for shot in other.shots} == {right[name].sources for name in names}
    assert all(shot.sources != right[shot.id].sources for shot in other.shots)
    assert all(shot.question == right[shot.id].question for shot in other.shots)
    assert blank[0].question == right[names[0]].question
    assert (blank[0].images[0] == 128).all()


@pytest.mark.slow
def test_a_real_step_of_the_recipe_makes_the_right_answers_likelier(real: RSSCN7Questions) -> None:
    config = compose("small_llava_rsscn7", [f"data.root={real.source.root}"])
    pairing = build_pairing(config, real.classes)
    batch = pairing.batch([real.sets["train"][row] for row in range(0, 2240, 560)])
    optimizer = torch.optim.SGD(trained(pairing), lr=0.05)
    losses = []
    for _ in range(2):
        loss = torch.stack([term.mean() for term in pairing.task.loss(pairing(batch), batch).values()]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]


def trained(pairing: Pairing) -> list[torch.nn.Parameter]:
    return [parameter for parameter in pairing.parameters() if parameter.requires_grad]


@pytest.mark.slow
def test_the_shipped_adapter_tells_what_pictures_show_and_not_what_a_grey_one_does(real: RSSCN7Questions) -> None:
    pairing = zoo.load("small_llava-rsscn7").pairing
    test = real.sets["test"]
    rows = [row for row in range(len(test)) if (question := test.question(row)) and question.kind == "open"][::12]
    seen = [test[row] for row in rows]
    grey = [replace(one, id=f"{one.id}?", images=(np.full_like(one.images[0], 128),)) for one in seen]

    def right(samples: list[Picture]) -> int:
        answers = predict(pairing, samples)
        return sum(a["written"] == s.question.answer for a, s in zip(answers, samples, strict=True) if s.question)

    assert len(rows) == 15
    assert right(seen) >= 7  # of fifteen pictures; a guess is right of two
    assert right(grey) <= 4
