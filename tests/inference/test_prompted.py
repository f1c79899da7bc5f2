"""A picture and a prompt: in original pixels through the data's frame, and what is said where one is missing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sam_tiny
import torch
from mask_files import pairs, ready

from zoo.errors import SettingError
from zoo.inference.predictor import predict_batch
from zoo.inference.settings import as_text
from zoo.methods.frozen import Frozen
from zoo.pairing import Pairing
from zoo.tasks.base import Task
from zoo.tasks.promptable import PromptableSegmentation
from zoo.tasks.segmentation import Segmentation


def pairing(task: Task) -> Pairing:
    return Pairing({"vision": sam_tiny.kept("sam")}, Frozen(), task, classes=["background", "object"]).eval()


def filling(maps: Any, points: Any, labels: Any, boxes: torch.Tensor, **_: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of a decoder that fills its box, to the nearest pixel of the input."""
    axis = torch.arange(sam_tiny.SIDE)
    left, top, right, bottom = (boxes[..., k, None] for k in range(4))
    inside = ((axis >= top - 0.6) & (axis <= bottom + 0.6))[..., :, None] & (
        (axis >= left - 0.6) & (axis <= right + 0.6)
    )[..., None, :]
    return torch.where(inside, 5.0, -5.0)[:, :, None], torch.ones(1, 1, 1)


@pytest.mark.parametrize("frame", [{"letterbox": 64}, {"squash": 64}, {"tile": 32, "overlap": 8}])
def test_the_mask_lies_where_the_box_is(frame: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = ready(pairs(tmp_path, side=(80, 120)), frame=frame)
    model = pairing(PromptableSegmentation())
    monkeypatch.setattr(model.task.decoder, "masks", filling)
    left, top, right, bottom = 70, 30, 93, 53
    surface, _ = data.read(tmp_path / "images" / "p0.png", {"box": f"{left},{top},{right},{bottom}"})
    (found,) = predict_batch(model, [surface])
    mask = found.output["mask"].numpy()
    assert mask.shape == (80, 120)
    wanted = np.zeros_like(mask)
    wanted[top : bottom + 1, left : right + 1] = 1
    assert 2 * (mask & wanted).sum() / (mask.sum() + wanted.sum()) > 0.9
    (x, y, width, height) = found.record["classes"]["object"]["box"]
    assert np.abs(np.array([x, y, x + width - 1, y + height - 1]) - [left, top, right, bottom]).max() <= 2
    assert found.record["size"] == [120, 80]
    if "tile" in frame:  # of the rest nothing is seen, and nothing is claimed
        assert mask[:, :60].sum() == 0


def test_points_and_boxes_travel_together(tmp_path: Path) -> None:
    data = ready(pairs(tmp_path), frame={"letterbox": 64})
    model = pairing(PromptableSegmentation())
    told = as_text({"points": [(20, 10, 1), (40, 30, 0)], "box": (10, 5, 30, 20)})
    assert told == {"points": "20,10,1|40,30,0", "box": "10,5,30,20"}
    surface, _ = data.read(tmp_path / "images" / "p0.png", dict(told))
    asked: list[Any] = []
    masks = model.task.decoder.masks
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model.task.decoder, "masks", lambda *given, **_: asked.append(given[1:]) or masks(*given))
        predict_batch(model, [surface])
    points, labels, boxes = asked[0]
    scale = 64 / 60
    torch.testing.assert_close(points[0, 0] + 0.5, (torch.tensor([[20.0, 10.0], [40.0, 30.0]]) + 0.5) * scale)
    torch.testing.assert_close(boxes[0, 0] + 0.5, (torch.tensor([10.0, 5.0, 30.0, 20.0]) + 0.5) * scale)
    assert labels.tolist() == [[[1, 0]]]


def test_a_prompt_is_asked_for_where_it_is_needed_and_refused_where_not(tmp_path: Path) -> None:
    data = ready(pairs(tmp_path), frame={"letterbox": 64})
    file = tmp_path / "images" / "p0.png"
    bare, prompted = data.read(file, {})[0], data.read(file, {"box": "1,1,20,20"})[0]
    with pytest.raises(SettingError, match=r"this adapter answers prompts: say box=x0,y0,x1,y1"):
        predict_batch(pairing(PromptableSegmentation()), [bare])
    with pytest.raises(SettingError, match=r"box=: this adapter has learned its prompt"):
        predict_batch(pairing(PromptableSegmentation(prompts="none")), [prompted])
    with pytest.raises(SettingError, match=r"box=: this adapter takes no prompts; its task is segmentation"):
        predict_batch(pairing(Segmentation(width=4)), [prompted])
    (found,) = predict_batch(pairing(PromptableSegmentation(prompts="none")), [bare])
    assert found.output["mask"].shape == (40, 60)
    with pytest.raises(SettingError, match=r"outside of the picture, 60 x 40 pixels"):
        data.read(file, {"box": "1,1,60,20"})
    with pytest.raises(SettingError, match=r"box=1,1: expected"):
        data.require({"box": "1,1"})


def test_a_decoder_of_boxes_is_given_no_points() -> None:
    task = PromptableSegmentation()
    task.clicks = False
    task.require({"box": "1,2,3,4"})
    with pytest.raises(SettingError, match="learned boxes alone"):
        task.require({"points": "1,2,1"})
