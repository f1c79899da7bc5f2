"""Vision transformers of timm behind the stepwise interface: plain ViT, stock DINOv2, DINOv3 with rotary positions."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import timm
from torch import Tensor, nn

from zoo.backbones import maps, timm_models, vit, weights
from zoo.backbones.base import Bound
from zoo.backbones.draws import initialising
from zoo.backbones.fingerprint import fingerprint
from zoo.backbones.square import IMAGENET_MEAN, IMAGENET_STD, SquareBackbone, square
from zoo.batch import Framed, tensor_of
from zoo.errors import SettingError


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
    file_prefix: str | None = ""

    def __init__(
        self, *, model: str, source: str, image_size: int = 224, blocks: Annotated[int, ">= 1"] | None = None
    ) -> None:
        super().__init__()
        self.named(model, source)
        parsed = weights.parse(source)
        with initialising(source, model):
            name = parsed.name if parsed.kind == "timm" else model
            self.net: Any = plain(name, image_size)
        if parsed.kind != "random":
            vit.load(self.net, timm_models.stored(source), source=source)
        vit.whole_patches(image_size, int(self.net.patch_embed.patch_size[0]))
        vit.cut(self.net, blocks)
        self._take(image_size, len(self.net.blocks))

    def _take(self, image_size: int, depth: int) -> None:
        """Say what the network is, its blocks being run in so many steps, and freeze it."""
        self.image_size = image_size
        config = self.net.pretrained_cfg
        self.mean, self.std = config.get("mean", IMAGENET_MEAN), config.get("std", IMAGENET_STD)
        self.dims = (self.net.embed_dim,) * (depth + 1)
        self.levels = maps.quarters(int(self.net.patch_embed.patch_size[0]), self.dim, self.depth)
        self.leading = int(self.net.num_prefix_tokens)
        self.fingerprint = fingerprint(self.net, {"image_size": image_size, "mean": self.mean, "std": self.std})
        self.freeze()

    @staticmethod
    def named(model: str, source: str) -> None:
        """Refuse names that timm does not know; neither weights nor data are asked for.

        Raises:
            SettingError: naming near ones.
        """
        timm_models.known(model)
        parsed = weights.parse(source)
        if parsed.kind == "timm":
            timm_models.known(parsed.name)

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

    def maps(self, taps: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Patches of tokens {after: [N, L, D]} through the last norm, {after: [N, D, S / patch, S / patch]}."""
        return maps.plain(taps, self.finish, self.net.num_prefix_tokens)


def plain(name: str, image_size: int, **settings: Any) -> Any:
    """timm's network, with weights yet to come; `settings` are timm's own.

    Raises:
        SettingError: it is no plain vision transformer.
    """
    other = (
        f"model = {name!r} is no plain vision transformer: `_target_: zoo.backbones.timm_encoder.TimmEncoder` takes it"
    )
    try:
        net: Any = timm.create_model(name, num_classes=0, img_size=image_size, **settings)
    except TypeError as error:  # of a network that takes pictures of any size
        raise SettingError(other) from error
    if not all(hasattr(net, part) for part in ("_pos_embed", "patch_embed", "norm_pre", "blocks", "norm")):
        raise SettingError(other)
    return net
