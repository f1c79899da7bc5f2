"""Adapters of methods of many kinds on one tiny Mamba3D, with trained tensors that are drawn, and what they give."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from zoo.adapter import directory
from zoo.batch import Batch
from zoo.pairing import Pairing
from zoo.recipe.build import build_pairing
from zoo.recipe.compose import compose, to_yaml
from zoo.recipe.instantiate import instantiate

IN = "method.targets={points: [mixer.in_proj, mixer.out_proj]}"
METHODS = {
    "lora": ["method=lora"],
    "lora_late": ["method=lora", "method.last={points: 1}", "method.rank=3"],
    "peft": ["method=peft", "method.tuner=loha", "method.settings={r: 2}", IN],
    "matryoshka": ["method=matryoshka_lora", "method.ranks=[1, 2, 4]", IN],
    "laplace": ["method=laplace_lora_xs", "method.rank=2", IN],
    "gpart": ["method=gpart", "method.dim=50", IN],
    "bitfit": ["method=bitfit", "method.targets={points: [norm1]}"],
    "ssf": ["method=ssf", "method.targets={points: [norm1]}"],
    "frozen": ["method=frozen"],
    "mantis": [],
    "bottleneck": ["method=bottleneck", "method.width=4"],
}
"""Wrapped layers, hooks, parametrisations, a head alone, and adapters between and inside the blocks."""

SMALL = ["task.hidden=[]"]


def adapter(folder: Path, *words: str, recipe: str = "mantis", seed: int = 0, spread: float = 0.1) -> Path:
    """The adapter directory of a smoke-sized recipe whose trained tensors are moved from their start by some noise."""
    given = {word.partition("=")[0] for word in words}
    small = [word for word in SMALL if recipe == "mantis" and word.partition("=")[0] not in given]
    config = compose(recipe, [*small, *words], smoke=True)
    data = instantiate(config.data)
    pairing = build_pairing(config, data.classes, cached=False)
    pairing.preparation = data.preparation
    generator = torch.Generator().manual_seed(seed)
    for tensor in pairing.trainable_state().values():
        if tensor.is_floating_point():  # and no count of batches
            tensor.add_(spread * torch.randn(tensor.shape, generator=generator))
    return directory.save(pairing, folder, recipe=to_yaml(config), metrics={}, card=lambda _: "# nothing was trained\n")


Made = Callable[[str], Path]
"""Gives an adapter by the name of its method."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Adapters by the names of their methods, each made once."""
    root = tmp_path_factory.mktemp("adapters")

    def of(name: str) -> Path:
        folder = root / name
        return folder if folder.exists() else adapter(folder, *METHODS[name], seed=len(name))

    return of


def scan(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(400, 3)) * [1, 2, 0.5]


def batch(*rows: int) -> Batch:
    clouds = torch.randn(4, 1, 64, 3, generator=torch.Generator().manual_seed(0))[list(rows or (0, 1, 2))]
    return Batch([str(k) for k in range(len(clouds))], {"points": clouds}, {})


@torch.no_grad()
def features(pairing: Pairing, data: Batch | None = None) -> torch.Tensor:
    return pairing(data or batch())["points"]


@torch.no_grad()
def logits(pairing: Pairing, data: Batch | None = None) -> torch.Tensor:
    data = data or batch()
    return pairing.task.logits(pairing(data), data)
