"""The evidence behind a model card's measured numbers, and the `model-index` built from it.

Evidence is `runs`, the metrics.json of trainings of the same recipe, one a seed or fold, and `comparisons` with
controls by name. That of a recipe's card lies beside it in `evidence/NAME.json`; that of an adapter's is its
metrics.json.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.metrics import names
from zoo.records import comparison
from zoo.records.over_runs import spread
from zoo.records.provenance import CONVERTED


def file_of(path: Path) -> Path:
    """Sources of a card's numbers."""
    return (
        path.with_name("metrics.json") if path.name == "README.md" else path.parent / "evidence" / f"{path.stem}.json"
    )


def read(path: Path) -> dict[str, Any]:
    """Evidence of a card: `runs` and `comparisons`, empty where there is none."""
    file = file_of(path)
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if path.name == "README.md":
        return {"runs": [found] if found else [], "comparisons": {}}
    return {"runs": [], "comparisons": {}, **found}


def index(name: str, evidence: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`model-index` of these runs; empty where there are none from a clean commit.

    Args:
        name: of the model.
        evidence: of its card.
    """
    runs = [record for record in evidence["runs"] if publishable(record) and CONVERTED not in record["manifest"]]
    later = [record for first in evidence["runs"] for record in first.get("evaluations", []) if publishable(record)]
    found = [measured([record], command=record["manifest"]["command"]) for record in later]
    if runs:
        main = evidence["comparisons"].get("main")
        command = main["about"]["command"] if main else runs[0]["manifest"]["command"]
        found.insert(0, measured(runs, command=command))
    return [{"name": name, "results": found}] if found else []


def publishable(record: Mapping[str, Any]) -> bool:
    """Whether a number may enter a card: it was measured from a clean commit."""
    return bool(record["manifest"]["commit"]) and not record["manifest"]["dirty"]


def measured(records: Sequence[Mapping[str, Any]], *, command: str) -> dict[str, Any]:
    """One `model-index` result from the records of a recipe's runs, one a seed or a fold; fractions become per cent.

    A single run's metrics keep their bootstrap interval; several runs give mean and deviation.
    """
    first = records[0]
    manifest, unit = first["manifest"], comparison.scale(first)
    seeds = sorted({record["manifest"]["seed"] for record in records})
    shared = {
        "n": first["n"],
        "seeds": seeds,
        **({"folds": len(records)} if len(records) > len(seeds) else {}),
        "selected_on": manifest["selected_on"],
        "commit": manifest["commit"],
        "hardware": manifest["hardware"],
        "date": manifest["date"][:10],
        "command": command,
    }
    metrics = []
    for name in first["metrics"]:
        value = spread([unit * record["metrics"][name] for record in records])
        extra: dict[str, Any] = {}
        if value["std"] is not None:
            extra["std"] = round(value["std"], 2)
        elif interval := first["intervals"].get(name):
            extra["interval"] = [round(end * unit, 2) for end in interval]
        title = names.named(name)
        metrics.append({"type": name, "name": title, "value": round(value["mean"] or 0.0, 2), "args": shared | extra})
    data = manifest["data"]
    return {
        "task": {"type": first["task"]},
        "dataset": {
            "type": "generated" if data["synthetic"] else data["name"].lower(),
            "name": data["name"],
            "split": "test",
            "synthetic": data["synthetic"],
        },
        "metrics": metrics,
    }
