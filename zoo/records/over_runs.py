"""Mean and deviation of a number over several trainings of one recipe."""

import statistics
from collections.abc import Mapping, Sequence


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """Mean and sample deviation; the deviation of one value is None."""
    return {"mean": statistics.fmean(values), "std": statistics.stdev(values) if len(values) > 1 else None}


def plus_minus(value: Mapping[str, float | None] | None, digits: int = 2) -> str:
    """Mean and deviation for a reader; empty where there is none."""
    if value is None:
        return ""
    return f"{value['mean']:.{digits}f}" + (f"±{value['std']:.{digits}f}" if value["std"] is not None else "")
