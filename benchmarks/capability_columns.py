"""Kinds of layers of the zoo's backbones, their true architectures with random weights: the columns of the table of
capabilities."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from zoo.backbones.base import Backbone
from zoo.batch import Clip, Cloud, Picture, Question

LLAMA = {"model_type": "llama", "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2} | {
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 128,
}  # fmt: skip
CLIP_TOWER = {"model_type": "clip_vision_model", "hidden_size": 32, "intermediate_size": 64, "projection_dim": 32} | {
    "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": 32, "patch_size": 8,
}  # fmt: skip
CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"layers": 3, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 32},
    "text_cfg": {"layers": 2, "width": 32, "heads": 2, "vocab_size": 49408, "context_length": 77},
}
SIGLIP = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2} | {
    "image_size": 32
}
BEATS = {"encoder_embed_dim": 32, "encoder_ffn_embed_dim": 64, "encoder_layers": 3, "encoder_attention_heads": 2} | {
    "embed_dim": 16
}
LLAVA = {"vision_config": CLIP_TOWER, "text_config": LLAMA, "image_token_index": 99, "image_seq_length": 16}


@dataclass(frozen=True)
class Column:
    """Some layers of one backbone.

    Attributes:
        title: of the backbone.
        key: its stream.
        make: makes it.
        tower: whose last block is adapted; "" of a plain encoder.
        kind: of the layers.
    """

    title: str
    key: str
    make: Callable[[], Backbone]
    tower: str
    kind: str


def backbones() -> dict[str, tuple[str, Callable[[], Backbone]]]:
    """By title, the stream and what makes it, small or at its smallest size."""
    from zoo.backbones.aisfx import AiSFX
    from zoo.backbones.beats import BEATs
    from zoo.backbones.clip import CLIPVision
    from zoo.backbones.lite_medsam import LiteMedSAM
    from zoo.backbones.llava import LLaVA
    from zoo.backbones.mamba3d import Mamba3D
    from zoo.backbones.sam2 import SAM2
    from zoo.backbones.siglip import SigLIPVision
    from zoo.backbones.timm_vit import TimmViT

    return {
        "DINOv3": (
            "vision",
            lambda: scaled(TimmViT(model="vit_small_patch16_dinov3", source="random:0", image_size=64)),
        ),
        "CLIP": ("vision", lambda: CLIPVision(source="random:0", config=CLIP)),
        "SigLIP": ("vision", lambda: SigLIPVision(source="random:0", config=SIGLIP)),
        "SAM2": ("vision", lambda: SAM2(source="random:0", size="nano", image_size=64)),
        "LiteMedSAM": ("vision", lambda: LiteMedSAM(source="random:0", image_size=64)),
        "aiSFX": ("audio", lambda: AiSFX(source="random:0")),
        "BEATs": ("audio", lambda: BEATs(source="random:0", config=BEATS)),
        "Mamba3D": ("points", lambda: Mamba3D(source="random:0", width=32, depth=3, groups=12, neighbours=6, states=4)),
        "LLaVA": ("scene", lambda: LLaVA(source="random:3", config=LLAVA)),
    }


@torch.no_grad()
def scaled(backbone: Backbone) -> Backbone:
    """With scales of layers as trained ones have them: at the start of a training they let almost nothing through."""
    for name, parameter in backbone.named_parameters():
        if "gamma" in name:
            parameter.fill_(0.5)
    return backbone


def columns(only: str = "") -> list[Column]:
    """Every kind of layer of every backbone; of one with two towers, of its language model."""
    found = []
    for title, (key, make) in backbones().items():
        if only and title.lower() != only.lower():
            continue
        towers = make().towers
        tower = "language" if "language" in towers else next(iter(towers))
        blocks = towers[tower]
        found += [Column(title, key, make, tower, kind) for kind in kinds(blocks[len(blocks) - 1])]
    return found


def kinds(block: nn.Module) -> dict[str, list[str]]:
    """Paths of the layers inside a block, by kind."""
    found: dict[str, list[str]] = {}
    fused = {path for path, module in block.named_modules() if isinstance(module, nn.MultiheadAttention)}
    for path, module in block.named_modules():
        if path in fused:
            found.setdefault("fused attention", []).append(path)
        elif path.rpartition(".")[0] in fused:
            continue
        elif isinstance(module, nn.Linear):
            found.setdefault("linear", []).append(path)
        elif isinstance(module, nn.Conv1d | nn.Conv2d):
            grouped = module.groups > 1
            found.setdefault("convolution in groups" if grouped else "convolution", []).append(path)
    return found


def sample(key: str, number: int) -> Any:
    """Noise that a backbone of this stream reads."""
    rng, target = np.random.default_rng(number), {"label": torch.tensor(number % 2)}
    if key == "points":
        return Cloud(f"c{number}", rng.normal(size=(1024, 3)).astype(np.float32), target)
    image = rng.integers(0, 256, (70, 90, 3), dtype=np.uint8)
    if key == "scene":
        question = Question(text="How many roofs?", choices=("one", "two"), answer="AB"[number % 2])
        return Picture(f"p{number}", (image,), target, question=question)
    return Clip(f"v{number}", image[None], rng.uniform(-1, 1, (1, 16_000)).astype(np.float32), 16_000, target)
