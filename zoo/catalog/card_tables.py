"""The results section of a model card: what was reported, what we measured, and comparisons with controls."""

from collections.abc import Mapping, Sequence
from typing import Any

from zoo.catalog import evidence
from zoo.records import calibration, comparison, interventions


def results(front: Mapping[str, Any], comparisons: Mapping[str, Any], runs: Sequence[Mapping[str, Any]] = ()) -> str:
    """The tables: reported, measured, what the method's parts do, and comparisons with controls."""
    own = front.get("zoo", {})
    compared = [_compared(name, record) for name, record in comparisons.items()]
    unlike = [_unlike(own["familiarity"])] if "familiarity" in own else []
    steps = [_steps(own["hardware"])] if "hardware" in own else []
    calibrated = [] if comparisons else _calibration(runs)  # a comparison has its own runs' and its controls'
    parts = [*steps, *calibrated, *_replaced(runs), *unlike, *compared]
    return "\n\n".join([_reported(own), _measured(front), *parts])


def _table(header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)])


def _reported(own: Mapping[str, Any]) -> str:
    rows = [
        (
            r["method"],
            r["dataset"],
            r["metric"],
            f"{r['value']} {r.get('unit', '')}".strip(),
            r.get("selected_on", "unknown"),
            r["source"],
        )
        for r in own.get("reported") or []
    ]
    if not rows:
        return "**Reported** (not by us): nothing published."
    return "**Reported** (not by us):\n\n" + _table(
        ("method", "data", "metric", "value", "selected on", "source"), rows
    )


def _measured(front: Mapping[str, Any]) -> str:
    rows = []
    for model in front.get("model-index") or []:
        for result in model["results"]:
            for m in result["metrics"]:
                a = m.get("args", {})
                spread = f" ± {a['std']:.2f}" if a.get("std") is not None else ""
                interval = f" [{a['interval'][0]:.2f}, {a['interval'][1]:.2f}]" if a.get("interval") else ""
                rows.append(
                    (
                        result["dataset"]["name"],
                        m["name"],
                        f"{m['value']:.2f} %{spread}{interval}",
                        a["n"],
                        f"{a['seeds']}, {a['folds']} folds" if "folds" in a else a["seeds"],
                        a["selected_on"],
                        a["commit"][:8],
                        a["hardware"],
                        a["date"],
                    )
                )
    if not rows:
        return "**Measured** by this code: not measured."
    header = ("data (test)", "metric", "value", "n", "seeds", "selected on", "commit", "hardware", "date")
    return "**Measured** by this code:\n\n" + _table(header, rows)


def _calibration(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = calibration.cells(calibration.summary(runs))
    if not rows or not all(map(evidence.publishable, runs)):
        return []
    return [
        f"**Calibration** of its probabilities, of the same runs ({calibration.LEGEND}):\n\n"
        + _table(calibration.HEADER, [tuple(row) for row in rows])
    ]


def _replaced(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    measured = interventions.of(runs)
    if not measured:
        return []
    over = f"mean ± deviation over {len(measured)} runs" if len(measured) > 1 else "with the paired 95 % interval"
    factor = comparison.scale(runs[0])
    found = interventions.summary(measured, factor)
    rows = interventions.cells(found, interventions.intervals(measured, factor))
    parts = [
        f"**What its parts do**: one replaced at a time on {measured[0]['n']} test samples ({interventions.LEGEND}; "
        f"{over}):\n\n" + _table(interventions.HEADER, [tuple(row) for row in rows])
    ]
    if signals := interventions.signal_cells(found):
        table = _table(interventions.SIGNAL_HEADER, [tuple(row) for row in signals])
        parts.append(f"Its control signals, on the same samples:\n\n{table}")
    lines = list(dict.fromkeys(line for run in runs for line in interventions.inert(run)))
    return parts + (["\n".join(f"- {line}" for line in lines)] if lines else [])


def _steps(record: Mapping[str, Any]) -> str:
    where = f"commit {record['commit'][:8]}, {record['gpu']}, {record['date']}; `python benchmarks/gpu.py`"
    rows = [
        (
            one["what"],
            one["method"],
            one["arithmetic"],
            one["batch"],
            f"{one['ms']:.1f}",
            f"{one['gib']:.2f}",
            f"{one['of_peak']:.1f} %",
        )
        for one in record["steps"]
    ]
    header = ("backbone", "method", "arithmetic", "batch", "step, ms", "peak memory, GiB", "of peak FLOP/s")
    return f"**Training steps on a GPU**, random weights of the true shapes ({where}):\n\n" + _table(header, rows)


def _unlike(record: Mapping[str, Any]) -> str:
    own, *foreign = record["fires"].items()
    rows = [(f"{own[0]}, own test split: false alarms", own[1]), *foreign]
    where = f"commit {(record['commit'] or 'unknown')[:8]}, {record['hardware']}, {record['date'][:10]}"
    return (
        "**Unlike its training**: how often answers say that their input is, by the distance of frozen features to the "
        f"training split's ({where}; `{record['command']}`). Where it does not fire, an input may "
        "be foreign all the same:\n\n"
    ) + _table(("data", "fires", "n"), [(name, f"{100 * one['fires']:.1f} %", one["n"]) for name, one in rows])


def _compared(name: str, record: Mapping[str, Any]) -> str:
    about = record["about"]
    over = f"{about['folds']} folds" if about.get("folds") else f"seeds {about['seeds']}"
    where = (
        f"{about['dataset']}, n = {about['n']}, {over}, selected on {about['selected_on']}, commit "
        f"{about['commit'][:8]}, {about['hardware']}, {about['date']}; `{about['command']}`"
    )
    header, rows = comparison.cells(record)
    title = "Beside its controls" if name == "main" else f"Beside its controls, {name}"
    rounds = "folds" if about.get("folds") else "seeds"
    parts = [
        f"**{title}**, measured by this code (mean ± deviation over {rounds}; in brackets trivial predictors; "
        f"{where}):\n\n" + _table(tuple(header), [tuple(row) for row in rows])
    ]
    for what, (header, rows) in (
        ("In units of their own", comparison.method_cells(record)),
        ("Branches of the method", comparison.branch_cells(record)),
        (f"Calibration ({calibration.LEGEND})", comparison.calibration_cells(record)),
        ("One part replaced at a time", comparison.part_cells(record)),
        ("Control signals", comparison.signal_cells(record)),
    ):
        if rows:
            parts.append(f"{what}, of the same runs:\n\n" + _table(tuple(header), [tuple(row) for row in rows]))
    return "\n\n".join(parts)
