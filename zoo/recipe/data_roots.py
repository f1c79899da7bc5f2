"""Folders of data that only the user knows: which a recipe asks for, who distributes what lies there, and that what
stands for one in a shipped recipe is never taken for a folder. Imports no torch.
"""

from collections.abc import Mapping
from typing import Any

from zoo.errors import UserError
from zoo.recipe import schema
from zoo.recipe.schema import MISSING, TARGET

ROOTS = ("root", "train_root")
"""Keys of a data block that name a folder to obtain."""

PLACE = "DIR"
"""Placeholder for a local folder in a public recipe."""


def unset(block: Mapping[str, Any]) -> list[str]:
    """Keys of a data block that its user has yet to give."""
    found = []
    for key, known in schema.signature(block[TARGET]).items():
        needed = known.default is None
        if (needed or key in ROOTS) and block.get(key, MISSING if needed else known.value) in (MISSING, PLACE):
            found.append(key)
    return found


def distributor(block: Mapping[str, Any], key: str) -> str:
    """Who distributes what a key of a data block names, in a sentence; empty where it is the user's own."""
    target = block[TARGET]
    module = target.rpartition(".")[0]
    if key != "root":
        return ""
    found: Any = schema.constant(f"{module}.DISTRIBUTOR") or schema.attributes(target).get("distributor", "")
    return str(found[block["variant"]] if isinstance(found, dict) else found)


def hint(block: Mapping[str, Any], key: str, recipe: str) -> str:
    """Hint on the value to give, where to obtain the data, and which command explains more.

    Args:
        block: of the data.
        key: one of ROOTS.
        recipe: its name, as commands take it.
    """
    meaning = schema.signature(block[TARGET])[key].meaning.rstrip(".")
    return f"{meaning}; {_asked(block, key)}. What it must hold: python -m zoo.doctor recipe={recipe}"


def require(block: Mapping[str, Any]) -> None:
    """Whether the folders of a data block are given, before they are looked for.

    Raises:
        UserError: one is not.
    """
    for key in unset(block):
        raise UserError(
            f"the data lie on your machine: {_asked(block, key)}. Is a copy complete? "
            f"python -m {block[TARGET].rpartition('.')[0]} --check FOLDER"
        )


def _asked(block: Mapping[str, Any], key: str) -> str:
    source = distributor(block, key)
    return f"give data.{key}=..." + (f" ({source})" if source else "")
