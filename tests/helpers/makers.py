"""Tiny versions of every encoder with random weights, and a clip for them."""

import numpy as np

from zoo.backbones.aisfx import AiSFX
from zoo.backbones.beats import BEATs
from zoo.backbones.clip import CLIPVision
from zoo.backbones.dinov2 import DINOv2
from zoo.backbones.siglip import SigLIPVision
from zoo.backbones.timm_vit import TimmViT
from zoo.batch import Clip

SIGLIP = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 32,
}


CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"layers": 3, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 32},
    "text_cfg": {"layers": 2, "width": 32, "heads": 2, "vocab_size": 49408, "context_length": 77},
}


BEATS = {
    "encoder_embed_dim": 32,
    "encoder_ffn_embed_dim": 64,
    "encoder_layers": 3,
    "encoder_attention_heads": 2,
    "embed_dim": 16,
}


MAKERS = {
    "dinov2": lambda: DINOv2(source="random:0", image_size=56),
    "dinov3": lambda: TimmViT(model="vit_small_patch16_dinov3", source="random:0", image_size=64),
    "vit": lambda: TimmViT(model="vit_tiny_patch16_224", source="random:0", image_size=64),
    "siglip": lambda: SigLIPVision(source="random:0", config=SIGLIP),
    "clip": lambda: CLIPVision(source="random:0", config=CLIP),
    "aisfx": lambda: AiSFX(source="random:0"),
    "beats": lambda: BEATs(source="random:0", config=BEATS),
}


def clip(seed: int = 0, segments: int = 3) -> Clip:
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (segments, 70, 90, 3), dtype=np.uint8)
    return Clip("c", frames, rng.uniform(-1, 1, (segments, 16_000)).astype(np.float32), 16_000, {})
