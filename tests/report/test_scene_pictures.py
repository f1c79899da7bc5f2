"""Pictures of runs about pictures seen from above, and the small numbers behind them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from drawn import HISTORY, RNG, counted, near, pixels

from zoo.backbones.vision_language import encode
from zoo.batch import Batch, Picture, Question
from zoo.methods.base import Method
from zoo.methods.scale_estimate import ScaleEstimate
from zoo.metrics.by_scale import Bin, accuracy_by_gsd
from zoo.metrics.wilson import wilson
from zoo.predictions import Predictions
from zoo.report import answers, run_pictures, scale
from zoo.report.answers import Scale, SceneExample
from zoo.report.scale import OUTSIDE
from zoo.tasks.base import Task
from zoo.tasks.classification import Classification
from zoo.tasks.multiple_choice import MultipleChoice

LAND = ["field", "forest", "water"]
NAN = float("nan")


def image(side: int = 24) -> np.ndarray:
    return RNG.integers(0, 255, (side, side, 3), dtype=np.uint8)


def test_few_scales_are_a_bin_each_and_the_unknown_is_the_last() -> None:
    gsd, right = np.array([2.0, NAN, 0.5, 2.0, NAN, 0.5]), np.array([1.0, 0.0, 1.0, 0.0, 0.0, 1.0])
    assert accuracy_by_gsd(gsd, right) == [Bin("0.5", 1.0, 2), Bin("2", 0.5, 2), Bin("unknown", 0.0, 2)]
    assert accuracy_by_gsd(gsd[:1], right[:1]) == [Bin("2", 1.0, 1)]
    assert accuracy_by_gsd(gsd[1:2], right[1:2]) == [Bin("unknown", 0.0, 1)]


def test_many_scales_are_six_bins_of_like_size_that_hold_every_sample_once() -> None:
    gsd = np.arange(1.0, 61.0)
    found = accuracy_by_gsd(gsd[::-1], (gsd[::-1] <= 10).astype(float))
    assert [part.n for part in found] == [10] * 6
    assert [part.accuracy for part in found] == [1, 0, 0, 0, 0, 0]
    assert [found[0].name, found[-1].name] == ["1 to 10", "51 to 60"]
    tied = np.array([1.0] * 40 + [2.0] * 5 + list(range(3, 12)))
    found = accuracy_by_gsd(tied, np.ones(len(tied)))
    assert sum(part.n for part in found) == len(tied)
    assert found[0] == Bin("1 to 2", 1.0, 45)


def test_wilson_by_hand() -> None:
    assert wilson(0.8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert wilson(0.0, 10) == pytest.approx((0.0, 0.2775328), abs=1e-6)
    assert wilson(1.0, 1)[1] == pytest.approx(1.0)


@pytest.mark.parametrize("unknown", [0, 3, 12])
@pytest.mark.parametrize("rank", [1, 9])
def test_openness(tmp_path: Path, rank: int, unknown: int) -> None:
    z, told = np.linspace(-1, 1, 50), RNG.uniform(-1, 1.5, 12)
    told[:unknown] = np.nan
    slopes = np.where(np.arange(rank) % 2, -4, 4)
    gates = 1 / (1 + np.exp(-slopes * (np.linspace(-0.5, 0.5, rank) - z[:, None])))
    scale.openness(z, gates, told, tmp_path / "openness.png")
    pixels(tmp_path / "openness.png")


@pytest.mark.parametrize("told", [[0.0], [0.0, NAN], [0.0, 0.3] * 40, list(np.linspace(-1, 1, 300))])
def test_calibration(tmp_path: Path, told: list[float]) -> None:
    mean, path = np.nan_to_num(np.array(told)) + 0.05, tmp_path / "calibration.png"
    for deviation, inside in ((0.1, True), (0.001, False)):
        scale.calibration(np.array(told), mean, np.full(len(told), deviation), path)
        assert (near(pixels(path), OUTSIDE) == 0) == inside


@pytest.mark.parametrize("count", [2, 200])
def test_accuracy_by_scale(tmp_path: Path, count: int) -> None:
    gsd = RNG.uniform(0.1, 2, count)
    for unknown in (False, True):
        gsd[0] = np.nan if unknown else gsd[0]
        scale.by_gsd(gsd, RNG.uniform(size=count).round(), tmp_path / "by.png")
        drawn = pixels(tmp_path / "by.png")
    assert drawn.shape[0] > 300


def asked(said: str, right: bool, **settings: Any) -> SceneExample:
    question = Question("How much is it in $? " * 40, ("5 $ " * 60, "none", "", "much"), "A C")
    return SceneExample("x" * 99, image(), "A C", said, right, question=question, **settings)


@pytest.mark.parametrize(("right", "said"), [(True, "A C"), (False, "I $cannot$ \n tell \x1b 不 " * 40), (False, "")])
def test_answers_say_in_colour_whether_they_are_right(tmp_path: Path, right: bool, said: str) -> None:
    examples = [
        asked(said, right, scale=Scale(0.5, "estimate", (0.4, 0.7)), further=2),
        SceneExample("b", image(600)[:200], "nine", said, right, question=Question("?", (), "nine")),
        SceneExample("c", image(), "nine", said, right, 0.5, scale=Scale(0.5, "default")),
    ]
    for number in (1, 3):
        answers.answers(examples[-number:], tmp_path / "a.png", unit="× the finest")
        found = near(pixels(tmp_path / "a.png"), answers.WRONG)
        assert (found == 0) == right


class Gated(Method):
    """Gates by scale, and remarks about it."""

    def curves(self) -> dict[str, Any]:
        z = torch.linspace(-1, 1, 20)
        return {"openness": (z, torch.sigmoid(z)[:, None])}

    def remarks(self, observed: Any) -> dict[str, Any]:
        return ScaleEstimate.remarks(observed)


def seen(count: int) -> dict[str, torch.Tensor]:
    told = torch.linspace(-1, 1, count)
    estimate = {"gsd/mean": told + 0.1, "gsd/deviation": torch.full((count,), 0.2)}
    return {"gsd/told": told, "gsd/used": told, "gsd/branch": torch.arange(count) % 3} | estimate


def drawn(folder: Path, collect: Predictions, task: Task, method: Method, samples: list[Picture]) -> set[str]:
    pairing = SimpleNamespace(classes=LAND, task=task, method=method)
    run_pictures.pictures(folder, HISTORY, collect, SimpleNamespace(sets={"test": samples}), pairing)
    for path in folder.iterdir():
        pixels(path)
    return {path.name for path in folder.iterdir()}


def test_a_run_of_classified_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[SceneExample] = []
    draw = answers.answers
    monkeypatch.setattr(answers, "answers", lambda found, *a, **k: (shown.extend(found), draw(found, *a, **k)))
    task = Classification(hidden=())
    task.attach({"vision": 4}, LAND)
    samples = [Picture(f"p{i}", (image(),)) for i in range(12)]
    probabilities = torch.eye(3)[torch.arange(12) % 3] * 0.7 + 0.1
    truth = torch.arange(12) % 3
    truth[4] = 2
    batch = Batch([s.id for s in samples], {}, {"label": truth}, conditions={"gsd": 10 ** torch.linspace(-1, 1, 12)})
    collect = counted(task, {"label": probabilities.argmax(-1), "probabilities": probabilities}, batch, seen(12))
    names = drawn(tmp_path / "all", collect, task, Gated(), samples)
    every = {
        "curves.png",
        "confusion.png",
        "reliability.png",
        "openness.png",
        "calibration.png",
        "accuracy_by_gsd.png",
        "examples.png",
    }
    assert names == every
    assert [(e.id, e.truth, e.predicted, e.right) for e in shown[:1]] == [("p4", "water", "forest", False)]
    assert len(shown) == 9
    assert shown[0].probability == pytest.approx(0.8)
    low, high = (10 ** (-1 + 8 / 11 + 0.1 + k * 0.2 * 1.6448536) for k in (-1, 1))
    scale = shown[0].scale
    assert scale is not None
    assert scale.branch == "estimated"
    assert (scale.used, *scale.interval) == pytest.approx((10 ** (-1 + 8 / 11), low, high), rel=1e-3)


def test_a_run_of_questions_without_scale(tmp_path: Path) -> None:
    task = MultipleChoice()
    task.attach({"vlm": 512}, LAND)
    samples = [Picture(f"p{i}", (image(), image()), question=Question("?", ("a", "b"), "A", LAND[i])) for i in range(3)]
    batch = Batch(
        [s.id for s in samples],
        {},
        {},
        conditions={"gsd": torch.full((3,), NAN)},
        questions=[s.question for s in samples],
    )
    collect = counted(task, {"written": encode(["A", "B", "no"])}, batch, {})
    assert drawn(tmp_path / "none", collect, task, Method(), samples) == {"curves.png", "examples.png"}
    assert task.remarks({"written": encode(["(B)"])[0]}, samples[0].question) == {"letter": "B"}
    assert task.remarks({"written": encode(["no"])[0]}, samples[0].question) == {"letter": None}
