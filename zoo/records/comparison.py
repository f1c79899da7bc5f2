"""The record of a comparison: a recipe beside its controls over seeds, from finished run folders to table cells."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.metrics.names import directed, named
from zoo.records import calibration, interventions
from zoo.records.over_runs import plus_minus, spread

ITSELF = "recipe"

TEST = "test"


def gather(folder: Path, variants: Sequence[str], rounds: Sequence[str], *, command: str) -> dict[str, Any]:
    """One record from `folder/<variant>/<round>/`: metrics in per cent, mean and deviation over rounds.

    Args:
        folder: of the comparison.
        variants: names, `recipe` first.
        rounds: trainings of every variant, `seed0` or `fold0` and so on.
        command: that made it, for the reader.

    Returns:
        `about` (data, metric, commit, ...), `baselines` (trivial predictors of the monitored metric) and `rows`; the
        `gap` of a row is the 95 % paired bootstrap interval over test samples of recipe minus variant. A row may carry
        `method`, the method's own numbers in their units, `branches` by what was shown (`test` or a probe): share of
        the samples and accuracy on them, in per cent, `parts`, what replacing each of them changed, and `calibration`
        of probabilities.
    """
    runs = {variant: [_read(folder / variant / label) for label in rounds] for variant in variants}
    first = runs[ITSELF][0]
    manifest, monitor = first["manifest"], first["monitor"]
    every = [run for group in runs.values() for run in group]
    about = {
        "metric": monitor,
        "split": first["split"],
        "n": first["n"],
        "seeds": sorted({run["manifest"]["seed"] for run in every}),
        "folds": len(rounds) if rounds[0].startswith("fold") else None,
        "dataset": manifest["data"]["name"],
        "synthetic": manifest["data"]["synthetic"],
        "selected_on": manifest["selected_on"],
        "commit": manifest["commit"],
        "dirty": any(run["manifest"]["dirty"] for run in every),
        "hardware": manifest["hardware"],
        "date": max(run["manifest"]["date"] for run in every)[:10],
        "command": command,
    }
    own = per_sample(runs[ITSELF])
    rows = [_row(name, group, own) for name, group in runs.items()]
    trivial = {name: 100 * values[monitor] for name, values in first["baselines"].items() if monitor in values}
    return {"about": about, "baselines": trivial, "rows": rows}


def _read(run: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    record["per_sample"] = json.loads((run / "per_sample.json").read_text(encoding="utf-8"))
    return record


def scale(record: Mapping[str, Any]) -> float:
    """Factor that turns a run's numbers into per cent."""
    return 100 if record["unit"] == "fraction" else 1


def _row(name: str, group: Sequence[Mapping[str, Any]], own: Mapping[str, float]) -> dict[str, Any]:
    costs = [run["manifest"]["cost"] for run in group]
    parts = interventions.summary(interventions.of(group), scale(group[0]))
    further = {"method": _method(group), "branches": _branches(group), "parts": parts}
    further[calibration.KEY] = calibration.summary(group)
    return {
        "name": name,
        "probes": [f"{group[0]['monitor']}_{name}" for name in group[0].get("probes", {})],
        "metrics": {
            metric: spread([scale(run) * run["metrics"][metric] for run in group]) for metric in group[0]["metrics"]
        },
        "gap": None if name == ITSELF else _gap(own, per_sample(group), scale(group[0])),
        "trainable": group[0]["manifest"]["parameters"]["trainable"],
        "step_ms": round(1000 * statistics.median(cost["median_step_s"] for cost in costs)),
        "peak_mib": round(max(cost["peak_memory_bytes"] for cost in costs) / 2**20),
        "checkpoint_kib": round(costs[0]["checkpoint_bytes"] / 2**10),
        **{key: value for key, value in further.items() if value},
    }


def _method(group: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What every run has in units of its own, of the method and of the task."""
    own = [run.get("method", {}) | run.get("quantities", {}) for run in group]
    return {name: spread([numbers[name] for numbers in own]) for name in own[0] if all(name in n for n in own)}


def _branches(group: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """By what was shown and by branch: `share` over all runs, `accuracy` over those in which the branch was taken."""
    # Runs of before there were branches say nothing of them.
    shown = {TEST: [run["branches"] for run in group if "branches" in run]}
    for name in group[0].get("probes", {}):
        probes = [run["probes"][name] for run in group]
        shown[name] = [probe["branches"] for probe in probes if "branches" in probe]
    found: dict[str, Any] = {}
    for name, runs in shown.items():
        for branch in dict.fromkeys(branch for parts in runs for branch in parts):
            taken = [parts[branch]["accuracy"] for parts in runs if branch in parts]
            found.setdefault(name, {})[branch] = {
                "share": spread([100 * parts.get(branch, {"share": 0.0})["share"] for parts in runs]),
                "accuracy": spread([scale(group[0]) * value for value in taken]),
            }
    return found


def per_sample(group: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The monitored metric by test sample, averaged over the rounds that test it."""
    found: dict[str, list[float]] = {}
    for run in group:
        for name, value in run["per_sample"].items():
            found.setdefault(name, []).append(value)
    return {name: statistics.fmean(values) for name, values in found.items()}


def _gap(own: Mapping[str, float], other: Mapping[str, float], unit: float) -> list[float]:
    import torch

    from zoo.metrics.bootstrap import bootstrap_interval

    difference = torch.tensor([own[video] - other[video] for video in own], dtype=torch.double)
    return [unit * end for end in bootstrap_interval(difference)]


COST = ("trainable", "step_ms", "peak_mib", "checkpoint_kib")


def cells(record: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table, in words: trivial predictors last, costs in the last `len(COST)` columns."""
    rows, monitor = record["rows"], record["about"]["metric"]
    # What a method takes its answers from says more than a second way to count them.
    probes = rows[0].get("probes", [])
    others = [*probes, *(name for name in rows[0]["metrics"] if name not in (monitor, *probes))][:3]
    header = ["variant", f"{named(monitor)}, %", "recipe minus variant, 95 %", *map(directed, others)]
    header += ["trainable", "step ms", "peak MiB", "checkpoint KiB"]
    table = []
    for row in rows:
        gap = f"{row['gap'][0]:+.2f}..{row['gap'][1]:+.2f}" if row["gap"] else ""
        metrics = [plus_minus(row["metrics"].get(name)) for name in (monitor, *others)]
        cost = [f"{row[name]:,}" if name == "trainable" else str(row[name]) for name in COST]
        table.append([named(row["name"]), metrics[0], gap, *metrics[1:], *cost])
    blank = [""] * (len(header) - 2)
    table += [[f"({named(name)})", f"{value:.2f}", *blank] for name, value in record["baselines"].items()]
    return header, table


BRANCH = "branch_"
"""Names of branch shares among a method's diagnostics; the table of branches shows them."""


def method_cells(record: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of what has units of its own, by variant, in words; no rows where none has any."""
    rows = [row for row in record["rows"] if row.get("method")]
    names = list(dict.fromkeys(name for row in rows for name in row["method"] if not name.startswith(BRANCH)))
    cells = [[row["name"], *(plus_minus(row["method"].get(name)) for name in names)] for row in rows]
    return ["variant", *map(directed, names)], [[named(name), *rest] for name, *rest in cells if any(rest)]


def branch_cells(record: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of shares and accuracies, in per cent, by variant and what was shown; no rows where none has.

    A probe that took the one branch of the test split is left out: its accuracy stands among the metrics.
    """
    rows = [
        (row["name"], shown, of)
        for row in record["rows"]
        for shown, of in row.get("branches", {}).items()
        if shown == TEST or len(of) > 1 or list(of) != list(row["branches"].get(TEST, {}))
    ]
    names = list(dict.fromkeys(branch for _, _, of in rows for branch in of))
    header = ["variant", "shown", *(f"{name}: {what}, %" for name in names for what in ("share", "accuracy"))]
    cells = []
    for variant, shown, of in rows:
        parts = [of.get(name, {}) for name in names]
        pairs = [plus_minus(part.get(what)) for part in parts for what in ("share", "accuracy")]
        cells.append([named(variant), named(shown), *pairs])
    return header, cells


def part_cells(record: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of what replacing parts changed, by variant; no rows where nobody measured it."""
    found = [(row["name"], row["parts"]) for row in record["rows"] if row.get("parts")]
    rows = [[named(name), *cells] for name, parts in found for cells in interventions.cells(parts)]
    return ["variant", *interventions.HEADER], rows


def calibration_cells(record: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of calibration by variant; no rows where nobody measured it."""
    found = [(row["name"], row[calibration.KEY]) for row in record["rows"] if row.get(calibration.KEY)]
    rows = [[named(name), *cells] for name, one in found for cells in calibration.cells(one)]
    # What says nothing of a variant, but of the split, stands once, below.
    rows = [row for row in rows if row[1] != calibration.OF_SHARES] + [
        ["", *row[1:]] for row in rows if row[1] == calibration.OF_SHARES
    ][:1]
    return ["variant", *calibration.HEADER], rows


def signal_cells(record: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of control signals by variant; no rows where there are none."""
    found = [(row["name"], row["parts"]) for row in record["rows"] if row.get("parts")]
    rows = [[named(name), *cells] for name, parts in found for cells in interventions.signal_cells(parts)]
    return ["variant", *interventions.SIGNAL_HEADER], rows
