"""What SAM (Kirillov et al. 2023, arXiv 2304.02643), LiteMedSAM and SAM 2 share: two towers, and masks from prompts.

Prompt encoder and mask decoder are transformers'. A mask hangs on its own picture and prompts alone: transformers pads
rows that have fewer points with tokens that the decoder attends to, so here rows of as many points go together.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from zoo.backbones.maps import square_map
from zoo.backbones.square import SquareBackbone
from zoo.errors import SettingError

PADDING = -10
"""Label of what is no point, and only pads a row of fewer points than another's."""

EPS = 1e-5
"""Of the layer norms in the decoder of SAM: its authors took PyTorch's, where transformers takes 1e-6."""


class OnGrid(nn.Module):
    """A block of maps [N, S, S, C] as a map from tokens to tokens.

    Args:
        block: [N, S', S', C] -> [N, S'', S'', C'].
        side: S.
        lead: comes before it, [N, C, S, S] -> [N, C', S', S'], where a stage begins by making the map coarser.
    """

    def __init__(self, block: nn.Module, side: int, lead: nn.Module | None = None) -> None:
        super().__init__()
        self.block, self.side, self.lead = block, side, lead  # the block first: methods name layers as it does

    def forward(self, tokens: Tensor) -> Tensor:
        """[N, S * S, C] -> [N, S'' * S'', C']."""
        grid = tokens.unflatten(1, (self.side, self.side))
        if self.lead is not None:
            grid = self.lead(grid.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        out: Tensor = self.block(grid)
        return out.flatten(1, 2)


class Neck(nn.Module):
    """SAM's neck, two convolutions each with a norm, as a last block.

    Args:
        neck: [N, S, S, C] -> [N, C', S, S].
        side: S.
    """

    def __init__(self, neck: nn.Module, side: int) -> None:
        super().__init__()
        self.neck, self.side = neck, side

    def forward(self, tokens: Tensor) -> Tensor:
        """[N, S * S, C] -> [N, S * S, C']."""
        out: Tensor = self.neck(tokens.unflatten(1, (self.side, self.side)))
        return out.flatten(2).transpose(1, 2)


class Promptable(SquareBackbone):
    """A SAM: an image encoder, whose blocks are stepped, and a decoder that makes masks of its maps and of prompts.

    Attributes:
        net: transformers' `SamModel` or `Sam2Model`.
        before: blocks that come before the tower `image`.
        behind: blocks that come behind it.
        clicks: whether its decoder learned to answer points.
    """

    stream = "vision"
    file_prefix = ""
    leading = 0
    net: Any
    before = 0
    behind = 0
    clicks = True

    @property
    def asked(self) -> tuple[int, ...]:
        """Maps that `masks` reads, by the blocks before them."""
        return (self.levels[-1].after,)

    @property
    def towers(self) -> Mapping[str, Sequence[nn.Module]]:
        """The encoder's attention blocks, `image`, and the decoder's two-way layers, `mask`."""
        image = self.blocks[self.before : self.depth - self.behind]
        return {"image": image, "mask": list(self.net.mask_decoder.transformer.layers)}

    def prefix_depth(self, first: Mapping[str, int]) -> int:
        """The whole encoder where none of its blocks is adapted."""
        return self.before + first["image"] if "image" in first else self.depth

    def finish(self, tokens: Tensor) -> Tensor:
        """Nothing: there is no norm behind the last block."""
        return tokens

    def pool(self, tokens: Tensor) -> Tensor:
        """Mean over places."""
        return tokens.mean(1)

    def maps(self, taps: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Tokens {after: [N, S * S, D]} -> maps {after: [N, D, S, S]}."""
        return {after: square_map(tokens) for after, tokens in taps.items()}

    def masks(
        self,
        maps: Mapping[int, Tensor],
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        *,
        several: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Masks of K objects a picture, from prompts in pixels of the input; gradients reach maps and decoder.

        Args:
            maps: from `maps`, of all levels that the decoder reads (the last, and for SAM 2 the finer ones).
            points: x and y of P points an object, float [N, K, P, 2]; a pixel's own are those of its corner.
            labels: 1 on the object, 0 off it, `PADDING` where there is no point, int [N, K, P].
            boxes: left, top, right, bottom, float [N, K, 4].
            several: three masks an object, for prompts that may mean several, instead of one.

        Returns:
            Logits [N, K, M, S, S], four cells to one of the last map, and predicted IoU [N, K, M]; M is 3 or 1. Without
            prompts, K is 1.

        Raises:
            SettingError: prompts whose shapes do not go together.
        """
        embedded = self.embedding(maps)
        pictures = len(embedded[0])
        objects = _objects(pictures, points, labels, boxes)
        rows = torch.arange(pictures, device=embedded[0].device).repeat_interleave(objects)
        asked = None if points is None or labels is None else (points.flatten(0, 1), labels.flatten(0, 1))
        counts = rows.new_zeros(len(rows)) if asked is None else (asked[1] != PADDING).sum(1)
        logits, scores, order = [], [], []
        for count in counts.unique().tolist():
            own = (counts == count).nonzero()[:, 0]
            on, said = _real(asked, own, count)
            inside = None if boxes is None else boxes.flatten(0, 1)[own, None]
            mask, score = self.decode([part[rows[own]] for part in embedded], on, said, inside, several)
            logits.append(mask[:, 0])
            scores.append(score[:, 0])
            order.append(own)
        back = torch.cat(order).argsort()
        found = (torch.cat(parts)[back].unflatten(0, (pictures, objects)) for parts in (logits, scores))
        return next(found), next(found)

    def embedding(self, maps: Mapping[int, Tensor]) -> list[Tensor]:
        """What the decoder reads of maps, the picture's embedding [N, C, S, S] first."""
        return [maps[self.levels[-1].after]]

    def decode(
        self,
        embedded: Sequence[Tensor],
        points: Tensor | None,
        labels: Tensor | None,
        boxes: Tensor | None,
        several: bool,
    ) -> tuple[Tensor, Tensor]:
        """Masks of R rows, one object each, every row with as many points: [R, 1, M, S, S] and [R, 1, M]."""
        sparse, dense = self.net.prompt_encoder(points, labels, boxes, None)
        image, *finer = embedded
        places = self.places(image)
        more = {"high_resolution_features": finer} if finer else {}
        found = self.net.mask_decoder(image, places, sparse, dense, multimask_output=several, **more)
        return found[0], found[1]

    def places(self, image: Tensor) -> Tensor:
        """The encoding of every cell's centre, as many times as there are rows, [R, C, S, S]."""
        side = image.shape[-1]
        steps = (torch.arange(side, device=image.device, dtype=image.dtype) + 0.5) / side
        centres = torch.stack([steps.expand(side, side), steps[:, None].expand(side, side)], dim=-1)
        out: Tensor = self.net.shared_image_embedding(centres)
        return out.permute(2, 0, 1).expand(len(image), -1, -1, -1)


def sized(net: Any, image_size: int, stride: int) -> None:
    """Tell a prompt encoder the input's side, in pixels, and the stride of the map that it prompts for."""
    side = image_size // stride
    net.prompt_encoder.input_image_size = image_size
    net.prompt_encoder.image_embedding_size = (side, side)


def as_published(net: Any) -> None:
    """Give the decoder of SAM the `EPS` of its authors: without, logits are off by 4e-3."""
    for layer in net.mask_decoder.transformer.layers:
        for name, norm in layer.named_children():
            if name.startswith("layer_norm"):
                norm.eps = EPS


def whole(image_size: int, cell: int) -> None:
    """Refuse a side that cuts cells.

    Raises:
        SettingError: naming what they are.
    """
    if image_size % cell or image_size < cell:
        raise SettingError(f"image_size = {image_size}: expected a multiple of {cell}")


def _real(asked: tuple[Tensor, Tensor] | None, own: Tensor, count: int) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """Points and labels of some rows that have so many, without padding: [R, 1, count, 2] and [R, 1, count]."""
    if asked is None or not count:
        return None, None
    points, labels = (part[own] for part in asked)
    kept = labels != PADDING
    return points[kept].view(len(own), 1, count, 2), labels[kept].view(len(own), 1, count)


def _objects(pictures: int, points: Tensor | None, labels: Tensor | None, boxes: Tensor | None) -> int:
    """K.

    Raises:
        SettingError: prompts whose shapes do not go together.
    """
    shapes = {
        name: tuple(prompt.shape)
        for name, prompt in (("points", points), ("labels", labels), ("boxes", boxes))
        if prompt is not None
    }
    objects = {shape[1] for shape in shapes.values() if len(shape) > 1} or {1}
    (first, *others) = objects
    length = shapes.get("labels", (0, 0, 0))[-1]
    fits = {"points": (pictures, first, length, 2), "labels": (pictures, first, length), "boxes": (pictures, first, 4)}
    if others or ("points" in shapes) != ("labels" in shapes) or any(fits[n] != s for n, s in shapes.items()):
        given = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise SettingError(
            f"prompts of {pictures} pictures have the shapes {given}: expected points [N, K, P, 2] with labels "
            "[N, K, P], boxes [N, K, 4], or both"
        )
    return first
