"""Segmentation of pictures: one of K classes for every pixel, from maps of a frozen backbone.

Tiles of one picture are put together again before anything is counted, and a class's pixels are counted over whole
pictures (`zoo.metrics.segmentation`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from zoo.backbones.base import Backbone, Level, tap
from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.metrics import segmentation as metrics
from zoo.metrics import volumes
from zoo.metrics.boundaries import boundary_f, v_rand
from zoo.ops.frame import IGNORE, stitched
from zoo.tasks.base import Task
from zoo.tasks.dense import HEADS, HeadName, cross_entropy, resized, soft_cldice, soft_dice
from zoo.tasks.results import Mask

DRAWN = 1 << 26
"""Pixels of a split whose predicted classes are kept for pictures."""

Classes = NDArray[np.uint8]

TOLERANCE = 2.0
"""Pixels within which a border counts as found."""


@dataclass
class Counted:
    """What is known of one picture of a split.

    Attributes:
        name: of the picture.
        group: of pictures that are alike (a patient, a stack); itself where there is none.
        counts: int64 [K, 3], see `zoo.metrics.segmentation.counts`.
        border: F1 of borders by class [K], NaN of classes that the picture lacks.
        v_rand: where cells are told apart by what lies between them; else NaN.
        predicted: class of every pixel, uint8 [H, W], where there was room to keep it.
    """

    name: str
    group: int
    counts: Tensor
    border: Tensor
    v_rand: float
    predicted: NDArray[np.uint8] | None


class Segmentation(Task):
    """Cross entropy and Dice of every pixel.

    Reads `target["mask"]`, uint8 [B, S, S] with `IGNORE` where nothing is known, `conditions["place"]` int64 [B, 8]
    (see `zoo.batch.Tile`), and maps [B, 1, C, H, W] of the stream `vision`. Predicts `mask` uint8 [B, S', S'] and
    `scores`, log-probabilities float16 [B, K, S', S'], S' being the side of the backbone's input. Slices with the
    conditions `volume` and `spacing` (`data_modules.kinds.volume_slices`) are measured as whole volumes as well.

    Args:
        head: `linear` (a 1 x 1 convolution), `fpn` (levels added up, two convolutions), or `unet`.
        levels: maps to read, by the blocks before them; null reads all that the backbone gives.
        width: of the head's layers.
        dice: weight of the soft Dice loss beside the cross entropy.
        cldice: weight of the centreline Dice loss, for thin structures.
        class_weights: of the cross entropy; `inverse_sqrt` by the root of a class's share of the batch.
        cells: name of the class that membranes part, for V_rand; null where regions are not cells.
        monitor: the metric that selects the checkpoint.
    """

    kind = "segmentation"
    decided = ("mask",)
    averageable = True
    conditions = ("place",)
    pictures = ("masks",)
    result = Mask
    keep = 0

    def __init__(
        self,
        *,
        head: HeadName = "fpn",
        levels: tuple[int, ...] | None = None,
        width: Annotated[int, ">= 1"] = 32,
        dice: Annotated[float, ">= 0"] = 1.0,
        cldice: Annotated[float, ">= 0"] = 0.0,
        class_weights: Literal["none", "inverse_sqrt"] = "none",
        cells: str | None = None,
        monitor: Literal["mean_iou", "foreground_iou", "foreground_dice"] = "mean_iou",
    ) -> None:
        super().__init__()
        self.form, self.wanted, self.width = head, levels, width
        self.dice, self.cldice, self.class_weights = dice, cldice, class_weights
        self.cells, self.monitor = cells, monitor

    def reads(self, encoders: Mapping[str, Backbone]) -> dict[str, tuple[int, ...]]:
        """All maps of the stream `vision`, or those that `levels` names.

        Raises:
            SettingError: there is no such stream, or it gives no maps.
        """
        if "vision" not in encoders or not encoders["vision"].levels:
            told = {name: type(encoder).__name__ for name, encoder in encoders.items()}
            raise SettingError(f"task.segmentation reads maps of backbones.vision; {told} give none")
        every = tuple(level.after for level in encoders["vision"].levels)
        return {"vision": every if self.wanted is None else tuple(self.wanted)}

    def attach(
        self, feature_dims: Mapping[str, int], classes: Sequence[str], encoders: Mapping[str, Backbone] | None = None
    ) -> None:
        """Create the head.

        Raises:
            SettingError: fewer than two classes, or `cells` names none of them.
        """
        if len(classes) < 2:
            raise SettingError(f"segmentation tells classes apart; the data have {list(classes)}")
        if self.cells is not None and self.cells not in classes:
            raise SettingError(f"task.cells = {self.cells}: expected one of {', '.join(classes)}")
        self.names = list(classes)
        after = self.reads(encoders or {})["vision"]
        every = (encoders or {})["vision"].levels
        self.levels: list[Level] = [level for level in every if level.after in after]
        self.head = HEADS[self.form](self.levels, len(classes), self.width)
        self.reset()

    # --- learning and predicting ----------------------------------------------------------------------------------

    def logits(self, features: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """[B, K, S, S], at the size of the backbone's input."""
        maps = [features[tap("vision", level.after)][:, 0] for level in self.levels]
        side = maps[0].shape[-1] * self.levels[0].stride
        return resized(self.head(maps), (side, side))

    def loss(self, features: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """`cross_entropy`, `dice` and `cldice`, each [B]."""
        mask = batch.target["mask"]
        logits = resized(self.logits(features, batch), mask.shape[-2:])
        valid = mask != IGNORE
        truth = torch.where(valid, mask, 0).long()
        weights = None
        if self.class_weights == "inverse_sqrt":
            share = torch.bincount(truth[valid], minlength=len(self.names)) / valid.sum().clamp(min=1)
            weights = share.clamp(min=1e-4).rsqrt().to(logits.dtype)
        terms = {"cross_entropy": cross_entropy(logits, truth, valid, weights)}
        probabilities = logits.softmax(1)
        if self.dice:
            terms["dice"] = self.dice * soft_dice(probabilities, truth, valid)
        if self.cldice:
            terms["cldice"] = self.cldice * soft_cldice(probabilities, truth, valid)
        return terms

    def predict(self, features: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """`mask` uint8 [B, S, S], `scores` float16 [B, K, S, S]."""
        scores = self.logits(features, batch).float().log_softmax(1)
        return {"mask": scores.argmax(1).to(torch.uint8), "scores": scores.half()}

    def answer(self, prediction: Mapping[str, Tensor]) -> dict[str, Any]:
        """By class that occurs: its share of the area, its bounding box [x, y, width, height] and mean probability.

        Args:
            prediction: `mask` [H, W] of a picture, and `confidence` [K], the mean probability of each class's pixels.
        """
        mask = prediction["mask"].cpu()
        found = {}
        for index, name in enumerate(self.names):
            own = mask == index
            rows, columns = own.any(1).nonzero().flatten(), own.any(0).nonzero().flatten()
            if not len(rows):
                continue
            top, left = int(rows[0]), int(columns[0])
            found[name] = {
                "share": round(int(own.sum()) / own.numel(), 6),
                "box": [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1],
                "probability": round(float(prediction["confidence"][index]), 6),
            }
        return {"classes": found, "size": [mask.shape[1], mask.shape[0]]}

    # --- counting -------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Forget what was counted."""
        self.seen: dict[int, Counted] = {}
        self.waiting: dict[int, list[tuple[Tensor, Tensor, Tensor]]] = {}
        self.stacks: dict[int, volumes.Stack] = {}
        self.volumes: dict[int, volumes.VolumeScores] = {}

    def update(self, prediction: Mapping[str, Tensor], batch: Batch) -> None:
        """Count a batch; a picture of several tiles once they are all there."""
        places, scores = batch.conditions["place"].cpu(), prediction["scores"].cpu()
        masks = batch.target["mask"].cpu()
        for i, name in enumerate(batch.ids):
            picture, number = int(places[i, 0]), int(places[i, 5])
            tiles = self.waiting.setdefault(picture, [])
            tiles.append((places[i], scores[i], masks[i]))
            if len(tiles) < number:
                continue
            del self.waiting[picture]
            group = int(batch.conditions["group"][i]) if "group" in batch.conditions else picture
            own, right = self._whole(tiles)
            self.seen[picture] = self._counted(name.rpartition("#")[0] or name, group, own, right)
            if "volume" in batch.conditions:
                told = batch.conditions
                self._stack(told["volume"][i].tolist(), told["spacing"][i].tolist(), own, right)

    def _whole(self, tiles: Sequence[tuple[Tensor, Tensor, Tensor]]) -> tuple[Classes, Classes]:
        places, scores, masks = (torch.stack(part) for part in zip(*tiles, strict=True))
        classes = len(self.names)
        predicted = stitched(resized(scores.float(), masks.shape[-2:]), places).argmax(0)
        wanted = F.one_hot(torch.where(masks == IGNORE, classes, masks).long(), classes + 1).movedim(-1, 1)
        truth = stitched(wanted.float(), places).argmax(0)
        truth[truth == classes] = IGNORE
        return predicted.numpy().astype(np.uint8), truth.numpy().astype(np.uint8)

    def _stack(self, place: Sequence[int], spacing: Sequence[float], own: Classes, right: Classes) -> None:
        volume, index, depth = place
        stack = self.stacks.setdefault(volume, volumes.Stack(spacing))
        if stack.add(index, own, right) == depth:
            self.volumes[volume] = self.stacks.pop(volume).scores(len(self.names), ignore=IGNORE)

    def _counted(self, name: str, group: int, predicted: Classes, right: Classes) -> Counted:
        classes = len(self.names)
        border = torch.full((classes,), torch.nan, dtype=torch.double)
        own = np.where(right == IGNORE, IGNORE, predicted)  # nothing is known there
        for index in range(classes):
            if (right == index).any() or (own == index).any():
                border[index] = boundary_f(own == index, right == index, TOLERANCE)
        cells = self.names.index(self.cells) if self.cells is not None else None
        joined = float("nan") if cells is None else v_rand(own == cells, right == cells)
        kept = sum(one.predicted.size for one in self.seen.values() if one.predicted is not None)
        drawn = predicted if kept + own.size <= DRAWN else None
        counted = metrics.counts(torch.from_numpy(predicted), torch.from_numpy(right), classes, ignore=IGNORE)
        return Counted(name, group, counted, border, joined, drawn)

    def _all(self) -> list[Counted]:
        """Every picture, in order.

        Raises:
            SettingError: tiles are missing.
        """
        if self.waiting:
            raise SettingError(f"{len(self.waiting)} pictures lack some of their tiles: a split must hold whole ones")
        return [self.seen[picture] for picture in sorted(self.seen)]

    def compute(self) -> dict[str, float]:
        """See `zoo.metrics.segmentation.pooled`; `boundary_f` over pictures and classes; `v_rand` over pictures; and
        `zoo.metrics.volumes.pooled` where all pictures are slices of volumes that were seen to their end."""
        every = self._all()
        found = metrics.pooled(torch.stack([one.counts for one in every]), self.names)
        found["boundary_f"] = float(torch.stack([one.border for one in every]).nanmean().nan_to_num(0.0))
        if self.cells is not None:
            joined = torch.tensor([one.v_rand for one in every], dtype=torch.double)
            found["v_rand"] = float(joined.nanmean().nan_to_num(0.0))
        return found if self.stacks else found | volumes.pooled(list(self.volumes.values()))

    def quantities(self) -> dict[str, float]:
        """See `zoo.metrics.volumes.far`."""
        return {} if self.stacks else volumes.far(list(self.volumes.values()))

    def names_counted(self) -> list[str]:
        """Names of the pictures."""
        return [one.name for one in self._all()]

    def per_sample(self) -> Tensor:
        """What every picture adds to the monitored metric: see `zoo.metrics.segmentation.pseudo_values`."""
        return metrics.pseudo_values(torch.stack([one.counts for one in self._all()]), metrics.MONITORED[self.monitor])

    def intervals(self) -> dict[str, tuple[float, float]]:
        """Over groups of pictures; none of one group alone."""
        every = self._all()
        groups = [one.group for one in every]
        if len(set(groups)) < 2:
            return {}
        counts = torch.stack([one.counts for one in every])
        return {self.monitor: metrics.grouped_interval(counts, groups, metrics.MONITORED[self.monitor])}

    def never_predicted(self) -> list[str]:
        """Classes of labels alone."""
        counts = torch.stack([one.counts for one in self._all()]).sum(0)
        missing = (counts[:, metrics.FN] > 0) & (counts[:, metrics.TP] + counts[:, metrics.FP] == 0)
        return [self.names[k] for k in missing.nonzero().flatten().tolist()]

    def baselines(self) -> dict[str, dict[str, float]]:
        """The first class everywhere, and the commonest."""
        counts = torch.stack([one.counts for one in self._all()])
        labelled = counts[..., metrics.TP] + counts[..., metrics.FN]
        found = {}
        for name, index in {"first_class": 0, "commonest_class": int(labelled.sum(0).argmax())}.items():
            own = torch.zeros_like(counts)
            own[..., metrics.FN] = labelled
            own[:, index, metrics.TP], own[:, index, metrics.FN] = labelled[:, index], 0
            own[:, index, metrics.FP] = labelled.sum(1) - labelled[:, index]
            found[name] = metrics.pooled(own, self.names)
        return found
