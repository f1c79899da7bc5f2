"""The record of a sweep, `sweep.json`: space, trials with what validation says of them, the winner and its test."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

from rich.table import Table

from zoo import files, wording
from zoo.records import provenance
from zoo.search import trial
from zoo.search.trial import FITTED, MEASURED, SELECTED

Record = dict[str, Any]

RECORD = "sweep.json"


def name(point: int, seed: int) -> str:
    """Name of a trial and of its folder."""
    return f"{point:03d}-seed{seed}"


def start(folder: Path, recipe: str, asked: dict[str, Any], points: Sequence[dict[str, Any]]) -> Record:
    """The record before the first trial, written to the folder.

    Args:
        folder: of the sweep.
        recipe: its name.
        asked: `Plan.asked`.
        points: to try; others may be added.
    """
    record = provenance.manifest(recipe=recipe, selected_on="val", **asked, points=[], winner=None)
    for point in points:
        _append(record, point)
    files.write_json(folder / RECORD, record)
    return record


def add(folder: Path, record: Record, point: dict[str, Any]) -> None:
    """Add a point, to the file too."""
    _append(record, point)
    files.write_json(folder / RECORD, record)


def _append(record: Record, point: dict[str, Any]) -> None:
    number = len(record["points"])
    trials = [{"trial": name(number, seed), "seed": seed} for seed in record["seeds"]]
    record["points"].append({"values": point, "trials": trials})


def gather(folder: Path, record: Record) -> Record:
    """The record with what every trial reached, and the winner: the best mean over seeds, the first of equals."""
    points = [
        point | {"trials": [one | outcome(folder / "trials" / one["trial"]) for one in point["trials"]]}
        for point in record["points"]
    ]
    for point in points:
        values = [one["val"] for one in point["trials"]]
        point["val"] = None if None in values else statistics.fmean(values)
    best = max(points, key=_standing)
    winner = best | {"trials": [one["trial"] for one in best["trials"]]} if best["val"] is not None else None
    record = record | {"points": points, "winner": winner}
    files.write_json(folder / RECORD, record)
    return record


def outcome(folder: Path) -> dict[str, Any]:
    """Result of a trial from its folder: best validation metric (or null), its epoch, seconds, attempts."""
    attempts = trial.attempts(folder)
    if not (folder / FITTED).exists():
        error = trial.last_error(folder)
        if (curve := trial.pruned(folder)) is not None:
            error = f"pruned after validation {len(curve)}, the best so far {max(curve):.4g}"
        return {"val": None, "attempts": attempts, "error": error}
    fitted = json.loads((folder / FITTED).read_text(encoding="utf-8"))
    best = max((row for row in fitted["history"] if SELECTED in row), key=lambda row: row[SELECTED])
    return {
        "val": best[SELECTED],
        "epoch": round(best["epoch"] + 1, 2),
        "unit": fitted["unit"],
        "seconds": round(fitted["seconds"], 1),
        "attempts": attempts,
    }


def line(folder: Path, one: str, trials: int) -> str:
    """A trial that has ended, for the reader."""
    found = outcome(folder / "trials" / one)
    result = f"val {wording.number(found['val'], found['unit'])}" if found["val"] is not None else found["error"]
    result = shorten(result, 90)
    again = f", {found['attempts']} attempts" if found["attempts"] > 1 else ""
    return f"{one} of {trials} trials: {result}{again}"


def tested(folder: Path, record: Record) -> Record:
    """The record with the winner's test metrics, one value a seed."""
    measured = [
        json.loads((folder / "trials" / one / MEASURED).read_text(encoding="utf-8"))
        for one in record["winner"]["trials"]
    ]
    first = measured[0]
    test = {
        "metric": first["monitor"],
        "unit": first["unit"],
        "n": first["n"],
        "synthetic": first["manifest"]["data"]["synthetic"],
        "values": [one["metrics"][first["monitor"]] for one in measured],
    }
    record = record | {"winner": record["winner"] | {"test": test}}
    files.write_json(folder / RECORD, record)
    return record


def _standing(point: dict[str, Any]) -> tuple[bool, float]:
    return point["val"] is not None, point["val"] or 0.0


def table(record: Record, folder: Path) -> Table:
    """Every point, the best first."""
    keys, winner = list(record["space"]), record["winner"]
    several = len(record["seeds"]) > 1
    made = Table(title=f"{record['recipe']}: {len(record['points'])} points, seeds {record['seeds']}")
    for head in ("", *keys, "val" + (" (mean ± deviation)" if several else ""), "epoch", "seconds", "trials"):
        made.add_column(head, justify="left" if head in ("", "trials") else "right")
    for point in sorted(record["points"], key=_standing, reverse=True):
        trials = point["trials"]
        won = winner is not None and trials[0]["trial"] == winner["trials"][0]
        cells = ["-", "-", "-"]
        if point["val"] is not None:
            unit, values = trials[0]["unit"], [one["val"] for one in trials]
            spread = f" ± {wording.number(statistics.stdev(values), unit)}" if several else ""
            details = [", ".join(str(one[key]) for one in trials) for key in ("epoch", "seconds")]
            cells = [wording.number(point["val"], unit) + spread, *details]
        failed = "\n".join(shorten(f"{one['trial']}: {one['error']}", 60) for one in trials if "error" in one)
        made.add_row(
            "*" if won else "",
            *(f"{point['values'][key]}" for key in keys),
            *cells,
            failed or ", ".join(one["trial"] for one in trials),
        )
    if winner is not None:
        test = winner["test"]
        measured = ", ".join(wording.number(value, test["unit"]) for value in test["values"])
        made.caption = (
            f"* selected on val; test measured once, for the winner: {test['metric']} {measured} (n = {test['n']})"
            + ("; a synthetic set: not a benchmark result" if test["synthetic"] else "")
            + f"\n{folder}"
        )
    return made
