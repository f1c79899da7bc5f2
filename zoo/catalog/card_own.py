"""The card of an adapter trained on somebody's own files: about those, and nothing of the recipe's own data."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from zoo.catalog import card_method
from zoo.metrics import names
from zoo.recipe import schema, sources
from zoo.recipe.schema import TARGET
from zoo.recipe.strict_yaml import FastLoader
from zoo.records import comparison

if TYPE_CHECKING:
    from zoo.catalog.card import Card

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"

MOST_NAMED = 20

CITATION = "## Citation"

BODY = """
# {method} adapter: {name}

## What it is

The trained part of {method} on frozen {backbones}, for {kind}.
It was trained on its maker's own files ({name}): {train} to train, {val} to select the checkpoint, {test} to measure;
{remarks}. What those files show is known to their maker alone.
{start}

It tells {number} classes apart: {classes}.

## Use it

```bash
python -m zoo.predict adapter=DIR input=FILE
python -m zoo.evaluate adapter=DIR data=folder data.root=DIR
```

## Results
{note}
{begin}
{end}

## How it was trained

```bash
{command}
```

{epochs} epochs, seed {seed}, {minutes:.1f} minutes on {hardware}. The resolved recipe travels with the adapter. The
checkpoint is selected on the validation split; the test split is measured once, afterwards.

## Limits and biases

The numbers are of {test} files of the same collection as the training's: of other files nothing is known. Measure it on
yours before you rely on it.

## Licences

- Data: its maker's own; no licence is stated.
{licences}

{citation}
"""


def made(directory: Path, record: Mapping[str, Any], of_recipe: "Card | None") -> tuple[dict[str, Any], str]:
    """Front matter and body.

    Args:
        directory: an adapter directory, complete but for the card.
        record: its metrics.json.
        of_recipe: the recipe's card, whose method and citation are taken, and nothing else.
    """
    from safetensors import safe_open

    manifest = record["manifest"]
    config = yaml.load((directory / "recipe.yaml").read_text(encoding="utf-8"), Loader=FastLoader)
    with safe_open(directory / "adapter.safetensors", framework="np") as file:
        classes = json.loads(file.metadata()["classes"])
    named = [pair for block in config["backbones"].values() if block for pair in sources.licences(block)]
    method = str(config["method"][TARGET]).rpartition(".")[2]
    if of_recipe and not card_method.other(directory, manifest["recipe"]):
        method = of_recipe.front.get("zoo", {}).get("method") or method
    kind = str(schema.attributes(config["task"][TARGET]).get("kind", record["task"]))
    front = {
        "license": "other",
        "license_name": "not stated by its maker",
        "library_name": "multimodal-peft-zoo",
        "metrics": [record["monitor"]],
        "tags": ["peft", "adapter", method.lower().replace(" ", "-")],
        "zoo": {
            "schema": 1,
            "recipe": manifest["recipe"],
            "method": method,
            "selected_on": manifest["selected_on"],
            "reported": [],
        },
    }
    data = manifest["data"]
    body = BODY.format(
        method=method,
        name=data["name"],
        backbones=", ".join(dict(named)),
        kind=kind.replace("-", " "),
        **{split: data.get(split, "?") for split in ("train", "val", "test")},
        remarks="; ".join(f"{n} {reason}" for reason, n in data.get("remarks", {}).items()) or "none was left out",
        start=_start(manifest.get("init")),
        number=len(classes),
        classes=", ".join(classes[:MOST_NAMED]) + (", ..." if len(classes) > MOST_NAMED else ""),
        note=_note(record),
        begin=BEGIN,
        end=END,
        command=manifest["command"],
        epochs=manifest["epochs"],
        seed=manifest["seed"],
        minutes=manifest["seconds"] / 60,
        hardware=manifest["hardware"],
        licences="\n".join(f"- {name}: {licence}." for name, licence in dict(named).items()),
        citation=_citation(of_recipe),
    )
    return front, body


def _start(init: Mapping[str, Any] | None) -> str:
    if not init:
        return "Its tensors began fresh."
    fresh = f"; the head was newly initialised, as {init['why_fresh']}" if init["fresh"] else ""
    return (
        f"It began from the adapter `{init['adapter']}` (`init=`; sha256 {init['sha256'][:12]}), of which "
        f"{init['taken']} tensors were taken{fresh}."
    )


def _note(record: Mapping[str, Any]) -> str:
    """The number in words, as the tables hold only those from a clean commit."""
    value = record["metrics"][record["monitor"]] * comparison.scale(record)
    name = names.named(record["monitor"])
    line = f"\nThis run measured {name} {value:.2f} % on its test split (n = {record['n']})."
    return f"{line}\n"


def _citation(of_recipe: "Card | None") -> str:
    """The papers of method and backbones."""
    text = of_recipe.body.partition(CITATION)[2].strip() if of_recipe else ""
    return f"{CITATION}\n\n{text or 'None is stated.'}"
