"""Part segmentation of clouds whose category is known, read in `models/Mamba3D_partseg.py` of Mantis's repository.

Group features are spread to all points by their three nearest centres; beside them stand the maximum and mean over
groups and an embedding of the category, which the benchmark gives.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.metrics.part_segmentation import mean_ious, shape_iou
from zoo.ops.batch_norm import BatchNorm1d
from zoo.ops.points import interpolate
from zoo.tasks.base import Task
from zoo.tasks.results import Parts

STREAM = "points"


class PartSegmentation(Task):
    """One of 50 parts for every point.

    Classes are called `Category/part`, so that they say which parts belong to which category. Reads `target["parts"]`
    int64 [B, P], `conditions["category"]` int64 [B] (in order of appearance in the class names),
    `conditions["points"]` [B, P, 3], and features [B, 1, G, F + 3] with the centre last, as a backbone with taps gives
    them. Predicts `parts` int64 [B, P], of the category's own parts only.

    Args:
        propagation: widths of the layers after interpolation.
        hidden: widths of the head's hidden layers.
        label_width: of the category's embedding.
        dropout: after the head's first layer.
    """

    kind = "part-segmentation"
    decided = ("parts",)
    averageable = True
    monitor = "instance_miou"
    conditions = ("category", "points")
    pictures = ("parts",)
    result = Parts

    def __init__(
        self,
        *,
        propagation: tuple[int, ...] = (1536, 1024),
        hidden: tuple[int, int] = (512, 256),
        label_width: Annotated[int, ">= 1"] = 64,
        dropout: Annotated[float, ">= 0", "<= 1"] = 0.5,
    ) -> None:
        super().__init__()
        self.propagation, self.hidden, self.label_width, self.dropout = tuple(propagation), hidden, label_width, dropout

    def attach(self, feature_dims: Mapping[str, int], classes: Sequence[str]) -> None:
        """Create the head.

        Raises:
            SettingError: no features of points, or class names without categories.
        """
        if STREAM not in feature_dims or not all("/" in name for name in classes):
            raise SettingError(
                "part segmentation needs features of `points` from a backbone with taps, and data whose classes are "
                f"called Category/part; got {sorted(feature_dims)} and {list(classes[:2])}"
            )
        self.names = list(classes)
        self.categories = list(dict.fromkeys(name.partition("/")[0] for name in classes))
        self.parts = [
            [k for k, name in enumerate(classes) if name.partition("/")[0] == category] for category in self.categories
        ]
        width = feature_dims[STREAM] - 3
        self.spread = _layers([width + 3, *self.propagation], nn.ReLU())
        self.label = _layers([len(self.categories), self.label_width], nn.LeakyReLU(0.2), bias=False)
        first, second = self.hidden
        wide = (self.propagation[-1] if self.propagation else width + 3) + 2 * width + self.label_width
        self.head = nn.Sequential(
            _layers([wide, first], nn.ReLU()),
            nn.Dropout(self.dropout),
            _layers([first, second], nn.ReLU()),
            nn.Linear(second, len(classes)),
        )
        self.reset()

    def logits(self, features: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """[B, P, K]."""
        points, category = batch.conditions["points"], batch.conditions["category"]
        groups, centres = features[STREAM][:, 0, :, :-3], features[STREAM][:, 0, :, -3:]
        size = points.shape[:2]
        near = torch.cat([points, interpolate(points, centres, groups)], dim=-1)
        label = self.label(F.one_hot(category, len(self.categories)).to(groups.dtype))
        whole = torch.cat([groups.amax(1), groups.mean(1), label], dim=-1)
        local = self.spread(near.flatten(0, 1))
        joint = torch.cat([local, whole[:, None].expand(*size, -1).flatten(0, 1)], dim=-1)
        out: Tensor = self.head(joint).unflatten(0, size)
        return out

    def loss(self, features: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Cross entropy averaged over points, [B]."""
        logits = self.logits(features, batch)
        return {
            "cross_entropy": F.cross_entropy(logits.movedim(-1, 1), batch.target["parts"], reduction="none").mean(-1)
        }

    def predict(self, features: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """`parts` int64 [B, P], among the parts of the category."""
        allowed = torch.zeros(len(self.categories), len(self.names), dtype=torch.bool)
        for category, parts in enumerate(self.parts):
            allowed[category, parts] = True
        logits = self.logits(features, batch).float()
        mask = allowed.to(logits.device)[batch.conditions["category"]][:, None]
        return {"parts": logits.masked_fill(~mask, -torch.inf).argmax(-1)}

    def answer(self, prediction: Mapping[str, Tensor]) -> dict[str, Any]:
        """The part of every point, in the order of the sampled points."""
        return {"parts": [self.names[int(k)] for k in prediction["parts"]]}

    def reset(self) -> None:
        """Forget what was counted."""
        self.ious: list[float] = []
        self.trivial: list[float] = []
        self.seen: list[int] = []

    def update(self, prediction: Mapping[str, Tensor], batch: Batch) -> None:
        """Count a batch of [B, P] predictions."""
        for predicted, truth, category in zip(
            prediction["parts"].cpu(), batch.target["parts"].cpu(), batch.conditions["category"].tolist(), strict=True
        ):
            parts = self.parts[category]
            self.ious.append(shape_iou(predicted, truth, parts))
            self.trivial.append(shape_iou(torch.full_like(truth, parts[0]), truth, parts))
            self.seen.append(category)

    def compute(self) -> dict[str, float]:
        """`instance_miou` and `class_miou`."""
        return mean_ious(self.per_sample(), torch.tensor(self.seen))

    def per_sample(self) -> Tensor:
        """IoU of every shape, [N]."""
        return torch.tensor(self.ious, dtype=torch.double)

    def baselines(self) -> dict[str, dict[str, float]]:
        """The category's first part on every point."""
        return {"first_part": mean_ious(torch.tensor(self.trivial, dtype=torch.double), torch.tensor(self.seen))}


def _layers(widths: Sequence[int], activation: nn.Module, *, bias: bool = True) -> nn.Sequential:
    """Linear, batch norm and activation for every step of `widths`; on rows [N, C]."""
    layers: list[nn.Module] = []
    for width, out in pairwise(widths):
        layers += [nn.Linear(width, out, bias=bias), BatchNorm1d(out), activation]
    return nn.Sequential(*layers)
