"""Vision transformers of timm behind the stepwise interface: plain ViT, stock DINOv2, DINOv3 with rotary positions."""

from collections.abc import Sequence
from typing import Annotated

import timm
from torch import Tensor, nn

from zoo.backbones import vit, weights
from zoo.backbones.base import Bound, fingerprint
from zoo.backbones.draws import initialising
from zoo.backbones.square import IMAGENET_MEAN, IMAGENET_STD, SquareBackbone, square
from zoo.backbones.weights import WeightsError
from zoo.batch import Framed, tensor_of


class TimmViT(SquareBackbone):
    """A timm vision transformer.

    Args:
        model: timm's name of the architecture, e.g. `vit_small_patch16_dinov3`.
        source: `timm:NAME` (NAME may carry a pretrained tag), `file:PATH` to a safetensors file in timm's names, or
            `random:SEED`.
        image_size: side of the square input; positions are resampled by timm where they are learned.
        blocks: how many of the model's blocks are run, before its last norm; all by default.
    """

    stream = "vision"
    file_prefix = ""

    def __init__(
        self, *, model: str, source: str, image_size: int = 224, blocks: Annotated[int, ">= 1"] | None = None
    ) -> None:
        super().__init__()
        parsed = weights.parse(source)
        with initialising(source, model):
            name = parsed.name if parsed.kind == "timm" else model
            self.net = timm.create_model(name, num_classes=0, img_size=image_size)
        if parsed.kind != "random":
            vit.load(self.net, stored(source), source=source)
        vit.whole_patches(image_size, int(self.net.patch_embed.patch_size[0]))
        vit.cut(self.net, blocks)
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


def stored(source: str) -> dict[str, Tensor]:
    """Tensors in timm's names, of a timm model at the size that it was trained at, or of a file.

    Raises:
        WeightsError: they cannot be had.
    """
    if weights.parse(source).kind != "timm":
        return weights.load_state_dict(weights.resolve(source))
    try:
        published = timm.create_model(weights.parse(source).name, pretrained=True, num_classes=0)
    except OSError as error:
        raise WeightsError(f"{source}: the hub cannot be reached and nothing is cached: {error}") from error
    state: dict[str, Tensor] = published.state_dict()
    return state
