"""mJ and mF of AVSBench against counting by hand and a slow reading of their definition, and the quirks they have."""

import itertools

import pytest
import torch
from torch import Tensor

from zoo.metrics import avs

SURE = 30.0
"""A logit whose sigmoid is 1 in single precision."""


def certain(masks: Tensor) -> Tensor:
    """Logits of a predictor that is sure of these masks."""
    return torch.where(masks, SURE, -1000.0)


def slowly(logits: Tensor, truth: Tensor, batch: int) -> tuple[float, float]:
    """mJ and mF as they are defined, frame by frame and threshold by threshold."""
    js, fs = [], []
    for start in range(0, len(logits), batch):
        ious, curves = [], []
        for scores, object_ in zip(logits[start : start + batch], truth[start : start + batch], strict=True):
            share = scores.sigmoid()
            claimed = share > 0.5
            if not object_.any():
                ious.append(float((~claimed).double().mean()))
                continue
            ious.append(int((claimed & object_).sum()) / int((claimed | object_).sum()))
            curve = []
            for step in torch.linspace(0, 1 - 1e-10, 255):
                reached = share >= step
                hit = int((reached & object_).sum())
                precision, recall = hit / max(1, int(reached.sum())), hit / int(object_.sum())
                both = 0.3 * precision + recall
                curve.append(1.3 * precision * recall / both if both else 0.0)
            curves.append(curve)
        js.append(sum(ious) / len(ious))
        fs.append(max(sum(at) / len(at) for at in zip(*curves, strict=True)) if curves else 0.0)
    return sum(js) / len(js), sum(fs) / len(fs)


def made_up(frames: int = 40, side: int = 12, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Squares, one frame in five empty, and logits that know them badly."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.zeros(frames, side, side, dtype=torch.bool)
    for k in range(frames):
        if k % 5 != 3:
            top, left = torch.randint(side - 5, (2,), generator=generator).tolist()
            truth[k, top : top + 5, left : left + 5] = True
    noise = torch.randn(truth.shape, generator=generator) * torch.rand(frames, 1, 1, generator=generator) * 4
    return truth * 2.0 - 1.5 + noise, truth


@pytest.mark.parametrize("batch", [1, 5, 7, 20, 40])
def test_the_official_numbers_are_those_of_a_slow_reading_at_any_batch(batch: int) -> None:
    logits, truth = made_up()
    found = avs.official(avs.count(logits, truth), batch)
    assert (found["mJ"], found["mF"]) == pytest.approx(slowly(logits, truth, batch), abs=1e-6)


def test_iou_and_f_by_hand() -> None:
    truth = torch.zeros(2, 4, 4, dtype=torch.bool)
    truth[0, :2, :2] = True  # 4 pixels
    claimed = torch.zeros_like(truth)
    claimed[0, :2, :3] = True  # those and 2 more
    claimed[1, 0] = True  # 4 of 16 where there is no object
    counts = avs.count(certain(claimed), truth)
    assert avs.jaccard(counts).tolist() == pytest.approx([4 / 6, 12 / 16], abs=1e-6)
    assert avs.f_half(counts)[0] == pytest.approx(1.3 * (4 / 6) / (0.3 * 4 / 6 + 1))
    found = avs.values(counts, [2])
    assert found["frame_iou"] == found["mJ_in_batches_of_2"] == pytest.approx((4 / 6 + 0.75) / 2, abs=1e-6)
    assert found["object_iou"] == pytest.approx(4 / 6, abs=1e-6)
    assert found["empty_iou"] == pytest.approx(0.75)
    assert found["object_f"] == found["mF_in_batches_of_2"] == pytest.approx(1.3 * (4 / 6) / (0.3 * 4 / 6 + 1))


def test_saying_nothing_scores_the_empty_frames_and_more_than_no_f() -> None:
    _, truth = made_up()
    counts = avs.count(certain(torch.zeros_like(truth)), truth)
    share = 25 / 144
    assert avs.values(counts, [5])["mJ_in_batches_of_5"] == pytest.approx(8 / 40)
    assert avs.values(counts, [5])["mF_in_batches_of_5"] == pytest.approx(1.3 * share / (0.3 * share + 1))
    assert avs.values(counts, [5])["object_f"] == 0


def test_f_depends_on_the_batch_and_iou_on_a_short_last_one() -> None:
    logits, truth = made_up()
    counts = avs.count(logits, truth)
    fs = [avs.official(counts, batch)["mF"] for batch in (5, 10, 20, 40)]
    assert all(one > other for one, other in itertools.pairwise(fs))
    # A maximum is taken of each batch, and one whose frames are all empty counts 0.
    assert avs.official(counts, 1)["mF"] < fs[0]
    ious = avs.jaccard(counts)
    assert avs.official(counts, 10)["mJ"] == pytest.approx(float(ious.mean()))
    uneven = (ious[:35].mean() + ious[35:].mean()) / 2
    assert avs.official(counts, 35)["mJ"] == pytest.approx(float(uneven))
    assert abs(float(uneven - ious.mean())) > 1e-3
    assert {avs.values(counts, [batch])["frame_iou"] for batch in (1, 35)} == {float(ious.mean())}


def test_trivial_predictors_are_those_that_are_counted() -> None:
    _, truth = made_up()
    counts = avs.count(torch.zeros(truth.shape), truth)
    for made, masks in ((avs.nothing(counts), torch.zeros_like(truth)), (avs.everything(counts), truth | True)):
        wanted = avs.count(certain(masks), truth)
        assert avs.values(made, [5, 20]) == avs.values(wanted, [5, 20])
    assert avs.values(avs.everything(counts), [5])["empty_iou"] == 0


def test_parts_counted_one_after_the_other_are_the_whole() -> None:
    logits, truth = made_up()
    parts = avs.FrameCounts.joined([avs.count(logits[at : at + 7], truth[at : at + 7]) for at in range(0, 40, 7)])
    assert avs.values(parts, [5]) == avs.values(avs.count(logits, truth), [5])
    assert len(parts.rows(parts.wanted > 0)) == 32


def test_no_frames_score_nothing() -> None:
    _, truth = made_up()
    empty = avs.count(torch.zeros(truth.shape), truth).rows(slice(0, 0))
    assert set(avs.values(empty, [5]).values()) == {0.0}
