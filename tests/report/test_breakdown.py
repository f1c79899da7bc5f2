"""Accuracy by group and by branch: by hand, in the record of a real test run, and on the screen."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import picture_files
import pytest
import torch
import vlm_tiny
from drawn import HISTORY, counted
from rich.console import Console
from torch import Tensor

from data_modules.kinds.picture_set import PictureRecord
from data_modules.kinds.pictures import PictureDataModule
from zoo import predict
from zoo.adapter import summed
from zoo.backbones.timm_vit import TimmViT
from zoo.backbones.vision_language import encode
from zoo.batch import Batch, Picture, Question
from zoo.errors import SettingError
from zoo.inference import predictor
from zoo.methods.base import Branches, Method
from zoo.methods.frozen import Frozen
from zoo.methods.scale_earth import ScaleEarth
from zoo.pairing import Pairing
from zoo.predictions import Predictions
from zoo.report import run_pictures, tables
from zoo.report.tables import LONGEST
from zoo.tasks.classification import Classification
from zoo.tasks.multiple_choice import MultipleChoice
from zoo.training.breakdown import branches, breakdown
from zoo.training.loaders import Loaders
from zoo.training.measure import measure, single_trainer

LAND = ["field", "forest", "water"]
NAN = math.nan


def classified(said: list[int], truth: list[int], gsd: list[float]) -> tuple[Predictions, Classification]:
    task = Classification(hidden=())
    task.attach({"vision": 4}, LAND)
    ids = [str(i) for i in range(len(said))]
    batch = Batch(ids, {}, {"label": torch.tensor(truth)}, conditions={"gsd": torch.tensor(gsd)})
    certain = torch.eye(len(LAND))[said]
    return counted(task, {"label": torch.tensor(said), "probabilities": certain}, batch, {}), task


def test_groups_of_labelled_pictures_by_hand() -> None:
    collect, task = classified([2, 0, 0, 2], [2, 2, 0, 2], [1.0, 2.0, NAN, 1.0])
    assert breakdown(collect, task, LAND) == {
        "gsd": {"1": {"accuracy": 1, "n": 2}, "2": {"accuracy": 0, "n": 1}, "unknown": {"accuracy": 1, "n": 1}},
        "class": {"field": {"accuracy": 1, "n": 1}, "water": {"accuracy": 2 / 3, "n": 3}},
    }
    assert breakdown(*classified([0, 1], [0, 0], [NAN, NAN]), LAND) == {}


def test_groups_of_questions_by_hand() -> None:
    task = MultipleChoice()
    task.attach({"vlm": 512}, ["roads", "roofs"])
    asked = [Question("?", ("x", "y"), "A", kind) for kind in ("roofs", "roads", "roofs")]
    collect = counted(task, {"written": encode(["A", "B", "no"])}, Batch(["a", "b", "c"], {}, {}, questions=asked), {})
    assert breakdown(collect, task, ["roads", "roofs"]) == {
        "kind": {"roofs": {"accuracy": 0.5, "n": 2}, "roads": {"accuracy": 0, "n": 1}}
    }


def test_branches_by_hand() -> None:
    _, task = classified([0, 1, 1, 2], [0, 1, 0, 2], [NAN] * 4)
    observed = {"gsd/branch": torch.tensor([2.0, 1.0, 1.0, 2.0])}
    method = Method()
    assert branches(observed, method, task) == {}
    method.branches = Branches("gsd/branch", ("metadata", "estimate", "default"))
    assert branches(observed, method, task) == {
        "estimate": {"share": 0.5, "accuracy": 0.5},
        "default": {"share": 0.5, "accuracy": 1.0},
    }
    assert branches({}, method, task) == {}
    task.monitor = "explained"  # no accuracy of samples
    assert branches(observed, method, task) == {}
    assert breakdown(classified([0], [0], [1.0])[0], task, LAND) == {}


class Places(PictureDataModule):
    """24 pictures at three scales, with questions where they are `asked`."""

    name, classes, synthetic = "places", LAND, True

    def __init__(self, root: str, *, asked: bool = False) -> None:
        super().__init__()
        self.root, self.asks = Path(root), asked

    def splits(self) -> dict[str, Any]:
        shots = []
        for i in range(24):
            path = self.root / f"{i}.png"
            if not path.exists():
                picture_files.save(path, picture_files.picture(i, i % 3))
            question = Question("What?", tuple(LAND), "ABC"[i % 3], ("land", "use")[i % 2]) if self.asks else None
            shots.append(PictureRecord(path.stem, (path,), i % 3, (0.5, 2.0, 8.0)[i // 8], question))
        return dict.fromkeys(("train", "val", "test"), self.pictures(shots))


def pairing(data: Places) -> Pairing:
    """With an estimate, but as it starts."""
    if data.asks:
        method = ScaleEarth(targets={"language": ["q_proj"]}, rank=3)
        made = Pairing({"vlm": vlm_tiny.model("llava")}, method, MultipleChoice(), classes=LAND)
    else:
        torch.manual_seed(0)
        encoder = TimmViT(model="vit_tiny_patch16_224", source="random:0", image_size=32)
        method = ScaleEarth(targets={"vision": ["attn.qkv"]}, last={"vision": 1}, rank=3)
        made = Pairing({"vision": encoder}, method, Classification(hidden=()), classes=LAND)
    return made.eval()


@pytest.mark.parametrize("asked", [pytest.param(False, marks=pytest.mark.slow), True])
def test_the_record_of_a_test_run(tmp_path: Path, asked: bool) -> None:
    data = Places(str(tmp_path / "data"), asked=asked)
    data.setup("test")
    made = pairing(data)
    record, predictions = measure(Loaders(data, made, batch_size=5), single_trainer("cpu"))
    json.dumps(record, allow_nan=False)
    names = ["blank_image"] * asked + ["wrong_gsd", "unknown_gsd"]
    assert list(record["probes"]) == names
    assert {f"accuracy_{name}" for name in names} < set(record["metrics"])
    groups = {what: [group["n"] for group in parts.values()] for what, parts in record["by"].items()}
    assert groups == {"gsd": [8, 8, 8], **({"kind": [12, 12]} if asked else {"class": [8, 8, 8]})}
    for parts in record["by"].values():
        mean = sum(group["accuracy"] * group["n"] for group in parts.values()) / 24
        assert mean == pytest.approx(record["metrics"]["accuracy"])
    assert list(record["branches"]) == ["metadata"]
    for part in (record, *record["probes"].values()):
        of = part["branches"].values()
        assert sum(branch["share"] for branch in of) == pytest.approx(1)
        whole = sum(branch["share"] * branch["accuracy"] for branch in of)
        assert whole == pytest.approx(part["metrics"]["accuracy"])
    assert "metadata" not in record["probes"]["unknown_gsd"]["branches"]

    run_pictures.pictures(tmp_path / "report", HISTORY, predictions, data, made)
    drawn = {path.name for path in (tmp_path / "report").iterdir()}
    assert drawn >= {"accuracy_by_gsd.png", "calibration.png", "examples.png"}

    console = Console(width=100, record=True, file=(tmp_path / "screen").open("w"))
    console.print(tables.evaluation(record, {"metrics": {}}))
    screen = console.export_text()
    for word in (
        "scale not told",
        "true scales within the 90 % interval (0.9 is best)",
        "metadata",
        "by gsd",
        f"by {'kind' if asked else 'class'}",
    ):
        assert word in screen
    assert "accuracy, scale not told" not in screen


def test_probes_stand_beneath_the_metric_that_they_question() -> None:
    part = {"n": 4, "metrics": {"accuracy": 0.5}, "method": {}, "branches": {}}
    record = {
        **part,
        "split": "test",
        "unit": "fraction",
        "monitor": "accuracy",
        "metrics": {"accuracy": 0.75, "task_macro": 0.7, "accuracy_blank_image": 0.25},
        "method": {"gsd_coverage_90": 0.8765, "branch_metadata": 1.0},
        "branches": {"metadata": {"share": 0.25, "accuracy": 1.0}, "default": {"share": 0.75, "accuracy": 0.5}},
        "probes": {"blank_image": part},
        "by": {"class": {str(k): {"accuracy": 1.0, "n": 1} for k in range(LONGEST + 1)}},
        "intervals": {},
        "baselines": {},
    }
    console = Console(width=100)
    with console.capture() as captured:
        console.print(tables.evaluation(record, {"metrics": {"accuracy": 0.5}}))
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in captured.get().splitlines() if "│" in line]
    assert [row[0] for row in rows[:3]] == ["accuracy", "picture blank", "accuracy, mean over kinds of question"]
    assert rows[1][1] == "25.00 %"
    assert rows[3] == ["true scales within the 90 % interval (0.9 is best)", "0.876"]
    assert rows[4:] == [["test", "4", "25.0 %: 100.00 %", "75.0 %: 50.00 %"]]


# --- predict ----------------------------------------------------------------------------------------------------------


def answer(monkeypatch: pytest.MonkeyPatch, data: Places, made: Pairing, *words: str) -> int:
    """Of the command, on an adapter already loaded."""
    config = SimpleNamespace(data=data, task=made.task)
    monkeypatch.setattr(summed, "require", lambda folders: None)
    monkeypatch.setattr(summed, "load", lambda folders, force, whole: (config, made))
    monkeypatch.setattr(predict, "compose", lambda *_: config)
    monkeypatch.setattr(predict, "instantiate", lambda block: block)
    path = data.root / "asked.png"
    picture_files.save(path, picture_files.picture(0, 1))
    return predict.main([f"adapter={data.root}", f"input={path}", *words])


def test_predict_says_which_scale_it_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Places(str(tmp_path))
    made = pairing(data)
    assert answer(monkeypatch, data, made, "gsd=0.5") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["gsd"], said["gsd_unit"], said["gsd_from"]) == (0.5, "m", "told")
    assert set(said["gsd_estimate"]) == {"low", "middle", "high"}
    assert said["label"] in LAND
    assert answer(monkeypatch, data, made) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["gsd_from"] in ("estimated", "default")
    assert "gsd=METRES" in err
    made = Pairing(made.backbones, Frozen(), Classification(hidden=()), classes=LAND).eval()
    assert answer(monkeypatch, data, made, "gsd=0.5", "question=What?") == 0
    out, err = capsys.readouterr()
    assert "gsd" not in json.loads(out)
    assert "no use of gsd=" in err
    assert "no use of question=" in err


def test_predict_asks_for_the_question_and_reads_the_letter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Places(str(tmp_path), asked=True)
    made = pairing(data)
    for words, lacking in (((), 'question="..." and choices='), (("question=What?",), "say choices=")):
        with pytest.raises(SystemExit) as end:
            answer(monkeypatch, data, made, *words)
        assert end.value.code == 2
        assert lacking in capsys.readouterr().err
    told = []

    def write(seen: Tensor, questions: list[Question], tokens: int) -> list[str]:
        told.extend(questions)
        return ["B. forest"]

    monkeypatch.setattr(made.backbones["vlm"], "write", write)
    assert answer(monkeypatch, data, made, "gsd=2", "question=What?", "choices=field|forest") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["written"], said["letter"], said["gsd"]) == ("B. forest", "B", 2.0)
    assert told == [Question("What?", ("field", "forest"))]


def test_pictures_of_any_shape_are_collated_by_their_backbone() -> None:
    made = Pairing({"vlm": vlm_tiny.model("qwen3_vl")}, Frozen(), MultipleChoice(), classes=LAND).eval()
    samples = [
        Picture(f"p{k}", (np.zeros((40 + 30 * k, 64, 3), np.uint8),), question=Question("?", ("a",))) for k in (0, 1)
    ]
    assert [said["id"] for said in predictor.predict(made, samples)] == ["p0", "p1"]
    with pytest.raises(SettingError, match="question="):
        predictor.predict(made, [Picture("p", samples[0].images)])
