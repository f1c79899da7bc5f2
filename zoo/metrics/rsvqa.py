"""Open answers as RSVQA scores them (Lobry et al. 2020; `VQA_model/VocabEncoder.py` and `train.py` of syvlo/RSVQA).

Answers are classes there, so a written one is right where it comes to the same class. Areas are always put into ranges,
counts only on the low-resolution set. A range excludes its lower and includes its upper bound: 10 lies in "between 0
and 10". The paper writes the same ranges as "between 1 and 10", "between 11 and 100" and "between 101 and 1000".
"""

import re
from collections.abc import Sequence
from statistics import fmean

from zoo.metrics.grouped import accuracy_by, macro

RANGES = ((0, 10), (10, 100), (100, 1000))

_NUMBER = re.compile(r"(\d+|\d{1,3}(?:,\d{3})+)(m2)?")

_OF_PAPER = {
    f"between {low + 1}{unit} and {high}{unit}": f"between {low}{unit} and {high}{unit}"
    for low, high in RANGES
    for unit in ("", "m2")
}


def bucket(value: int, unit: str = "") -> str:
    """The class of a count (no unit) or an area ("m2") in the official code's words."""
    for low, high in RANGES:
        if low < value <= high:
            return f"between {low}{unit} and {high}{unit}"
    return f"more than {RANGES[-1][1]}{unit}" if value else f"0{unit}"


def canonical(text: str, *, buckets: bool) -> str:
    """The class that an answer comes to: lower case, single spaces, no full stop, and numbers by their value.

    Args:
        text: the answer, "12", "12 m2", "between 11 and 100", "Yes." and so on. A number without its unit is no area.
        buckets: put counts into ranges too.
    """
    words = re.sub(r"(?<=\d) ?m[2²]", "m2", " ".join(text.casefold().split())).rstrip(". ")
    number = _NUMBER.fullmatch(words)
    if number is None:
        return _OF_PAPER.get(words, words)
    value, unit = int(number[1].replace(",", "")), number[2] or ""
    return bucket(value, unit) if unit or buckets else str(value)


def scores(kinds: Sequence[str], right: Sequence[float]) -> dict[str, float]:
    """Metrics of N answers of so many question types, in [0, 1].

    `accuracy` over questions (OA), `average_accuracy` over types (AA), and `accuracy_TYPE` of every type there is.
    Where some questions are of the types count and area and some are not, `accuracy_without_count_and_area` over the
    latter, which is what GeoChat reports.
    """
    out = {"accuracy": fmean(right), "average_accuracy": macro(kinds, right)}
    out |= {f"accuracy_{kind}": accuracy for kind, (accuracy, _) in sorted(accuracy_by(kinds, right).items())}
    others = [value for kind, value in zip(kinds, right, strict=True) if kind not in ("count", "area")]
    if 0 < len(others) < len(right):
        out["accuracy_without_count_and_area"] = fmean(others)
    return out
