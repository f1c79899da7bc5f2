"""A task that nobody has seen before trains, reports, predicts and shows on the page, with and without `pictures`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from demo_tiny import Clips, Pictures, cloud
from torch import Tensor
from torch.nn import functional as F

from data_modules.kinds.clouds import CloudDataModule, CloudSet
from zoo import predict
from zoo.adapter import directory
from zoo.batch import Batch, Cloud, Picture, SampleSet
from zoo.methods.frozen import Frozen
from zoo.predictions import Predictions
from zoo.report import run_pictures
from zoo.report.run import One
from zoo.tasks.base import Head, Task
from zoo.train import main as train

RECIPE = """
seed: 0
data: {_target_: test_task_pictures.Balls, points: 32}
loader: {batch_size: 4}
backbones:
  points: {_target_: zoo.backbones.mamba3d.Mamba3D, source: "random:0", width: 16, depth: 2, groups: 8, neighbours: 4}
method: {_target_: zoo.methods.frozen.Frozen}
task: {_target_: test_task_pictures.TASK}
optimizer: {_target_: zoo.training.optimizer.Optimizer, lr: 0.01}
trainer: {_target_: zoo.training.trainer.build_trainer, max_epochs: 1, accelerator: cpu, devices: 1}
"""


class Squeezed(Task):
    """How flat a sample is, `flat` in [0, 1]: a label of no kind that the zoo knows."""

    kind = "flatness"
    monitor = "closeness"

    def attach(self, feature_dims: Mapping[str, int], classes: Sequence[str]) -> None:
        self.head = Head(feature_dims, 1, hidden=None)
        self.reset()

    def logits(self, features: Mapping[str, Tensor], batch: Batch) -> Tensor:
        return self.head({name: values.mean(1) for name, values in features.items()})[:, 0]

    def loss(self, features: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        return {"squares": F.mse_loss(self.logits(features, batch), batch.target["flat"], reduction="none")}

    def predict(self, features: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        return {"flat": self.logits(features, batch)}

    def answer(self, prediction: Mapping[str, Tensor]) -> dict[str, Any]:
        return {"flatness": round(float(prediction["flat"]), 3)}

    def reset(self) -> None:
        self.counted: list[Tensor] = []

    def update(self, prediction: Mapping[str, Tensor], batch: Batch) -> None:
        self.counted.append(1 - (prediction["flat"] - batch.target["flat"]).abs().double().clamp(0, 1))

    def compute(self) -> dict[str, float]:
        return {"closeness": self.per_sample().mean().item()}

    def per_sample(self) -> Tensor:
        return torch.cat(self.counted)


class Shown(Squeezed):
    """The same, with pictures."""

    pictures = ("examples",)

    def words(self, values: Mapping[str, Tensor]) -> str:
        return f"{float(values['flat']):.1f}" if "flat" in values else ""


class Astray(Shown):
    """It names a picture that clouds do not have."""

    pictures = ("examples", "timelines")


class BallSet(CloudSet):
    """Balls, squeezed along z."""

    def raw(self, index: int) -> np.ndarray:
        points = np.random.default_rng(index).normal(size=(64, 3))
        return (points * [1, 1, 1 - self.labels[index] / 10]).astype(np.float32)

    def target(self, index: int) -> dict[str, Tensor]:
        return {"flat": torch.tensor(self.labels[index] / 10)}


class Balls(CloudDataModule):
    name, classes, synthetic = "balls", ["ball"], True

    def splits(self) -> dict[str, SampleSet[Cloud]]:
        made = BallSet([f"ball{k}" for k in range(8)], list(range(8)), count=self.points, unit=True)
        return dict.fromkeys(("train", "val", "test"), made)


@pytest.mark.parametrize(
    ("task", "report", "said"),
    [
        ("Shown", {"curves.png", "clouds.png"}, ""),
        (
            "Squeezed",
            {"curves.png"},
            "no pictures of its predictions: Squeezed names none in `pictures`; of clouds",
        ),
        ("Astray", {"curves.png", "clouds.png"}, "no picture timelines, which Astray names in `pictures`; of clouds"),
    ],
)
def test_a_new_task_goes_all_the_way(
    task: str,
    report: set[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("gradio", reason="the page needs the extra `demo`")
    from zoo.demos.offers import Offer
    from zoo.demos.page import Answerer

    monkeypatch.setenv("ZOO_TRUST", "test_task_pictures")
    recipe, run = tmp_path / "new.yaml", tmp_path / "run"
    recipe.write_text(RECIPE.replace("TASK", task))
    assert train([f"recipe={recipe}", f"into={run}"]) == 0
    assert {path.name for path in (run / "report").iterdir()} == report
    told = [record.message for record in caplog.records if "no picture" in record.message]
    assert [line[: len(said)] for line in told] == ([said] if said else [])

    np.save(tmp_path / "ball.npy", np.random.default_rng(0).normal(size=(64, 3)))
    capsys.readouterr()
    words = [f"adapter={run / 'adapter'}", f"input={tmp_path / 'ball.npy'}", f"pictures={tmp_path / 'drawn'}"]
    assert predict.main(words) == 0
    flat = json.loads(capsys.readouterr().out)["flatness"]
    assert (tmp_path / "drawn" / "ball.npy.png").stat().st_size > 1000

    _, pairing = directory.load(run / "adapter")
    page = Answerer(pairing.eval(), Balls(points=32), [])
    assert f"flatness: {flat}" in page.answer(None, str(tmp_path / "ball.npy"), {})[1]
    assert "flatness: " in Answerer(pairing, Balls(points=32), [Offer(cloud())]).answer(0, None, {})[1]


def test_clips_and_pictures_of_a_new_task_are_drawn_and_shown_as_well(tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="the page needs the extra `demo`")
    from zoo.demos import clips, pictures
    from zoo.demos.answer import ask

    heard = tiny.pairing(Frozen(), Shown()).eval()
    answered = ask(heard, tiny.clip(0))
    shown = clips.show(answered, Clips(), heard)
    assert "flatness: " in shown[0]
    assert shown[2] is None, "there is nothing over time"
    run_pictures.picture(
        tmp_path / "clip.png",
        One(answered.sample, answered.record, answered.output, answered.observed, Clips(), heard.task),
    )

    image = Picture("p", (np.zeros((8, 8, 3), np.uint8),))
    record = {"id": "p", "flatness": 0.5}
    run_pictures.picture(tmp_path / "picture.png", One(image, record, {}, {}, Pictures(), heard.task))
    assert all((tmp_path / name).stat().st_size > 1000 for name in ("clip.png", "picture.png"))

    made = Predictions()
    made.ids, made.prediction, made.target = ["p"], {"flat": [torch.tensor([0.4])]}, {"flat": [torch.tensor([0.5])]}
    data = Pictures()
    data.sets = {"test": [image]}
    run_pictures.pictures(tmp_path / "report", [{"epoch": 0, "val/loss": 1.0, "val/closeness": 0.9}], made, data, heard)
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"curves.png", "examples.png"}
    assert pictures.thumbnail(image, data).shape == (8, 8, 3)
