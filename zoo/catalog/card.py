"""Model cards: YAML front matter and Markdown, with what the paper reports and what we measured kept apart.

`model-index` holds only numbers that this code measured from a clean commit; the paper's stand under `zoo.reported`.
Every measured number comes out of evidence files (`zoo.catalog.evidence`): `model-index` and the section between the
two markers are generated from evidence and front matter, and a test compares them.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from zoo.adapter import public_record
from zoo.adapter.directory import BESIDE
from zoo.adapter.public import OWN
from zoo.catalog import card_converted, card_method, card_own
from zoo.catalog import evidence as catalog_evidence
from zoo.catalog.card_tables import results
from zoo.errors import UserError
from zoo.files import PACKAGE, file_hash, write_whole
from zoo.metrics import names
from zoo.recipe import sources
from zoo.recipe.strict_yaml import FastLoader
from zoo.records import comparison
from zoo.records.provenance import CONVERTED

BEGIN, END = card_own.BEGIN, card_own.END

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
    """Front matter and body of a card, and what its numbers come from.

    Attributes:
        front: YAML.
        body: Markdown.
        evidence: as in `zoo.catalog.evidence`.
    """

    front: dict[str, Any]
    body: str
    evidence: dict[str, Any] = field(default_factory=lambda: {"runs": [], "comparisons": {}})


def folder() -> Path:
    """The shipped cards: beside the package in a checkout, inside it in a wheel."""
    inside = PACKAGE / "model_cards"
    return inside if inside.is_dir() else inside.parents[1] / "model_cards"


def read(path: Path) -> Card:
    """Parse a card.

    Raises:
        CardError: no front matter, or no results markers.
    """
    front, body = _parts(path, lambda text: text)
    return Card(front, body, catalog_evidence.read(path))


def facts(path: Path) -> dict[str, Any]:
    """Front matter of a card without its `model-index`, which is most of it and takes most of the time to parse.

    Raises:
        CardError: no front matter, or no results markers.
    """
    return _parts(path, lambda text: re.sub(r"(?m)^model-index:.*\n(?:[ \-#].*\n|\n)*", "", text))[0]


def _parts(path: Path, of: Callable[[str], str]) -> tuple[dict[str, Any], str]:
    """Front matter, of which `of` says what is read, and body."""
    parts = path.read_text(encoding="utf-8").split("---\n", 2)
    if len(parts) != 3 or parts[0]:
        raise CardError(f"{path} has no YAML front matter between two lines of ---")
    try:
        front = yaml.load(of(parts[1]), Loader=FastLoader)
    except yaml.YAMLError as error:
        raise CardError(f"{path}: its front matter is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(front, dict) or BEGIN not in parts[2] or END not in parts[2]:
        raise CardError(f"{path} has no front matter or no markers {BEGIN} and {END}")
    return front, parts[2]


class PlainDumper(yaml.SafeDumper):
    """Safe YAML without anchors: a list that stands twice is written twice."""

    def ignore_aliases(self, data: Any) -> bool:
        """Never refer back."""
        return True


def text(card: Card) -> str:
    """The card as a file, its results section regenerated."""
    before, _, rest = card.body.partition(BEGIN)
    after = rest.partition(END)[2]
    front = yaml.dump(
        card.front, Dumper=PlainDumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None
    )
    tables = results(card.front, card.evidence["comparisons"], card.evidence["runs"])
    return f"---\n{front}---\n{before}{BEGIN}\n{tables}\n{END}{after}"


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
            f"reported entry {r.get('method')} has no {key}"
            for key in ("source", "tier", "dataset", "metric")
            if not r.get(key)
        ]
    for model in card.front.get("model-index") or []:
        for result in model["results"]:
            for m in result["metrics"]:
                args = m.get("args", {})
                needed = ("n", "seeds", "commit", "hardware", "date", "selected_on", "command")
                problems += [f"measured {m['name']} has no {key}" for key in needed if not args.get(key)]
                if args.get("dirty"):
                    problems.append(f"measured {m['name']} comes from a dirty tree")
            if result["dataset"].get("synthetic") and "synthetic" not in result["dataset"]["name"].lower():
                problems.append("a synthetic set is not called synthetic")
    own = card.front.get("zoo", {}).get("recipe", "")
    if (card.front.get("model-index") or []) != catalog_evidence.index(own, card.evidence):
        problems.append("model-index differs from the runs that it should come from; regenerate the card")
    if text(card).split("---\n", 2)[2] != card.body:
        problems.append("the results section differs from its evidence; regenerate the card")
    return problems


def publish(path: Path, record: Mapping[str, Any], runs: Sequence[Mapping[str, Any]], *, table: str = "main") -> None:
    """Write a comparison and, with the main one, its recipe's own runs into a card and its evidence.

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
    found = {**card.evidence, "comparisons": {**card.evidence["comparisons"], table: _rounded(record)}}
    if table == "main":
        found["runs"] = [public_record.record(metrics) for metrics in runs]
    write(path, replace(card, evidence=found))


def write(path: Path, card: Card) -> None:
    """A recipe's card and its evidence, with all generated parts regenerated."""
    file = catalog_evidence.file_of(path)
    if card.evidence["runs"] or card.evidence["comparisons"]:
        file.parent.mkdir(exist_ok=True)
        write_whole(file, json.dumps(card.evidence, indent=1) + "\n")
    front = {key: value for key, value in card.front.items() if key != "model-index"}
    if found := catalog_evidence.index(card.front["zoo"]["recipe"], card.evidence):
        front["model-index"] = found
    write_whole(path, text(replace(card, front=front)))


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def for_adapter(directory: Path) -> str:
    """Card of an adapter: its recipe's card, with the numbers of its own metrics.json and what its file holds.

    Args:
        directory: an adapter directory, complete but for the card.
    """
    own = catalog_evidence.read(directory / "README.md")
    (record,) = own["runs"]
    manifest = record["manifest"]
    path = folder() / f"{manifest['recipe']}.md"
    if CONVERTED in manifest or manifest["data"]["name"].startswith(OWN):
        made = card_converted.made if CONVERTED in manifest else card_own.made
        front, body = made(directory, record, read(path) if path.is_file() else None)
        front["zoo"] |= _facts(directory, record)
        if found := catalog_evidence.index(manifest["recipe"], own):
            front["model-index"] = found
        return text(Card(front, body, own))
    scale = comparison.scale(record)
    line = (
        f"{names.named(record['monitor'])} {record['metrics'][record['monitor']] * scale:.2f} % "
        f"on {manifest['data']['name']} test (n = {record['n']})"
    )
    if not path.is_file():
        return f"# Adapter of recipe {manifest['recipe']}\n\nMeasured: {line}. The recipe has no model card.\n"
    card = read(path)
    front = {key: value for key, value in card.front.items() if key != "model-index"}
    front["zoo"] = {**front["zoo"], **_facts(directory, record)}
    body = card_method.told(directory, front, card.body)
    if found := catalog_evidence.index(manifest["recipe"], own):
        front["model-index"] = found
    if not catalog_evidence.publishable(record):
        why = "uncommitted changes" if manifest["dirty"] else "no source checkout, so no commit is known"
        note = f"\n> This run measured {line}, from a tree with {why}; the number cannot enter the tables.\n"
        body = body.replace("## Results\n", f"## Results\n{note}", 1)
    return text(Card(front, body, own))


def _familiarity(record: Mapping[str, Any]) -> dict[str, Any]:
    """Shares of samples flagged as unlike training, on the test split and on foreign sets."""
    found = record.get("familiarity", {})
    about = found.get("manifest", record["manifest"])
    if not found or not catalog_evidence.publishable({"manifest": about}):
        return {}
    return {
        "fires": {
            name: {"fires": round(one["fires"], 4), "n": one["n"]}
            for name, one in {record["manifest"]["data"]["name"]: found, **found.get("foreign", {})}.items()
            if isinstance(one, Mapping)  # not what somebody else wrote there
        },
        **{key: about[key] for key in ("command", "commit", "dirty", "date", "hardware")},
        **({"learnt": "after the training, whose tensors are as they were"} if "manifest" in found else {}),
    }


def _facts(directory: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """The card's section about one adapter: its file, data and run."""
    from safetensors import safe_open

    manifest = record["manifest"]
    file = directory / "adapter.safetensors"
    config = yaml.load((directory / "recipe.yaml").read_text(encoding="utf-8"), Loader=FastLoader)
    blocks = {name: block for name, block in config["backbones"].items() if block}
    with safe_open(file, framework="np") as tensors:
        header = tensors.metadata()
        base = json.loads(header["fingerprints"])
        trained = [name for name in tensors.keys() if not name.startswith(BESIDE)]  # noqa: SIM118 - not a dictionary
        slices = [tensors.get_slice(name) for name in trained]
        params = sum(math.prod(part.get_shape()) for part in slices)
        kinds = sorted({part.get_dtype() for part in slices})
    total = manifest["parameters"]["total"]
    return {
        "backbones": {
            name: {
                "source": list(sources.weight_sources(block).values()),
                "license": dict(sources.licences(block)),
                "fingerprint": base.get(name),
                "frozen": True,
            }
            for name, block in blocks.items()
        },
        "adapter": {
            "file": file.name,
            "sha256": file_hash(file),
            "bytes": file.stat().st_size,
            "params": params,
            "trainable_pct": round(100 * manifest["parameters"]["trainable"] / total, 2),
            "dtype": ", ".join(kinds),
            **({"restated": json.loads(header["restated"])} if "restated" in header else {}),
            **({"anchors": text} if (text := json.loads(header.get("anchors", "{}")).get("added")) else {}),
        },
        **({"familiarity": found} if (found := _familiarity(record)) else {}),
        "data": {
            key: manifest["data"][key]
            for key in ("name", "synthetic", "license", "train", "val", "test", "fingerprint", "restated")
            if key in manifest["data"]
        },
        "run": {
            **{key: manifest[key] for key in ("command", "commit", "dirty", "date", "seed", "hardware", "epochs")},
            "minutes": round(manifest["seconds"] / 60, 1),
            "peak_gib": round(manifest["cost"]["peak_memory_bytes"] / 2**30, 2),
            "versions": manifest["versions"],
        },
    }
