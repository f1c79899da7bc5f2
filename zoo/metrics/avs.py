"""Audio-visual segmentation: mJ and mF of AVSBench (Zhou et al., ECCV 2022, arXiv 2207.05042; OpenNLPLab/AVSBench,
`utils/utility.py`), and values that no batch changes.

The official numbers are means over *batches of frames*, and depend on how frames are batched:

    mJ    IoU of sigmoid > .5 by frame, averaged over a batch, then over batches, so that a short last batch counts as
          much as a full one; a frame without an object scores the share of its pixels that are left alone
    mF    (1 + .3) P R / (.3 P + R) by frame at 255 thresholds from 0 to 1, averaged over a batch's frames that have an
          object; its maximum over thresholds; then the mean over batches. A batch without any object counts 0. At the
          threshold 0 everything is claimed, so that saying nothing anywhere scores more than 0.

A batch is of 5 frames, one clip, by the default of the authors' `test.py`, and of 20 by their `test.sh`. Everything is
computed from counts of pixels by frame and threshold, kept in the order in which frames came, so that any batch can be
asked for afterwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

THRESHOLDS = 255

BETA_SQUARED = 0.3

EPS = 1e-7
"""What the official code adds to a union."""


@dataclass(frozen=True)
class FrameCounts:
    """Pixels of N frames.

    Attributes:
        found: of the object and claimed, at every threshold, int32 [N, 255].
        claimed: at every threshold, int32 [N, 255].
        halved: found and claimed at sigmoid > .5, int32 [N, 2].
        wanted: of the object, int32 [N].
        pixels: of the frame, int32 [N].
    """

    found: Tensor
    claimed: Tensor
    halved: Tensor
    wanted: Tensor
    pixels: Tensor

    def __len__(self) -> int:
        return len(self.wanted)

    def rows(self, kept: Tensor | slice) -> Self:
        """Some of the frames."""
        return type(self)(*(each[kept] for each in self._parts))

    @property
    def _parts(self) -> tuple[Tensor, ...]:
        return self.found, self.claimed, self.halved, self.wanted, self.pixels

    @classmethod
    def joined(cls, every: Sequence[Self]) -> Self:
        """Frames of several, one after the other."""
        return cls(*(torch.cat(parts) for parts in zip(*(one._parts for one in every), strict=True)))


def count(logits: Tensor, truth: Tensor) -> FrameCounts:
    """Count frames.

    Args:
        logits: float [N, H, W].
        truth: bool [N, H, W].
    """
    probabilities = logits.float().sigmoid().flatten(1)
    wanted = truth.flatten(1)
    steps = torch.linspace(0, 1 - 1e-10, THRESHOLDS, device=logits.device)
    reached = torch.bucketize(probabilities, steps, right=True)  # thresholds that are <= the probability, 0 to 255
    place = reached + torch.arange(len(reached), device=logits.device)[:, None] * (THRESHOLDS + 1)

    def at_least(pixels: Tensor) -> Tensor:
        """Of these, how many reach each threshold, [N, 255]."""
        table = torch.bincount(pixels, minlength=len(reached) * (THRESHOLDS + 1)).view(-1, THRESHOLDS + 1)
        return table.flip(1).cumsum(1).flip(1)[:, 1:].int().cpu()

    over = probabilities > 0.5
    halved = torch.stack([(over & wanted).sum(1), over.sum(1)], dim=1)
    return FrameCounts(
        found=at_least(place[wanted]),
        claimed=at_least(place.flatten()),
        halved=halved.int().cpu(),
        wanted=wanted.sum(1).int().cpu(),
        pixels=torch.full((len(wanted),), wanted.shape[1], dtype=torch.int32),
    )


def jaccard(counts: FrameCounts) -> Tensor:
    """IoU of every frame at .5, float64 [N]; of one without an object the share of pixels that are left alone."""
    found, claimed = counts.halved.double().unbind(1)
    wanted, pixels = counts.wanted.double(), counts.pixels.double()
    iou = found / (claimed + wanted - found + EPS)
    return torch.where(wanted > 0, iou, (pixels - claimed) / (pixels + EPS))


def f_curves(counts: FrameCounts) -> Tensor:
    """F of every frame at every threshold, float64 [N, 255]; 0 where it is undefined."""
    found, claimed = counts.found.double(), counts.claimed.double()
    return _f(found, claimed, counts.wanted.double()[:, None])


def f_half(counts: FrameCounts) -> Tensor:
    """F of every frame at .5, float64 [N]."""
    found, claimed = counts.halved.double().unbind(1)
    return _f(found, claimed, counts.wanted.double())


def _f(found: Tensor, claimed: Tensor, wanted: Tensor) -> Tensor:
    precision, recall = found / (claimed + 1e-20), found / (wanted + 1e-20)
    return ((1 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall)).nan_to_num(0.0)


def official(counts: FrameCounts, batch: int) -> dict[str, float]:
    """mJ and mF of batches of so many frames, in order; 0 of no frames.

    Args:
        counts: of a split.
        batch: frames in one.

    Returns:
        `mJ` and `mF`.
    """
    ious, curves, there = jaccard(counts), f_curves(counts), counts.wanted > 0
    js, fs = [], []
    for start in range(0, len(counts), batch):
        own = slice(start, start + batch)
        js.append(ious[own].mean())
        objects = curves[own][there[own]]
        fs.append(objects.mean(0).max() if len(objects) else torch.tensor(0.0, dtype=torch.double))
    return {"mJ": _mean(js), "mF": _mean(fs)}


def values(counts: FrameCounts, batches: Sequence[int]) -> dict[str, float]:
    """All metrics of a split, in [0, 1].

    Args:
        counts: of its labelled frames.
        batches: sizes, in frames, for the official numbers.

    Returns:
        `frame_iou`, the mean of `jaccard` over frames, batch-free; `object_iou` and `object_f`, means over the frames
        that have an object, of IoU and of F at .5; `empty_iou`, over those that have none; and for every batch
        `mJ_in_batches_of_N` and `mF_in_batches_of_N`. A mean over nothing is 0.
    """
    ious, there = jaccard(counts), counts.wanted > 0
    found = {
        "frame_iou": _mean(ious),
        "object_iou": _mean(ious[there]),
        "empty_iou": _mean(ious[~there]),
        "object_f": _mean(f_half(counts)[there]),
    }
    for batch in batches:
        found |= {f"{name}_in_batches_of_{batch}": value for name, value in official(counts, batch).items()}
    return found


def nothing(like: FrameCounts) -> FrameCounts:
    """Counts of claiming no pixel of these frames, with probability 0: at the threshold 0 all are claimed even so."""
    first = torch.zeros(THRESHOLDS, dtype=torch.int32)
    first[0] = 1
    return FrameCounts(
        found=like.wanted[:, None] * first,
        claimed=like.pixels[:, None] * first,
        halved=torch.zeros_like(like.halved),
        wanted=like.wanted,
        pixels=like.pixels,
    )


def everything(like: FrameCounts) -> FrameCounts:
    """Counts of claiming every pixel of these frames, with probability 1."""
    all_of = torch.ones(THRESHOLDS, dtype=torch.int32)
    return FrameCounts(
        found=like.wanted[:, None] * all_of,
        claimed=like.pixels[:, None] * all_of,
        halved=torch.stack([like.wanted, like.pixels], dim=1),
        wanted=like.wanted,
        pixels=like.pixels,
    )


def _mean(numbers: Tensor | Sequence[Tensor]) -> float:
    """0 of nothing."""
    if not len(numbers):
        return 0.0
    whole = numbers if isinstance(numbers, Tensor) else torch.stack(list(numbers))
    return float(whole.double().mean())
