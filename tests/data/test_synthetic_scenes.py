"""Synthetic scenes: right answers need pixels and scale together, and the pictures show what the records say."""

from collections import Counter
from collections.abc import Iterable
from typing import get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from data_modules.synthetic.scene_cues import LAYOUTS, Layout, Site, street
from data_modules.synthetic.scene_deal import (
    CUE_FREE,
    JITTER,
    KINDS,
    LEVELS,
    METRES,
    PIXELS,
    QUESTIONS,
    SCALED,
    Kind,
    possible,
)
from data_modules.synthetic.scene_pictures import BRIGHT, SIDE, Scene, draw, place
from data_modules.synthetic_scenes import BINS, HOUSES, Record, SceneSet, SyntheticScenes
from zoo.errors import SettingError
from zoo.recipe import annotations, schema


def scenes(
    split: str = "test", size: int = 400, kinds: tuple[Kind, ...] = KINDS, metadata: float = 1.0, seed: int = 0
) -> SceneSet:
    return SceneSet(split, size, kinds=kinds, scale_share=0.7, metadata=metadata, seed=seed)


def records(samples: SceneSet) -> list[Record]:
    return [samples.record(i) for i in range(len(samples))]


def majority(fitted: Iterable[tuple[object, int]], told: Iterable[tuple[object, int]]) -> float:
    """Share of right answers of the best rule from what is seen to an answer, fitted on the one, tried on the other."""
    votes: dict[object, Counter[int]] = {}
    for seen, answer in fitted:
        votes.setdefault(seen, Counter())[answer] += 1
    return float(np.mean([seen in votes and votes[seen].most_common(1)[0][0] == answer for seen, answer in told]))


def pixel_bin(record: Record) -> int:
    """An eighth of an octave."""
    return int(8 * np.log2(record.scene.marks[0]))


def metre_bin(record: Record) -> int:
    """The class that is nearest on a logarithmic scale."""
    metres = record.scene.marks[0] * record.scene.gsd
    return int(np.argmin([abs(np.log(metres / np.sqrt(low * high))) for low, high in METRES]))


def test_a_sample_is_a_function_of_seed_split_and_index() -> None:
    first, again = scenes(size=3), scenes(size=30)
    assert [first.key(i) for i in range(3)] == [again.key(i) for i in range(3)]
    for i in range(3):
        assert np.array_equal(first[i].images[0], again[i].images[0])
        assert first.record(i) == again.record(i)
    assert not np.array_equal(first[0].images[0], scenes(seed=1)[0].images[0])


def test_splits_and_seeds_share_no_picture() -> None:
    sets = [scenes("train", 300), scenes("val", 300), scenes("test", 300), scenes("train", 300, seed=1)]
    assert len({samples.key(i) for samples in sets for i in range(300)}) == 1200
    assert len({record.scene.gsd for samples in sets for record in records(samples)}) == 1200


def test_a_sample_has_a_picture_a_scale_and_a_question() -> None:
    samples = scenes()
    for i in range(20):
        sample, record = samples[i], samples.record(i)
        assert sample.id == samples.id(i) == f"test/{i:04d}"
        assert sample.images[0].shape == (SIDE, SIDE, 3)
        assert sample.images[0].dtype == np.uint8
        assert sample.conditions["gsd"].dtype == torch.float32
        assert sample.conditions["gsd"].shape == ()
        assert float(sample.conditions["gsd"]) == pytest.approx(record.scene.gsd)
        assert record.level / JITTER <= record.scene.gsd <= record.level * JITTER
        question = samples.question(i)
        assert sample.question == question
        assert question.kind == record.kind
        assert question.choices["ABCD".index(question.answer)] == QUESTIONS[record.kind][1][record.answer]


@pytest.mark.parametrize("size", [400, 2000])
def test_answers_are_uniform_given_kind_and_level(size: int) -> None:
    found = records(scenes(size=size))
    kinds = Counter(record.kind for record in found)
    for kind in KINDS:
        assert kinds[kind] / size == pytest.approx(0.35 if kind in SCALED else 0.1, abs=0.01)
        levels = LEVELS[:-1] if kind == "car_visible" else LEVELS
        for level in levels:
            counts = Counter(r.answer for r in found if r.kind == kind and r.level == level)
            assert sorted(counts) == possible(kind, level)
            expected = kinds[kind] / len(levels) / len(counts)
            assert all(abs(count - expected) <= 3 for count in counts.values()), (kind, level)
    assert {r.level for r in found if r.kind == "car_visible"} == set(LEVELS[:-1])


def test_all_classes_are_asked_where_they_fit_and_every_rectangle_is_within_bounds() -> None:
    assert [possible("object", level) for level in LEVELS] == [[0, 1], [0, 1, 2], [0, 1, 2], [1, 2]]
    for record in records(scenes(size=2000, kinds=get_args(Kind))):
        pixels = record.scene.marks
        assert all(PIXELS[0] <= length <= PIXELS[1] for length in pixels)
        if record.kind in SCALED:
            low, high = METRES[record.answer]
            assert low - 1e-6 <= pixels[0] * record.scene.gsd <= high + 1e-6
        elif record.kind == "pixels":
            assert BINS[record.answer][0] <= pixels[0] <= BINS[record.answer][1]
        else:
            assert len(pixels) == (record.answer + 1 if record.kind == "count" else 0)
            assert all(HOUSES[0] <= length <= HOUSES[1] for length in pixels)


def test_only_pixels_and_scale_together_decide() -> None:
    train, test = ([r for r in records(scenes(s, 4000)) if r.kind in SCALED] for s in ("train", "test"))
    chance = np.mean([1 / len(possible("object", level)) for level in LEVELS])
    assert majority([(0, r.answer) for r in train], [(0, r.answer) for r in test]) < chance + 0.02
    # Within a level, a finer look at the scale tells nothing either.
    for fine in (1, 4):
        rows = [
            [
                ((r.level, int(fine * np.log(r.scene.gsd / r.level) / np.log(JITTER) / 2 + fine / 2)), r.answer)
                for r in s
            ]
            for s in (train, test)
        ]
        assert majority(*rows) < chance + 0.02
    assert majority(*[[(pixel_bin(r), r.answer) for r in s] for s in (train, test)]) < 0.68
    assert majority(*[[(metre_bin(r), r.answer) for r in s] for s in (train, test)]) == 1


def test_what_stands_around_tells_nothing_about_a_scaled_answer() -> None:
    train, test = ([r for r in records(scenes(s, 4000)) if r.kind in SCALED] for s in ("train", "test"))
    seen = [[((r.level, r.scene.layout, r.scene.ground), r.answer) for r in s] for s in (train, test)]
    assert majority(*seen) < 0.418 + 0.04


def test_a_stated_share_of_pictures_has_no_cues() -> None:
    found = records(scenes(size=2000))
    for kind in KINDS:
        share = np.mean([not r.cues for r in found if r.kind == kind])
        assert share == pytest.approx(0 if kind == "car_visible" else CUE_FREE, abs=0.03)


def test_without_cues_the_scale_changes_no_pixel() -> None:
    pictures = [draw(np.random.default_rng(3), Scene("field", gsd, None, (20.0,))) for gsd in LEVELS]
    assert all(np.array_equal(picture, pictures[0]) for picture in pictures)


def _bright(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels of the marks: the least channel of everything else is dark, whatever the light."""
    least = image.min(-1).astype(float)
    return np.asarray(least > (np.quantile(least, 0.3) + least.max()) / 2)


def _long(mask: NDArray[np.bool_]) -> float:
    """Length of a rectangle from its second moments."""
    at = np.argwhere(mask).astype(float)
    spread = float(np.linalg.eigvalsh(np.cov(at.T, bias=True) + np.eye(2) / 12)[-1])
    return float(np.sqrt(12 * spread))


@pytest.mark.parametrize("level", LEVELS)
def test_the_bright_rectangle_has_its_length_in_pixels(level: float) -> None:
    samples, errors = scenes(size=1200, kinds=SCALED), []
    rows = [i for i, r in enumerate(records(samples)) if r.level == level and not r.cues][:15]
    for i in rows:
        metres = samples.record(i).scene.marks[0] * samples.record(i).scene.gsd
        gsd = float(samples.conditions(i)["gsd"])
        errors.append(abs(_long(_bright(samples[i].images[0])) - metres / gsd))
    assert len(rows) == 15
    assert max(errors) < 1.5


@pytest.mark.parametrize("lengths", [(4.0,), (45.0,), (100.0,), (22.0, 22.0, 22.0, 22.0)])
def test_cues_never_touch_a_rectangle_and_all_is_in_view(lengths: tuple[float, ...]) -> None:
    for seed in range(10):
        room = 38.0 if max(lengths) < 46 else 14.0
        poses = place(np.random.default_rng(seed), lengths, room)
        towards = np.array([np.cos(poses.normal), np.sin(poses.normal)])
        for length, width, centre, angle in zip(lengths, poses.width, poses.centre, poses.angle, strict=True):
            long = length / 2 * np.array([np.cos(angle), np.sin(angle)])
            short = width / 2 * np.array([-np.sin(angle), np.cos(angle)])
            corners = np.array([centre + a * long + b * short for a in (-1, 1) for b in (-1, 1)])
            assert np.abs(corners).max() <= SIDE / 2 - 2 + 1e-6
            assert (corners @ towards).min() >= poses.border + 3 - 1e-6
        assert poses.border >= room - SIDE / 2


def _site(level: float) -> Site:
    """A black picture with the border 10 m, or 16 pixels where that is more, from its left edge."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32) * level
    return Site(np.zeros((SIDE, SIDE, 3), np.float32), y, max(10.0, 16 * level) - x, level)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_cue_is_seen_behind_the_border_and_is_duller_than_a_rectangle(layout: Layout) -> None:
    for level in LEVELS[2:] if layout == "runway" else LEVELS:
        site = _site(level)
        LAYOUTS[layout](site, np.random.default_rng(0))
        drawn = site.canvas.max(-1) > 0
        assert drawn.any(0).sum() >= 3
        assert not drawn[site.v < 0].any()
        assert site.canvas.min(-1).max() <= 0.8 * min(BRIGHT)


def test_cars_have_their_size_and_are_in_full_view() -> None:
    for level in LEVELS[:-1]:
        for seed in range(5):
            empty, busy = _site(level), _site(level)
            street(empty, np.random.default_rng(seed), 0)
            street(busy, np.random.default_rng(seed), 1)
            changed = np.abs(busy.canvas - empty.canvas).max(-1) > 20
            rows = np.flatnonzero(changed.any(1))
            assert 2 <= rows[0] <= rows[-1] < SIDE - 2
            assert abs(len(rows) - 4.5 / level) <= 1.6
            assert abs(changed.any(0).sum() - 2 / level) <= 1.6


def test_a_car_is_drawn_where_the_answer_is_yes() -> None:
    samples = scenes(size=60, kinds=("car_visible",))
    for i, record in enumerate(records(samples)):
        assert record.scene.cars == (1 if record.question.answer == "A" else 0)
        assert samples[i].images[0].shape == (SIDE, SIDE, 3)


def test_metadata_is_told_for_a_share_of_the_training_pictures_only() -> None:
    data = SyntheticScenes(train_questions=600, val_questions=30, test_questions=30, metadata=0.3)
    data.setup()
    untold = [bool(torch.isnan(data.sets["train"].conditions(i)["gsd"])) for i in range(600)]
    assert 0.64 < np.mean(untold) < 0.76
    for split in ("val", "test"):
        assert not any(torch.isnan(data.sets[split].conditions(i)["gsd"]) for i in range(30))
    told, untold_set = scenes("train"), scenes("train", metadata=0.0)
    assert told.key(0) == untold_set.key(0)
    assert torch.isnan(untold_set[0].conditions["gsd"])


def test_kinds_can_be_chosen_and_mistakes_are_named() -> None:
    data = SyntheticScenes(train_questions=200, val_questions=8, test_questions=8, kinds=("pixels", "count"))
    data.setup()
    assert data.classes == ["pixels", "count"]
    train = data.sets["train"]
    asked = Counter((q.kind, q.answer) for i in range(200) if (q := train.question(i)))
    assert len(asked) == 8
    assert max(asked.values()) - min(asked.values()) <= 4
    assert {r.kind for r in records(scenes(kinds=("object",)))} == {"object"}
    for wrong in ((), ("object", "object"), ("objects",)):
        with pytest.raises(SettingError, match="kinds"):
            SyntheticScenes(kinds=wrong)  # type: ignore[arg-type]


def test_a_recipe_can_name_every_setting() -> None:
    known = schema.signature("data_modules.synthetic_scenes.SyntheticScenes")
    assert annotations.mismatch(["object", "pixels"], known["kinds"].annotation) is None
    assert annotations.mismatch(["objects"], known["kinds"].annotation)
    assert annotations.mismatch(1.5, known["metadata"].annotation)
    assert all(parameter.meaning for parameter in known.values())


def test_fingerprint_follows_the_settings() -> None:
    def fingerprint(**settings: float) -> str:
        data = SyntheticScenes(train_questions=5, val_questions=5, test_questions=5, **settings)  # type: ignore[arg-type]
        data.setup()
        return data.fingerprint()

    assert fingerprint() == fingerprint()
    assert fingerprint() != fingerprint(generator_seed=1)
    assert fingerprint() != fingerprint(scale_share=0.1)
