"""Frozen encoders that are read and checked once in a process, and given to every pairing as an encoder of its own.

Most of a small run is the building of its encoders. The first that is asked for with some settings is kept; everybody
gets a copy of its modules, for methods wrap blocks, replace layers and move weights, over one memory of its tensors,
for nobody may write into frozen weights. That nobody did is looked at when the tests of a file are through.
"""

import contextlib
import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from zoo.backbones.base import Backbone, TextEncoder
from zoo.recipe import build

_kept: dict[str, tuple[nn.Module, int]] = {}


def tensors(module: nn.Module) -> list[Tensor]:
    """Parameters and buffers."""
    return [*module.parameters(), *module.buffers()]


def digest(module: nn.Module) -> int:
    """Changes with any one number of its tensors."""
    flat = (tensor.detach().contiguous().flatten().view(torch.uint8) for tensor in tensors(module))
    return hash(tuple((len(one), _sum(one)) for one in flat))


def _sum(data: Tensor) -> int:
    whole = len(data) // 4 * 4
    return int(data[:whole].view(torch.int32).sum(dtype=torch.int64)) + int(data[whole:].sum(dtype=torch.int64))


def twin(module: nn.Module) -> nn.Module:
    """A copy of the modules, with parameters and buffers of its own over the same memory."""
    memo: dict[int, Any] = {}
    for tensor in tensors(module):
        same = tensor.detach()
        memo[id(tensor)] = nn.Parameter(same, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else same
    return copy.deepcopy(module, memo)


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Inside, pairings get their encoders from here.

    Raises:
        AssertionError: at the end, where somebody wrote into one of them.
    """
    make, given = build.instantiate, set()

    def instantiate(block: Any, *args: Any, **extra: Any) -> Any:
        if args or extra or not block["_target_"].startswith("zoo.backbones."):
            return make(block, *args, **extra)
        key = json.dumps(OmegaConf.to_container(block, resolve=True), sort_keys=True)
        if key not in _kept:
            made = make(block)
            if not isinstance(made, Backbone | TextEncoder) or any(p.requires_grad for p in made.parameters()):
                return made
            _kept[key] = made, digest(made)
        given.add(key)
        return twin(_kept[key][0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "instantiate", instantiate)
        yield
    written = [key for key in sorted(given) if digest(_kept[key][0]) != _kept[key][1]]
    for key in written:
        del _kept[key]
    assert not written, f"somebody wrote into the frozen weights of {written}"


@pytest.fixture(scope="module", autouse=True)
def kept_encoders() -> Iterator[None]:
    """For files that import it: their pairings get kept encoders."""
    with kept():
        yield
