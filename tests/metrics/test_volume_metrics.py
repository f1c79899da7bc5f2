"""Metrics of whole volumes, on cases worked out by hand."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from zoo.metrics.boundaries import border, distances, surface_dice
from zoo.metrics.volumes import Stack, VolumeScores, pooled

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
    far = scored(box(at=5), box(at=4), spacing=(3.0, 4.0, 4.0))
    assert pooled([far])["volume_dice"] == pooled([near])["volume_dice"]
    assert pooled([far])["volume_nsd"] == surface_dice(box(at=5) == 1, box(at=4) == 1, 2.0, (3.0, 4.0, 4.0))
    assert 0 < pooled([far])["volume_nsd"] < 1


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
    small = VolumeScores(torch.tensor([[0, 0, 0], [1, 9, 0]]), torch.tensor([torch.nan, 0.2], dtype=torch.double))
    large = VolumeScores(torch.tensor([[0, 0, 0], [90, 10, 0]]), torch.tensor([torch.nan, 0.8], dtype=torch.double))
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
