"""Whether a measurement says the same as a stored one: of the same data, within the interval that was stored."""

from collections.abc import Mapping
from typing import Any

from zoo.metrics import names
from zoo.wording import number

EXACT = 1e-6
"""Fractions nearer than this are the same number: other machines sum in another order."""


def verdict(now: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Compare two records of `zoo.training.measure.measure`, each with its manifest.

    Returns:
        `reproduces`: true, false, or null where the data differ; `exact`: every metric that both have is the same;
        `line`: in words.
    """
    metric, unit = stored["monitor"], stored["unit"]
    name, value, was = names.named(metric), now["metrics"][metric], stored["metrics"][metric]
    if summed := now.get("summed"):
        line = (
            f"{name} {number(value, unit)} now, of the sum of {', '.join(summed)}: no card has it, nothing to reproduce"
        )
        return {"reproduces": None, "exact": False, "line": line}
    if was is None:
        return {
            "reproduces": None,
            "exact": False,
            "line": f"{name} {number(value, unit)} now; its card has no number of this code's, so nothing to reproduce",
        }
    line = f"{name} {number(value, unit)} now, {number(was, unit)} in the card"
    if settings := now.get("chosen"):
        told = ", ".join(f"method.{key}={value}" for key, value in settings.items())
        return {"reproduces": None, "exact": False, "line": f"{line}: with {told}, so nothing to reproduce"}
    then, found = (record["manifest"]["data"]["fingerprint"] for record in (stored, now))
    if then != found:
        line = f"{line}: other data than the card's (fingerprint {found[:12]}, there {then[:12]}), nothing to reproduce"
        return {"reproduces": None, "exact": False, "line": line}
    both = [(v, stored["metrics"][m]) for m, v in now["metrics"].items() if m in stored["metrics"]]
    exact = all(abs(a - b) < EXACT for a, b in both if b == b)
    interval = stored["intervals"].get(metric)
    if interval is None:
        within, bounds = exact, "which gives no interval"
    else:
        within = interval[0] - EXACT <= value <= interval[1] + EXACT
        bounds = f"95 % interval {number(interval[0], unit)} to {number(interval[1], unit)}"
    line = f"{'reproduces' if within else 'DOES NOT reproduce'}: {line} ({bounds})"
    return {"reproduces": within, "exact": exact, "line": line + ("; every metric is the same" if exact else "")}
