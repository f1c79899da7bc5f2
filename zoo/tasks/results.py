"""Predictions as Python has them: a typed view of the line that `zoo.predict` writes, by kind of answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import groupby
from typing import Any, ClassVar, NamedTuple

import numpy as np
from torch import Tensor


class Segment(NamedTuple):
    """A stretch of a clip, in seconds of its file."""

    start: float
    end: float
    label: str
    probability: float


@dataclass(frozen=True, repr=False)
class Prediction:
    """A sample and what a pairing predicts for it.

    Attributes:
        record: `id` and the prediction in plain values, as JSON has them; `id` and `error` where it failed.
        sample: the prepared sample; None where there is an error.
        output: the task's decoded output by name, without the batch dimension.
        observed: the method's diagnostics by name, one row a segment.
        names: of the classes, in the order of the output's last dimension.
    """

    record: dict[str, Any]
    sample: Any = None
    output: Mapping[str, Tensor] = field(default_factory=dict)
    observed: Mapping[str, Tensor] = field(default_factory=dict)
    names: Sequence[str] = ()

    shown: ClassVar[tuple[str, ...]] = ("error",)
    """Properties that its representation names, where they have a value."""

    @property
    def id(self) -> str:
        """Name of the sample: its path, or its place among the inputs."""
        return str(self.record["id"])

    @property
    def error(self) -> str:
        """Why there is no prediction; empty where there is one."""
        return str(self.record.get("error", ""))

    @property
    def notes(self) -> list[str]:
        """What was imputed, padded, left out, or is not to be relied on."""
        return list(self.record.get("notes", []))

    @property
    def unlike_training(self) -> float | None:
        """Distance from the training data, above 1 where the sample is foreign; None where an adapter cannot tell."""
        return self.record.get("unlike_training")

    def __repr__(self) -> str:
        found = {name: getattr(self, name) for name in ("id", *(("error",) if self.error else self.shown))}
        inner = ", ".join(f"{name}={_short(value)}" for name, value in found.items() if value not in ("", None))
        return f"{type(self).__name__}({inner}{f', {len(self.notes)} notes' if self.notes else ''})"

    def _repr_html_(self) -> str:
        """The record as a table, for notebooks."""
        return html_table(
            {key: value if isinstance(value, str) else _short(value) for key, value in self.record.items()}
        )


class Label(Prediction):
    """One class for a whole sample."""

    shown = ("label", "probability")

    @property
    def label(self) -> str:
        """The likeliest class."""
        return str(self.record["label"])

    @property
    def probability(self) -> float:
        """Of the label."""
        return float(self.record["probability"])

    @property
    def probabilities(self) -> dict[str, float]:
        """Of every class."""
        return dict(zip(self.names, self.output["probabilities"].tolist(), strict=True))


class Segments(Prediction):
    """One class for every segment of a clip."""

    shown = ("events",)

    @property
    def segments(self) -> list[Segment]:
        """All segments in order, background among them."""
        start, labels = self.record["start"], self.record["segments"]
        each = (self.record["end"] - start) / len(labels)
        return [
            Segment(round(start + k * each, 6), round(start + (k + 1) * each, 6), label, probability)
            for k, (label, probability) in enumerate(zip(labels, self.record["probability"], strict=True))
        ]

    @property
    def events(self) -> list[Segment]:
        """Neighbouring segments of one class joined, with their mean probability; background is left out."""
        joined = [list(group) for _, group in groupby(self.segments, key=lambda segment: segment.label)]
        background = self.names[-1]
        return [
            Segment(run[0].start, run[-1].end, run[0].label, sum(one.probability for one in run) / len(run))
            for run in joined
            if run[0].label != background
        ]


class Streams(Prediction):
    """The classes heard and seen in every segment of a clip."""

    shown = ("audio", "visual")

    @property
    def audio(self) -> list[list[str]]:
        """The classes heard, segment by segment."""
        return list(self.record["audio"])

    @property
    def visual(self) -> list[list[str]]:
        """The classes seen, segment by segment."""
        return list(self.record["visual"])


class Parts(Prediction):
    """One part for every sampled point of a cloud, whose coordinates are `sample.points`, [N, 3]."""

    shown = ("parts",)

    @property
    def parts(self) -> list[str]:
        """Name of the part of every point."""
        return list(self.record["parts"])


class Mask(Prediction):
    """One class for every pixel of a picture."""

    shown = ("shares",)

    @property
    def mask(self) -> np.ndarray:
        """Index of every pixel's class, uint8 [H, W], in the picture's own pixels."""
        return self.output["mask"].cpu().numpy()

    @property
    def shares(self) -> dict[str, float]:
        """Of the area, by class that occurs."""
        return {name: one["share"] for name, one in self.record["classes"].items()}


class SoundingMasks(Prediction):
    """What sounds in every segment of a clip, as a mask of its picture."""

    shown = ("shares",)

    @property
    def masks(self) -> np.ndarray:
        """1 on what sounds, uint8 [T, S, S], in pixels of the square that the encoder saw of every picture."""
        return self.output["masks"].cpu().numpy()

    @property
    def shares(self) -> list[float]:
        """Of the square's area, segment by segment; 0 where nothing in it sounds."""
        return [found["share"] if found else 0.0 for found in self.record["sounding"]]


class Text(Prediction):
    """What a language model wrote."""

    shown = ("text", "letter")

    @property
    def text(self) -> str:
        """As it was written."""
        return str(self.record["written"])

    @property
    def letter(self) -> str | None:
        """The chosen letter, or several ("A C"); None for an open question, or where the text is no plain answer."""
        return self.record.get("letter")


def html_table(facts: Mapping[str, str]) -> str:
    """Names beside texts, escaped."""
    left = "style='text-align:left'"
    rows = (f"<tr><th {left}>{escape(name)}</th><td {left}>{escape(text)}</td></tr>" for name, text in facts.items())
    return f"<table>{''.join(rows)}</table>"


def _short(value: Any) -> str:
    """A value in at most 200 characters."""
    text = repr(value) if not isinstance(value, float) else f"{value:.4g}"
    return text if len(text) <= 200 else f"{text[:197]}..."
