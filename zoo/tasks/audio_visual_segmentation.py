"""Audio-visual segmentation: a mask of what makes the sound, for every picture of a clip (AVSBench: Zhou et al., ECCV
2022, arXiv 2207.05042).

The head is one for every method and backbone, and small, so that a result is not that of a trained decoder of tens of
millions of weights. Maps of the frozen or adapted vision encoder are gathered at the finest stride; the pooled feature
of a second's sound, which TB-AVA has gated by text, scales and shifts their channels (FiLM: Perez et al. 2018, arXiv
1709.07871); a score a pixel follows:

    u = block(sum_i W_i norm(map_i))                               [B T, w, H, W]
    gamma, beta = MLP(LN(sound))                                   [B T, w] each
    logits = W block(u * (1 + gamma) + beta)                       [B T, 1, H, W]

A method that gives no sound (`Frozen(streams=[vision])`) leaves out gamma and beta and nothing else: the control that
cannot hear. No prompts of a SAM's decoder are made of the sound.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from zoo.backbones.base import Backbone, Level, tap
from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.metrics import avs
from zoo.metrics.segmentation import grouped_interval
from zoo.ops.frame import IGNORE
from zoo.tasks.base import Task
from zoo.tasks.dense import Gathered, block, resized
from zoo.tasks.mask_losses import binary, soft_dice
from zoo.tasks.results import SoundingMasks

SIDE = 32
"""Cells along a side of the mean training mask."""


class SoundingHead(nn.Module):
    """Maps, and where there is one the sound, to a score a pixel.

    Args:
        levels: of the maps, fine to coarse.
        width: w, of its layers.
        sound: width of the sound's feature; None without sound.
        hidden: width of the layer between it and the channels that it scales.
    """

    def __init__(self, levels: Sequence[Level], width: int, *, sound: int | None, hidden: int) -> None:
        super().__init__()
        self.gathered = Gathered(levels, width)
        self.pixels = block(width, width)
        self.film = (
            None
            if sound is None
            else nn.Sequential(nn.LayerNorm(sound), nn.Linear(sound, hidden), nn.GELU(), nn.Linear(hidden, 2 * width))
        )
        self.body = nn.Sequential(block(width, width), nn.Conv2d(width, 1, 1))

    def forward(self, maps: Sequence[Tensor], sound: Tensor | None) -> Tensor:
        """Maps [N, C_i, H_i, W_i] fine to coarse and sound [N, D] -> [N, 1, H_0, W_0]."""
        pixels = self.pixels(self.gathered(maps))
        if self.film is not None:
            scale, shift = self.film(sound)[..., None, None].chunk(2, dim=1)
            pixels = pixels * (1 + scale) + shift
        out: Tensor = self.body(pixels)
        return out


class AudioVisualSegmentation(Task):
    """Cross entropy and Dice of every labelled picture's sounding pixels.

    Reads `target["masks"]`, uint8 [B, T, S, S], 1 on what sounds, all of it `IGNORE` in a picture without a label; maps
    [B, T, C, H, W] of the stream `vision`, and where the method gives it the pooled stream `audio` [B, T, D]. Predicts
    `masks` uint8 and `logits` float32, both [B, T, S', S'], S' being the side of the backbone's input. The classes only
    name what may sound, for methods that read them.

    Args:
        levels: maps to read, by the blocks before them; null reads all that the backbone gives.
        width: of the head's layers.
        hidden: of the layer between the sound's feature and the channels that it scales.
        dice: weight of the soft Dice loss beside the cross entropy.
        batches: sizes, in pictures, of the batches by which the official mJ and mF are averaged.
    """

    kind = "audio-visual-segmentation"
    monitor = "frame_iou"
    decided = ("masks",)
    averageable = True
    pictures = ("sounding",)
    result = SoundingMasks
    keep = 4
    mask_sum: Tensor
    masks_seen: Tensor

    def __init__(
        self,
        *,
        levels: tuple[int, ...] | None = None,
        width: Annotated[int, ">= 1"] = 64,
        hidden: Annotated[int, ">= 1"] = 128,
        dice: Annotated[float, ">= 0"] = 1.0,
        batches: tuple[int, ...] = (5, 20),
    ) -> None:
        super().__init__()
        self.wanted, self.width, self.hidden, self.dice, self.batches = levels, width, hidden, dice, tuple(batches)
        if any(batch < 1 for batch in self.batches):
            raise SettingError(f"task.batches = {list(self.batches)}: expected numbers of pictures, 1 or more")

    def reads(self, encoders: Mapping[str, Backbone]) -> dict[str, tuple[int, ...]]:
        """All maps of the stream `vision`, or those that `levels` names.

        Raises:
            SettingError: there is no such stream, or it gives no maps.
        """
        if "vision" not in encoders or not encoders["vision"].levels:
            told = {name: type(encoder).__name__ for name, encoder in encoders.items()}
            raise SettingError(f"task.audio_visual_segmentation reads maps of backbones.vision; {told} give none")
        every = tuple(level.after for level in encoders["vision"].levels)
        return {"vision": every if self.wanted is None else tuple(self.wanted)}

    def attach(
        self, feature_dims: Mapping[str, int], classes: Sequence[str], encoders: Mapping[str, Backbone] | None = None
    ) -> None:
        """Create the head, for the sound as well where the method gives it."""
        after = self.reads(encoders or {})["vision"]
        self.levels: list[Level] = [level for level in (encoders or {})["vision"].levels if level.after in after]
        self.hears = "audio" in feature_dims
        sound = feature_dims["audio"] if self.hears else None
        self.head = SoundingHead(self.levels, self.width, sound=sound, hidden=self.hidden)
        self.register_buffer("mask_sum", torch.zeros(SIDE, SIDE))
        self.register_buffer("masks_seen", torch.zeros(()))
        self.reset()

    # --- learning and predicting ----------------------------------------------------------------------------------

    def logits(self, features: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """[B, T, S', S'], at the size of the backbone's input."""
        maps = [features[tap("vision", level.after)] for level in self.levels]
        sound = features["audio"].flatten(0, 1) if self.hears else None
        scores = self.head([each.flatten(0, 1) for each in maps], sound)
        side = maps[0].shape[-1] * self.levels[0].stride
        out: Tensor = resized(scores, (side, side))[:, 0].unflatten(0, maps[0].shape[:2])
        return out

    def loss(self, features: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """`cross_entropy` and `dice`, each [B], means over a clip's labelled pictures; 0 of a clip without any."""
        masks = batch.target["masks"]
        logits = resized(self.logits(features, batch).float(), masks.shape[-2:])
        valid, truth = masks != IGNORE, masks == 1
        labelled = valid.flatten(2).any(2)
        if self.training:
            self._remember(truth[labelled])
        terms = {"cross_entropy": binary(logits, truth, valid)}
        if self.dice:
            terms["dice"] = self.dice * soft_dice(logits.sigmoid(), truth, valid)
        there = labelled.to(logits.dtype)
        return {name: (each * there).sum(1) / there.sum(1).clamp(min=1) for name, each in terms.items()}

    @torch.no_grad()
    def _remember(self, truth: Tensor) -> None:
        """Add masks [N, S, S] of all processes to the mean training mask."""
        small = F.adaptive_avg_pool2d(truth[:, None].float(), SIDE).sum((0, 1))
        added = torch.cat([small.flatten(), small.new_tensor([len(truth)])])
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(added)
        self.mask_sum += added[:-1].view(SIDE, SIDE)
        self.masks_seen += added[-1]

    def predict(self, features: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """`masks` uint8 and `logits` float32, [B, T, S', S']."""
        logits = self.logits(features, batch).float()
        return {"masks": (logits > 0).to(torch.uint8), "logits": logits}

    def answer(self, prediction: Mapping[str, Tensor]) -> dict[str, Any]:
        """`sounding`, of every segment null or the share of the area, the bounding box [x, y, width, height] and the
        mean probability of what sounds; `size`, width and height of the square that it is measured in."""
        masks, probabilities = prediction["masks"].cpu() == 1, prediction["logits"].cpu().sigmoid()
        found = [_described(mask, each) for mask, each in zip(masks, probabilities, strict=True)]
        return {"sounding": found, "size": [masks.shape[2], masks.shape[1]]}

    # --- counting -------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Forget what was counted."""
        self.counted: list[avs.FrameCounts] = []
        self.usual: list[avs.FrameCounts] = []

    def update(self, prediction: Mapping[str, Tensor], batch: Batch) -> None:
        """Count the labelled pictures of a batch, clip by clip."""
        masks = batch.target["masks"]
        logits = resized(prediction["logits"].to(masks.device), masks.shape[-2:])
        labelled = (masks != IGNORE).flatten(2).all(2)
        usual = resized(self._usual().to(masks.device)[None, None], masks.shape[-2:])[0]
        for scores, mask, kept in zip(logits, masks, labelled, strict=True):
            truth = mask[kept] == 1
            self.counted.append(avs.count(scores[kept], truth))
            self.usual.append(avs.count(usual.expand_as(truth), truth))

    def _usual(self) -> Tensor:
        """Logits of the mean training mask, [SIDE, SIDE], shifted so that as many cells lie above .5 as training's
        masks cover on average, and those that are as frequent as the last of them; of nothing before any training."""
        if not self.masks_seen:
            return torch.full((SIDE, SIDE), -30.0)
        mean = (self.mask_sum / self.masks_seen).float().clamp(1e-4, 1 - 1e-4)
        claimed = min(SIDE * SIDE, max(1, round(float(mean.sum()))))
        last = mean.flatten().sort(descending=True).values[claimed - 1]
        beneath = mean[mean < last]
        limit = (last.logit() + beneath.max().logit()) / 2 if len(beneath) else last.logit() - 1
        out: Tensor = mean.logit() - limit
        return out

    def compute(self) -> dict[str, float]:
        """See `zoo.metrics.avs.values`."""
        return avs.values(avs.FrameCounts.joined(self.counted), self.batches)

    def _sums(self) -> Tensor:
        """Of every clip the sum of its frames' IoU and their number, float64 [N, 2]."""
        rows = [[float(avs.jaccard(one).sum()), float(len(one))] for one in self.counted]
        return torch.tensor(rows, dtype=torch.double).view(-1, 2)

    def per_sample(self) -> Tensor:
        """What every clip adds to the mean over frames, [N]: its sum, times the clips there are to a frame."""
        sums = self._sums()
        return sums[:, 0] * len(sums) / sums[:, 1].sum().clamp(min=1)

    def intervals(self) -> dict[str, tuple[float, float]]:
        """Over clips, for frames of one are alike; none of one clip alone."""
        sums = self._sums()
        if len(sums) < 2:
            return {}
        return {self.monitor: grouped_interval(sums, range(len(sums)), lambda drawn: drawn[:, 0] / drawn[:, 1])}

    def baselines(self) -> dict[str, dict[str, float]]:
        """Nothing and everything claimed, and the mean training mask."""
        own = avs.FrameCounts.joined(self.counted)
        found = {"nothing": avs.nothing(own), "everything": avs.everything(own)}
        if self.masks_seen:
            found["usual_mask"] = avs.FrameCounts.joined(self.usual)
        return {name: avs.values(counts, self.batches) for name, counts in found.items()}


def _described(mask: Tensor, probabilities: Tensor) -> dict[str, Any] | None:
    """Share, box and mean probability of a mask [S, S]; None of an empty one."""
    rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
    if not len(rows):
        return None
    top, left = int(rows[0]), int(columns[0])
    return {
        "share": round(int(mask.sum()) / mask.numel(), 6),
        "box": [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1],
        "probability": round(float(probabilities[mask].mean()), 6),
    }
