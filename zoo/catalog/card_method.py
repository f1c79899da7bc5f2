"""The method of an adapter, where its training put another one in the place of its recipe's (`method=gpart`)."""

from pathlib import Path
from typing import Any

from zoo.recipe import compose
from zoo.recipe.schema import TARGET


def other(directory: Path, recipe: str) -> str:
    """Class of an adapter's method, where it is another than that of its shipped recipe; else empty.

    Args:
        directory: an adapter directory.
        recipe: name of a recipe, which need not be a shipped one.
    """
    if recipe not in compose.available():
        return ""
    own, shipped = (_class(path) for path in (directory / "recipe.yaml", compose.find(recipe)))
    return own if own != shipped else ""


def told(directory: Path, front: dict[str, Any], body: str) -> str:
    """The body of a recipe's card that says first that its adapter has another method; front matter names that one.

    Args:
        directory: an adapter directory.
        front: of its card; changed in place.
        body: of the recipe's.
    """
    if not (target := other(directory, front["zoo"]["recipe"])):
        return body
    front["zoo"]["method"] = target.rpartition(".")[2]
    note = (
        f"> **Trained with another method than the recipe's: {front['zoo']['method']}** (`{target}`). What this card\n"
        "> says of the method is about the recipe's; the measured numbers are the adapter's own.\n\n"
    )
    return body.replace("## What it is\n", f"{note}## What it is\n", 1)


def _class(path: Path) -> str:
    return str((compose.read(path, []).get("method") or {}).get(TARGET, ""))
