"""Control signals of a method, and interventions: a measurement with one part of a method replaced.

A mechanism does its work where predictions change once its signal is replaced, by its mean over the split or by another
sample's. A signal that is the same for every sample, of one effective dimension, or at the ends of its span, is a
constant that training could have had for less. Signals pass unchanged, and nothing is kept of them, outside of
`watching` and `replaced`.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Replacement = Literal["mean", "other", "open"]

"""By a signal's mean over the samples watched, by another sample's, or by 1."""

EDGE = 0.02
"""Share of a signal's span, at either end, within which it counts as saturated."""


Intervention = Callable[[], AbstractContextManager[None]]
"""One part of a method is replaced within the context that it gives."""


@dataclass
class Watched:
    """What a signal was over the samples of a split, in float64.

    Attributes:
        count: vectors seen: a row's tokens count one by one.
        total: their sum, [C].
        gram: sum of their outer products, [C, C].
        saturated: values within `EDGE` of an end of the span.
        samples: mean vector of every sample, [C] each.
    """

    count: int = 0
    total: Tensor = field(default_factory=lambda: torch.zeros(()))
    gram: Tensor = field(default_factory=lambda: torch.zeros(()))
    saturated: int = 0
    samples: list[Tensor] = field(default_factory=list)

    def mean(self) -> Tensor:
        """Over all vectors, [C]."""
        return self.total / self.count

    def spread(self) -> float:
        """Deviation over samples, averaged over channels."""
        return float(torch.stack(self.samples).std(0, correction=0).mean())

    def effective_rank(self) -> float:
        """exp of the entropy of the normalised singular values of the centred vectors (Roy and Vetterli 2007): 1 where
        they lie on a line, C where all directions are alike, 0 where all are equal."""
        centred = self.gram - self.count * torch.outer(self.mean(), self.mean())
        values = torch.linalg.eigvalsh(centred).clamp(min=0)
        values = values[values > 1e-12 * float(self.gram.trace())].sqrt()  # below lies the rounding of equal vectors
        share = values / values.sum()
        return float(torch.exp(-(share * share.log()).sum())) if len(values) else 0.0


class Signal:
    """A control signal on its way from what computes it to what it controls.

    Args:
        span: the values between which it lies, where it is bounded.
    """

    def __init__(self, span: tuple[float, float] | None = None) -> None:
        self.span = span
        self.watched: Watched | None = None
        self.watching = False
        self.replacement: Replacement | None = None
        self._before: Tensor | None = None

    def __call__(self, value: Tensor, each: int = 1) -> Tensor:
        """The signal, or what replaces it.

        Args:
            value: [B * each, ..., C].
            each: consecutive rows of a sample.
        """
        if self.watching:
            self._watch(value.detach(), each)
        if self.replacement is None:
            return value
        if self.replacement == "open":
            return torch.ones_like(value)
        if self.replacement == "mean":
            assert self.watched is not None
            return self.watched.mean().to(value).expand_as(value)
        before = value[-each:] if self._before is None else self._before
        self._before = value[-each:]
        return torch.cat([before, value[:-each]])

    def _watch(self, value: Tensor, each: int) -> None:
        vectors = value.flatten(0, -2).double().cpu()
        if self.watched is None:
            zeros = vectors.new_zeros(vectors.shape[1])
            self.watched = Watched(total=zeros, gram=torch.outer(zeros, zeros))
        self.watched.count += len(vectors)
        self.watched.total = self.watched.total + vectors.sum(0)
        self.watched.gram = self.watched.gram + vectors.T @ vectors
        self.watched.samples += list(vectors.unflatten(0, (len(value) // each, -1)).mean(1))
        if self.span is not None:
            low, high = self.span
            edge = EDGE * (high - low)
            self.watched.saturated += int(((vectors < low + edge) | (vectors > high - edge)).sum())

    @contextlib.contextmanager
    def replaced(self, replacement: Replacement) -> Iterator[None]:
        """Within, the signal is replaced; by its mean only after a split was watched."""
        self.replacement, self._before = replacement, None
        try:
            yield
        finally:
            self.replacement = self._before = None


class Controlled(NamedTuple):
    """The signals of one mechanism, one a layer or stream, replaced together.

    Attributes:
        signals: of every layer.
        by: what they are replaced by.
    """

    signals: Sequence[Signal]
    by: tuple[Replacement, ...] = ("mean", "other")


def interventions(controlled: Mapping[str, Controlled]) -> dict[str, Intervention]:
    """Every replacement of every mechanism's signals, by the name MECHANISM_REPLACEMENT."""
    return {
        f"{name}_{by}": partial(_replaced, group.signals, by) for name, group in controlled.items() for by in group.by
    }


@contextlib.contextmanager
def _replaced(signals: Sequence[Signal], by: Replacement) -> Iterator[None]:
    with ExitStack() as stack:
        for signal in signals:
            stack.enter_context(signal.replaced(by))
        yield


@contextlib.contextmanager
def watching(controlled: Mapping[str, Controlled]) -> Iterator[None]:
    """Within, everything is kept that `Watched` knows of these signals; what an earlier split left is forgotten."""
    signals = [signal for group in controlled.values() for signal in group.signals]
    for signal in signals:
        signal.watched, signal.watching = None, True
    try:
        yield
    finally:
        for signal in signals:
            signal.watching = False


def described(controlled: Mapping[str, Controlled]) -> dict[str, dict[str, float]]:
    """Of every mechanism that was watched: `channels`, `spread` over samples, `effective_rank` and, where the signals
    are bounded, the share `saturated`; averaged over its layers."""
    found: dict[str, dict[str, float]] = {}
    for name, group in controlled.items():
        seen = [(signal, signal.watched) for signal in group.signals if signal.watched is not None]
        if not seen:
            continue
        of = [watched for _, watched in seen]
        found[name] = {
            "channels": sum(len(one.total) for one in of) / len(of),
            "spread": sum(one.spread() for one in of) / len(of),
            "effective_rank": sum(one.effective_rank() for one in of) / len(of),
        }
        bounded = [one.saturated / (one.count * len(one.total)) for signal, one in seen if signal.span is not None]
        if bounded:
            found[name]["saturated"] = sum(bounded) / len(bounded)
    return found
