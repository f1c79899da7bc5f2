"""Part segmentation and classification metrics on cases worked by hand."""

import pytest
import torch

from zoo.metrics.classification import accuracies
from zoo.metrics.part_segmentation import mean_ious, shape_iou
from zoo.tasks.reconstruction import chamfer


@pytest.mark.parametrize(
    ("said", "truth", "parts", "iou"),
    [
        ([0, 0, 1, 1], [0, 0, 1, 1], [0, 1], 1.0),
        ([0, 0, 0, 0], [0, 0, 1, 1], [0, 1], (2 / 4 + 0) / 2),
        ([0, 0, 1, 1], [0, 1, 1, 1], [0, 1], (1 / 2 + 2 / 3) / 2),
        # Part 2 is in neither: it counts one.
        ([0, 0, 1, 1], [0, 1, 1, 1], [0, 1, 2], (1 / 2 + 2 / 3 + 1) / 3),
        # Part 2 is predicted although absent: it counts nothing.
        ([0, 0, 2, 1], [0, 0, 1, 1], [0, 1, 2], (1 + 1 / 2 + 0) / 3),
        ([5, 5], [4, 5], [4, 5], (0 + 1 / 2) / 2),
    ],
)
def test_shape_iou(said: list[int], truth: list[int], parts: list[int], iou: float) -> None:
    assert shape_iou(torch.tensor(said), torch.tensor(truth), parts) == pytest.approx(iou)


def test_instance_and_class_miou_weigh_shapes_and_categories() -> None:
    ious = torch.tensor([1.0, 0.5, 0.0, 0.8], dtype=torch.double)
    found = mean_ious(ious, torch.tensor([0, 0, 0, 3]))
    assert found == pytest.approx({"instance_miou": 2.3 / 4, "class_miou": (1.5 / 3 + 0.8) / 2})


def test_accuracies_over_samples_and_classes() -> None:
    found = accuracies(torch.tensor([0, 0, 0, 1, 2]), torch.tensor([0, 0, 1, 1, 1]))
    assert found == pytest.approx({"accuracy": 3 / 5, "mean_class_accuracy": (1 + 1 / 3) / 2})


def test_chamfer_by_hand() -> None:
    said, truth = torch.tensor([[0.0, 0, 0], [1, 0, 0]]), torch.tensor([[0.0, 0, 0], [0, 2, 0]])
    # nearest squared distances: 0 and 1 one way, 0 and 4 the other
    assert chamfer(said, truth).item() == pytest.approx((0 + 1) / 2 + (0 + 4) / 2)
    assert chamfer(truth, truth).item() == 0
