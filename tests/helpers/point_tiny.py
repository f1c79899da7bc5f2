"""A tiny Mamba3D, made-up clouds, and pairings of them."""

import torch
from torch import Tensor

from zoo.backbones.mamba3d import Mamba3D
from zoo.batch import Batch
from zoo.methods.base import Method
from zoo.pairing import Pairing
from zoo.tasks.base import Task
from zoo.tasks.classification import Classification

CLASSES = ["chair", "table", "sofa"]
WIDTH, DEPTH, GROUPS = 16, 3, 12
PARTS = ["Chair/0", "Chair/1", "Table/0", "Table/1", "Table/2"]


def mamba3d(**settings) -> Mamba3D:
    settings = {"width": WIDTH, "depth": DEPTH, "groups": GROUPS, "neighbours": 6, "states": 4} | settings
    backbone = Mamba3D(source="random:0", **settings)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # away from an initialisation whose zeros and ones would hide mistakes
        for parameter in backbone.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
        for name, buffer in backbone.named_buffers():
            if "running" in name:
                buffer.add_(torch.rand(buffer.shape, generator=generator))
    return backbone


def clouds(*indices: int, count: int = 40) -> Tensor:
    """[B, 1, P, 3]."""
    return torch.stack([torch.randn(1, count, 3, generator=torch.Generator().manual_seed(i)) for i in indices])


def batch(*indices: int) -> Batch:
    points = clouds(*indices)
    return Batch(
        ids=[f"cloud{i}" for i in indices],
        inputs={"points": points},
        target={
            "label": torch.tensor([i % len(CLASSES) for i in indices]),
            "parts": torch.stack([2 * (i % 2) + (points[k, 0, :, 0] > 0).long() for k, i in enumerate(indices)]),
        },
        conditions={"category": torch.tensor([i % 2 for i in indices]), "points": points[:, 0]},
    )


def pairing(method: Method, task: Task | None = None, *, classes: list[str] | None = None, **backbone) -> Pairing:
    encoder = mamba3d(**backbone)
    torch.manual_seed(0)
    task = task or Classification(hidden=(8,))
    return Pairing({"points": encoder}, method, task, classes=classes or CLASSES)


def train_steps(model: Pairing, steps: int = 3, lr: float = 0.02, data: Batch | None = None) -> list[float]:
    """Plain gradient steps with the pairing's own losses; the losses seen."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr)
    data, losses = data or batch(0, 1, 2, 3), []
    model.train()
    for _ in range(steps):
        terms = model.task.loss(model(data), data)
        extra = model.method.losses(lambda features: model.task.logits(features, data))
        loss = sum(term.mean() for term in terms.values()) + sum(extra.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
