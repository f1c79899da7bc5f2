"""Masks for prompts: what is drawn from labels, what the decoder is asked, and how objects are counted."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sam_tiny
import tiny
import torch
from torch import Tensor

from zoo.backbones.sam_prompts import PADDING
from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.methods.base import Method
from zoo.methods.frozen import Frozen
from zoo.methods.lora import LoRA
from zoo.ops.frame import IGNORE, Place
from zoo.ops.prompts import Prompts
from zoo.pairing import Pairing
from zoo.tasks import mask_losses
from zoo.tasks.promptable import PromptableSegmentation

SIDE = sam_tiny.SIDE
TARGETS = {"sam": ["q_proj", "v_proj"], "sam2": ["q_proj", "v_proj"]}


def pairing(method: Method | None = None, *, name: str = "sam", **settings: Any) -> Pairing:
    torch.manual_seed(0)
    task = PromptableSegmentation(**{"objects": 2, "least": 10, **settings})
    model = sam_tiny.kept(name) if method is None else sam_tiny.made(name)
    return Pairing({"vision": model}, method or Frozen(), task, classes=["other", "cell"]).eval()


def batch(*rows: int) -> Batch:
    """Noise with two squares of cell in each picture, elsewhere in every one."""
    masks = torch.zeros(4, SIDE, SIDE, dtype=torch.uint8)
    for i in range(4):
        masks[i, 4 + i : 20 + i, 6:30] = 1
        masks[i, 40:60, 20 + 5 * i : 40 + 5 * i] = 1
    masks[:, 62:] = IGNORE
    inputs = sam_tiny.pictures(4)[:, None]
    place = torch.tensor([[i, 0, 0, SIDE, SIDE, 1, SIDE, SIDE] for i in range(4)])
    chosen = list(rows or range(4))
    return Batch(
        ids=[f"p{i}#0" for i in chosen],
        inputs={"vision": inputs[chosen]},
        target={"mask": masks[chosen]},
        conditions={"place": place[chosen]},
    )


def filling(maps: Any, points: Any = None, labels: Any = None, boxes: Any = None, **_: Any) -> tuple[Tensor, Tensor]:
    """A decoder that fills the box that it is asked for; of points, a square of nine pixels around each."""
    axis = torch.arange(SIDE)
    if boxes is None:
        x, y = points[..., 0, None], points[..., 1, None]
        across, along = (axis - x).abs() < 1.6, (axis - y).abs() < 1.6
        hit = along[..., :, None] & across[..., None, :] & (labels == 1)[..., None, None]
        inside = hit.any(2)
    else:
        left, top, right, bottom = (boxes[..., k, None].round() for k in range(4))
        across, along = (axis >= left) & (axis <= right), (axis >= top) & (axis <= bottom)
        inside = along[..., :, None] & across[..., None, :]
    logits = torch.where(inside, 5.0, -5.0)[:, :, None]
    return logits, logits.flatten(3).amax(-1)


def measured(model: Pairing, *parts: Batch) -> dict[str, float]:
    model.task.reset()
    for part in parts:
        model.task.update(model.predict(part), part)
    return model.task.compute()


def test_dice_of_a_filled_box_is_that_of_the_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    model = pairing()
    monkeypatch.setattr(model.task.decoder, "masks", filling)
    found = measured(model, batch())
    assert found == {"dice": 1.0, "iou": 1.0}  # the objects are boxes
    baselines = model.task.baselines()
    assert baselines["filled_box"] == {"dice": 1.0, "iou": 1.0}
    assert baselines["prompt_of_another_object"] == {"dice": 0.0, "iou": 0.0}
    assert len(model.task.names_counted()) == len(model.task.per_sample()) == 8
    assert model.task.intervals() == {"dice": (1.0, 1.0)}


def test_clicks_are_counted_after_one_three_and_five(monkeypatch: pytest.MonkeyPatch) -> None:
    model = pairing(prompts="clicks")
    monkeypatch.setattr(model.task.decoder, "masks", filling)
    found = measured(model, batch(0))
    # Nine pixels a click, of 16 x 24 and 20 x 20.
    expected = [np.mean([2 * 9 * n / (9 * n + size) for size in (384, 400)]) for n in (1, 3, 5)]
    assert [found[f"dice/{n}_clicks"] for n in (1, 3, 5)] == pytest.approx(expected)
    assert found["dice"] == found["dice/5_clicks"]


@pytest.mark.parametrize("name", ["sam", "sam2"])
@pytest.mark.parametrize("prompts", ["box", "clicks", "none"])
def test_no_prediction_hangs_on_its_batch(name: str, prompts: str) -> None:
    model = pairing(name=name, prompts=prompts)
    key = "scores" if prompts == "none" else "objects"
    with torch.no_grad():
        together = model.predict(batch())[key]
        alone = torch.cat([model.predict(batch(i))[key] for i in range(4)])
    torch.testing.assert_close(together, alone, atol=2e-3, rtol=2e-3)
    whole, parts = measured(model, batch()), measured(model, *(batch(i) for i in range(4)))
    assert whole == pytest.approx(parts, abs=1e-3)


def test_a_users_box_is_what_the_label_gives() -> None:
    """In pixels of the picture, by way of the conditions of a prediction: the same logits."""
    model, data = pairing(), batch(0)
    objects = model.task.drawn(data)
    with torch.no_grad():
        drawn = model.predict(data)["objects"][0, 0].float()
    for k in range(2):
        given = Prompts(box=tuple(objects.boxes[0, k].tolist())).conditions(Place(0, 0, SIDE, SIDE))
        asked = Batch(data.ids, data.inputs, {}, conditions={n: t[None] for n, t in given.items()} | data.conditions)
        with torch.no_grad():
            found = model.predict(asked)
        assert torch.equal(found["mask"][0] == 1, drawn[k] > 0)
        torch.testing.assert_close(
            (found["scores"][0, 1] - found["scores"][0, 0]).float(), drawn[k], atol=1e-3, rtol=0.01
        )
    assert (drawn[0] - drawn[1]).abs().max() > 0.01  # another prompt, another mask


@pytest.mark.parametrize("prompts", ["box", "clicks"])
def test_low_rank_updates_of_the_decoder_learn_from_the_label(prompts: str) -> None:
    model = pairing(LoRA(rank=2, targets={"mask": TARGETS["sam"]}), prompts=prompts)
    frozen = pairing(prompts=prompts)
    data = batch(0, 1)
    with torch.no_grad():
        assert torch.equal(model.predict(data)["objects"], frozen.predict(data)["objects"])
    assert model.method.prefix_depths() == {"vision": model.backbones["vision"].depth}
    before = {name: tensor.clone() for name, tensor in model.backbones.state_dict().items() if "lora_" not in name}
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.05)
    data, losses = replace(data, prefix=model.prefix(data)), []  # nothing of the encoder is run again
    for _ in range(5):
        loss = model.losses(data)["task"]  # in eval mode prompts stay the same
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.99 * losses[0]
    assert all(
        torch.equal(before[name], tensor) for name, tensor in model.backbones.state_dict().items() if name in before
    )
    assert all(name.startswith("backbones.vision.net.mask_decoder") for name in model.trainable)


def test_training_draws_prompts_anew_and_measuring_does_not() -> None:
    task = pairing(objects=1, jitter=0.1).task
    data = batch()
    torch.manual_seed(1)
    drawn = [task.drawn(data, anew=True).boxes for _ in range(4)]
    assert any(not torch.equal(drawn[0], other) for other in drawn[1:])
    torch.manual_seed(1)
    assert torch.equal(task.drawn(data, anew=True).boxes, drawn[0])
    assert torch.equal(task.drawn(data).boxes, task.drawn(data).boxes)
    assert torch.equal(task.drawn(batch(2)).boxes[0], task.drawn(data).boxes[2])
    assert not torch.equal(pairing(objects=1, jitter=0.1, seed=1).task.drawn(data).boxes, task.drawn(data).boxes)


def test_a_square_without_objects_adds_nothing() -> None:
    model, data = pairing(LoRA(rank=2, targets={"mask": TARGETS["sam"]})), batch(0, 1)
    data.target["mask"][1] = 0
    losses = model.task.loss(model(data), data)
    assert all(each[1] == 0 and each[0] > 0 for each in losses.values())
    measured(model, data)
    assert {name.partition(" ")[0] for name in model.task.names_counted()} == {"p0#0"}


def test_without_prompts_one_class_is_the_object() -> None:
    model, data = pairing(prompts="none"), batch(0, 1)
    data.target["mask"][1] = 0
    assert model.task.drawn(data).truth.sum((1, 2, 3)).tolist() == [784, 0]
    measured(model, data)
    dice = model.task.per_sample()
    claimed = model.predict(data)["mask"][1, :62].any()
    assert dice[1] == (0 if claimed else 1)
    assert model.task.note == ""
    assert pairing().task.note == "prompts drawn from the label"


def test_losses_follow_their_formulas() -> None:
    logits = torch.tensor([[[[2.0, -1.0], [0.0, 3.0]]]])
    truth, valid = torch.tensor([[[[True, True], [False, False]]]]), torch.tensor([[[[True, True], [True, False]]]])
    p = torch.sigmoid(torch.tensor([2.0, -1.0, 0.0]))
    right = torch.stack([p[0], p[1], 1 - p[2]])
    torch.testing.assert_close(mask_losses.binary(logits, truth, valid)[0, 0], -right.log().mean())
    focal = (-((1 - right) ** 2) * right.log()).mean()
    torch.testing.assert_close(mask_losses.binary(logits, truth, valid, 2.0)[0, 0], focal)
    dice = 1 - (2 * (p[0] + p[1]) + 1) / (p.sum() + 2 + 1)
    torch.testing.assert_close(mask_losses.soft_dice(logits.sigmoid(), truth, valid)[0, 0], dice)


def test_what_cannot_be_prompted_is_refused() -> None:
    with pytest.raises(SettingError, match=r"prompts = clicks: LiteMedSAM learned boxes alone"):
        pairing(name="lite_medsam", prompts="clicks")
    with pytest.raises(SettingError, match=r"task.of = \['nucleus'\]: expected some of other, cell"):
        pairing(of=("nucleus",))
    with pytest.raises(SettingError, match=r"without prompts there is one class"):
        pairing(of=("other", "cell"), prompts="none")
    with pytest.raises(SettingError, match=r"needs a SAM as backbones.vision"):
        tiny.pairing(Frozen(), PromptableSegmentation())
    model, data = pairing(), batch(0)
    with pytest.raises(SettingError, match=r"answers prompts: say box=x0,y0,x1,y1"):
        model.predict(Batch(data.ids, data.inputs, {}, conditions=data.conditions))


def test_padding_is_no_click(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = pairing(prompts="clicks", objects=3), batch(0)
    asked: list[Tensor] = []
    masks = model.task.decoder.masks

    def listening(maps: Any, points: Tensor, labels: Tensor, boxes: Any) -> tuple[Tensor, Tensor]:
        asked.append(labels)
        return masks(maps, points, labels, boxes)

    monkeypatch.setattr(model.task.decoder, "masks", listening)
    with torch.no_grad():
        model.predict(data)
    assert [labels.shape[-1] for labels in asked] == [1, 2, 3, 4, 5]
    assert (asked[-1][0, 2] == PADDING).all()
    assert (asked[-1][0, :2] != PADDING).all()
    assert (asked[0][0, :2] == 1).all()
