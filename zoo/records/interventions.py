"""What replacing the parts of a method changed, from records of runs to table cells and warnings.

`zoo.training.interventions` measures it, `zoo.methods.signals` says what is replaced.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from zoo.metrics.names import named, replaced
from zoo.records.over_runs import plus_minus, spread

KEY = "interventions"

WITHOUT = "without"
"""The intervention that takes the trained method away."""

INERT = 0.01
"""A mechanism is inert where no levelling replacement of it changes this share of the predictions, nor the metric by an
amount that is clear of zero: where a prediction is a pixel, most are background, whatever a mechanism does."""

HEADER = ("replaced", "changed, %", "metric, points", "95 %", "of the gain, %")

LEGEND = "share of the predictions that change, change of the metric, share lost of what the method brings"
"""Of the numbers under `HEADER`."""

SIGNAL_HEADER = ("control signal", "channels", "effective rank", "deviation over samples", "saturated, %")

PARTS = ("replaced", "signals")

SIGNALS = ("channels", "effective_rank", "spread", "saturated")


def of(records: Sequence[Mapping[str, Any]], split: str = "test") -> list[Mapping[str, Any]]:
    """What each of these runs measured of a split: in its training, or in the last evaluation that did."""
    found = []
    for record in records:
        measured = [one[KEY] for one in (record, *record.get("evaluations", [])) if split in one.get(KEY, {})]
        found += [_named(measured[-1][split])] if measured else []
    return found


def _named(measured: Mapping[str, Any]) -> Mapping[str, Any]:
    """Without what somebody wrote between the entries: a card is made of any metrics.json, before it is searched."""
    parts = {part: {k: v for k, v in measured[part].items() if isinstance(v, Mapping)} for part in PARTS}
    return {**measured, **parts}


def mechanism(intervention: str) -> str:
    """`text` of `text_alike`."""
    return intervention if intervention == WITHOUT else intervention.rpartition("_")[0]


LEVELLING = ("mean", "other", "alike")
"""Replacements that leave a signal its level and take away how it differs: by the mean, by another sample's, by the
mean of all classes. Held open, or without meaning, a signal that is the same for all changes predictions, too."""


def changes(measured: Mapping[str, Any]) -> dict[str, float]:
    """By mechanism, the largest share of predictions that a levelling replacement of it changes; any replacement, where
    there is no such one."""
    return {name: max(one["changed"] for one in ones) for name, ones in _judged(measured).items()}


def _judged(measured: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    """By mechanism, what its levelling replacements did; all of them, where there is no such one."""
    decided = {name: one for name, one in measured["replaced"].items() if one["changed"] is not None}
    levelled = {mechanism(name) for name in decided if name.rpartition("_")[2] in LEVELLING}
    found: dict[str, list[Mapping[str, Any]]] = {}
    for name, one in decided.items():
        if name.rpartition("_")[2] in LEVELLING or mechanism(name) not in levelled:
            found.setdefault(mechanism(name), []).append(one)
    return found


def inert(record: Mapping[str, Any]) -> list[str]:
    """A line for every mechanism whose differences, between samples or classes, change nothing on validation."""
    lines = []
    for measured in of([record], "val"):
        shares = changes(measured)
        for name, ones in _judged(measured).items():
            felt = any(one["interval"][0] > 0 or one["interval"][1] < 0 for one in ones)
            if shares[name] < INERT and not felt:
                told = f"{100 * shares[name]:.2f} %"
                lines.append(f"{_called(name)} is inert: replacing it changes {told} of the predictions on validation")
    return lines


def _called(name: str) -> str:
    return "the trained method" if name == WITHOUT else f"mechanism '{named(name)}'"


def summary(measured: Sequence[Mapping[str, Any]], unit: float) -> dict[str, Any]:
    """Mean and deviation over runs, empty without any: `replaced`, by intervention `changed` and `lost` in per cent and
    `change` in points; `signals`, by mechanism the mean of each of `SIGNALS`, `saturated` in per cent.

    Args:
        measured: of `of`.
        unit: that makes their metric per cent.
    """
    if not measured:
        return {}
    factors = {"changed": 100.0, "change": unit, "lost": 100.0}
    replaced: dict[str, Any] = {}
    for name in measured[0]["replaced"]:
        runs = [one["replaced"][name] for one in measured]
        # `lost` has a meaning in every run or in none.
        known = {key: [run[key] for run in runs if run.get(key) is not None] for key in factors}
        replaced[name] = {k: spread([factors[k] * v for v in vs]) for k, vs in known.items() if len(vs) == len(runs)}
    signals: dict[str, Any] = {}
    for name in measured[0]["signals"]:
        every = [one["signals"][name] for one in measured]
        signals[name] = {key: statistics.fmean(one[key] for one in every) for key in SIGNALS if key in every[0]}
        if "saturated" in signals[name]:
            signals[name]["saturated"] *= 100
    return {"replaced": replaced, "signals": signals}


def cells(found: Mapping[str, Any], interval: Mapping[str, Sequence[float]] | None = None) -> list[list[str]]:
    """Rows under `HEADER`, of a `summary`; none of an empty one.

    Args:
        found: the summary.
        interval: of the change in points, by intervention, of a single run.
    """
    rows = []
    for name, one in found.get("replaced", {}).items():
        between = "{:+.2f}..{:+.2f}".format(*interval[name]) if interval else ""
        numbers = [plus_minus(one.get(key)) for key in ("changed", "change", "lost")]
        rows.append([replaced(name), *numbers[:2], between, numbers[2]])
    return rows


def intervals(measured: Sequence[Mapping[str, Any]], unit: float) -> dict[str, list[float]] | None:
    """The paired 95 % interval of every change, in points, of a single run; None of several."""
    if len(measured) != 1:
        return None
    return {name: [unit * end for end in one["interval"]] for name, one in measured[0]["replaced"].items()}


def signal_cells(found: Mapping[str, Any]) -> list[list[str]]:
    """Rows under `SIGNAL_HEADER`, of a `summary`."""
    formats = dict(zip(SIGNALS, ("{:.0f}", "{:.2f}", "{:.3f}", "{:.1f}"), strict=True))
    return [
        [named(name), *(form.format(one[key]) if key in one else "" for key, form in formats.items())]
        for name, one in found.get("signals", {}).items()
    ]
