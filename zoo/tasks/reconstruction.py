"""Reconstruction of masked groups of points: the task of self-supervised pre-training (Point-MAE, arXiv 2203.06604)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.tasks.base import Task


def chamfer(predicted: Tensor, truth: Tensor) -> Tensor:
    """Squared Chamfer distance of point sets [..., K, 3]: mean nearest squared distance, both ways added, [...]."""
    squared = (predicted[..., :, None, :] - truth[..., None, :, :]).square().sum(-1)
    return squared.amin(-1).mean(-1) + squared.amin(-2).mean(-1)


class Reconstruction(Task):
    """Chamfer distance between predicted and true masked groups.

    Reads features `prediction` and `truth`, [B, 1, M, K, 3]. Predicts `distance` and `trivial` [B], the mean distance
    of a cloud's groups and that of putting every point at its group's centre. The metric `explained` is
    1 - distance / trivial, by cloud: 0 for the trivial predictor, 1 for a perfect one.
    """

    kind = "masked-point-reconstruction"
    monitor = "explained"
    pictures = ()  # what it rebuilds depends on masks that it draws

    def attach(self, feature_dims: Mapping[str, int], classes: Sequence[str]) -> None:
        """Nothing to create.

        Raises:
            SettingError: the method predicts no groups.
        """
        if not {"prediction", "truth"} <= set(feature_dims):
            raise SettingError(f"reconstruction needs a method that predicts masked groups, got {sorted(feature_dims)}")
        self.reset()

    def loss(self, features: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Mean over groups, [B]."""
        return {"chamfer": chamfer(features["prediction"], features["truth"]).mean((1, 2))}

    def predict(self, features: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """`distance` and `trivial`, float32 [B]."""
        predicted, truth = features["prediction"].float(), features["truth"].float()
        return {
            "distance": chamfer(predicted, truth).mean((1, 2)),
            "trivial": chamfer(torch.zeros_like(truth), truth).mean((1, 2)),
        }

    def answer(self, prediction: Mapping[str, Tensor]) -> dict[str, Any]:
        """How much of the cloud's masked groups was reconstructed."""
        return {"explained": round(1 - float(prediction["distance"] / prediction["trivial"]), 6)}

    def reset(self) -> None:
        """Forget what was counted."""
        self.counted: list[Tensor] = []

    def update(self, prediction: Mapping[str, Tensor], batch: Batch) -> None:
        """Count a batch."""
        self.counted.append((1 - prediction["distance"] / prediction["trivial"]).double().cpu())

    def compute(self) -> dict[str, float]:
        """`explained`."""
        return {"explained": self.per_sample().mean().item()}

    def per_sample(self) -> Tensor:
        """Explained share of every cloud, [N]."""
        return torch.cat(self.counted)

    def baselines(self) -> dict[str, dict[str, float]]:
        """Every point at its group's centre."""
        return {"centres": {"explained": 0.0}}
