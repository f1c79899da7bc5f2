"""Model cards: YAML front matter and Markdown, with what the paper reports and what we measured kept apart.

`model-index` holds only numbers that this code measured from a clean commit; the paper's stand under `zoo.reported`.
The section between the two markers is generated from the front matter, and a test compares them.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import zoo

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
HEADINGS = (
    "## What it is",
    "## Use it",
    "## Results",
    "## How it was trained",
    "## Limits and biases",
    "## Licences",
    "## Citation",
)


class CardError(ValueError):
    """A model card is malformed."""


@dataclass(frozen=True)
class Card:
    """Front matter and body of a card."""

    front: dict[str, Any]
    body: str


def folder() -> Path:
    """The shipped cards: beside the package in a checkout, inside it in a wheel."""
    inside = Path(zoo.__file__).parent / "model_cards"
    return inside if inside.is_dir() else inside.parents[1] / "model_cards"


def read(path: Path) -> Card:
    """Parse a card.

    Raises:
        CardError: no front matter, or no results markers.
    """
    parts = path.read_text(encoding="utf-8").split("---\n", 2)
    if len(parts) != 3 or parts[0]:
        raise CardError(f"{path} has no YAML front matter between two lines of ---")
    front = yaml.safe_load(parts[1])
    if not isinstance(front, dict) or BEGIN not in parts[2] or END not in parts[2]:
        raise CardError(f"{path} lacks front matter or the markers {BEGIN} and {END}")
    return Card(front, parts[2])


def text(card: Card) -> str:
    """The card as a file, its results section generated anew."""
    before, _, rest = card.body.partition(BEGIN)
    after = rest.partition(END)[2]
    front = yaml.safe_dump(card.front, sort_keys=False, allow_unicode=True, width=120)
    return f"---\n{front}---\n{before}{BEGIN}\n{results(card.front)}\n{END}{after}"


def write(card: Card, path: Path) -> None:
    """Write under a temporary name, then rename."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text(card), encoding="utf-8")
    os.replace(temporary, path)


def results(front: Mapping[str, Any]) -> str:
    """The three tables: reported, measured, and the comparison with controls."""
    own = front.get("zoo", {})
    return "\n\n".join(part for part in (_reported(own), _measured(front), _comparison(own)) if part)


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
                        a["seeds"],
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


def _comparison(own: Mapping[str, Any]) -> str:
    rows = []
    for r in own.get("comparison") or []:
        spread = f" ± {r['std']:.2f}" if r.get("std") is not None else ""
        gap = f"[{r['gap'][0]:+.2f}, {r['gap'][1]:+.2f}]" if r.get("gap") else ""
        rows.append(
            (
                r["name"],
                f"{r['mean']:.2f}{spread}",
                gap,
                f"{r['trainable']:,}",
                r["step_ms"],
                r["peak_mib"],
                r["checkpoint_kib"],
            )
        )
    if not rows:
        return ""
    about = own["comparison_about"]
    header = (
        "variant",
        f"{about['metric']}, %",
        "recipe minus variant, 95 %",
        "trainable",
        "step ms",
        "peak MiB",
        "checkpoint KiB",
    )
    where = (
        f"{about['dataset']}, n = {about['n']}, seeds {about['seeds']}, commit {about['commit'][:8]}, "
        f"{about['hardware']}, {about['date']}"
    )
    return f"**Beside its controls** (measured by this code; {where}; mean ± deviation over seeds):\n\n" + _table(
        header, rows
    )


def validate(card: Card) -> list[str]:
    """Problems of a card, in words; empty when it is sound. Does not touch the network."""
    from huggingface_hub import ModelCard

    problems = []
    try:
        ModelCard(text(card), ignore_metadata_errors=False)
    except Exception as error:
        problems.append(f"huggingface_hub cannot read it: {error}")
    problems += [f"heading {h!r} is missing" for h in HEADINGS if h not in card.body]
    for r in card.front.get("zoo", {}).get("reported") or []:
        problems += [
            f"reported entry {r.get('method')} lacks {key}"
            for key in ("source", "tier", "dataset", "metric")
            if not r.get(key)
        ]
    for model in card.front.get("model-index") or []:
        for result in model["results"]:
            for m in result["metrics"]:
                args = m.get("args", {})
                needed = ("n", "seeds", "commit", "hardware", "date", "selected_on", "command")
                problems += [f"measured {m['name']} lacks {key}" for key in needed if not args.get(key)]
                if args.get("dirty"):
                    problems.append(f"measured {m['name']} comes from a dirty tree")
            if result["dataset"].get("synthetic") and "synthetic" not in result["dataset"]["name"].lower():
                problems.append("a synthetic set is not called synthetic")
    if text(card).split("---\n", 2)[2] != card.body:
        problems.append("the results section differs from the front matter; write the card anew")
    return problems


def measured(record: Mapping[str, Any], *, std: float | None = None, seeds: list[int] | None = None) -> dict[str, Any]:
    """One `model-index` result from a run's record; fractions become per cent."""
    manifest = record["manifest"]
    scale = 100 if record["unit"] == "fraction" else 1
    shared = {
        "n": record["n"],
        "seeds": seeds or [manifest["seed"]],
        "selected_on": manifest["selected_on"],
        "commit": manifest["commit"],
        "hardware": manifest["hardware"],
        "date": manifest["date"][:10],
        "command": manifest["command"],
    }
    metrics = []
    for name, value in record["metrics"].items():
        interval = record["intervals"].get(name)
        extra = {"interval": [round(v * scale, 2) for v in interval]} if interval else {}
        metrics.append(
            {
                "type": name,
                "name": name.replace("_", " "),
                "value": round(value * scale, 2),
                "args": {**shared, **extra},
            }
        )
    data = manifest["data"]
    return {
        "task": {"type": "audio-visual-event-localization"},
        "dataset": {
            "type": "generated" if data["synthetic"] else data["name"].lower(),
            "name": data["name"],
            "split": "test",
            "synthetic": data["synthetic"],
        },
        "metrics": metrics,
    }


def for_run(recipe: str, record: Mapping[str, Any]) -> str:
    """Card of one run's adapter: the recipe's own card, with this run's numbers where the tree was clean."""
    path = folder() / f"{recipe}.md"
    manifest = record["manifest"]
    scale = 100 if record["unit"] == "fraction" else 1
    line = (
        f"{record['monitor'].replace('_', ' ')} {record['metrics'][record['monitor']] * scale:.2f} % "
        f"on {manifest['data']['name']} test (n = {record['n']})"
    )
    if not path.is_file():
        return f"# Adapter of recipe {recipe}\n\nMeasured: {line}. The recipe has no model card.\n"
    card = read(path)
    front = {k: v for k, v in card.front.items() if k != "model-index"}
    front["zoo"] = {k: v for k, v in front["zoo"].items() if not k.startswith("comparison")}
    if manifest["commit"] and not manifest["dirty"]:
        front["model-index"] = [{"name": recipe, "results": [measured(record)]}]
        return text(Card(front, card.body))
    why = "uncommitted changes" if manifest["dirty"] else "no source checkout, so no commit is known"
    note = f"\n> This run measured {line}, from a tree with {why}; the number cannot enter the tables.\n"
    return text(Card(front, card.body.replace("## Results\n", f"## Results\n{note}", 1)))
