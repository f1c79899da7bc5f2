"""Pictures of a run: drawn from small made-up arrays, not blank, and of what the task's output allows."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from drawn import HISTORY, RNG, near, pixels
from torch import Tensor

from zoo.batch import Clip, Cloud
from zoo.predictions import Predictions
from zoo.report import figures, run_pictures
from zoo.report.figures import RIGHT, WRONG
from zoo.report.kinds import clouds as cloud_pictures
from zoo.report.kinds.clouds import CloudExample, PartsExample
from zoo.tasks.base import Task
from zoo.tasks.classification import Classification
from zoo.tasks.event_localization import EventLocalization
from zoo.tasks.part_segmentation import PartSegmentation
from zoo.tasks.reconstruction import Reconstruction
from zoo.tasks.video_parsing import VideoParsing

SHAPES = ["cube", "ball", "rod"]
PARTS = ["Cup/0", "Cup/1", "Box/0", "Box/1", "Box/2"]


def points(count: int = 200) -> np.ndarray:
    return RNG.uniform(-1, 1, (count, 3)).astype(np.float32)


def cloud(said: str) -> CloudExample:
    return CloudExample("a", points(), truth="cube", predicted=said, probability=0.93)


@pytest.mark.parametrize(("said", "right"), [("cube", True), ("ball", False)])
def test_clouds_say_in_colour_whether_the_answer_is_right(tmp_path: Path, said: str, right: bool) -> None:
    cloud_pictures.draw_clouds([cloud(said)] * 3, tmp_path / "clouds.png")
    drawn = pixels(tmp_path / "clouds.png")
    assert (near(drawn, RIGHT) > 0, near(drawn, WRONG) > 0) == (right, not right)


@pytest.mark.parametrize("up", ["x", "y", "z"])
def test_up_is_upwards(tmp_path: Path, up: str) -> None:
    """An upright stick is taller than wide, whichever axis points up."""
    stick = np.zeros((50, 3), dtype=np.float32)
    stick[:, "xyz".index(up)] = np.linspace(-1, 1, 50)
    example = PartsExample("", "", 1.0, stick, *2 * [np.full(50, 3)])
    cloud_pictures.draw_parts([example], tmp_path / "parts.png", up=up)
    truth = np.array_split(pixels(tmp_path / "parts.png"), 2)[0]  # the upper row; letters are grey
    height, width = (np.ptp(places) for places in np.nonzero(np.ptp(truth, axis=-1) > 40))
    assert height > 10 * width


def test_parts_and_clouds_of_other_sizes(tmp_path: Path) -> None:
    """One point, no extent and long names are drawn as well."""
    for name, found in (("one", points(1)), ("flat", points() * [1, 0, 0]), ("spot", points() * 0), ("many", points())):
        zeros = np.zeros(len(found), dtype=int)
        cloud_pictures.draw_parts([PartsExample("x" * 99, "Cup", 1.0, found, zeros, zeros)], tmp_path / name)
        pixels(tmp_path / f"{name}.png")


@pytest.mark.parametrize(("count", "rank"), [(1, 1), (6, 8)])
def test_control(tmp_path: Path, count: int, rank: int) -> None:
    signal = RNG.uniform(size=(count, 3, 32, rank)).astype(np.float32)
    centres = np.stack([points(32) for _ in range(count)])
    cloud_pictures.draw_control(signal, centres, [f"cloud {i}" for i in range(count)], tmp_path / "control.png")
    pixels(tmp_path / "control.png")


def test_confusion_is_not_only_of_segments(tmp_path: Path) -> None:
    truth = np.array([0, 1, 2, 2])
    for what in ("segments", "test samples"):
        figures.confusion(truth, truth, SHAPES, tmp_path / f"{what}.png", what=what)
    assert (pixels(tmp_path / "segments.png") != pixels(tmp_path / "test samples.png")).any()


def test_mistakes_are_shown_first_then_every_class() -> None:
    classes = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 2, 2])
    wrong = np.array([9, 3, 5])
    assert figures.select(classes, wrong, 6) == [9, 3, 0, 4, 6, 1]
    assert figures.select(classes, wrong, 99)[:3] == [9, 3, 5]
    assert sorted(figures.select(classes, wrong, 99)) == list(range(12))
    assert figures.select(classes, np.arange(12), 6) == [0, 1, 2, 3, 4, 5]
    assert figures.select(classes[:2], np.array([], dtype=int), 6) == [0, 1]


def drawn(
    folder: Path,
    task: Task,
    samples: list[Cloud] | list[Clip],
    classes: list[str],
    prediction: dict[str, Tensor],
    target: dict[str, Tensor],
    observed: dict[str, Tensor] | None = None,
) -> set[str]:
    """Names of the pictures of a run whose test predictions came in two batches."""
    collect = Predictions()
    collect.ids = [sample.id for sample in samples]
    for store, values in (
        (collect.prediction, prediction),
        (collect.target, target),
        (collect.observed, observed or {}),
    ):
        store.update({name: list(value.float().split(-(-len(value) // 2))) for name, value in values.items()})
    task.names = classes
    data = SimpleNamespace(sets={"test": samples}, up="y", segment_seconds=1.0)
    run_pictures.pictures(folder, HISTORY, collect, data, SimpleNamespace(classes=classes, task=task))
    for path in folder.iterdir():
        pixels(path)
    return {path.name for path in folder.iterdir()}


def spied(monkeypatch: pytest.MonkeyPatch, name: str) -> list[Any]:
    """The examples that picture `name` is drawn of."""
    shown: list[Any] = []
    draw = getattr(cloud_pictures, name)

    def spy(examples: list[Any], path: Path, *, up: str) -> None:
        shown.extend(examples)
        draw(examples, path, up=up)

    monkeypatch.setattr(cloud_pictures, name, spy)
    return shown


def clouds(count: int) -> list[Cloud]:
    return [Cloud(f"c{i}", points(), {}) for i in range(count)]


def guesses(count: int, classes: int) -> dict[str, Tensor]:
    probabilities = torch.rand(count, classes, generator=torch.Generator().manual_seed(0)).softmax(-1)
    return {"label": probabilities.argmax(-1), "probabilities": probabilities}


def test_classification_of_clouds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = spied(monkeypatch, "draw_clouds")
    said = guesses(10, 3)
    truth = said["label"].clone()
    truth[[6, 8]] = (truth[[6, 8]] + 1) % 3
    assert drawn(tmp_path, Classification(), clouds(10), SHAPES, said, {"label": truth}) == {
        "curves.png",
        "confusion.png",
        "reliability.png",
        "clouds.png",
    }
    assert [cloud.id for cloud in shown[:2]] == ["c6", "c8"]
    assert [cloud.predicted == cloud.truth for cloud in shown] == [False] * 2 + [True] * 8
    assert shown[0].probability == pytest.approx(said["probabilities"][6].max().item())


def test_control_signal_of_any_task(tmp_path: Path) -> None:
    observed = {"control": torch.rand(4, 2, 16, 5), "centres": torch.rand(4, 16, 3)}
    said = guesses(4, 3)
    names = drawn(tmp_path / "label", Classification(), clouds(4), SHAPES, said, {"label": said["label"]}, observed)
    assert names == {"curves.png", "confusion.png", "reliability.png", "clouds.png", "control.png"}
    distances = {"distance": torch.rand(4), "trivial": torch.rand(4)}
    assert drawn(tmp_path / "masked", Reconstruction(), clouds(4), SHAPES, distances, {}, observed) == {
        "curves.png",
        "control.png",
    }


def test_parts_of_clouds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = spied(monkeypatch, "draw_parts")
    truth = torch.stack([torch.arange(200) % 2 if i % 2 else 2 + torch.arange(200) % 3 for i in range(8)])
    said = truth.clone()
    said[5, :100], said[6] = 1, 2
    prediction = {"parts": said, "probabilities": torch.rand(8, 200, 5)}
    assert drawn(tmp_path, PartSegmentation(), clouds(8), PARTS, prediction, {"parts": truth}) == {
        "curves.png",
        "parts.png",
    }
    assert [cloud.id for cloud in shown] == ["c6", "c5", "c0", "c1", "c2", "c3"]
    assert [cloud.category for cloud in shown[:4]] == ["Box", "Cup", "Box", "Cup"]
    assert [round(cloud.iou, 3) for cloud in shown[:3]] == [0.112, 0.583, 1.0]
    assert [sorted(set(cloud.truth.tolist())) for cloud in shown[:2]] == [[0, 1, 2], [0, 1]]


@pytest.mark.parametrize("target", [{}, {"label": torch.zeros(4)}])
def test_reconstruction_has_only_curves(tmp_path: Path, target: dict[str, Tensor]) -> None:
    prediction = {"distance": torch.rand(4), "trivial": torch.rand(4)}
    assert drawn(tmp_path, Reconstruction(), clouds(4), SHAPES, prediction, target) == {"curves.png"}


def clips(count: int) -> list[Clip]:
    frames = RNG.integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
    return [Clip(f"v{i}", frames, np.zeros((4, 8), dtype=np.float32), 8, {}) for i in range(count)]


def test_clips_as_before(tmp_path: Path) -> None:
    truth = torch.tensor([[0, 0, 3, 3], [3, 1, 1, 3], [2, 2, 2, 2]])
    probabilities = torch.rand(3, 4, 4)
    prediction = {"segments": probabilities.argmax(-1), "probabilities": probabilities}
    gates = {"gate/vision/after_block_1": torch.rand(12, 6), "other": torch.rand(12, 2)}
    names = drawn(tmp_path / "segments", EventLocalization(), clips(3), SHAPES, prediction, {"segments": truth}, gates)
    assert names == {"curves.png", "confusion.png", "reliability.png", "timelines.png", "gates.png"}

    either = {"audio": torch.rand(3, 4, 3) > 0.6, "visual": torch.rand(3, 4, 3) > 0.6}
    prediction = {**either, "probabilities": torch.rand(3, 2, 4, 3), "video": torch.rand(3, 3)}
    names = drawn(tmp_path / "parsed", VideoParsing(), clips(3), SHAPES, prediction, either, gates)
    assert names == {"curves.png", "timelines.png", "gates.png"}

    said = guesses(3, 3)  # one label a clip: gates are of its four segments
    names = drawn(tmp_path / "label", Classification(), clips(3), SHAPES, said, {"label": said["label"]}, gates)
    assert names == {"curves.png", "confusion.png", "reliability.png", "examples.png", "gates.png"}
