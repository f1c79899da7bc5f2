"""Open-vocabulary event localisation metrics (OV-AVEBench: Zhou et al., CVPR 2025; `utils/eval_metrics.py`).

Every video has three scores, of its T segments with one class or background each:

    segment_accuracy   share of segments that carry the right label, background among the labels
    segment_f1         F1 of every class from its segments, averaged over the classes in prediction or truth
    event_f1           the same from events, maximal runs of a class: one is found by an IoU of 0.5 or more

Background is a class like any other in all three. A benchmark's number is the mean over videos; `mean_of_three`, by
which the authors choose a checkpoint, is the mean of the three. The F1 of a matrix [K + 1, T] is that of video parsing.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.metrics import ave
from zoo.metrics.llp import event_counts, f1, segment_counts

OFFICIAL = ("segment_accuracy", "segment_f1", "event_f1", "mean_of_three")

PARTS = ("seen", "unseen")
"""Videos by whether the class they were chosen for has training samples; background videos have such a class, too."""


def video_scores(prediction: Tensor, target: Tensor, background: int) -> Tensor:
    """int64 [N, T] predictions and labels -> the `OFFICIAL` scores of every video, double [N, 4] in [0, 1].

    Args:
        prediction: class of every segment.
        target: the right one.
        background: K, index of the background class.

    Raises:
        ValueError: the two shapes differ.
    """
    if prediction.shape != target.shape:
        raise ValueError(f"prediction {list(prediction.shape)} and target {list(target.shape)} differ in shape")
    matrices = [F.one_hot(labels.cpu(), background + 1).bool().transpose(1, 2) for labels in (prediction, target)]
    accuracy = (prediction == target).double().mean(-1).cpu()
    three = torch.stack([accuracy, *(f1(count(*matrices)) for count in (segment_counts, event_counts))], dim=-1)
    return torch.cat([three, three.mean(-1, keepdim=True)], dim=-1)


def means(scores: Tensor, unseen: Tensor | None = None) -> dict[str, float]:
    """Means over videos of `video_scores`, and by seen and unseen classes: `event_f1`, `event_f1_unseen`, ...

    Args:
        scores: [N, 4].
        unseen: bool [N], the videos of classes without training samples; None, or without any, leaves the parts out.
    """
    found = dict(zip(OFFICIAL, scores.mean(0).tolist(), strict=True))
    if unseen is None or not bool(unseen.any()):
        return found
    for part, rows in zip(PARTS, (~unseen, unseen), strict=True):
        if bool(rows.any()):
            values = scores[rows].mean(0).tolist()
            found |= {f"{name}_{part}": value for name, value in zip(OFFICIAL, values, strict=True)}
    return found


def trivial_baselines(target: Tensor, background: int, unseen: Tensor | None = None) -> dict[str, dict[str, float]]:
    """Metrics of the two predictors of `zoo.metrics.ave.trivial_baselines`, on int64 [N, T] labels.

    `true_class_everywhere` knows a video's class, and of background videos that they are such, and has no idea of when.
    """
    named = ave.video_class(target, background)[:, None].expand_as(target)
    guesses = {"all_background": torch.full_like(target, background), "true_class_everywhere": named}
    found = ave.trivial_baselines(target, background)
    for name, guess in guesses.items():
        found[name] |= means(video_scores(guess, target, background), unseen)
    return found
