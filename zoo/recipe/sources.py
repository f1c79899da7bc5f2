"""The weights that a backbone's block of a recipe names, and what is known of them. Imports no torch."""

from collections.abc import Mapping
from pathlib import Path
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


def beside(recipe: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A recipe whose backbones' `file:` sources are looked for in its own folder first, from wherever it is read: a
    folder that holds both may be moved. What does not lie there stays as it is.

    Args:
        recipe: plain values, checked or not.
        folder: of the recipe's file.
    """

    def found(value: Any) -> Any:
        kind, _, name = value.partition(":") if isinstance(value, str) else ("", "", "")
        return f"file:{(folder / name).absolute()}" if kind == "file" and name and (folder / name).is_file() else value

    backbones = recipe.get("backbones")
    if not isinstance(backbones, Mapping):
        return {**recipe}
    blocks = {
        name: {key: found(value) for key, value in block.items()} if isinstance(block, Mapping) else block
        for name, block in backbones.items()
    }
    return {**recipe, "backbones": blocks}
