"""Vision transformers of timm behind the stepwise interface: plain ViT, DINOv2, and DINOv3 with rotary positions."""

import math
from collections.abc import Sequence
from typing import Any

import timm
import torch
from torch import Tensor, nn

from zoo.backbones import weights
from zoo.backbones.base import Bound, exact_by_processor, fingerprint
from zoo.backbones.draws import initialising
from zoo.backbones.square import SquareBackbone, square
from zoo.batch import Framed, tensor_of
from zoo.errors import SettingError
from zoo.ops.resample import bicubic

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class TimmViT(SquareBackbone):
    """A timm vision transformer.

    Args:
        model: timm's name of the architecture, e.g. `vit_small_patch16_dinov3`.
        source: `timm:NAME` (NAME may carry a pretrained tag), `file:PATH` to a safetensors file in timm's names, or
            `random:SEED`.
        image_size: side of the square input; positions are resampled by timm where they are learned.
    """

    stream = "vision"
    file_prefix = ""

    def __init__(self, *, model: str, source: str, image_size: int = 224) -> None:
        super().__init__()
        parsed = weights.parse(source)
        with initialising(source, model):
            name = parsed.name if parsed.kind == "timm" else model
            self.net = timm.create_model(name, num_classes=0, img_size=image_size)
        if parsed.kind != "random":
            load_timm(self.net, _stored(source), source=source)
        self._finish_setup(image_size)

    def _finish_setup(self, image_size: int) -> None:
        patch = int(self.net.patch_embed.patch_size[0])
        if image_size % patch:
            raise SettingError(f"image_size = {image_size}: expected a multiple of {patch}, the side of a patch")
        self.image_size = image_size
        config = self.net.pretrained_cfg
        self.mean, self.std = config.get("mean", IMAGENET_MEAN), config.get("std", IMAGENET_STD)
        self.dims = (self.net.embed_dim,) * (len(self.net.blocks) + 1)
        self.fingerprint = fingerprint(self.net, {"image_size": image_size, "mean": self.mean, "std": self.std})
        self.freeze()

    def transform(self, clip: Framed) -> Tensor:
        """Frames to [T, 3, S, S]: shorter side resized to S (bilinear, antialiased), centre crop, normalised."""
        frames = tensor_of(clip.frames).permute(0, 3, 1, 2).float() / 255
        return square(frames, self.image_size, self.mean, self.std)

    def embed(self, inputs: Tensor) -> Tensor:
        """[N, 3, S, S] -> [N, prefix + (S / patch)^2, D]."""
        placed = self.net._pos_embed(self.net.patch_embed(inputs))
        # DINOv3's class returns its rotary table beside the tokens; the blocks ask for it again.
        out: Tensor = self.net.norm_pre(placed[0] if isinstance(placed, tuple) else placed)
        return out

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """timm's blocks; with rotary positions, each bound to the table of this image size."""
        rope = getattr(self.net, "rope", None)
        if rope is None:
            return list(self.net.blocks)
        grid = self.net.patch_embed.grid_size
        return [Bound(block, lambda _: {"rope": rope.get_embed(shape=grid)}) for block in self.net.blocks]

    def finish(self, tokens: Tensor) -> Tensor:
        """The encoder's last norm."""
        out: Tensor = self.net.norm(tokens)
        return out

    def pool(self, tokens: Tensor) -> Tensor:
        """Mean of the patch tokens; class and register tokens are left out."""
        return tokens[:, self.net.num_prefix_tokens :].mean(1)


def load_timm(net: nn.Module, state: dict[str, Tensor], *, source: str, antialias: bool = True) -> None:
    """Load tensors in timm's names, positions resampled to the model's grid, every tensor accounted for.

    Args:
        net: a timm vision transformer.
        state: its tensors.
        source: named in errors.
        antialias: of the bicubic resampling; timm uses it, the DINOv2 authors and Hugging Face do not.

    Raises:
        WeightsError: naming what is missing or left over.
    """
    if "pos_embed" in state and state["pos_embed"].shape != net.pos_embed.shape:
        prefix = 0 if getattr(net, "no_embed_class", False) else int(net.num_prefix_tokens)  # type: ignore[arg-type]
        grid = net.patch_embed.grid_size  # type: ignore[union-attr]
        state = state | {"pos_embed": _resampled(state["pos_embed"], grid, prefix, antialias)}
    missing, unexpected = net.load_state_dict(state, strict=False)
    if missing or unexpected:
        raise weights.WeightsError(f"{source}: missing {missing or 'nothing'}, left over {unexpected or 'nothing'}")


def _resampled(positions: Tensor, grid: Any, prefix: int, antialias: bool) -> Tensor:
    """Learned positions [1, prefix + side^2, D] -> [1, prefix + h w, D] for a grid (h, w)."""
    if exact_by_processor():
        from timm.layers import resample_abs_pos_embed

        former: Tensor = resample_abs_pos_embed(positions, grid, num_prefix_tokens=prefix, antialias=antialias)
        return former
    side = math.isqrt(positions.shape[1] - prefix)
    table = bicubic(positions[0, prefix:].unflatten(0, (side, side)), tuple(grid), antialias=antialias)
    return torch.cat([positions[:, :prefix], table.flatten(0, 1)[None]], 1)


def _stored(source: str) -> dict[str, Tensor]:
    """Tensors in timm's names, of a timm model at the size that it was trained at, or of a file.

    Raises:
        WeightsError: they cannot be had.
    """
    if weights.parse(source).kind != "timm":
        return weights.load_state_dict(weights.resolve(source))
    try:
        published = timm.create_model(weights.parse(source).name, pretrained=True, num_classes=0)
    except OSError as error:
        raise weights.WeightsError(f"{source}: the hub cannot be reached and nothing is cached: {error}") from error
    state: dict[str, Tensor] = published.state_dict()
    return state
