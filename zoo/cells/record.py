"""The record of a matrix, `matrix.json`: from finished trainings to what a page shows."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from zoo.cells import after
from zoo.cells.plan import Plan
from zoo.cells.trainings import Cell, Trainings
from zoo.metrics.bootstrap import bootstrap_interval
from zoo.records import calibration
from zoo.records.comparison import per_sample, scale
from zoo.records.over_runs import spread
from zoo.search import record as search_record

Record = dict[str, Any]


def gather(
    plan: Plan,
    trainings: Trainings,
    cells: Sequence[Cell],
    refused: Sequence[tuple[str, str, str]],
    of: Mapping[str, int],
) -> Record:
    """The record of all cells that are done.

    Args:
        plan: of the matrix.
        trainings: of the matrix.
        cells: of the matrix, done or not.
        refused: pairing, method and why it does not go there.
        of: weights of the pairings' backbones, by pairing.

    Returns:
        `plan`, and by pairing its `title`, data and metric where it has rows, `weights`, `rows`, `refused` and
        `failed`. Numbers of the metric are in per cent; `gap` is the 95 % paired bootstrap interval, over test samples,
        of a method minus that of `plan.against`, the one of the nearest trained numbers.
    """
    found: Record = {
        "plan": {"name": plan.name, "seeds": plan.seeds, "rates": plan.rates, "budgets": plan.budgets}
        | {"against": plan.against},
        "pairings": {},
    }
    for setting in plan.settings:
        own = [cell for cell in cells if cell.setting.name == setting.name]
        rows = [_row(cell, trainings, runs) for cell in own if (runs := _read(trainings.measured(cell)))]
        failures = {
            f"{cell.contender.name}, {cell.budget}, {what}": why
            for cell in own
            for what, why in trainings.failures(cell).items()
        }
        told = {method: why for pairing, method, why in refused if pairing == setting.name}
        if rows or told or failures:
            found["pairings"][setting.name] = {
                "title": setting.title,
                **(_about(rows) if rows else {}),
                "weights": of[setting.name],
                "rows": _compared(rows, plan.against),
                "refused": told,
                "failed": failures,
            }
    return found


def _read(folders: Sequence[Path]) -> list[Record]:
    """The runs of a cell; none before all are done."""
    if not folders or not all((folder / "metrics.json").exists() for folder in folders):
        return []
    found = []
    for folder in folders:
        run: Record = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        run["per_sample"] = json.loads((folder / "per_sample.json").read_text(encoding="utf-8"))
        run["folder"] = folder
        found.append(run)
    return found


def _row(cell: Cell, trainings: Trainings, runs: Sequence[Record]) -> Record:
    monitor, costs = runs[0]["monitor"], [run["manifest"]["cost"] for run in runs]
    values = [scale(run) * run["metrics"][monitor] for run in runs]
    first = runs[0]["folder"] / after.RESULT
    further = json.loads(first.read_text(encoding="utf-8")) if first.exists() else {}
    tried = trainings.tried(cell)
    return {
        "method": cell.contender.name,
        "budget": cell.budget,
        **cell.size,
        "rate": trainings.chosen(cell),
        "validation": {str(rate): search_record.outcome(folder)["val"] for rate, folder in tried.items()},
        "values": values,
        **spread(values),
        # Other work on the machine only ever slows: the fastest seed says most of the method.
        "step_ms": 1000 * min(cost["median_step_s"] for cost in costs),
        "peak_mib": max(cost["peak_memory_bytes"] for cost in costs) / 2**20,
        "bytes": costs[0]["checkpoint_bytes"],
        "calibration": calibration.summary(runs),
        "changes": _largest(runs),
        **further,
        "runs": runs,
    }


def _largest(runs: Sequence[Record]) -> float | None:
    """The largest relative change of a layer's weight in any run, ||Delta|| / ||W||; None where none is changed."""
    layers = [own for run in runs for own in run.get("weight_changes", {}).values()]
    changes = [change["frobenius"] for own in layers for change in own.values()]
    return max(changes, default=None)


def _about(rows: Sequence[Record]) -> Record:
    run = rows[0]["runs"][0]
    manifests = [one["manifest"] for row in rows for one in row["runs"]]
    return {
        "dataset": run["manifest"]["data"]["name"],
        "synthetic": run["manifest"]["data"]["synthetic"],
        "metric": run["monitor"],
        "n": run["n"],
        "trivial": max((100 * values[run["monitor"]] for values in run["baselines"].values()), default=None),
        "commits": sorted({one["commit"][:8] + "-dirty" * one["dirty"] for one in manifests}),
        "hardware": sorted({one["hardware"] for one in manifests}),
        "dates": sorted({one["date"][:10] for one in manifests}),
        "seconds": round(sum(one["seconds"] for one in manifests)),
    }


def _compared(rows: Sequence[Record], against: str) -> list[Record]:
    """Rows with their gap to the method that all are compared with, and without their runs."""
    own = [row for row in rows if row["method"] == against]
    done = []
    for row in rows:
        gap = None
        if own and row["method"] != against:
            other = min(own, key=lambda one: _ratio(one["trained"], row["trained"]))
            gap = _gap(row["runs"], other["runs"])
        done.append({key: value for key, value in row.items() if key != "runs"} | {"gap": gap})
    return done


def _ratio(one: int, other: int) -> float:
    larger, smaller = max(one, other, 1), max(min(one, other), 1)
    return larger / smaller


def _gap(runs: Sequence[Record], others: Sequence[Record]) -> list[float]:
    ours, theirs = per_sample(runs), per_sample(others)
    difference = torch.tensor([ours[name] - theirs[name] for name in theirs], dtype=torch.double)
    return [scale(runs[0]) * end for end in bootstrap_interval(difference)]
