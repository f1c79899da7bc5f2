"""One sample through a pairing, as arrays that figures are drawn from."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from zoo.inference.predictor import predict_batch
from zoo.pairing import Pairing
from zoo.report import figures

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Answer:
    """A sample and its answer.

    Attributes:
        sample: a Clip, a Cloud or a Picture, as it was asked about.
        record: plain values, the line that `zoo.predict` prints.
        output: the task's decoded output, without the batch dimension.
        decoded: the same as tensors.
        observed: what the method shows of it, one row a segment.
        seconds: that it took.
    """

    sample: Any
    record: dict[str, Any]
    output: Arrays
    decoded: Mapping[str, Tensor]
    observed: Arrays
    seconds: float

    @property
    def footer(self) -> str:
        """How long it took, and how far the sample lies from training, where the adapter can tell."""
        far = self.record.get("unlike_training")
        told = "" if far is None else f" Distance from training: {far:g} of the limit."
        return f"Answered in {self.seconds:.2f} s.{told}"

    @property
    def plain(self) -> str:
        """The prediction in plain values, as HTML, for a task that names no picture that the page knows."""
        return "<br>".join(escape(line) for line, *_ in figures.plain(self.record))

    def truth(self, name: str) -> NDArray[Any] | None:
        """The sample's label of that name, where it is known."""
        target: dict[str, Tensor] = self.sample.target
        return target[name].numpy() if name in target else None


def ask(pairing: Pairing, sample: Any) -> Answer:
    """Answer one decoded sample.

    Raises:
        SettingError: there is no question where one is needed, or no choices.
    """
    start = time.perf_counter()
    (found,) = predict_batch(pairing, [sample])
    seconds = time.perf_counter() - start
    return Answer(sample, found.record, _arrays(found.output), found.output, _arrays(found.observed), seconds)


def _arrays(tensors: Mapping[str, Tensor]) -> Arrays:
    return {
        name: (value.float() if value.is_floating_point() else value).cpu().numpy() for name, value in tensors.items()
    }
