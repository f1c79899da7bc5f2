"""Tiny networks of timm's families, which timm knows by name as it knows its own."""

from typing import Any

import torch
from timm.models import build_model_with_cfg, register_model
from timm.models.hiera import Hiera
from timm.models.pvt_v2 import PyramidVisionTransformerV2
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

SIDE = 32
CONFIG = {"input_size": (3, SIDE, SIDE), "interpolation": "bilinear", "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}
WINDOWS = {"img_size": SIDE, "patch_size": 2, "window_size": 4, "embed_dim": 12, "depths": (2, 2), "num_heads": (2, 2)}


def _made(kind: type[nn.Module], name: str, **settings: Any) -> nn.Module:
    net: nn.Module = build_model_with_cfg(kind, name, False, **settings | {"pretrained_cfg": CONFIG})
    return net


@register_model
def tiny_swin(pretrained: bool = False, **settings: Any) -> nn.Module:
    """Shifted windows in two stages of two blocks."""
    return _made(SwinTransformer, "tiny_swin", **WINDOWS | settings)


@register_model
def tiny_swinv2(pretrained: bool = False, **settings: Any) -> nn.Module:
    """Its second version, with a norm behind each part."""
    return _made(SwinTransformerV2, "tiny_swinv2", **WINDOWS | settings)


@register_model
def tiny_pvt(pretrained: bool = False, **settings: Any) -> nn.Module:
    """A pyramid whose blocks are told the sides of their map."""
    sizes = {
        "depths": (1, 1, 1, 1),
        "embed_dims": (8, 8, 16, 16),
        "num_heads": (1, 1, 2, 2),
        "mlp_ratios": (2, 2, 2, 2),
    }
    return _made(PyramidVisionTransformerV2, "tiny_pvt", **sizes | settings)


@register_model
def tiny_hiera(pretrained: bool = False, **settings: Any) -> nn.Module:
    """A pyramid of unrolled windows with positions of its own."""
    sizes = {"img_size": (SIDE, SIDE), "embed_dim": 8, "num_heads": 1, "stages": (1, 1, 1), "q_pool": 2}
    return _made(Hiera, "tiny_hiera", **sizes | {"mask_unit_size": (4, 4)} | settings)


@register_model
def tiny_vit(pretrained: bool = False, **settings: Any) -> nn.Module:
    """A plain transformer of four blocks."""
    sizes = {"img_size": SIDE, "patch_size": 8, "embed_dim": 16, "depth": 4, "num_heads": 2}
    return _made(VisionTransformer, "tiny_vit", **sizes | settings)


class Told(nn.Module):
    """A block that is given a number beside its map."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 1)

    def forward(self, values: Tensor, number: Tensor) -> Tensor:
        """[N, 8, S, S] -> the same."""
        out: Tensor = values + self.conv(values) * number
        return out


class Forked(nn.Module):
    """Every block is told of the pictures beside what the one before it made."""

    def __init__(self, num_classes: int = 0, in_chans: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 8, 8)
        self.blocks = nn.ModuleList(Told() for _ in range(2))

    def forward_features(self, pictures: Tensor) -> Tensor:
        """[N, 3, S, S] -> [N, 8, S / 8, S / 8]."""
        values: Tensor = self.stem(pictures)
        for block in self.blocks:
            values = block(values, pictures.mean())
        return values


class Mixing(nn.Module):
    """A block that is given a second map."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(16, 8, 1)

    def forward(self, values: Tensor, other: Tensor) -> Tensor:
        """Two maps [N, 8, S, S] -> one."""
        out: Tensor = self.conv(torch.cat([values, other], 1))
        return out


class Joined(Forked):
    """Every block is given the patches again."""

    def __init__(self, num_classes: int = 0, in_chans: int = 3) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Mixing() for _ in range(2))

    def forward_features(self, pictures: Tensor) -> Tensor:
        """[N, 3, S, S] -> [N, 8, S / 8, S / 8]."""
        patches: Tensor = self.stem(pictures)
        values = patches
        for block in self.blocks:
            values = block(values, patches)
        return values


class Layers(nn.Module):
    """Layers in a row, as VGG has them: no blocks."""

    def __init__(self, num_classes: int = 0, in_chans: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 8, 8), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.ReLU())

    def forward_features(self, pictures: Tensor) -> Tensor:
        """[N, 3, S, S] -> [N, 8, S / 8, S / 8]."""
        out: Tensor = self.features(pictures)
        return out


@register_model
def tiny_forked(pretrained: bool = False, **settings: Any) -> nn.Module:
    """No chain."""
    return _made(Forked, "tiny_forked", **settings)


@register_model
def tiny_joined(pretrained: bool = False, **settings: Any) -> nn.Module:
    """No chain either."""
    return _made(Joined, "tiny_joined", **settings)


@register_model
def tiny_layers(pretrained: bool = False, **settings: Any) -> nn.Module:
    """No blocks."""
    return _made(Layers, "tiny_layers", **settings)
