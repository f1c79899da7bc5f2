"""Side inputs for layers deep inside a frozen model: one value a sample, told to every layer that a method hooked.

A frozen model hands its layers hidden states and nothing else. A method tells the batch's condition before it runs the
model, and every hooked layer reads the rows that belong to its hidden states: in the forward pass, in every step of
`generate`, and again where a checkpointed block is recomputed in the backward pass.
"""

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor


class Condition:
    """The value that hooked layers see while a batch runs; nothing, and they stay silent, outside of `given`."""

    def __init__(self) -> None:
        self.active = False
        self._value: Tensor | None = None
        self._owners: Mapping[str, Tensor] = {}

    @contextlib.contextmanager
    def given(self, value: Tensor | None, owners: Mapping[str, Tensor] | None = None) -> Iterator[None]:
        """Let hooked layers act, told `value`.

        Args:
            value: one row a sample, [B, ...]; None for layers that need none.
            owners: by tower, the sample of every leading row of its hidden states, int64 [rows], where rows are not
                samples (packed patches, tiles).
        """
        before = self.active, self._value, self._owners
        self.active, self._value, self._owners = True, value, owners or {}
        try:
            yield
        finally:
            self.active, self._value, self._owners = before

    def rows(self, tower: str, count: int) -> Tensor | None:
        """The value for hidden states with `count` leading rows, [count, ...].

        Without owners, equal numbers of consecutive rows belong to each sample (segments of a clip).

        Raises:
            ValueError: the rows cannot be attributed to samples.
        """
        if self._value is None:
            return None
        owners = self._owners.get(tower)
        if owners is None:
            samples = self._value.shape[0]  # `len` would fix the batch size of an exported graph
            if count == samples:
                return self._value
            if count % samples:
                raise ValueError(f"{count} rows of {tower or 'the encoder'} for {samples} samples")
            return self._value.repeat_interleave(count // samples, dim=0)
        if len(owners) % count:
            raise ValueError(f"{count} rows of {tower}, whose backbone names the owners of {len(owners)}")
        return self._value[owners[:: len(owners) // count]]

    def contexts(self) -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        """Contexts of a checkpointed block, forward and again: what was told now is told again."""
        if not self.active:
            return contextlib.nullcontext(), contextlib.nullcontext()
        return contextlib.nullcontext(), self.given(self._value, self._owners)
