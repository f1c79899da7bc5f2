"""Event localisation whose classes are words: any names can be asked for, trained on or not (OV-AVEL, CVPR 2025).

For the features f of a segment, one head gives a vector v in the space of the text tower and a number b:

    P(background) = sigmoid(b)   and   P(class k) = (1 - sigmoid(b)) softmax_k(cos(v, a_k) / tau)

with a_k the anchor of the k-th name, a text tower's vector from which the mean over the trained names is taken, and tau
learned. A segment is background where b > 0, whatever is asked for: vectors of classes without training samples lie
farther from their anchors, so that a background that competed with them would take them first. Ours: the authors
compare both streams with texts in ImageBind's space, where the word "other" stands for background.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.backbones.base import TextEncoder
from zoo.backbones.kept_text import KeptText
from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.metrics.ave import EventLocalizationMetrics
from zoo.metrics.ov_ave import OFFICIAL, means, trivial_baselines, video_scores
from zoo.tasks.base import Head
from zoo.tasks.event_localization import EventLocalization
from zoo.tasks.open_vocabulary import between, name_vectors


class OpenEvents(EventLocalization):
    """Segment-wise choice between K names and background (index K).

    Reads `target["segments"]`, int64 [B, T], and, where a batch has it, `target["unseen"]`, bool [B]: whether a clip is
    of a class without training samples, by which metrics are told apart. Where a batch has them,
    `conditions["candidates"]`, bool [B, K], are the classes between which a clip is decided. Predicts as
    `EventLocalization` does.

    Args:
        hidden: width of the head's hidden layer; null makes the map into the text's space linear.
        temperature: tau of the cosine, before training.
        background_weight: of background segments in the cross entropy; below 1 where most segments are background.
        text: `class` uses the names; `shuffled` gives every class the name of another, `random` a drawn vector
            (controls).
        seed: of the controls.
        monitor: the metric that selects the checkpoint; `mean_of_three` is that of OV-AVEBench's authors.
    """

    open_classes = True
    averageable = False
    vectors: Tensor
    centre: Tensor
    anchors: Tensor

    def __init__(
        self,
        *,
        hidden: Annotated[int, ">= 1"] | None = 512,
        temperature: Annotated[float, "> 0"] = 0.1,
        background_weight: Annotated[float, "> 0"] = 1.0,
        text: Literal["class", "shuffled", "random"] = "class",
        seed: int = 0,
        monitor: Literal["mean_of_three", "segment_accuracy", "segment_f1", "event_f1"] = "mean_of_three",
    ) -> None:
        super().__init__(hidden=hidden, background_weight=background_weight)
        self.temperature, self.text_control, self.seed, self.monitor = temperature, text, seed, monitor

    def attach(self, feature_dims: Mapping[str, int], classes: Sequence[str], text: TextEncoder | None = None) -> None:
        """Embed the names, and create the head.

        Raises:
            SettingError: there is no text tower.
        """
        if text is None:
            raise SettingError("task: classes by name need a text tower; add one, backbones.text for instance")
        with torch.no_grad():
            vectors = text.of(len(classes)) if isinstance(text, KeptText) else self._encoded(text, classes)
        self.register_buffer("centre", vectors.mean(0), persistent=False)
        self._name(classes, vectors)
        self.head = Head(feature_dims, text.dim + 1, hidden=self.hidden)  # v, then b
        self.log_scale = nn.Parameter(torch.tensor(1 / self.temperature).log())

    @contextlib.contextmanager
    def naming(self, classes: Sequence[str], text: TextEncoder) -> Iterator[None]:
        """Within, it tells other classes apart, by their names alone; what was counted is forgotten at both ends."""
        names, vectors = self.names[:-1], self.vectors
        with torch.no_grad():
            self._name(classes, self._encoded(text, classes).to(self.centre))
        try:
            yield
        finally:
            self._name(names, vectors)

    def anchored(self) -> Tensor:
        """Vectors of the classes, [K, d]."""
        return self.vectors

    def _encoded(self, text: TextEncoder, classes: Sequence[str]) -> Tensor:
        return name_vectors(text, classes, control=self.text_control, seed=self.seed)

    def _name(self, classes: Sequence[str], vectors: Tensor) -> None:
        """Take these classes, with vectors [K, d]."""
        self.background, self.names = len(classes), [*classes, "background"]
        self.register_buffer("vectors", vectors, persistent=False)
        self.register_buffer("anchors", F.normalize(vectors - self.centre, dim=-1), persistent=False)
        self.metrics = EventLocalizationMetrics(background=self.background).to(vectors.device)
        self.reset()

    def logits(self, features: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """Log-probabilities up to a constant, float32 [B, T, K + 1]: cosines at their temperature, and background's."""
        vector, background = self.head(features).float().split([self.anchors.shape[1], 1], dim=-1)
        classes = between(F.normalize(vector, dim=-1) @ self.anchors.T * self.log_scale.exp(), batch)
        return torch.cat([classes, background + classes.logsumexp(-1, keepdim=True)], dim=-1)

    def predict(self, features: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """`segments` int64 [B, T], `probabilities` float32 [B, T, K + 1]; background where it has half or more."""
        probabilities = self.logits(features, batch).softmax(-1)
        quiet = probabilities[..., -1] >= 0.5
        segments = torch.where(quiet, self.background, probabilities[..., :-1].argmax(-1))
        return {"segments": segments, "probabilities": probabilities}

    def reset(self) -> None:
        """Forget what was counted."""
        super().reset()
        self.unseen: list[Tensor] = []

    def update(self, prediction: Mapping[str, Tensor], batch: Batch) -> None:
        """Count a batch of [B, T] predictions."""
        super().update(prediction, batch)
        if "unseen" in batch.target:
            self.unseen.append(batch.target["unseen"].cpu())

    def _of_unseen(self) -> Tensor | None:
        return torch.cat(self.unseen) if self.unseen else None

    def _scores(self) -> Tensor:
        """The official scores of every video counted, [N, 4]."""
        return video_scores(torch.cat(self.predicted), torch.cat(self.truth), self.background)

    def compute(self) -> dict[str, float]:
        """The official metrics, by seen and unseen classes where there are both, and those of AVE, in [0, 1]; and
        calibration, of the likeliest class: where background has less than half, another one may be decided."""
        return super().compute() | means(self._scores(), self._of_unseen())

    def per_sample(self) -> Tensor:
        """The monitored metric of every video, [N]."""
        return self._scores()[:, OFFICIAL.index(self.monitor)]

    def baselines(self) -> dict[str, dict[str, float]]:
        """Background everywhere, and the true class on every segment."""
        return trivial_baselines(torch.cat(self.truth), self.background, self._of_unseen())
