"""CLIP (Radford et al. 2021, arXiv 2103.00020), vision and text, through open_clip.

The vision transformers of OpenAI's and LAION's checkpoints: a class token, pre-norm blocks with PyTorch's fused
attention, a projection into the space that both towers share. SigLIP's towers are built otherwise: see `siglip.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import open_clip
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.backbones import maps, weights
from zoo.backbones.base import TextEncoder
from zoo.backbones.draws import initialising
from zoo.backbones.fingerprint import fingerprint
from zoo.backbones.square import SquareBackbone, square
from zoo.backbones.weights import WeightsError
from zoo.batch import Framed, tensor_of


class CLIPVision(SquareBackbone):
    """CLIP's vision transformer; `pool` is the projected class token.

    Args:
        source: `open_clip:NAME:TAG`, e.g. `open_clip:ViT-B-16:laion2b_s34b_b88k`, or `random:SEED`.
        config: `embed_dim`, `vision_cfg` and `text_cfg` of a `random:` model, as in open_clip's own configuration
            files; refused with real weights.
    """

    stream = "vision"
    leading = 1

    def __init__(self, *, source: str, config: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.net = _load(source, config).visual
        if not isinstance(self.net, open_clip.transformer.VisionTransformer) or self.net.attn_pool is not None:
            raise WeightsError(f"{source}: its vision tower is no plain CLIP transformer; use another backbone")
        self.image_size = int(self.net.image_size[0])
        width = self.net.transformer.width
        self.dims = (width,) * (self.net.transformer.layers + 1)
        self.levels = maps.quarters(int(self.net.patch_size[0]), width, self.depth)
        self.output_dim = int(self.net.proj.shape[1])
        self.space = f"CLIP {source}"
        settings = getattr(self.net, "preprocess_cfg", {})
        self.mean = tuple(settings.get("mean", open_clip.OPENAI_DATASET_MEAN))
        self.std = tuple(settings.get("std", open_clip.OPENAI_DATASET_STD))
        self.fingerprint = fingerprint(self.net, {"image_size": self.image_size, "mean": self.mean, "std": self.std})
        self.freeze()

    @property
    def dim(self) -> int:
        """Width of the space shared with the text tower."""
        return self.output_dim

    def transform(self, clip: Framed) -> Tensor:
        """Frames to [T, 3, S, S]: shorter side resized to S, centre crop, normalised as the checkpoint says."""
        frames = tensor_of(clip.frames).permute(0, 3, 1, 2).float() / 255
        return square(frames, self.image_size, self.mean, self.std)

    def embed(self, inputs: Tensor) -> Tensor:
        """[N, 3, S, S] -> [N, 1 + (S / patch)^2, D]."""
        out: Tensor = self.net._embeds(inputs)
        return out

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """open_clip's residual attention blocks."""
        return list(self.net.transformer.resblocks)

    def finish(self, tokens: Tensor) -> Tensor:
        """The encoder's last norm, token by token: it commutes with choosing the class token."""
        out: Tensor = self.net.ln_post(tokens)
        return out

    def pool(self, tokens: Tensor) -> Tensor:
        """The class token (or the mean of the patches, where the checkpoint was trained so), projected."""
        pooled, _ = self.net._global_pool(tokens)
        out: Tensor = pooled @ self.net.proj
        return out

    def maps(self, taps: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Patches of tokens {after: [N, L, D]} through the last norm, {after: [N, D, S / patch, S / patch]}."""
        return maps.plain(taps, self.finish, 1)


class CLIPText(TextEncoder):
    """CLIP's text tower with open_clip's tokenizer.

    Args:
        source: as for `CLIPVision`.
        config: as for `CLIPVision`.
    """

    def __init__(self, *, source: str, config: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.net = _load(source, config)
        self.net.visual = nn.Identity()
        name = weights.parse(source).name.partition(":")[0]
        self.tokenizer: Any = (
            open_clip.SimpleTokenizer(context_length=self.net.context_length)
            if weights.parse(source).kind == "random"
            else open_clip.get_tokenizer(name)
        )
        self.space = f"CLIP {source}"
        projection = self.net.text_projection
        self.dim = int(projection.out_features if isinstance(projection, nn.Linear) else projection.shape[1])
        self.fingerprint = fingerprint(self.net, {"length": self.net.context_length})
        self.requires_grad_(False)
        self.eval()

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """K texts -> unit-norm [K, dim]."""
        return F.normalize(self.net.encode_text(self.tokenizer(list(texts))), dim=-1)


def _load(source: str, config: dict[str, Any] | None) -> Any:
    """A whole open_clip model from its declared source.

    Raises:
        WeightsError: a source of another kind, an unknown name or tag, an unreachable hub, or `config` for
            real weights.
    """
    parsed = weights.parse(source)
    if parsed.kind == "random":
        if not config:
            raise WeightsError(f"{source}: a random CLIP needs config with embed_dim, vision_cfg and text_cfg")
        with initialising(source, "CLIP"):
            return open_clip.model.CLIP(**config)
    if config:
        raise WeightsError(f"{source}: config belongs to random: sources; real weights bring their own sizes")
    if parsed.kind != "open_clip":
        raise WeightsError(f"CLIP expects open_clip:NAME:TAG or random:SEED, got {source!r}")
    name, tag = parsed.name.split(":")
    if tag not in (tags := open_clip.list_pretrained_tags_by_model(name)):
        known = f"{name} has the tags {', '.join(tags)}" if tags else f"open_clip has no model {name!r}"
        raise WeightsError(f"{source}: {known}")
    try:
        return open_clip.create_model(name, pretrained=tag)
    except (OSError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"{source}: nothing is cached and the hub cannot be reached; connect once ({reason})"
        ) from error
