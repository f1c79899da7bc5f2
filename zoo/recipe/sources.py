"""The weights that a backbone's block of a recipe names, and what is known of them. Imports no torch."""

from collections.abc import Mapping
from typing import Any

from zoo.backbones import weights
from zoo.backbones.origins import TABLE
from zoo.recipe import schema
from zoo.recipe.schema import TARGET


def weight_sources(block: Mapping[str, Any]) -> dict[str, str]:
    """The weights that a backbone's block names, or leaves at their default, by key.

    Raises:
        SchemaError: its `_target_` does not exist.
    """
    values = {key: block.get(key, known.value) for key, known in schema.signature(block[TARGET]).items()}
    return {key: value for key, value in values.items() if isinstance(value, str) and weights.is_source(value)}


def licences(block: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and licence of every weights source of a backbone's block."""
    kind = block[TARGET].rpartition(".")[2]
    found = []
    for key, source in weight_sources(block).items():
        known = weights.origin(source)
        if known:
            found.append((known.name + (", 4-bit" if block.get("quantize") == "4bit" else ""), known.license))
        elif weights.parse(source).kind == "random":
            found.append((f"{kind if key == 'source' else key} (random weights)", "none needed"))
        else:
            found.append((f"{kind} ({source})", f"unknown (no entry in {TABLE})"))
    return found
