"""Calibration in records of runs, and as rows of tables: a test split's probabilities as they are, the same at the
temperature fitted on validation, and for comparison the shares of its classes, given to every sample.

A record's `calibration` holds `n` labels, `raw`, `tempered` and `shares`, each with the metrics of `CALIBRATION`, and
`temperature`. `zoo.training.calibration` measures it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from zoo.metrics.names import CALIBRATION, LOWER, named
from zoo.records.over_runs import plus_minus, spread

KEY = "calibration"

RAW, TEMPERED, SHARES, TEMPERATURE = "raw", "tempered", "shares", "temperature"

OF_SHARES = "(the classes' shares)"
"""What they are called in a table."""

DIGITS = 3

HEADER = ("probabilities", *map(named, CALIBRATION))

LEGEND = f"{LOWER}; the temperature is fitted on validation, which selects checkpoints as well, and changes no decision"
"""Of the numbers under `HEADER`."""


def apart(metrics: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """A task's metrics in its unit, and those of calibration."""
    parts: tuple[dict[str, float], dict[str, float]] = ({}, {})
    for name, value in metrics.items():
        parts[name in CALIBRATION][name] = value
    return parts


def temperature(record: Mapping[str, Any]) -> float | None:
    """The temperature of a run's probabilities; None where none was fitted, as in runs of before."""
    value: float | None = record.get(KEY, {}).get(TEMPERATURE, {}).get("value")
    return value


def summary(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and deviation over runs of what all of them measured; empty where some measured nothing.

    Args:
        runs: their records.
    """
    found = [run[KEY] for run in runs if KEY in run]
    if not found or len(found) < len(runs):
        return {}
    summed: dict[str, Any] = {
        which: {name: spread([one[which][name] for one in found]) for name in CALIBRATION}
        for which in (RAW, TEMPERED, SHARES)
        if all(which in one for one in found)
    }
    if TEMPERED in summed:
        summed[TEMPERATURE] = spread([one[TEMPERATURE]["value"] for one in found])
    return summed


def cells(found: Mapping[str, Any]) -> list[list[str]]:
    """Rows under `HEADER`, of a `summary`; none of an empty one."""
    rows = []
    for which in (RAW, TEMPERED, SHARES):
        if which in found:
            numbers = [plus_minus(found[which][name], DIGITS) for name in CALIBRATION]
            rows.append([_called(which, found), *numbers])
    return rows


def _called(which: str, found: Mapping[str, Any]) -> str:
    if which == TEMPERED:
        return f"at temperature {plus_minus(found[TEMPERATURE])}"
    return "as they are" if which == RAW else OF_SHARES
