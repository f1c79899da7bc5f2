"""Pictures of masks: what is found, missed and wrongly claimed can be seen."""

from pathlib import Path
from types import SimpleNamespace

import mask_tiny
import numpy as np
from drawn import near, pixels
from mask_files import blob, pairs, picture, ready
from mask_tiny import dark_and_light
from sam_tiny import kept

from zoo.inference.predictor import predict_batch
from zoo.methods.frozen import Frozen
from zoo.ops.frame import IGNORE
from zoo.pairing import Pairing
from zoo.report import figures
from zoo.report.kinds import masks as kind
from zoo.report.run import One
from zoo.tasks.promptable import PromptableSegmentation


def test_the_best_the_middle_and_the_worst_picture_are_drawn_with_their_errors(tmp_path: Path) -> None:
    data = ready(pairs(tmp_path / "own", side=(32, 32)), frame={"tile": 32})
    samples, made = data.sets["train"], dark_and_light()
    for k in range(len(samples)):
        batch = made.batch([samples[k]])
        made.task.update(made.predict(batch), batch)
    run = SimpleNamespace(pairing=made, samples=samples, classes=mask_tiny.CLASSES, folder=tmp_path)
    kind.masks(run)  # type: ignore[arg-type]
    values = pixels(tmp_path / "masks.png")
    assert near(values, "#d62728") + near(values, "#1f77b4") > 50  # dark and light is not what the label is
    made.task.reset()
    kind.masks(SimpleNamespace(**{**vars(run), "folder": tmp_path / "none"}))  # type: ignore[arg-type]
    assert not (tmp_path / "none").exists(), "nothing was kept to be drawn"


def test_the_best_the_middle_and_the_worst_object_are_drawn_with_their_box(tmp_path: Path) -> None:
    data = ready(pairs(tmp_path / "own", side=(64, 64)), frame={"tile": 64})
    samples, task = data.sets["train"], PromptableSegmentation(least=4)
    model = Pairing({"vision": kept("sam")}, Frozen(), task, classes=["background", "cell"]).eval()
    for k in range(len(samples)):
        batch = model.batch([samples[k]])
        task.update(model.predict(batch), batch)
    run = SimpleNamespace(pairing=model, samples=samples, classes=model.classes, folder=tmp_path)
    kind.objects(run)  # type: ignore[arg-type]
    values = pixels(tmp_path / "objects.png")
    assert (values[..., 1] > values[..., [0, 2]].max(-1) + 100).sum() > 20  # green, its edges blurred
    assert near(values, "#d62728") + near(values, "#1f77b4") > 20  # weights are random
    task.reset()
    kind.objects(SimpleNamespace(**{**vars(run), "folder": tmp_path / "none"}))  # type: ignore[arg-type]
    assert not (tmp_path / "none").exists(), "nothing was kept to be drawn"


def test_errors_are_red_where_missed_and_blue_where_claimed_and_nothing_where_nobody_knows() -> None:
    truth, found = blob((40, 60)), np.roll(blob((40, 60)), 4, 1)
    truth[2:4] = IGNORE
    shown = kind.errors(picture(blob((40, 60))), found, truth)
    red, blue = ((shown == colour).all(-1) for colour in (kind.MISSED, kind.CLAIMED))
    known = truth != IGNORE
    assert (red == ((truth == 1) & (found == 0))).all()
    assert (blue == ((truth == 0) & (found == 1) & known)).all()
    assert (shown[~(red | blue)].std(-1) == 0).all()


def test_classes_have_colours_of_their_own_however_many() -> None:
    assert len(np.unique(kind.colours(40), axis=0)) == 40
    image = picture(blob((40, 60), 3))
    over = kind.painted(image, blob((40, 60), 3), 3)
    changed = (over != image).any(-1)
    assert not changed[blob((40, 60), 3) == 0].any()
    assert changed[blob((40, 60), 3) > 0].mean() > 0.9


def test_one_prediction_is_drawn_with_its_shares(tmp_path: Path) -> None:
    data = ready(pairs(tmp_path / "own"))
    surface, _ = data.read(tmp_path / "own" / "images" / "p1.png", {})
    made = dark_and_light()
    (found,) = predict_batch(made, [surface])
    values = {name: value.numpy() for name, value in found.output.items()}
    figures.save(kind.one(One(surface, found.record, values, {}, data, made.task)), tmp_path / "one.png")
    pixels(tmp_path / "one.png")
