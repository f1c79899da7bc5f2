"""What replacing the parts of a method changed, from records of runs to table cells and warnings.

`zoo.training.interventions` measures it, `zoo.methods.signals` says what is replaced.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from zoo.metrics.names import named, replaced
from zoo.records import comparison

KEY = "interventions"

WITHOUT = "without"
"""The intervention that takes the trained method away."""

INERT = 0.01
"""A mechanism is inert where no replacement of it changes this share of the predictions."""

SIGNALS = ("channels", "effective_rank", "spread", "saturated")


def of(records: Sequence[Mapping[str, Any]], split: str = "test") -> list[Mapping[str, Any]]:
    """What each of these runs measured of a split: in its training, or in the last evaluation that did."""
    found = []
    for record in records:
        measured = [one[KEY] for one in (record, *record.get("evaluations", [])) if split in one.get(KEY, {})]
        found += [measured[-1][split]] if measured else []
    return found


def mechanism(intervention: str) -> str:
    """`text` of `text_mean`."""
    return intervention if intervention == WITHOUT else intervention.rpartition("_")[0]


def changes(measured: Mapping[str, Any]) -> dict[str, float]:
    """By mechanism, the largest share of predictions that a replacement of it changes."""
    found: dict[str, float] = {}
    for name, one in measured["replaced"].items():
        if one["changed"] is not None:
            found[mechanism(name)] = max(one["changed"], found.get(mechanism(name), 0.0))
    return found


def inert(record: Mapping[str, Any]) -> list[str]:
    """A line for every mechanism that no replacement shows at work on the validation split."""
    return [
        f"{_called(name)} is inert: replacing it changes {100 * share:.2f} % of the predictions on validation"
        for measured in of([record], "val")
        for name, share in changes(measured).items()
        if share < INERT
    ]


def _called(name: str) -> str:
    return "the trained method" if name == WITHOUT else f"mechanism '{named(name)}'"


def cells(measured: Sequence[Mapping[str, Any]], unit: float) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a table of replaced parts; no rows without runs.

    Args:
        measured: of `of`: mean and deviation over several.
        unit: that makes their metric per cent.
    """
    header = ["replaced", "predictions changed, %", "change of the metric, points", "share of the gain lost, %"]
    names = list(measured[0]["replaced"]) if measured else []
    rows = []
    for name in names:
        runs = [one["replaced"][name] for one in measured]
        change = _over([unit * run["change"] for run in runs])
        if len(runs) == 1:
            low, high = (unit * end for end in runs[0]["interval"])
            change += f" [{low:+.2f}, {high:+.2f}]"
        lost = [100 * run["lost"] for run in runs if "lost" in run]
        changed = [100 * run["changed"] for run in runs if run["changed"] is not None]
        rows.append([replaced(name), _over(changed), change, _over(lost) if len(lost) == len(runs) else ""])
    return header, rows


def signal_cells(measured: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a table of control signals, averaged over runs; no rows without."""
    header = ["control signal", "channels", "effective rank", "deviation over samples", "saturated, %"]
    rows = []
    for name in measured[0]["signals"] if measured else ():
        values = [[run["signals"][name].get(key) for run in measured] for key in SIGNALS]
        mean = [statistics.fmean(known) if (known := [v for v in row if v is not None]) else None for row in values]
        formats = ("{:.0f}", "{:.2f}", "{:.3f}", "{:.1f}")
        factors = (1, 1, 1, 100)
        rows.append(
            [
                named(name),
                *("" if v is None else f.format(k * v) for v, f, k in zip(mean, formats, factors, strict=True)),
            ]
        )
    return header, rows


def _over(values: Sequence[float]) -> str:
    if not values:
        return ""
    mean, deviation = comparison.spread(values).values()
    return f"{mean:.2f}" + ("" if deviation is None else f" ± {deviation:.2f}")
