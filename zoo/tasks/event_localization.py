"""Audio-visual event localisation: name the event of every segment, or background (AVE: Tian et al., ECCV 2018).

One (K + 1)-way head per segment on the concatenated pooled streams, as in LAVISH (`AVE/nets/net_trans_v2.py`), trained
with cross entropy; LAVISH itself uses a binary cross entropy on the softmax output.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.batch import Batch
from zoo.metrics import calibration
from zoo.metrics.ave import EventLocalizationMetrics, balanced_accuracy, trivial_baselines
from zoo.metrics.classification import unclaimed
from zoo.tasks.base import Head, Task
from zoo.tasks.results import Segments


class EventLocalization(Task):
    """Segment-wise classification over K classes and background (index K).

    Reads `target["segments"]`, int64 [B, T]. Predicts `segments` int64 [B, T] and `probabilities` [B, T, K + 1], which
    are counted for calibration: every segment is a sample there, and background a class.

    Args:
        hidden: width of the head's hidden layer; null makes it a linear probe.
        label_smoothing: of the cross entropy.
        background_weight: of background segments in the cross entropy; below 1 where most segments are background.
        monitor: the metric that selects the checkpoint; `segment_accuracy` is AVE's.
    """

    kind = "audio-visual-event-localization"
    decided = ("segments",)
    averageable = True
    pictures = ("segments", "reliability")
    gives_probabilities = True
    result = Segments

    def __init__(
        self,
        *,
        hidden: Annotated[int, ">= 1"] | None = 512,
        label_smoothing: Annotated[float, ">= 0"] = 0.0,
        background_weight: Annotated[float, "> 0"] = 1.0,
        monitor: Literal["segment_accuracy", "balanced_accuracy"] = "segment_accuracy",
    ) -> None:
        super().__init__()
        self.hidden, self.label_smoothing = hidden, label_smoothing
        self.background_weight, self.monitor = background_weight, monitor

    def attach(self, feature_dims: Mapping[str, int], classes: Sequence[str]) -> None:
        """Create the (K + 1)-way head and its metrics."""
        self.background, self.names = len(classes), [*classes, "background"]
        self.head = Head(feature_dims, len(classes) + 1, hidden=self.hidden)
        self.metrics = EventLocalizationMetrics(background=self.background)
        self.reset()

    def logits(self, features: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """[B, T, K + 1]."""
        out: Tensor = self.head(features)
        return out

    def loss(self, features: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Cross entropy averaged over segments (by weight), [B]."""
        logits, truth = self.logits(features, batch), batch.target["segments"]
        loss = F.cross_entropy(logits.movedim(-1, 1), truth, reduction="none", label_smoothing=self.label_smoothing)
        weight = torch.where(truth == self.background, self.background_weight, 1.0)
        return {"cross_entropy": (weight * loss).sum(-1) / weight.sum(-1)}

    def predict(self, features: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """`segments` int64 [B, T], `probabilities` float32 [B, T, K + 1]."""
        probabilities = self.logits(features, batch).float().softmax(-1)
        return {"segments": probabilities.argmax(-1), "probabilities": probabilities}

    def answer(self, prediction: Mapping[str, Tensor]) -> dict[str, Any]:
        """The class of every segment and its probability."""
        best = prediction["probabilities"].gather(-1, prediction["segments"][:, None])[:, 0]
        return {
            "segments": [self.names[int(k)] for k in prediction["segments"]],
            "probability": [round(float(p), 6) for p in best],
        }

    def reset(self) -> None:
        """Forget what was counted."""
        self.metrics.reset()
        self.truth: list[Tensor] = []
        self.predicted: list[Tensor] = []
        self.probabilities: list[Tensor] = []

    def update(self, prediction: Mapping[str, Tensor], batch: Batch) -> None:
        """Count a batch of [B, T] predictions."""
        truth = batch.target["segments"]
        self.metrics.update(prediction["segments"], truth)
        self.truth.append(truth.cpu())
        self.predicted.append(prediction["segments"].cpu())
        self.probabilities.append(prediction["probabilities"].cpu())

    def compute(self) -> dict[str, float]:
        """The metrics of `EventLocalizationMetrics`, in [0, 1], and calibration."""
        located = {name: float(value) for name, value in self.metrics.compute().items()}
        return located | calibration.scores(*self.scored())

    def scored(self) -> tuple[Tensor, Tensor]:
        """Probabilities [N * T, K + 1] and labels [N * T] of every segment."""
        return torch.cat(self.probabilities).flatten(0, 1), torch.cat(self.truth).flatten()

    def per_sample(self) -> Tensor:
        """The monitored metric of every video, [N]."""
        predicted, truth = torch.cat(self.predicted), torch.cat(self.truth)
        if self.monitor == "balanced_accuracy":
            return balanced_accuracy(predicted, truth, self.background)
        return (predicted == truth).double().mean(-1)

    def never_predicted(self) -> list[str]:
        """Classes of labels alone, background among them."""
        return unclaimed(self.names, torch.cat(self.truth), torch.cat(self.predicted))

    def baselines(self) -> dict[str, dict[str, float]]:
        """Background everywhere, and the true class on every segment."""
        return trivial_baselines(torch.cat(self.truth), self.background)
