"""The card of an adapter whose tensors others trained: where they come from, and nothing of a training by this code."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from zoo.recipe import schema, sources
from zoo.recipe.schema import TARGET
from zoo.recipe.strict_yaml import FastLoader
from zoo.records.provenance import CONVERTED

if TYPE_CHECKING:
    from zoo.catalog.card import Card

BODY = """
# {title}

## What it is

{method} with tensors that others trained, out of their checkpoint `{file}`: the frozen backbone
(`mantis_backbone.safetensors`), the adapters and the head, {trainable:,} of {total:,} parameters of which were trained.
Data and pairing are those of recipe `{recipe}`.

## Use it

```bash
python -m zoo.evaluate adapter=DIR data.root=DATA
python -m zoo.evaluate adapter=DIR data.root=DATA votes=10
python -m zoo.predict adapter=DIR input=FILE
```

## Results

<!-- results:begin -->
<!-- results:end -->

## How it was trained

Not by this code. The tensors were converted from `{file}` (sha256 `{sha256}`), none of them changed:

```bash
{command}
```

By which data and settings they came about is their maker's to say. That the checkpoint was selected on test is assumed,
as published ones were.

## Limits and biases

Nothing was measured when it was converted; `python -m zoo.evaluate` measures it. {batch}

## Licences

{licences}

## Citation

{citation}
"""

OFFICIAL = """
`backbones.points.compat` is `official`: as in the published code, a prediction depends on the batch that it is in, by
the mean of the first sample and by the scale of local norm pooling. Converted with `backbones.points.compat=none` it
does not, under other conditions than those of the published numbers. Clouds are prepared as the zoo does it (copies of
points left out, sampling begun at the point farthest from the mean), so that centres are not those of published runs.
"""


def made(directory: Path, record: Mapping[str, Any], of_recipe: "Card | None") -> tuple[dict[str, Any], str]:
    """Front matter and body.

    Args:
        directory: an adapter directory, complete but for the card.
        record: its metrics.json.
        of_recipe: the recipe's card, whose name, reported numbers, licences and citation are taken.
    """
    manifest = record["manifest"]
    config = yaml.load((directory / "recipe.yaml").read_text(encoding="utf-8"), Loader=FastLoader)
    method = str(config["method"][TARGET]).rpartition(".")[2]
    named = dict(pair for block in config["backbones"].values() if block for pair in sources.licences(block))
    named["Data"] = str(schema.attributes(config["data"][TARGET]).get("license", "not stated"))
    own = of_recipe.front["zoo"] if of_recipe else {}
    front = {
        **({key: of_recipe.front[key] for key in ("datasets",) if key in of_recipe.front} if of_recipe else {}),
        "license": "other",
        "license_name": "not stated by who trained it",
        "library_name": "multimodal-peft-zoo",
        "metrics": [record["monitor"]],
        "tags": ["peft", "adapter", method.lower(), CONVERTED],
        "zoo": {
            "schema": 1,
            "recipe": manifest["recipe"],
            "method": own.get("method", method),
            "selected_on": manifest["selected_on"],
            CONVERTED: manifest[CONVERTED],
            "reported": own.get("reported", []),
        },
    }
    body = BODY.format(
        title=f"Converted adapter: {_title(of_recipe) or manifest['recipe']}",
        method=method,
        recipe=manifest["recipe"],
        **{"file": "a file of its maker's", **manifest[CONVERTED]},
        **manifest["parameters"],
        command=manifest["command"],
        batch=OFFICIAL.strip() if config["backbones"]["points"].get("compat") == "official" else "",
        licences="\n".join(f"- {what}: {licence}." for what, licence in named.items()),
        citation=of_recipe.body.partition("## Citation")[2].strip() if of_recipe else "None is stated.",
    )
    return front, body


def _title(of_recipe: "Card | None") -> str:
    found = re.search(r"^# (.+)$", of_recipe.body if of_recipe else "", re.MULTILINE)
    return found[1] if found else ""
