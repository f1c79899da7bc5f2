"""Audio-visual event localisation metrics (AVE: Tian et al., ECCV 2018; `supervised_main.py::compute_acc`).

The official number is the accuracy over all N * T segments with background as a normal class. Beside it stand the parts
that number hides: accuracy on foreground segments, recall of background, whether the video's event was named, and
(ours, for data that are mostly background) the balanced accuracy: per video, the mean of the first two.
"""

import torch
from torch import Tensor, nn


class EventLocalizationMetrics(nn.Module):
    """Counts over videos of T segments; the value does not depend on how videos are batched.

    Args:
        background: index of the background class.
    """

    counts: Tensor
    balanced: Tensor

    def __init__(self, *, background: int) -> None:
        super().__init__()
        self.background = background
        # correct, segments, foreground correct, foreground, background correct, background, videos named, videos
        self.register_buffer("counts", torch.zeros(8, dtype=torch.long), persistent=False)
        self.register_buffer("balanced", torch.tensor(0.0, dtype=torch.double), persistent=False)

    def reset(self) -> None:
        """Forget what was counted."""
        for counts in self.buffers():
            counts.zero_()

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Count int64 [B, T] predictions against int64 [B, T] labels.

        Raises:
            ValueError: the two shapes differ.
        """
        if prediction.shape != target.shape:
            raise ValueError(f"prediction {list(prediction.shape)} and target {list(target.shape)} differ in shape")
        correct, foreground = prediction == target, target != self.background
        named = video_class(prediction, self.background) == video_class(target, self.background)
        self.counts += torch.stack(
            [
                correct.sum(),
                torch.tensor(correct.numel(), device=correct.device),
                (correct & foreground).sum(),
                foreground.sum(),
                (correct & ~foreground).sum(),
                (~foreground).sum(),
                named.sum(),
                torch.tensor(len(named), device=correct.device),
            ]
        )
        self.balanced += balanced_accuracy(prediction, target, self.background).sum()

    def compute(self) -> dict[str, Tensor]:
        """Five values in [0, 1]; NaN where nothing of the kind was seen."""
        c = self.counts.double()
        return {
            "segment_accuracy": c[0] / c[1],
            "foreground_accuracy": c[2] / c[3],
            "background_recall": c[4] / c[5],
            "video_accuracy": c[6] / c[7],
            "balanced_accuracy": self.balanced / c[7],
        }


def balanced_accuracy(prediction: Tensor, target: Tensor, background: int) -> Tensor:
    """int64 [B, T] -> [B]: the mean of a video's foreground accuracy and background recall, of those that it has."""
    correct, foreground = (prediction == target).double(), target != background
    parts = [(correct * mask).sum(-1) / mask.sum(-1) for mask in (foreground, ~foreground)]  # 0 / 0 is NaN
    return torch.stack(parts).nanmean(0)


def video_class(segments: Tensor, background: int) -> Tensor:
    """[B, T] segment classes -> [B] the most frequent foreground class (the lower index on a tie), else background."""
    votes = torch.nn.functional.one_hot(segments, background + 1)[..., :background].sum(1)  # [B, K]
    best = votes.max(-1)
    return torch.where(best.values > 0, best.indices, background)


def trivial_baselines(target: Tensor, background: int) -> dict[str, dict[str, float]]:
    """Metrics of two predictors without a model, on int64 [N, T] labels.

    `all_background` says background everywhere; `true_class_everywhere` knows the video's class and says it on every
    segment: perfect classification with no localisation at all (82.214 % segment accuracy on AVE's test split).
    """
    everywhere = torch.full_like(target, background)
    named = video_class(target, background)[:, None].expand_as(target)
    out = {}
    for name, prediction in {"all_background": everywhere, "true_class_everywhere": named}.items():
        metric = EventLocalizationMetrics(background=background)
        metric.update(prediction, target)
        out[name] = {key: float(value) for key, value in metric.compute().items()}
    return out
