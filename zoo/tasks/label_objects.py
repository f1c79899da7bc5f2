"""Objects of labels in batches: drawn, clicked on, and counted one by one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from zoo.backbones.sam_prompts import PADDING
from zoo.metrics.segmentation import dice, iou
from zoo.ops import drawn_prompts as drawn
from zoo.ops.frame import IGNORE
from zoo.tasks.dense import resized


@dataclass(frozen=True)
class Objects:
    """Objects of B squares, up to K of each.

    Attributes:
        truth: bool [B, K, S, S].
        there: which of them are objects, and not padding, bool [B, K].
        valid: where the label is known, bool [B, S, S].
        boxes: in pixels of the squares, float32 [B, K, 4]: see `zoo.ops.drawn_prompts.box`.
    """

    truth: Tensor
    there: Tensor
    valid: Tensor
    boxes: Tensor

    def of(self, row: int) -> "Objects":
        """Those of one square, on the processor: without B."""
        return Objects(*(part[row].cpu() for part in (self.truth, self.there, self.valid, self.boxes)))


class Drawn(NamedTuple):
    """One object as it was predicted: label and last prediction, bool [S, S], and its box in pixels, [4]."""

    truth: Tensor
    claimed: Tensor
    box: Tensor


@dataclass(frozen=True)
class Counted:
    """One object of a split, in pixels found, wrongly claimed and missed.

    Attributes:
        square: its name.
        number: of the object there.
        group: objects of one are alike.
        own: after every count of clicks, int64 [C, 3].
        filled: of its box, filled, [3].
        other: of the mask that another object's prompt gives, [3]; None where the square has no other.
        drawn: what a picture of it needs; None where there was no room to keep it.
    """

    square: str
    number: int
    group: int
    own: Tensor
    filled: Tensor
    other: Tensor | None
    drawn: Drawn | None

    @property
    def name(self) -> str:
        """Of the object, unique within its split."""
        return f"{self.square} object {self.number}"


def draw(
    masks: Tensor, seeds: Sequence[int], classes: Sequence[int], *, most: int, least: int, jitter: float
) -> Objects:
    """Connected components of some classes, and their boxes.

    Args:
        masks: uint8 [B, S, S].
        seeds: one a square: which objects, where there are too many, and how their boxes are moved.
        classes: whose components are objects.
        most: K.
        least: pixels of an object.
        jitter: see `zoo.ops.drawn_prompts.box`.
    """
    labels = masks.cpu().numpy()
    truth = np.zeros((len(labels), most, *labels.shape[1:]), bool)
    boxes = np.zeros((len(labels), most, 4), np.float32)
    there = np.zeros((len(labels), most), bool)
    for i, (label, seed) in enumerate(zip(labels, seeds, strict=True)):
        random, every = np.random.default_rng(seed), drawn.objects(label, classes, least)
        for k, at in enumerate(random.permutation(len(every))[:most]):
            truth[i, k], there[i, k], boxes[i, k] = every[at], True, drawn.box(every[at], jitter, random)
    found = (torch.from_numpy(part).to(masks.device) for part in (truth, there, boxes))
    return Objects(next(found), next(found), masks != IGNORE, next(found))


def whole(masks: Tensor, classes: Sequence[int]) -> Objects:
    """All of some classes as the one object of every square, whose box is the square; K = 1."""
    valid, side = masks != IGNORE, masks.shape[-1]
    truth = torch.isin(masks, torch.tensor(classes, dtype=masks.dtype, device=masks.device))
    boxes = torch.tensor([0.0, 0.0, side - 1, side - 1], device=masks.device).expand(len(masks), 1, 4)
    return Objects(truth[:, None], valid.flatten(1).any(1)[:, None], valid, boxes)


class Clicks:
    """Clicks on every object of a batch: the first in its middle, each further one in the largest error before it.

    Where nothing is wrong, the first is given once more.

    Args:
        objects: to click on.
        most: clicks.
    """

    def __init__(self, objects: Objects, most: int) -> None:
        self.objects = objects
        self._truth, self._valid = objects.truth.cpu().numpy(), objects.valid.cpu().numpy()
        self._points = torch.zeros(*objects.there.shape, most, 2)
        self._labels = torch.full((*objects.there.shape, most), PADDING)
        self.count = 0
        self.add(torch.zeros_like(objects.truth))

    def add(self, predicted: Tensor) -> None:
        """One click more on every object, bool [B, K, S, S] being what was predicted for it so far."""
        claimed = predicted.cpu().numpy()
        for i, k in self.objects.there.nonzero().tolist():
            click = drawn.next_click(claimed[i, k], self._truth[i, k], self._valid[i])
            if click is not None:
                self._points[i, k, self.count] = torch.tensor(click[:2])
                self._labels[i, k, self.count] = click[2]
            elif self.count:
                self._points[i, k, self.count] = self._points[i, k, 0]
                self._labels[i, k, self.count] = self._labels[i, k, 0]
        self.count += 1

    def points(self) -> Tensor:
        """So far, in shares of the square's side, float32 [B, K, P, 2]."""
        side = self._truth.shape[-1]
        shares: Tensor = (self._points[:, :, : self.count] + 0.5) / side
        return shares.to(self.objects.truth.device)

    def labels(self) -> Tensor:
        """1 on the object, 0 off it, `PADDING` of what is no object, int64 [B, K, P]."""
        return self._labels[:, :, : self.count].to(self.objects.truth.device)


def count(logits: Tensor, objects: Objects, name: str, group: int, *, keep: bool) -> list[Counted]:
    """Count the objects of one square.

    Args:
        logits: [C, K, S', S'].
        objects: of the square: see `Objects.of`.
        name: of the square.
        group: of its picture.
        keep: what a picture of them needs.
    """
    claimed = resized(logits.float().cpu(), objects.truth.shape[-2:]) > 0
    own, found = objects.there.nonzero().flatten().tolist(), []
    for number, k in enumerate(own):
        other, truth = own[(number + 1) % len(own)], objects.truth[k]
        left, top, right, bottom = objects.boxes[k].tolist()
        filled = torch.from_numpy(drawn.filled((left, top, right, bottom), *truth.shape))
        found.append(
            Counted(
                square=name,
                number=number,
                group=group,
                own=torch.stack([_pixels(step[k], truth, objects.valid) for step in claimed]),
                filled=_pixels(filled, truth, objects.valid),
                other=_pixels(claimed[-1, k], objects.truth[other], objects.valid) if other != k else None,
                drawn=Drawn(truth, claimed[-1, k] & objects.valid, objects.boxes[k]) if keep else None,
            )
        )
    return found


def _pixels(claimed: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Found, wrongly claimed, missed, int64 [3]."""
    cases = (claimed & truth, claimed & ~truth, ~claimed & truth)
    return torch.stack([(case & valid).sum() for case in cases])


def scores(counted: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Dice and IoU of objects, [N] each, from pixels found, wrongly claimed and missed, [3] each.

    1 where nothing is labelled and nothing predicted: a square without the class that is asked for.
    """
    rows = torch.stack(list(counted)) if counted else torch.zeros(0, 3)
    return dice(rows).nan_to_num(1), iou(rows).nan_to_num(1)


def means(counted: Sequence[Tensor]) -> dict[str, float]:
    """`dice` and `iou`, means over objects; nothing at all is 0."""
    return {
        name: float(each.mean()) if len(each) else 0.0
        for name, each in zip(("dice", "iou"), scores(counted), strict=True)
    }
