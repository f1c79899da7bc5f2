"""Audio-visual video parsing metrics (LLP: Tian et al., ECCV 2020; `utils/eval_metrics.py`), all scores times 100.

For every video, binary matrices [K, T] for audio (A), vision (V) and both (AV = A * V, of prediction and truth alike):

- segment level: F1 per class from its T segments;
- event level: maximal runs of ones are events; a predicted event is a true positive when its IoU with some true event
  of its class is at least 0.5 (matching is not one-to-one), else a false positive; a true event that no predicted one
  matches is a false negative.

F1 is averaged over the classes active in prediction or truth (1 when none is), then over videos.
`Type@AV` = (A + V + AV) / 3. `Event@AV` pools true and false positives and false negatives of A and V before F1.
"""

import torch
from torch import Tensor, nn

LEVELS = ("segment", "event")

KINDS = ("A", "V", "AV", "Type@AV", "Event@AV")


class VideoParsingMetrics(nn.Module):
    """Sums of per-video scores; the value does not depend on how videos are batched."""

    total: Tensor
    videos: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(len(LEVELS), len(KINDS), dtype=torch.double), persistent=False)
        self.register_buffer("videos", torch.tensor(0), persistent=False)

    def reset(self) -> None:
        """Forget what was counted."""
        for counts in self.buffers():
            counts.zero_()

    def update(self, audio: Tensor, visual: Tensor, audio_target: Tensor, visual_target: Tensor) -> None:
        """Count boolean [B, T, K] predictions against boolean [B, T, K] labels, by modality.

        Raises:
            ValueError: the four shapes differ.
        """
        if len({audio.shape, visual.shape, audio_target.shape, visual_target.shape}) != 1:
            shapes = [list(x.shape) for x in (audio, visual, audio_target, visual_target)]
            raise ValueError(f"audio, visual and their targets must be of one shape [B, T, K]; got {shapes}")
        parts = (x.bool().transpose(1, 2).cpu() for x in (audio, visual, audio_target, visual_target))
        self.total += scores(*parts).sum(0).to(self.total.device)
        self.videos += len(audio)

    def compute(self) -> dict[str, Tensor]:
        """`segment/A` ... `event/Event@AV`."""
        mean = 100 * self.total / self.videos
        return {f"{level}/{kind}": mean[i, j] for i, level in enumerate(LEVELS) for j, kind in enumerate(KINDS)}


def scores(audio: Tensor, visual: Tensor, audio_target: Tensor, visual_target: Tensor) -> Tensor:
    """Boolean [B, K, T] matrices -> per-video scores [B, 2 levels, 5 kinds] in [0, 1]."""
    pairs = [(audio, audio_target), (visual, visual_target), (audio & visual, audio_target & visual_target)]
    levels = []
    for count in (segment_counts, event_counts):
        counts = [count(prediction, target) for prediction, target in pairs]  # each [3, B, K]
        a, v, av = (f1(c) for c in counts)
        levels.append(torch.stack([a, v, av, (a + v + av) / 3, f1(counts[0] + counts[1])], dim=-1))
    return torch.stack(levels, dim=1)


def f1(counts: Tensor) -> Tensor:
    """(TP, FP, FN) [3, B, K] -> F1 per video [B], averaged over active classes."""
    tp, fp, fn = counts.double()
    active = (tp + fp + fn) > 0
    per_class = torch.where(active, 2 * tp / (2 * tp + fp + fn).clamp(min=1), 0.0)
    n = active.sum(-1)
    return torch.where(n > 0, per_class.sum(-1) / n.clamp(min=1), 1.0)


def segment_counts(prediction: Tensor, target: Tensor) -> Tensor:
    """Boolean [B, K, T] -> TP, FP, FN over segments [3, B, K]."""
    return torch.stack([(prediction & target).sum(-1), (prediction & ~target).sum(-1), (~prediction & target).sum(-1)])


def event_counts(prediction: Tensor, target: Tensor) -> Tensor:
    """Boolean [B, K, T] -> TP, FP, FN over events [3, B, K]."""
    counts = torch.zeros(3, *prediction.shape[:2], dtype=torch.long)
    for b, k in (prediction | target).any(-1).nonzero().tolist():
        predicted, true = events(prediction[b, k]), events(target[b, k])
        matched = [any(iou(p, t) >= 0.5 for t in true) for p in predicted]
        missed = sum(not any(iou(p, t) >= 0.5 for p in predicted) for t in true)
        counts[:, b, k] = torch.tensor([sum(matched), len(matched) - sum(matched), missed])
    return counts


def events(row: Tensor) -> list[tuple[int, int]]:
    """Maximal runs of ones in [T], as half-open intervals."""
    edges = torch.diff(row.int(), prepend=torch.zeros(1, dtype=torch.int), append=torch.zeros(1, dtype=torch.int))
    starts, ends = (edges == 1).nonzero().flatten().tolist(), (edges == -1).nonzero().flatten().tolist()
    return list(zip(starts, ends, strict=True))


def iou(a: tuple[int, int], b: tuple[int, int]) -> float:
    """Overlap of two half-open intervals over their union."""
    shared = max(0, min(a[1], b[1]) - max(a[0], b[0]))
    return shared / ((a[1] - a[0]) + (b[1] - b[0]) - shared)


def trivial_baselines(audio_target: Tensor, visual_target: Tensor) -> dict[str, dict[str, float]]:
    """Scores of two predictors without a model, on boolean [N, T, K] labels.

    `nothing` predicts nothing. `true_classes_everywhere` knows which classes a video has in either modality and says
    them on every segment of both.
    """
    known = (audio_target | visual_target).any(1, keepdim=True).expand_as(audio_target)
    predictions = {"nothing": torch.zeros_like(known), "true_classes_everywhere": known}
    out = {}
    for name, prediction in predictions.items():
        metric = VideoParsingMetrics()
        metric.update(prediction, prediction, audio_target, visual_target)
        out[name] = {kind: float(value) for kind, value in metric.compute().items()}
    return out
