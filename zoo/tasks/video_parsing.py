"""Weakly supervised audio-visual video parsing (LLP: Tian et al., ECCV 2020).

Per-modality sigmoid heads per segment and attentive multiple-instance pooling over time and modality, as in HAN; loss
terms as in the official code: BCE of the video label on the pooled probability, on the audio branch, and on the visual
branch with its labels smoothed to 0.9 (`main_avvp.py`). HAN's cross-modal transformer is not part of this task: the
method is what lets the streams speak to each other.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.metrics.llp import KINDS, LEVELS, VideoParsingMetrics, scores, trivial_baselines
from zoo.tasks.base import Task
from zoo.tasks.results import Streams

STREAMS = ("audio", "vision")


class VideoParsing(Task):
    """Multi-label parsing by modality, learned from video-level labels alone.

    Reads `target["weak"]` float32 [B, K] to train, and `audio`, `visual` float32 [B, T, K] to evaluate. Predicts
    `audio`, `visual` bool [B, T, K], `probabilities` [B, 2, T, K] (audio, visual) and `video` [B, K].

    Args:
        hidden: width of each stream's hidden layer before its K logits.
        threshold: on segment and video probabilities, both of which an event must reach.
        visual_smoothing: the visual branch is trained towards `0.5 + smoothing * (label - 0.5)`; 0.9 is the source's.
    """

    kind = "audio-visual-video-parsing"
    decided = ("audio", "visual")
    monitor = "segment/Type@AV"
    unit = "percent"
    pictures = ("modalities",)
    result = Streams

    def __init__(
        self, *, hidden: Annotated[int, ">= 1"] = 512, threshold: float = 0.5, visual_smoothing: float = 0.9
    ) -> None:
        super().__init__()
        self.hidden, self.threshold, self.visual_smoothing = hidden, threshold, visual_smoothing

    def attach(self, feature_dims: Mapping[str, int], classes: Sequence[str]) -> None:
        """Create one head per stream and the pooling weights.

        Raises:
            SettingError: the method gives no features for one of the two streams.
        """
        missing = [name for name in STREAMS if name not in feature_dims]
        if missing:
            raise SettingError(
                f"video parsing needs audio and vision features; the method gives {sorted(feature_dims)}"
            )
        self.names = list(classes)
        self.encoders = nn.ModuleDict(
            {n: nn.Sequential(nn.LayerNorm(d), nn.Linear(d, self.hidden), nn.GELU()) for n, d in feature_dims.items()}
        )
        self.classify = nn.Linear(self.hidden, len(classes))
        self.time_attention = nn.Linear(self.hidden, len(classes))
        self.stream_attention = nn.Linear(self.hidden, len(classes))
        self.metrics = VideoParsingMetrics()
        self.truth: list[tuple[Tensor, Tensor]] = []
        self.predicted: list[tuple[Tensor, Tensor]] = []

    def _probabilities(self, features: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """-> segments [B, 2, T, K], branches [B, 2, K], video [B, K], all in [0, 1]."""
        hidden = torch.stack([self.encoders[name](features[name]) for name in STREAMS], dim=1)  # [B, 2, T, H]
        segments = self.classify(hidden).float().sigmoid()
        over_time = self.time_attention(hidden).float().softmax(2)
        over_streams = self.stream_attention(hidden).float().softmax(1)
        return segments, (over_time * segments).sum(2), (over_time * over_streams * segments).sum((1, 2))

    def loss(self, features: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """The three BCE terms, each [B]."""
        _, branches, video = self._probabilities(features)
        weak = batch.target["weak"]
        smooth = 0.5 + self.visual_smoothing * (weak - 0.5)

        def bce(probability: Tensor, label: Tensor) -> Tensor:
            # The pooled value is a probability, not a logit; autocast refuses this loss in half precision.
            with torch.autocast(probability.device.type, enabled=False):
                # A weighted mean of probabilities may exceed 1 by a rounding error.
                return F.binary_cross_entropy(probability.clamp(0, 1), label, reduction="none").mean(-1)

        return {
            "video": bce(video, weak),
            "audio": bce(branches[:, 0], weak),
            "visual": bce(branches[:, 1], smooth),
        }

    def predict(self, features: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Thresholded segments by modality, with the probabilities they come from."""
        segments, _, video = self._probabilities(features)
        active = (segments >= self.threshold) & (video >= self.threshold)[:, None, None]
        return {"audio": active[:, 0], "visual": active[:, 1], "probabilities": segments, "video": video}

    def answer(self, prediction: Mapping[str, Tensor]) -> dict[str, Any]:
        """The classes heard and seen in every segment."""
        return {
            name: [[self.names[k] for k in row.nonzero().flatten().tolist()] for row in prediction[name]]
            for name in ("audio", "visual")
        }

    def reset(self) -> None:
        """Forget what was counted."""
        self.metrics.reset()
        self.truth, self.predicted = [], []

    def update(self, prediction: Mapping[str, Tensor], batch: Batch) -> None:
        """Count a batch of [B, T, K] predictions."""
        audio, visual = batch.target["audio"].bool(), batch.target["visual"].bool()
        self.metrics.update(prediction["audio"], prediction["visual"], audio, visual)
        self.truth.append((audio.cpu(), visual.cpu()))
        self.predicted.append((prediction["audio"].cpu(), prediction["visual"].cpu()))

    def compute(self) -> dict[str, float]:
        """The ten official F-scores, times 100."""
        return {name: float(value) for name, value in self.metrics.compute().items()}

    def per_sample(self) -> Tensor:
        """Segment-level Type@AV of every video times 100, [N]."""
        parts = [
            torch.cat(part).transpose(1, 2)
            for pairs in (self.predicted, self.truth)
            for part in zip(*pairs, strict=True)
        ]
        return 100 * scores(*parts)[:, LEVELS.index("segment"), KINDS.index("Type@AV")]

    def baselines(self) -> dict[str, dict[str, float]]:
        """Predict nothing, and the video's true classes on every segment of both modalities."""
        audio, visual = (torch.cat(part) for part in zip(*self.truth, strict=True))
        return trivial_baselines(audio, visual)
