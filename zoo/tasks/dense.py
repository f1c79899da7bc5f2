"""Heads that turn a backbone's maps into class scores for every pixel, and losses of masks.

Norms are by what training saw or over groups of channels of one picture, so that no prediction depends on its batch.
"""

from collections.abc import Callable, Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.backbones.base import Level
from zoo.ops.batch_norm import BatchNorm1d

HeadName = Literal["linear", "fpn", "unet"]


class ChannelNorm(BatchNorm1d):
    """Every channel by its mean and deviation over the training pixels, [N, C, H, W].

    No layer norm: of a grey value alone it would leave nothing.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        rows = super().forward(maps.movedim(1, -1).flatten(0, 2))
        out: Tensor = rows.unflatten(0, (len(maps), *maps.shape[2:])).movedim(-1, 1)
        return out


def block(inputs: int, outputs: int) -> nn.Sequential:
    """A 3 x 3 convolution, a norm of a picture's groups of channels, and ReLU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.GroupNorm(_groups(outputs), outputs), nn.ReLU())


def _groups(width: int) -> int:
    return next(groups for groups in (8, 4, 2, 1) if width % groups == 0)


class Gathered(nn.Module):
    """All levels at the finest one's stride, each through a norm and a 1 x 1 convolution, added up.

    Args:
        levels: fine to coarse.
        width: of the result; of a linear head the number of classes.
    """

    def __init__(self, levels: Sequence[Level], width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(ChannelNorm(level.width) for level in levels)
        self.lateral = nn.ModuleList(nn.Conv2d(level.width, width, 1, bias=i == 0) for i, level in enumerate(levels))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps [N, C_i, H_i, W_i] fine to coarse -> [N, width, H_0, W_0]."""
        total = None
        for norm, lateral, each in zip(self.norms, self.lateral, maps, strict=True):
            # Convolved before it is enlarged: the two commute, and this is less work.
            found = resized(lateral(norm(each)), maps[0].shape[-2:])
            total = found if total is None else total + found
        return cast(Tensor, total)


class Fpn(nn.Module):
    """Levels gathered at the finest stride, two 3 x 3 convolutions, and a score a class.

    Args:
        levels: fine to coarse.
        classes: K.
        width: of its layers.
    """

    def __init__(self, levels: Sequence[Level], classes: int, width: int) -> None:
        super().__init__()
        self.gathered = Gathered(levels, width)
        self.body = nn.Sequential(block(width, width), block(width, width), nn.Conv2d(width, classes, 1))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps [N, C_i, H_i, W_i] -> [N, K, H_0, W_0]."""
        out: Tensor = self.body(self.gathered(maps))
        return out


class UNet(nn.Module):
    """A small U-Net (Ronneberger et al. 2015, arXiv 1505.04597) on the finest map; coarser ones enter at their strides.

    On a backbone that gives pixels alone it is a network trained from scratch: the control of every adapter.

    Args:
        levels: fine to coarse.
        classes: K.
        width: channels at the finest stride; they double with every halving.
        depth: halvings.
    """

    def __init__(self, levels: Sequence[Level], classes: int, width: int, depth: int = 2) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(depth + 1)]
        finest = levels[0].stride
        self.enters = [min(depth, max(0, (level.stride // finest).bit_length() - 1)) for level in levels]
        extra = [
            sum(level.width for level, at in zip(levels, self.enters, strict=True) if at == i) for i in range(depth + 1)
        ]
        self.down = nn.ModuleList(
            nn.Sequential(block((widths[i - 1] if i else 0) + extra[i], widths[i]), block(widths[i], widths[i]))
            for i in range(depth + 1)
        )
        self.up = nn.ModuleList(block(widths[i + 1] + widths[i], widths[i]) for i in reversed(range(depth)))
        self.score = nn.Conv2d(width, classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps [N, C_i, H_i, W_i] -> [N, K, H_0, W_0]."""
        kept: list[Tensor] = []
        for i, down in enumerate(self.down):
            parts = [F.max_pool2d(kept[-1], 2, ceil_mode=True)] if i else []
            size = parts[0].shape[-2:] if parts else maps[0].shape[-2:]
            parts += [resized(each, size) for each, at in zip(maps, self.enters, strict=True) if at == i]
            kept.append(down(torch.cat(parts, dim=1)))
        out = kept.pop()
        for up in self.up:
            finer = kept.pop()
            out = up(torch.cat([resized(out, finer.shape[-2:]), finer], dim=1))
        found: Tensor = self.score(out)
        return found


HEADS: dict[HeadName, Callable[[Sequence[Level], int, int], nn.Module]] = {
    "linear": lambda levels, classes, width: Gathered(levels, classes),
    "fpn": Fpn,
    "unet": UNet,
}


def resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps or scores [N, C, H, W] at another size, bilinear; as they are where it is theirs."""
    if maps.shape[-2:] == tuple(size):
        return maps
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=False)


# --- losses -----------------------------------------------------------------------------------------------------------


def cross_entropy(logits: Tensor, truth: Tensor, valid: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean over a sample's valid pixels, weighted by class; 0 of a sample without any.

    Args:
        logits: [N, K, H, W].
        truth: int64 [N, H, W], any value where not valid.
        valid: bool [N, H, W].
        weights: [K].

    Returns:
        [N].
    """
    each = F.cross_entropy(logits, truth, weight=weights, reduction="none") * valid
    total = valid if weights is None else weights[truth] * valid
    return each.flatten(1).sum(1) / total.flatten(1).sum(1).clamp(min=1e-6)


def soft_dice(probabilities: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """1 - Dice of probabilities, averaged over the classes that a sample has; 0 of a sample without valid pixels.

    Args:
        probabilities: [N, K, H, W].
        truth: int64 [N, H, W], any value where not valid.
        valid: bool [N, H, W].

    Returns:
        [N].
    """
    wanted = F.one_hot(truth, probabilities.shape[1]).movedim(-1, 1) * valid[:, None]
    given = probabilities * valid[:, None]
    together = (given * wanted).flatten(2).sum(2)
    size = given.flatten(2).sum(2) + wanted.flatten(2).sum(2)
    there = wanted.flatten(2).any(2)
    lost = 1 - (2 * together + 1) / (size + 1)
    return (lost * there).sum(1) / there.sum(1).clamp(min=1)


def soft_cldice(probabilities: Tensor, truth: Tensor, valid: Tensor, steps: int = 5) -> Tensor:
    """1 - clDice (Shit et al. 2021, arXiv 2003.07311) of every class but the first, for thin structures.

    Both skeletons are soft ones, by `steps` erosions: a structure is thinner than twice as many pixels.

    Args:
        probabilities: [N, K, H, W].
        truth: int64 [N, H, W], any value where not valid.
        valid: bool [N, H, W].
        steps: of the skeleton.

    Returns:
        [N].
    """
    wanted = (F.one_hot(truth, probabilities.shape[1]).movedim(-1, 1) * valid[:, None])[:, 1:].to(probabilities.dtype)
    given = (probabilities * valid[:, None])[:, 1:]
    thin_given, thin_wanted = skeleton(given, steps), skeleton(wanted, steps)
    precision = ((thin_given * wanted).flatten(1).sum(1) + 1) / (thin_given.flatten(1).sum(1) + 1)
    recall = ((thin_wanted * given).flatten(1).sum(1) + 1) / (thin_wanted.flatten(1).sum(1) + 1)
    return 1 - 2 * precision * recall / (precision + recall)


def skeleton(regions: Tensor, steps: int) -> Tensor:
    """Soft skeleton of regions [N, K, H, W] in 0 to 1: what openings remove, over repeated erosions."""

    def eroded(x: Tensor) -> Tensor:
        across, along = -F.max_pool2d(-x, (3, 1), 1, (1, 0)), -F.max_pool2d(-x, (1, 3), 1, (0, 1))
        return torch.minimum(across, along)

    def opened(x: Tensor) -> Tensor:
        return F.max_pool2d(eroded(x), 3, 1, 1)

    found = F.relu(regions - opened(regions))
    for _ in range(steps):
        regions = eroded(regions)
        left = F.relu(regions - opened(regions))
        found = found + F.relu(left - found * left)
    return found
