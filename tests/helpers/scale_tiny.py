"""A tiny ScaleEarth, and pictures with scales for it."""

import torch
import vlm_tiny
from tiny import CLASSES

from zoo.backbones.timm_vit import TimmViT
from zoo.batch import Batch
from zoo.methods.scale_earth import ScaleEarth
from zoo.pairing import Pairing
from zoo.tasks.classification import Classification
from zoo.tasks.multiple_choice import MultipleChoice


def encoder(**settings) -> Pairing:
    torch.manual_seed(0)
    backbone = TimmViT(model="vit_tiny_patch16_224", source="random:0", image_size=32)
    method = ScaleEarth(targets={"vision": ["attn.qkv", "mlp.fc1"]}, last={"vision": 2}, rank=6, **settings)
    return Pairing({"vision": backbone}, method, Classification(hidden=()), classes=CLASSES)


def pictures(*gsd: float) -> Batch:
    images = torch.randn(len(gsd), 1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(len(gsd)) % len(CLASSES)
    ids = [f"p{i}" for i in range(len(gsd))]
    return Batch(ids, {"vision": images}, {"label": labels}, conditions={"gsd": torch.tensor(gsd)})


def reader(name: str, targets: dict[str, list[str]], **settings) -> Pairing:
    torch.manual_seed(0)
    backbone = vlm_tiny.model(name, **settings.pop("backbone", {}))
    method = ScaleEarth(targets=targets, rank=6, **settings)
    return Pairing({"vlm": backbone}, method, MultipleChoice(), classes=["a"])


RATIO = "x the finest (1:700 = 1)"
