"""Metrics of masks, on cases worked out by hand."""

import math

import numpy as np
import pytest
import torch

from zoo.metrics import boundaries, segmentation

IGNORE = 255


def test_counts_are_those_of_a_table_worked_out_by_hand() -> None:
    truth = torch.tensor([[0, 0, 1], [1, 2, IGNORE]])
    predicted = torch.tensor([[0, 1, 1], [2, 2, 2]])
    counted = segmentation.counts(predicted, truth, 3, ignore=IGNORE)
    assert counted.tolist() == [[1, 0, 1], [1, 1, 1], [1, 1, 0]]
    assert segmentation.iou(counted).tolist() == pytest.approx([1 / 2, 1 / 3, 1 / 2])
    assert segmentation.dice(counted).tolist() == pytest.approx([2 / 3, 1 / 2, 2 / 3])


def test_pooled_iou_is_a_ratio_of_sums_and_a_mean_over_pictures_is_another_number() -> None:
    large = torch.tensor([[0, 0, 0], [90, 10, 0]])
    small = torch.tensor([[0, 0, 0], [1, 9, 0]])
    found = segmentation.pooled(torch.stack([large, small]), ["rest", "cell"])
    assert found["iou/cell"] == pytest.approx(91 / 110)
    assert found["picture_dice"] == pytest.approx((180 / 190 + 2 / 11) / 2)


@pytest.mark.parametrize(
    ("labelled", "claimed", "dice", "neither", "false"),
    [(False, False, 0.0, 0.5, 0.0), (False, True, 0.0, 0.0, 0.5), (True, False, 0.0, 0.0, 0.0)],
)
def test_an_empty_mask_is_left_out_or_counts_nothing_and_is_counted(
    labelled: bool, claimed: bool, dice: float, neither: float, false: float
) -> None:
    truth, predicted = torch.zeros(2, 4, 4), torch.zeros(2, 4, 4)
    truth[0, :2], predicted[0, :2] = 1, 1  # a picture that is wholly right
    truth[1, 0] = float(labelled)
    predicted[1, 0] = float(claimed)
    counted = torch.stack([segmentation.counts(p, t, 2, ignore=IGNORE) for p, t in zip(predicted, truth, strict=True)])
    found = segmentation.pooled(counted, ["rest", "cell"])
    left = 1 if not labelled and not claimed else 2
    assert found["picture_dice"] == pytest.approx((1 + dice) / left)
    assert (found["neither"], found["false_regions"]) == (neither, false)


def test_everything_background_is_nearly_always_right_and_finds_nothing() -> None:
    truth = torch.zeros(1, 1000)
    truth[0, 0] = 1
    counted = segmentation.counts(torch.zeros(1, 1000), truth, 2, ignore=IGNORE)[None]
    found = segmentation.pooled(counted, ["rest", "cell"])
    assert found["pixel_accuracy"] == pytest.approx(0.999)
    assert found["foreground_dice"] == 0


def test_pseudo_values_have_the_metric_as_their_mean_and_are_its_terms_where_it_is_a_mean() -> None:
    per_picture = torch.tensor([[[8, 1, 1], [5, 1, 1]], [[4, 3, 3], [5, 3, 3]], [[9, 0, 0], [6, 0, 0]]])

    def accuracy(summed: torch.Tensor) -> torch.Tensor:
        return summed[..., 0].sum(-1) / summed[..., (0, 2)].sum((-2, -1))

    values = segmentation.pseudo_values(per_picture, accuracy)
    assert values.mean() == pytest.approx(float(accuracy(per_picture.sum(0))))
    alike = torch.tensor([[[8, 1, 1], [5, 1, 1]], [[5, 3, 3], [4, 3, 3]]])  # as many labelled pixels each
    assert segmentation.pseudo_values(alike, accuracy).tolist() == pytest.approx(accuracy(alike).tolist())
    of_ratio = segmentation.pseudo_values(per_picture)
    assert of_ratio.mean() == pytest.approx(float(segmentation.mean_iou(per_picture.sum(0))))
    assert of_ratio.argsort().tolist() == [1, 0, 2], "as the pictures' own numbers are ordered"
    assert segmentation.pseudo_values(per_picture[:1]).tolist() == [float(segmentation.mean_iou(per_picture[0]))]


def test_a_split_without_a_labelled_pixel_has_numbers_and_none_is_nan() -> None:
    found = segmentation.pooled(torch.zeros(2, 2, 3), ["rest", "cell"])
    assert not any(math.isnan(value) for value in found.values())
    assert (found["mean_iou"], found["neither"]) == (0, 1)


def test_slices_of_one_patient_are_drawn_together() -> None:
    good, bad = torch.tensor([[10, 0, 0], [10, 0, 0]]), torch.tensor([[2, 8, 8], [2, 8, 8]])
    per_picture = torch.stack([good] * 20 + [bad] * 20)
    alone = segmentation.grouped_interval(per_picture, list(range(40)))
    together = segmentation.grouped_interval(per_picture, [0] * 20 + [1] * 20)
    assert together[0] == pytest.approx(float(segmentation.mean_iou(bad)))
    assert together[1] == pytest.approx(1)
    assert alone[1] - alone[0] < 0.5 * (together[1] - together[0])


# --- borders ----------------------------------------------------------------------------------------------------------


def square(side: int, at: int, size: int = 20) -> np.ndarray:
    region = np.zeros((size, size), dtype=bool)
    region[at : at + side, at : at + side] = True
    return region


def test_a_moved_square_is_as_far_off_as_it_was_moved() -> None:
    one, moved = square(6, 4), np.roll(square(6, 4), 3, axis=1)
    assert boundaries.hausdorff_95(one, moved) == 3
    assert boundaries.hausdorff_95(one, moved, spacing=(1.0, 0.5)) == 1.5
    assert boundaries.boundary_f(one, one) == boundaries.surface_dice(one, one, 0.0) == 1
    assert boundaries.boundary_f(one, moved, 0.5) < boundaries.boundary_f(one, moved, 3) == 1


def test_borders_of_empty_regions() -> None:
    none, one = np.zeros((20, 20), dtype=bool), square(6, 4)
    assert boundaries.boundary_f(none, none) == boundaries.surface_dice(none, none, 1) == 1
    assert boundaries.boundary_f(none, one) == boundaries.surface_dice(one, none, 1) == 0
    assert boundaries.hausdorff_95(none, none) == 0
    assert boundaries.hausdorff_95(one, none) == math.inf


def test_a_gap_in_a_membrane_joins_two_cells_for_v_rand_and_hardly_changes_iou() -> None:
    truth = np.ones((20, 21), dtype=bool)
    truth[:, 10] = False
    leaky = truth.copy()
    leaky[9, 10] = True
    assert boundaries.v_rand(truth, truth) == pytest.approx(1)
    # Halves of equal size joined: pairs in one region 1/2, in the label's 1/2, in the prediction's 1.
    assert boundaries.v_rand(leaky, truth) == pytest.approx(2 * 0.5 / (1 + 0.5))
    assert math.isnan(boundaries.v_rand(truth, np.zeros((20, 21), dtype=bool)))


def test_v_rand_is_that_of_counted_pairs() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = rng.random((12, 12)) < 0.6, rng.random((12, 12)) < 0.6
    own, right = boundaries.regions(predicted)[truth], boundaries.regions(truth)[truth]
    same_own, same_right = own[:, None] == own, right[:, None] == right
    together = (same_own & same_right).sum()
    assert boundaries.v_rand(predicted, truth) == pytest.approx(2 * together / (same_own.sum() + same_right.sum()))
