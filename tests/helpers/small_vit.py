"""A small vision transformer with random weights, and one method on it."""

from collections.abc import Sequence

import torch

from zoo.backbones.timm_vit import TimmViT
from zoo.batch import Batch
from zoo.methods.base import Method
from zoo.pairing import Pairing
from zoo.tasks.classification import Classification

SIDE = 32


def vit() -> TimmViT:
    return TimmViT(model="vit_tiny_patch16_224", source="random:0", image_size=SIDE)


def pairing(method: Method, seed: int = 0) -> Pairing:
    torch.manual_seed(seed)
    return Pairing({"vision": vit()}, method, Classification(hidden=()), classes=["a", "b"]).eval()


def batch(rows: Sequence[int] = (0, 1)) -> Batch:
    pictures = torch.randn(3, 1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))[list(rows)]
    return Batch([str(row) for row in rows], {"vision": pictures}, {"label": torch.tensor([row % 2 for row in rows])})


@torch.no_grad()
def features(model: Pairing, rows: Sequence[int] = (0, 1)) -> torch.Tensor:
    return model(batch(rows))["vision"]


def step(model: Pairing) -> None:
    optimizer = torch.optim.Adam([each for each in model.parameters() if each.requires_grad], lr=0.02)
    for _ in range(2):
        optimizer.zero_grad()
        torch.stack(list(model.losses(batch()).values())).sum().backward()
        optimizer.step()
