"""A plain vision transformer (Dosovitskiy et al. 2021, arXiv 2010.11929) with layer scale, in torch alone.

Modules and tensors bear timm's names (`blocks.3.attn.qkv`, `mlp.fc1`, `ls1.gamma`), and weights of a `random:` source
are drawn in timm's order: fingerprints, adapters and updates by name are those of timm's model, which takes seconds to
import because it brings torchvision along. Outputs equal timm's to the last bits (`tests/backbones/test_vit.py`).
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.backbones.draws import trunc_normal_
from zoo.backbones.fingerprint import exact_by_processor
from zoo.backbones.weights import WeightsError
from zoo.errors import SettingError
from zoo.ops.resample_table import bicubic

EPSILON = 1e-6
"""Of every layer norm."""


class PatchEmbed(nn.Module):
    """Square patches of a square picture, each through one linear map.

    Args:
        image_size: side of the picture, in pixels.
        patch_size: side of a patch.
        dim: token width D.
    """

    def __init__(self, image_size: int, patch_size: int, dim: int) -> None:
        super().__init__()
        self.grid_size = (image_size // patch_size,) * 2
        self.proj = nn.Conv2d(3, dim, patch_size, stride=patch_size)

    def forward(self, pictures: Tensor) -> Tensor:
        """[N, 3, S, S] -> [N, (S / patch)^2, D]."""
        patches: Tensor = self.proj(pictures).flatten(2).transpose(1, 2)
        return patches


class Attention(nn.Module):
    """Self-attention with one linear layer for query, key and value."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """[N, L, D] -> [N, L, D]."""
        count, length, dim = tokens.shape
        split = self.qkv(tokens).reshape(count, length, 3, self.heads, dim // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)  # [N, heads, L, D / heads] each
        mixed = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(count, length, dim))
        return out


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """[N, L, D] -> [N, L, D]."""
        out: Tensor = self.fc2(F.gelu(self.fc1(tokens)))
        return out


class LayerScale(nn.Module):
    """One factor per channel (Touvron et al. 2021, arXiv 2103.17239)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), 1e-5))

    def forward(self, tokens: Tensor) -> Tensor:
        """[N, L, D] -> [N, L, D]."""
        return tokens * self.gamma


class Block(nn.Module):
    """Attention, then an MLP four times as wide; each normed before and scaled after."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPSILON)
        self.attn = Attention(dim, heads)
        self.ls1 = LayerScale(dim)
        self.norm2 = nn.LayerNorm(dim, eps=EPSILON)
        self.mlp = Mlp(dim, 4 * dim)
        self.ls2 = LayerScale(dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """[N, L, D] -> [N, L, D]."""
        tokens = tokens + self.ls1(self.attn(self.norm1(tokens)))
        out: Tensor = tokens + self.ls2(self.mlp(self.norm2(tokens)))
        return out


class VisionTransformer(nn.Module):
    """A class token and patch tokens with learned positions, through blocks and a last norm.

    Args:
        image_size: side of the picture, in pixels.
        patch_size: side of a patch.
        dim: token width D.
        depth: blocks.
        heads: of attention.
    """

    num_prefix_tokens = 1

    def __init__(self, *, image_size: int, patch_size: int, dim: int, depth: int, heads: int) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(image_size, patch_size, dim)
        self.cls_token = nn.Parameter(torch.empty(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + math.prod(self.patch_embed.grid_size), dim))
        self.blocks = nn.Sequential(*[Block(dim, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim, eps=EPSILON)
        # In timm's order, on which every draw of a `random:` source depends.
        trunc_normal_(self.pos_embed, std=0.02)
        nn.init.normal_(self.cls_token, std=1e-6)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def embed(self, pictures: Tensor) -> Tensor:
        """[N, 3, S, S] -> tokens before the first block [N, 1 + (S / patch)^2, D]."""
        patches = self.patch_embed(pictures)
        return torch.cat([self.cls_token.expand(patches.shape[0], -1, -1), patches], 1) + self.pos_embed


def load(net: nn.Module, state: dict[str, Tensor], *, source: str, antialias: bool = True) -> None:
    """Load tensors in timm's names, positions resampled to the model's grid, every tensor accounted for.

    Args:
        net: this file's vision transformer, or one of timm's.
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
        raise WeightsError(f"{source}: missing {missing or 'nothing'}, left over {unexpected or 'nothing'}")


def cut(net: Any, blocks: int | None) -> None:
    """Keep the first so many blocks of a loaded transformer; its last norm follows them. None keeps all.

    Raises:
        SettingError: there are not so many.
    """
    depth = len(net.blocks)
    if blocks is None:
        return
    if not 1 <= blocks <= depth:
        raise SettingError(f"blocks = {blocks}: expected 1 to {depth}, of which the encoder has {depth}")
    net.blocks = net.blocks[:blocks]


def whole_patches(image_size: int, patch_size: int) -> None:
    """Refuse a side that cuts patches.

    Raises:
        SettingError: naming the side of a patch.
    """
    if image_size % patch_size:
        raise SettingError(f"image_size = {image_size}: expected a multiple of {patch_size}, the side of a patch")


def _resampled(positions: Tensor, grid: Any, prefix: int, antialias: bool) -> Tensor:
    """Learned positions [1, prefix + side^2, D] -> [1, prefix + h w, D] for a grid (h, w)."""
    side = math.isqrt(positions.shape[1] - prefix)
    table = positions[0, prefix:].unflatten(0, (side, side))  # [side, side, D]
    if exact_by_processor():
        former = F.interpolate(
            table.permute(2, 0, 1)[None], tuple(grid), mode="bicubic", align_corners=False, antialias=antialias
        )
        resampled = former[0].permute(1, 2, 0)
    else:
        resampled = bicubic(table, tuple(grid), antialias=antialias)
    return torch.cat([positions[:, :prefix], resampled.flatten(0, 1)[None]], 1)
