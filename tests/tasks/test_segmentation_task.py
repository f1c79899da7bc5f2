"""Segmentation of pictures: heads, losses of masks, and what is counted of pictures that came as several tiles."""

import math
from collections.abc import Sequence
from pathlib import Path

import mask_tiny
import numpy as np
import pytest
import torch
from mask_files import blob, pairs, ready
from mask_tiny import CLASSES, certain
from torch import Tensor
from torch.nn import functional as F

from data_modules.kinds.tiles import TileSet
from zoo.backbones.base import Level
from zoo.backbones.pixels import Pixels
from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.metrics import segmentation as metrics
from zoo.ops.frame import IGNORE, Place
from zoo.tasks.dense import HEADS, HeadName, cross_entropy, skeleton, soft_cldice, soft_dice
from zoo.tasks.segmentation import Segmentation

LEVELS = [Level(2, 4, 1), Level(4, 6, 2), Level(8, 10, 3)]


def made(classes: Sequence[str] = CLASSES, **settings: object) -> Segmentation:
    """A task on pixels, attached."""
    task = Segmentation(head="linear", **settings)  # type: ignore[arg-type]
    task.attach({}, classes, {"vision": Pixels(image_size=8)})
    return task


# --- heads ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HEADS)
def test_a_head_reads_every_level_and_gives_scores_at_the_finest_stride(name: HeadName) -> None:
    torch.manual_seed(0)
    head = HEADS[name](LEVELS, 3, 8)
    maps = [torch.randn(2, level.width, 32 // level.stride, 32 // level.stride, requires_grad=True) for level in LEVELS]
    head(maps)  # statistics of the norms
    found = head.eval()(maps)
    assert found.shape == (2, 3, 16, 16)
    found.square().sum().backward()
    assert all(each.grad is not None and each.grad.abs().amax() > 0 for each in maps)


@pytest.mark.parametrize("name", HEADS)
@torch.no_grad()
def test_a_head_takes_maps_of_odd_sides_and_does_not_mix_pictures(name: HeadName) -> None:
    torch.manual_seed(0)
    head = HEADS[name](LEVELS, 3, 8).eval()
    maps = [torch.randn(3, level.width, side, side) for level, side in zip(LEVELS, (13, 7, 4), strict=True)]
    found = head(maps)
    assert found.shape == (3, 3, 13, 13)
    torch.testing.assert_close(found[1:2], head([each[1:2] for each in maps]), atol=1e-5, rtol=1e-5)


def test_the_control_from_scratch_has_thirty_thousand_weights() -> None:
    head = HEADS["unet"](Pixels(image_size=64).levels, 2, 8)
    assert 25_000 < sum(p.numel() for p in head.parameters()) < 35_000


# --- losses -----------------------------------------------------------------------------------------------------------


def sure(truth: Tensor, classes: int = 2) -> Tensor:
    """Probabilities [N, K, H, W] of a mask."""
    return F.one_hot(truth, classes).movedim(-1, 1).float()


def test_losses_on_cases_worked_out_by_hand() -> None:
    truth = torch.zeros(1, 4, 4, dtype=torch.long)
    truth[0, 0] = 1
    valid = torch.ones_like(truth, dtype=torch.bool)
    even = torch.zeros(1, 2, 4, 4)
    assert cross_entropy(even, truth, valid).item() == pytest.approx(math.log(2))
    assert soft_dice(sure(truth), truth, valid).item() == 0
    # All of class 0: 12 of 16 + 12 pixels, and none of 4 + 0.
    everything = sure(torch.zeros_like(truth))
    assert soft_dice(everything, truth, valid).item() == pytest.approx(((1 - 25 / 29) + (1 - 1 / 5)) / 2)
    # A class that the sample has not is left out.
    assert soft_dice(sure(truth, 3), truth, valid).item() == 0


def test_pixels_without_a_label_change_no_loss_and_a_picture_of_them_has_none() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 8, 8)
    truth = torch.randint(0, 3, (2, 8, 8))
    valid = torch.ones_like(truth, dtype=torch.bool)
    valid[0, :3] = False
    valid[1] = False
    other = torch.where(valid[:, None], logits, torch.randn_like(logits)).requires_grad_()
    weights = torch.tensor([1.0, 2.0, 3.0])
    for loss in (
        lambda given: cross_entropy(given, truth, valid),
        lambda given: cross_entropy(given, truth, valid, weights),
        lambda given: soft_dice(given.softmax(1), truth, valid),
        lambda given: soft_cldice(given.softmax(1), truth, valid),
    ):
        one, two = loss(logits), loss(other)
        assert torch.equal(one, two)
        assert one[0] > 0 == one[1]
        two.sum().backward()
        assert other.grad is not None
        assert other.grad.isfinite().all()


def test_a_broken_line_costs_cldice_more_than_dice() -> None:
    line = torch.zeros(1, 24, 24, dtype=torch.long)
    line[0, 10:13, 2:22] = 1
    broken = line.clone()
    broken[0, :, 11:13] = 0
    thinner = line.clone()
    thinner[0, (10, 12)] = 0
    valid = torch.ones_like(line, dtype=torch.bool)
    assert soft_cldice(sure(line), line, valid).item() == pytest.approx(0, abs=1e-6)
    assert soft_cldice(sure(thinner), line, valid).item() < 0.2 * soft_dice(sure(thinner), line, valid).item()
    assert soft_cldice(sure(broken), line, valid).item() > 0.05
    none = torch.zeros_like(line)
    assert soft_cldice(sure(none), none, valid).item() == pytest.approx(0, abs=1e-6)


def test_the_skeleton_of_a_line_is_its_middle() -> None:
    line = torch.zeros(1, 1, 15, 30)
    line[..., 5:10, 3:27] = 1
    found = skeleton(line, 5)
    assert found[0, 0, 7, 8:22].min() == 1
    assert found[0, 0, (5, 6, 8, 9), 8:22].max() == 0


def test_weights_of_classes_are_the_root_of_their_rarity(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    mask = torch.zeros(1, 8, 8, dtype=torch.uint8)
    mask[0, 0, :4] = 1  # one in fifteen: the last row is not known
    mask[0, -1], logits = IGNORE, torch.randn(1, 2, 8, 8)
    batch = Batch(["p"], {}, {"mask": mask})
    found = {}
    for name in ("none", "inverse_sqrt"):
        task = made(class_weights=name, dice=0.0)
        monkeypatch.setattr(task, "logits", lambda features, batch: logits)
        found[name] = task.loss({}, batch)
        assert list(found[name]) == ["cross_entropy"]
    truth = torch.where(mask == IGNORE, -100, mask.long())
    rare = torch.tensor([(4 / 56) ** -0.5 if k else (52 / 56) ** -0.5 for k in range(2)])
    assert found["none"]["cross_entropy"].item() == pytest.approx(F.cross_entropy(logits, truth).item(), rel=1e-5)
    expected = F.cross_entropy(logits, truth, weight=rare).item()
    assert found["inverse_sqrt"]["cross_entropy"].item() == pytest.approx(expected, rel=1e-5)


def test_every_loss_is_one_number_a_sample() -> None:
    pairing = mask_tiny.pairing(backbone=Pixels(image_size=32), task=Segmentation(head="linear", cldice=0.5))
    batch = mask_tiny.batch(pairing, 0, 1)
    batch.target["mask"][1] = IGNORE
    terms = pairing.task.loss(pairing(batch), batch)
    assert {name: tuple(term.shape) for name, term in terms.items()} == dict.fromkeys(
        ("cross_entropy", "dice", "cldice"), (2,)
    )
    assert all(term[0] > 0 == term[1] for term in terms.values())
    sum(term.mean() for term in terms.values()).backward()  # type: ignore[union-attr]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in pairing.task.parameters())


# --- counting ---------------------------------------------------------------------------------------------------------


def said(samples: TileSet, classes: int) -> tuple[list[Tensor], list[np.ndarray]]:
    """Scores of every square of a split, of a mask a picture that is partly wrong; and these masks."""
    wrong = [np.roll(samples.labels(k), (1, 2), (0, 1)) for k in range(len(samples.pictures))]
    scores = []
    for index, (picture, _) in enumerate(samples.tiles):
        place = samples.place(index)
        y, x, h, w = place.inside(*samples.sizes[picture])
        mask = samples.frame.mask(wrong[picture][y : y + h, x : x + w], place)
        scores.append(certain(np.minimum(mask, classes - 1), classes))
    return scores, wrong


def counted(task: Segmentation, samples: TileSet, scores: Sequence[Tensor], batches: Sequence[Sequence[int]]) -> None:
    task.reset()
    for rows in batches:
        target = {"mask": torch.stack([samples.target(k)["mask"] for k in rows])}
        conditions = {"place": torch.stack([samples.conditions(k)["place"] for k in rows])}
        batch = Batch([samples.id(k) for k in rows], {}, target, conditions=conditions)
        task.update({"scores": torch.stack([scores[k] for k in rows])}, batch)


@pytest.mark.parametrize("frame", [{"tile": 32, "overlap": 8}, {"tile": 32}, {"tile": 100}, {"letterbox": 60}])
def test_a_picture_is_counted_once_and_whole_however_its_squares_come(tmp_path: Path, frame: dict[str, int]) -> None:
    samples = ready(pairs(tmp_path, values=(0, 1, 2)), frame=frame).sets["train"]
    task, (scores, masks) = made(["rest", "a", "b"]), said(samples, 3)
    names = [picture.id for picture in samples.pictures]
    expected = torch.stack(
        [
            metrics.counts(torch.from_numpy(mask), torch.from_numpy(samples.labels(k)), 3, ignore=IGNORE)
            for k, mask in enumerate(masks)
        ]
    )
    order = np.random.default_rng(0).permutation(len(samples)).tolist()
    for batches in ([range(len(samples))], [[k] for k in order], [order[:2], order[2:]]):
        counted(task, samples, scores, batches)
        assert task.names_counted() == names
        assert torch.equal(torch.stack([task.seen[k].counts for k in range(len(names))]), expected)
        assert all((task.seen[k].predicted == mask).all() for k, mask in enumerate(masks))
        found = task.compute()
        assert found.items() >= metrics.pooled(expected, ["rest", "a", "b"]).items()
        assert task.per_sample().mean().item() == pytest.approx(found["mean_iou"], abs=1e-9)
    low, high = task.intervals()["mean_iou"]
    assert low <= found["mean_iou"] <= high


@pytest.mark.parametrize("frame", [{"tile": 32, "overlap": 8}, {"letterbox": 40}, {"squash": 30}])
def test_the_label_itself_is_wholly_right_in_every_frame(tmp_path: Path, frame: dict[str, int]) -> None:
    samples = ready(pairs(tmp_path), frame=frame).sets["train"]
    task = made(cells="cell")
    masks = [
        torch.where(samples.target(k)["mask"] == IGNORE, 0, samples.target(k)["mask"]) for k in range(len(samples))
    ]
    counted(task, samples, [certain(mask, 2) for mask in masks], [range(len(samples))])
    found = task.compute()
    one = ("mean_iou", "foreground_dice", "picture_dice", "pixel_accuracy", "boundary_f", "v_rand", "iou/cell")
    assert {name: found[name] for name in one} == pytest.approx(dict.fromkeys(one, 1.0))
    assert found["neither"] == found["false_regions"] == 0


def test_scores_at_another_size_than_the_squares_are_brought_to_theirs(tmp_path: Path) -> None:
    samples = ready(pairs(tmp_path, side=(32, 32)), frame={"tile": 32}).sets["train"]
    half = [certain(samples.target(k)["mask"][::2, ::2], 2) for k in range(len(samples))]
    task = made()
    counted(task, samples, half, [range(len(samples))])
    assert task.seen[0].predicted.shape == (32, 32)
    assert task.compute()["iou/cell"] > 0.7


def test_a_split_with_half_a_picture_has_no_number(tmp_path: Path) -> None:
    samples = ready(pairs(tmp_path)).sets["train"]
    task, (scores, _) = made(), said(samples, 2)
    counted(task, samples, scores, [range(4)])
    with pytest.raises(SettingError, match=r"^1 pictures lack some of their tiles: a split must hold whole ones$"):
        task.compute()
    task.reset()
    assert task.waiting == {}


def alone(task: Segmentation, predicted: np.ndarray, truth: np.ndarray, picture: int = 0, group: int = 0) -> None:
    """Count one whole square picture."""
    side = len(truth)
    place = Place(0, 0, side, side).condition(picture, 1, side, side)
    conditions = {"place": place[None], "group": torch.tensor([group])}
    batch = Batch([f"p{picture}#0"], {}, {"mask": torch.from_numpy(truth)[None]}, conditions=conditions)
    task.update({"scores": certain(predicted, len(task.names))[None]}, batch)


def test_empty_pictures_are_counted_and_what_is_not_known_is_not() -> None:
    task = made()
    empty, cell = np.zeros((10, 10), np.uint8), blob((10, 14))[:, :10].copy()
    hidden = np.where(cell == 1, IGNORE, cell).astype(np.uint8)
    for picture, (predicted, truth) in enumerate([(empty, empty), (cell, empty), (cell, cell), (cell, hidden)]):
        alone(task, predicted, truth, picture)
    found = task.compute()
    assert (found["neither"], found["false_regions"]) == (0.5, 0.25)  # under what is hidden nothing is claimed
    assert found["picture_dice"] == pytest.approx((0 + 1) / 2)
    area = int(cell.sum())
    assert found["iou/cell"] == pytest.approx(area / (2 * area))


def test_a_class_that_is_never_predicted_is_named() -> None:
    task, (rest, cell) = made(["rest", "cell", "wall"]), (np.zeros((10, 10), np.uint8), blob((10, 14))[:, :10].copy())
    alone(task, rest, cell, 0)
    assert task.never_predicted() == ["cell"]  # nor is wall, which no label has
    alone(task, cell, rest, 1)
    assert task.never_predicted() == []


def test_who_looks_at_nothing_is_measured_beside_it() -> None:
    task = made(["rest", "cell", "wall"], monitor="foreground_dice")
    truth = np.full((10, 10), 2, np.uint8)
    truth[0], truth[1, :5] = 0, IGNORE
    alone(task, truth % 3, truth)
    found = task.baselines()
    assert set(found) == {"first_class", "commonest_class"}
    assert found["first_class"]["pixel_accuracy"] == pytest.approx(10 / 95)
    assert found["first_class"]["mean_iou"] == pytest.approx((10 / 95 + 0) / 2)
    assert found["first_class"]["foreground_dice"] == 0
    assert found["commonest_class"]["iou/wall"] == pytest.approx(85 / 95)
    assert found["commonest_class"]["foreground_dice"] == pytest.approx(170 / 180)


def test_an_interval_is_over_groups_and_one_group_has_none() -> None:
    cell = blob((16, 16))
    truths = [cell] * 6
    given = [cell] * 3 + [np.zeros_like(cell)] * 3
    found = {}
    for name, groups in {"one": [0] * 6, "alike together": [0, 0, 0, 1, 1, 1], "each": list(range(6))}.items():
        task = made(monitor="foreground_iou")
        for picture, (predicted, truth, group) in enumerate(zip(given, truths, groups, strict=True)):
            alone(task, predicted, truth, picture, group)
        found[name] = task.intervals()
    assert found["one"] == {}
    assert found["alike together"]["foreground_iou"] == pytest.approx((0, 1))
    low, high = found["each"]["foreground_iou"]
    assert 0 < low < 0.5 < high < 1


def slices(task: Segmentation, predicted: np.ndarray, truth: np.ndarray, which: list[int]) -> None:
    """Count slices [Z, S, S] of one volume, one a batch."""
    side, depth = truth.shape[1], len(truth)
    for z in which:
        place = Place(0, 0, side, side).condition(z, 1, side, side)
        told = {"volume": torch.tensor([[0, z, depth]]), "spacing": torch.tensor([[5.0, 1.0, 1.0]])}
        batch = Batch(
            [f"v[{z}]#0"], {}, {"mask": torch.from_numpy(truth[z])[None]}, conditions={"place": place[None], **told}
        )
        task.update({"scores": certain(predicted[z], len(task.names))[None]}, batch)


def test_slices_are_measured_as_the_volume_they_are_of_once_all_are_there() -> None:
    truth = np.stack([np.zeros((16, 16), np.uint8), *[blob((16, 16))] * 3])
    predicted = truth.copy()
    predicted[1] = 0
    task = made()
    slices(task, predicted, truth, [2, 0, 3])
    assert not [name for name in task.compute() | task.quantities() if name.startswith("volume")]
    slices(task, predicted, truth, [1])
    found = task.compute()
    assert found["volume_dice"] == pytest.approx(2 * 2 / 5)  # of three equal slices two were found
    assert found["picture_dice"] == pytest.approx(2 / 3)
    assert found["volume_nsd"] < 1  # five millimetres are missed
    assert task.quantities()["volume_hd95"] == 5.0
    assert task.stacks == {}
    task.reset()
    assert task.volumes == {}


def test_an_answer_says_of_every_class_that_occurs_where_it_is_and_how_sure() -> None:
    task = made(["rest", "cell", "wall"])
    mask = torch.zeros(10, 20, dtype=torch.uint8)
    mask[2:5, 7:15] = 2
    record = task.answer({"mask": mask, "confidence": torch.tensor([0.9, float("nan"), 0.75])})
    assert record == {
        "classes": {
            "rest": {"share": 0.88, "box": [0, 0, 20, 10], "probability": 0.9},
            "wall": {"share": 0.12, "box": [7, 2, 8, 3], "probability": 0.75},
        },
        "size": [20, 10],
    }
