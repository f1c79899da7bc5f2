"""Metrics of whole volumes, on cases worked out by hand."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from zoo.metrics.boundaries import border, boundary_f, distances, hausdorff_95_medpy, surface_dice
from zoo.metrics.volumes import Stack, VolumeScores, far, pooled

IGNORE = 255


def box(*, at: int = 4, classes: tuple[int, ...] = (1,)) -> np.ndarray:
    """uint8 [6, 20, 20]: a cube of 4 x 6 x 6 voxels of every class."""
    found = np.zeros((6, 20, 20), np.uint8)
    for place, value in enumerate(classes):
        found[1:5, at : at + 6, 2 + 8 * place : 8 + 8 * place] = value
    return found


def scored(predicted: np.ndarray, truth: np.ndarray, classes: int = 2, spacing: tuple[float, ...] = (3.0, 1.0, 1.0)):
    stack = Stack(spacing)
    for index in (3, 0, 5, 1, 4, 2):  # in any order
        stack.add(index, predicted[index], truth[index])
    return stack.scores(classes, ignore=IGNORE)


def test_distances_are_those_of_the_distance_transform_in_two_and_three_dimensions() -> None:
    rng = np.random.default_rng(0)
    for size, spacing in (((40, 50), (1.0, 1.0)), ((40, 50), (0.5, 2.0)), ((8, 30, 30), (3.0, 0.7, 0.7))):
        own, right = (ndimage.gaussian_filter(rng.normal(size=size), 2) > 0.05 for _ in range(2))
        there, back = distances(own, right, spacing)
        to_right = ndimage.distance_transform_edt(~border(right), sampling=spacing)
        to_own = ndimage.distance_transform_edt(~border(own), sampling=spacing)
        assert there == pytest.approx(to_right[border(own)], abs=1e-9)
        assert back == pytest.approx(to_own[border(right)], abs=1e-9)


def test_a_cube_that_is_moved_has_the_dice_of_its_overlap_and_the_surface_dice_of_millimetres() -> None:
    near = scored(box(at=5), box(at=4))
    assert pooled([near])["volume_dice"] == pytest.approx(2 * 5 / 12)
    assert pooled([near])["volume_nsd"] == 1.0  # all within 2 mm of one pixel of 1 mm
    wide = scored(box(at=5), box(at=4), spacing=(3.0, 4.0, 4.0))
    assert pooled([wide])["volume_dice"] == pooled([near])["volume_dice"]
    assert pooled([wide])["volume_nsd"] == surface_dice(box(at=5) == 1, box(at=4) == 1, 2.0, (3.0, 4.0, 4.0))
    assert 0 < pooled([wide])["volume_nsd"] < 1


def test_hd95_is_in_millimetres_and_that_of_the_script_in_voxels() -> None:
    one, two = scored(box(at=5), box(at=4), spacing=(3.0, 4.0, 4.0)), scored(box(at=4), box(at=4))
    assert far([one]) == {"volume_hd95": 4.0, "volume_hd95_transunet": 1.0}
    assert far([one, two]) == {"volume_hd95": 2.0, "volume_hd95_transunet": 0.5}
    assert far([]) == {}


def test_hd95_of_a_region_that_is_missing_is_none_here_and_0_in_the_script() -> None:
    truth, predicted = box(at=5, classes=(1, 2)), box(at=4)
    found = scored(predicted, truth, 3)
    assert far([found]) == {"volume_hd95": 1.0, "volume_hd95_transunet": 0.5}
    assert pooled([found])["volume_missed"] == 0.5
    assert far([scored(np.zeros_like(truth), truth, 3)]) == {"volume_hd95_transunet": 0.0}
    with pytest.raises(ValueError, match="not defined where a region is empty"):
        hausdorff_95_medpy(truth == 3, truth == 1)


def test_a_class_that_fills_all_there_is_has_no_border_and_is_right_where_it_should_fill_it() -> None:
    whole, holed = np.ones((6, 20, 20), np.uint8), np.ones((6, 20, 20), np.uint8)
    holed[2:4, 5:9, 5:9] = 0
    right = scored(whole, whole)
    assert pooled([right])["volume_nsd"] == 1.0
    assert far([right])["volume_hd95"] == 0.0
    assert set(far([scored(whole, holed)])) == {"volume_hd95_transunet"}, "no distance, and never infinite"
    assert pooled([scored(whole, holed)])["volume_nsd"] == 0.0
    assert boundary_f(whole[0] == 1, whole[0] == 1) == 1.0
    assert boundary_f(whole[2] == 1, holed[2] == 1) == 0.0


def test_hd95_as_medpy_has_it_takes_the_ends_for_border_and_both_directions_together() -> None:
    """Against a distance transform, as medpy computes it; equal to medpy 0.5.2 itself on fifteen drawn cases."""
    rng = np.random.default_rng(0)
    for size in ((40, 50), (8, 30, 30)):
        own, right = (ndimage.gaussian_filter(rng.normal(size=size), 2) > 0.03 for _ in range(2))
        borders = [region ^ ndimage.binary_erosion(region) for region in (own, right)]
        directions = [ndimage.distance_transform_edt(~there)[here] for here, there in (borders, reversed(borders))]
        assert hausdorff_95_medpy(own, right) == pytest.approx(np.percentile(np.hstack(directions), 95))


@pytest.mark.parametrize(
    ("labelled", "claimed", "ours", "transunet", "neither", "false"),
    [
        (False, False, 1.0, 0.5, 0.5, 0.0),  # left out here, 0 there
        (False, True, 0.5, 1.0, 0.0, 0.5),  # 0 here, 1 there
        (True, False, 0.5, 0.5, 0.0, 0.0),
        (True, True, 1.0, 1.0, 0.0, 0.0),
    ],
)
def test_an_organ_that_is_missing_counts_as_it_is_said_to(
    labelled: bool, claimed: bool, ours: float, transunet: float, neither: float, false: float
) -> None:
    truth, predicted = (box(classes=(1, 2) if there else (1,)) for there in (labelled, claimed))
    found = pooled([scored(predicted, truth, 3)])
    assert found["volume_dice"] == pytest.approx(ours)
    assert found["volume_nsd"] == pytest.approx(ours)
    assert found["volume_dice_transunet"] == pytest.approx(transunet)
    assert (found["volume_neither"], found["volume_false"]) == (neither, false)


def test_the_mean_is_over_volumes_and_not_over_voxels() -> None:
    nowhere = torch.full((2,), torch.nan, dtype=torch.double)
    surfaces = (torch.tensor([torch.nan, share], dtype=torch.double) for share in (0.2, 0.8))
    small = VolumeScores(torch.tensor([[0, 0, 0], [1, 9, 0]]), next(surfaces), nowhere, nowhere)
    large = VolumeScores(torch.tensor([[0, 0, 0], [90, 10, 0]]), next(surfaces), nowhere, nowhere)
    found = pooled([small, large])
    assert found["volume_dice"] == pytest.approx((2 / 11 + 180 / 190) / 2)
    assert found["volume_nsd"] == pytest.approx(0.5)
    assert pooled([]) == {}


def test_what_is_not_known_counts_nowhere() -> None:
    truth = box()
    truth[:, 15:] = IGNORE
    predicted = box()
    predicted[:, 16:] = 1
    found = pooled([scored(predicted, truth)])
    assert found["volume_dice"] == found["volume_nsd"] == 1.0
