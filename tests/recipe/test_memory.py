"""Nothing is built that the memory cannot hold."""

import re

import pytest
import torch

from zoo.command_line import message_of
from zoo.recipe import memory
from zoo.recipe.memory import Bounded

MIB = 1 << 20


def test_layers_that_fit_one_by_one_are_refused_when_they_do_not_fit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    layers: list[torch.nn.Linear] = []
    assert memory.held() > 0
    # Counted, not asked of the system: it may move what other tests have left out of the memory meanwhile.
    monkeypatch.setattr(memory, "held", lambda: 100 * MIB + sum(layer.weight.nbytes for layer in layers))

    def build() -> None:
        while True:
            layers.append(torch.nn.Linear(4096, 4096, bias=False))  # 64 MiB each

    with pytest.raises(MemoryError) as refused, Bounded(100 * MIB + 256 * MIB):
        build()
    assert len(layers) == 4
    assert re.match(
        r"the memory is too small for these settings \(0.1 GiB beside the 0.3 GiB already held\)",
        message_of(refused.value),
    )


def test_one_tensor_beyond_the_memory_is_refused_before_a_byte_of_it_is_used() -> None:
    with pytest.raises(MemoryError, match="allocate 8192"), Bounded():
        torch.zeros(1 << 41, dtype=torch.float32)


def test_what_fits_is_made_with_the_same_values() -> None:
    torch.manual_seed(0)
    expected = torch.nn.Linear(600, 600).weight
    torch.manual_seed(0)
    with Bounded():
        found = torch.nn.Linear(600, 600).weight
    assert torch.equal(found, expected)
