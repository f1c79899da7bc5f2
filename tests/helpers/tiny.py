"""Tiny stand-ins of the true interfaces: a vision encoder, a staged audio CNN, a text tower, and clips."""

import numpy as np
import torch
from torch import Tensor, nn

from zoo.backbones.base import Backbone, TextEncoder
from zoo.backbones.fingerprint import Fingerprint, fingerprint
from zoo.batch import Batch, Clip
from zoo.methods.base import Method
from zoo.pairing import Pairing
from zoo.tasks.base import Task
from zoo.tasks.event_localization import EventLocalization

CLASSES = ["bell", "dog", "car"]
T = 4


class TinyVision(Backbone):
    """Three transformer-like blocks of width 8 on 2 x 2 patches."""

    stream = "vision"

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.patch = nn.Linear(12, 8)
        self.layers = nn.ModuleList(nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8), nn.GELU()) for _ in range(3))
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.5
        self.norm = nn.BatchNorm1d(8)
        self.dims = (8, 8, 8, 8)
        self.fingerprint = fingerprint(self, {"transform": 1})
        self.freeze()

    @property
    def blocks(self):
        return list(self.layers)

    def transform(self, clip: Clip) -> Tensor:
        frames = torch.from_numpy(clip.frames).float() / 255  # [T, 4, 4, 3]
        return frames.reshape(len(frames), 2, 2, 2, 2, 3).transpose(2, 3).reshape(len(frames), 4, 12)

    def embed(self, inputs: Tensor) -> Tensor:
        return self.patch(inputs)

    def finish(self, tokens: Tensor) -> Tensor:
        return self.norm(tokens.transpose(1, 2)).transpose(1, 2)

    def pool(self, tokens: Tensor) -> Tensor:
        return tokens.mean(1)


class TinyAudio(Backbone):
    """Two convolution stages that change both length and width."""

    stream = "audio"

    def __init__(self, *, seed: int = 1) -> None:
        super().__init__()
        self.stages = nn.ModuleList([_Stage(1, 4), _Stage(4, 6)])
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.5
        self.dims = (1, 4, 6)
        self.fingerprint = fingerprint(self, {"transform": 1})
        self.freeze()

    @property
    def blocks(self):
        return list(self.stages)

    def transform(self, clip: Clip) -> Tensor:
        return torch.from_numpy(clip.audio)

    def embed(self, inputs: Tensor) -> Tensor:
        return inputs[..., None]

    def finish(self, tokens: Tensor) -> Tensor:
        return tokens

    def pool(self, tokens: Tensor) -> Tensor:
        return tokens.amax(1)


class _Stage(nn.Module):
    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(width, out, 3, stride=2, padding=1)

    def forward(self, tokens: Tensor) -> Tensor:
        return torch.relu(self.conv1(tokens.transpose(1, 2))).transpose(1, 2)


class TinyText(TextEncoder):
    """One fixed unit vector per distinct text."""

    dim = 5
    fingerprint = Fingerprint("tiny text", "none")

    def encode(self, texts):
        rows = [torch.randn(5, generator=torch.Generator().manual_seed(sum(map(ord, t)))) for t in texts]
        return nn.functional.normalize(torch.stack(rows), dim=-1)


def backbones() -> dict[str, Backbone]:
    return {"vision": TinyVision(), "audio": TinyAudio()}


def clip(index: int) -> Clip:
    rng = np.random.default_rng(index)
    return Clip(
        id=f"clip{index}",
        frames=rng.integers(0, 256, (T, 4, 4, 3), dtype=np.uint8),
        audio=rng.standard_normal((T, 16)).astype(np.float32),
        sample_rate=16,
        target={"segments": torch.from_numpy(rng.integers(0, len(CLASSES) + 1, T))},
    )


def batch(*indices: int, encoders: dict[str, Backbone] | None = None) -> Batch:
    encoders = encoders or backbones()
    clips = [clip(i) for i in indices]
    return Batch(
        ids=[c.id for c in clips],
        inputs={name: torch.stack([b.transform(c) for c in clips]) for name, b in encoders.items()},
        target={"segments": torch.stack([c.target["segments"] for c in clips])},
    )


def pairing(method: Method, task: Task | None = None, **settings) -> Pairing:
    torch.manual_seed(0)
    task = task or EventLocalization(hidden=8)
    return Pairing(backbones(), method, task, classes=CLASSES, text=TinyText(), **settings)


def train_steps(model: Pairing, steps: int = 3, lr: float = 0.05) -> list[float]:
    """Plain gradient steps on two clips; the losses seen."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr)
    data, losses = batch(0, 1), []
    for _ in range(steps):
        terms = model.task.loss(model(data), data)
        loss = sum(term.mean() for term in terms.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
