"""Audio-visual event localisation metrics (AVE: Tian et al., ECCV 2018; `supervised_main.py::compute_acc`).

The official number is the accuracy over all N * T segments with background as a normal class. Beside it stand the parts
that number hides: accuracy on foreground segments, recall of background, and whether the video's event was named.
"""

import torch
from torch import Tensor
from torchmetrics import Metric


class EventLocalizationMetrics(Metric):
    """Counts over videos of T segments; the value does not depend on how videos are batched.

    Args:
        background: index of the background class.
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, *, background: int) -> None:
        super().__init__()
        self.background = background
        # correct, segments, foreground correct, foreground, background correct, background, videos named, videos
        self.add_state("counts", torch.zeros(8, dtype=torch.long), dist_reduce_fx="sum")

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

    def compute(self) -> dict[str, Tensor]:
        """Four values in [0, 1]; NaN where nothing of the kind was seen."""
        c = self.counts.double()
        return {
            "segment_accuracy": c[0] / c[1],
            "foreground_accuracy": c[2] / c[3],
            "background_recall": c[4] / c[5],
            "video_accuracy": c[6] / c[7],
        }


def video_class(segments: Tensor, background: int) -> Tensor:
    """[B, T] segment classes -> [B] the most frequent foreground class (the lower index on a tie), else background."""
    votes = torch.nn.functional.one_hot(segments, background + 1)[..., :background].sum(1)  # [B, K]
    best = votes.max(-1)
    return torch.where(best.values > 0, best.indices, background)


def trivial_baselines(target: Tensor, background: int) -> dict[str, float]:
    """Segment accuracy of two predictors without a model, on int64 [N, T] labels.

    `all_background` says background everywhere; `true_class_everywhere` knows the video's class and says it on every
    segment: perfect classification with no localisation at all (82.214 % on AVE's test split).
    """
    named = video_class(target, background)[:, None].expand_as(target)
    return {
        "all_background": float((target == background).double().mean()),
        "true_class_everywhere": float((target == named).double().mean()),
    }
