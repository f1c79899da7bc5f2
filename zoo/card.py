"""Model cards: YAML front matter and Markdown, with what the paper reports and what we measured kept apart.

`model-index` holds only numbers that this code measured from a clean commit; the paper's stand under `zoo.reported`.
The section between the two markers is generated from the front matter, and a test compares them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import zoo
from zoo import comparison
from zoo.errors import UserError
from zoo.files import write_whole

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


class CardError(UserError):
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


class PlainDumper(yaml.SafeDumper):
    """Safe YAML without anchors: a list that stands twice is written twice."""

    def ignore_aliases(self, data: Any) -> bool:
        """Never refer back."""
        return True


def text(card: Card) -> str:
    """The card as a file, its results section generated anew."""
    before, _, rest = card.body.partition(BEGIN)
    after = rest.partition(END)[2]
    front = yaml.dump(
        card.front, Dumper=PlainDumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None
    )
    return f"---\n{front}---\n{before}{BEGIN}\n{results(card.front)}\n{END}{after}"


def results(front: Mapping[str, Any]) -> str:
    """The tables: reported, measured, and comparisons with controls."""
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
    return "\n\n".join(_compared(name, record) for name, record in (own.get("comparisons") or {}).items())


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
        ("The method's own numbers", comparison.method_cells(record)),
        ("Branches of the method", comparison.branch_cells(record)),
    ):
        if rows:
            parts.append(f"{what}, of the same runs:\n\n" + _table(tuple(header), [tuple(row) for row in rows]))
    return "\n\n".join(parts)


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


def measured(records: Sequence[Mapping[str, Any]], *, command: str) -> dict[str, Any]:
    """One `model-index` result from the records of a recipe's runs, one a seed; fractions become per cent.

    A single run's metrics keep their bootstrap interval; several runs give mean and deviation.
    """
    first = records[0]
    manifest, unit = first["manifest"], comparison.scale(first)
    shared = {
        "n": first["n"],
        "seeds": [record["manifest"]["seed"] for record in records],
        "selected_on": manifest["selected_on"],
        "commit": manifest["commit"],
        "hardware": manifest["hardware"],
        "date": manifest["date"][:10],
        "command": command,
    }
    metrics = []
    for name in first["metrics"]:
        value = comparison.spread([unit * record["metrics"][name] for record in records])
        extra: dict[str, Any] = {}
        if value["std"] is not None:
            extra["std"] = round(value["std"], 2)
        elif interval := first["intervals"].get(name):
            extra["interval"] = [round(end * unit, 2) for end in interval]
        title = name.replace("_", " ")
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


def publish(path: Path, record: Mapping[str, Any], runs: Sequence[Mapping[str, Any]], *, table: str = "main") -> None:
    """Write a comparison and, from the main one, the metrics of its recipe into a card.

    Args:
        path: the card.
        record: from `comparison.gather`.
        runs: metrics.json of the recipe's own runs, one a seed or fold.
        table: name of the comparison; it takes the place of one of the same name.

    Raises:
        CardError: the numbers come from a tree with uncommitted changes, or from none.
    """
    if record["about"]["dirty"] or not record["about"]["commit"]:
        raise CardError(f"{path}: only numbers from a clean commit may be published")
    card = read(path)
    before = card.front["zoo"]
    own = {**before, "comparisons": {**(before.get("comparisons") or {}), table: _rounded(record)}}
    front = {**card.front, "zoo": own}
    if table == "main":
        results = [measured(runs, command=record["about"]["command"])]
        front = {**card.front, "model-index": [{"name": own["recipe"], "results": results}], "zoo": own}
    write_whole(path, text(Card(front, card.body)))


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return round(value, 2) if isinstance(value, float) else value


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
    front["zoo"] = {k: v for k, v in front["zoo"].items() if k != "comparisons"}
    if manifest["commit"] and not manifest["dirty"]:
        front["model-index"] = [{"name": recipe, "results": [measured([record], command=manifest["command"])]}]
        return text(Card(front, card.body))
    why = "uncommitted changes" if manifest["dirty"] else "no source checkout, so no commit is known"
    note = f"\n> This run measured {line}, from a tree with {why}; the number cannot enter the tables.\n"
    return text(Card(front, card.body.replace("## Results\n", f"## Results\n{note}", 1)))
