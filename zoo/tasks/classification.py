"""Classification: one of K labels for a whole sample.

The head is Mantis's for point clouds (linear, batch norm, ReLU, dropout for every hidden width, then linear), read in
`models/Mamba3D.py` of its repository; without hidden layers it is a linear probe on normalised features.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.batch import Batch
from zoo.metrics import calibration
from zoo.metrics.classification import accuracies, unclaimed
from zoo.ops.batch_norm import BatchNorm1d
from zoo.tasks.base import Head, Task
from zoo.tasks.results import Label


class Classification(Task):
    """Cross entropy over K classes; features are averaged over a sample's segments and its streams concatenated.

    Reads `target["label"]`, int64 [B]. Predicts `label` int64 [B] and `probabilities` [B, K], which are counted for
    calibration.

    Args:
        hidden: widths of hidden layers; none makes the head a linear probe.
        dropout: after every hidden layer.
        label_smoothing: of the cross entropy.
        monitor: the metric that selects the checkpoint.
    """

    kind = "classification"
    decided = ("label",)
    averageable = True
    result = Label
    pictures = ("confusion", "examples", "reliability")
    gives_probabilities = True
    takes_probabilities = True

    def __init__(
        self,
        *,
        hidden: tuple[int, ...] = (256, 256),
        dropout: Annotated[float, ">= 0", "<= 1"] = 0.5,
        label_smoothing: Annotated[float, ">= 0"] = 0.0,
        monitor: Literal["accuracy"] = "accuracy",
    ) -> None:
        super().__init__()
        self.hidden, self.dropout, self.label_smoothing, self.monitor = tuple(hidden), dropout, label_smoothing, monitor

    def attach(self, feature_dims: Mapping[str, int], classes: Sequence[str]) -> None:
        """Create the head."""
        self.names, self.streams = list(classes), sorted(feature_dims)
        if not self.hidden:
            self.head: nn.Module = Head(feature_dims, len(classes), hidden=None)
        else:
            widths, layers = [sum(feature_dims.values()), *self.hidden], []
            for width, out in pairwise(widths):
                layers += [nn.Linear(width, out), BatchNorm1d(out), nn.ReLU(), nn.Dropout(self.dropout)]
            self.head = nn.Sequential(*layers, nn.Linear(widths[-1], len(classes)))
            self.least_batch = 2
        self.reset()

    def logits(self, features: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """[B, K]."""
        mean = {name: features[name].mean(1) for name in self.streams}
        out: Tensor = self.head(torch.cat([mean[n] for n in self.streams], dim=-1) if self.hidden else mean)
        return out

    def loss(self, features: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Cross entropy, [B]."""
        logits, truth = self.logits(features, batch), batch.target["label"]
        loss = F.cross_entropy(logits, truth, reduction="none", label_smoothing=self.label_smoothing)
        return {"cross_entropy": loss}

    def predict(self, features: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """`label` int64 [B], `probabilities` float32 [B, K]."""
        return self.decide(self.logits(features, batch).float().softmax(-1))

    def decide(self, probabilities: Tensor) -> dict[str, Tensor]:
        """The likeliest class, and the probabilities themselves."""
        return {"label": probabilities.argmax(-1), "probabilities": probabilities}

    def answer(self, prediction: Mapping[str, Tensor]) -> dict[str, Any]:
        """The label, its probability, and the three likeliest classes."""
        probabilities = prediction["probabilities"]
        likely = probabilities.topk(min(3, len(self.names)))
        return {
            "label": self.names[int(prediction["label"])],
            "probability": round(float(probabilities.max()), 6),
            "likely": {
                self.names[int(k)]: round(float(p), 6) for p, k in zip(likely.values, likely.indices, strict=True)
            },
        }

    def words(self, values: Mapping[str, Tensor]) -> str:
        """The class."""
        return self.names[int(values["label"])] if "label" in values else ""

    def reset(self) -> None:
        """Forget what was counted."""
        self.truth: list[Tensor] = []
        self.predicted: list[Tensor] = []
        self.probabilities: list[Tensor] = []

    def update(self, prediction: Mapping[str, Tensor], batch: Batch) -> None:
        """Count a batch of [B] predictions."""
        self.truth.append(batch.target["label"].cpu())
        self.predicted.append(prediction["label"].cpu())
        self.probabilities.append(prediction["probabilities"].cpu())

    def compute(self) -> dict[str, float]:
        """`accuracy` and `mean_class_accuracy`, and calibration."""
        return accuracies(torch.cat(self.predicted), torch.cat(self.truth)) | calibration.scores(*self.scored())

    def scored(self) -> tuple[Tensor, Tensor]:
        """Probabilities [N, K] and labels [N]."""
        return torch.cat(self.probabilities), torch.cat(self.truth)

    def per_sample(self) -> Tensor:
        """Right or wrong, [N]."""
        return (torch.cat(self.predicted) == torch.cat(self.truth)).double()

    def never_predicted(self) -> list[str]:
        """Classes of labels alone."""
        return unclaimed(self.names, torch.cat(self.truth), torch.cat(self.predicted))

    def baselines(self) -> dict[str, dict[str, float]]:
        """The commonest class everywhere."""
        truth = torch.cat(self.truth)
        return {"commonest_class": accuracies(truth.mode().values.expand_as(truth), truth)}
