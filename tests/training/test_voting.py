"""Votes over random views of a cloud."""

import re
from pathlib import Path

import cloud_files
import pytest
import torch
from cloud_files import ready
from point_tiny import batch, pairing, train_steps

from zoo import evaluate
from zoo.errors import SettingError
from zoo.methods.frozen import Frozen
from zoo.tasks.part_segmentation import PartSegmentation
from zoo.training import voting
from zoo.training.loaders import Loaders

CPU = torch.device("cpu")


def loaders(root: Path, *augment: str, layout: str = "bg", batch_size: int = 30) -> Loaders:
    data = ready(layout, cloud_files.LAYOUTS[layout].write(root), augment=augment)
    model = pairing(Frozen(), classes=data.classes)
    train_steps(model, data=batch(0, 1, 2, 3))
    return Loaders(data, model.eval(), 3, batch_size=batch_size)


def test_a_vote_is_the_class_of_the_mean_logits_over_views_drawn_as_in_training(tmp_path: Path) -> None:
    made = loaders(tmp_path, "shuffle", "rotate")
    model, data = made.pairing, made.data
    found = voting.vote(made, CPU, 3)
    predicted = torch.cat(model.task.predicted)
    (whole,) = made.loader(data.sets["test"])
    before = whole.inputs["points"].clone()
    logits = []
    with torch.no_grad():
        for view in range(3):
            (drawn,) = made.loader(data.sets["test"])
            drawn = data.augment(drawn, view)
            assert not torch.equal(drawn.inputs["points"], before)
            logits.append(model.task.logits(model(drawn), drawn))
    assert torch.equal(torch.stack(logits).mean(0).argmax(-1), predicted)
    accuracy = (predicted == whole.target["label"]).double().mean().item()
    assert found["metrics"]["accuracy"] == pytest.approx(accuracy)
    assert (found["views"], found["augment"]) == (3, ["shuffle", "rotate"])
    assert found["intervals"]["accuracy"][0] <= accuracy <= found["intervals"]["accuracy"][1]
    assert voting.vote(made, CPU, 3) == found


def test_views_are_of_as_many_points_as_those_of_training(tmp_path: Path) -> None:
    made = loaders(tmp_path, "subset", "scale_translate", layout="modelnet")
    views, test = made.data.views(), made.data.sets["test"]
    assert views[0].points.shape == (38, 3)
    assert test[0].points.shape == (32, 3)
    assert [views.id(k) for k in range(len(views))] == [test.id(k) for k in range(len(test))]
    (whole,) = made.loader(views)
    assert made.data.augment(whole, 0).inputs["points"].shape[2] == 32
    assert voting.vote(made, CPU, 2)["views"] == 2


def test_what_has_no_views_is_refused(tmp_path: Path) -> None:
    task, data = pairing(Frozen()).task, ready("bg", cloud_files.scanobjectnn(tmp_path))
    with pytest.raises(SettingError, match=r"votes=10: ScanObjectNN \(bg\) is not augmented"):
        voting.require(data, task, 10)
    turned = ready("bg", tmp_path, augment=("rotate",))
    voting.require(turned, task, 10)
    with pytest.raises(SettingError, match="votes=10: views vote on one class a sample, and this task is part"):
        voting.require(turned, PartSegmentation(), 10)
    with pytest.raises(SettingError, match="votes=-1: expected how many views vote"):
        voting.require(turned, task, -1)


def test_an_evaluation_refuses_a_vote_before_weights_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    for word, code in (("data.augment=[]", "1"), ("votes=0", "2"), ("votes=two", "2")):
        with pytest.raises(SystemExit, match=code):
            evaluate.main(["adapter=mantis-furniture", *(["votes=2"] if code == "1" else []), word])
        said = capsys.readouterr().err
        assert re.match(r"error: votes=.*(is not augmented|expected how many views)", said)
        assert said.count("\n") == 1
