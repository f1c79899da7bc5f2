"""`data=folder`: a user's own files in place of a recipe's data.

The recipe's own data module names the class that reads them in its attribute `own_files`: clips for clips, clouds
for clouds, questions for questions. It is read from the source, as is the whole schema of a recipe.
"""

from collections.abc import Collection, Mapping
from typing import Any

from zoo.recipe import schema
from zoo.recipe.schema import MISSING, TARGET, SchemaError

WORD = ("data", "folder")
"""Key and value on the command line."""

OF_ONE_FOLDER = ("root", "manifest", "classes", "splits", "group_by")
"""Settings that say what one folder holds, and so mean nothing to another."""

OF_ITS_CLASSES = ("cells",)
"""Settings of a task that name one of the recipe's own classes, which other data need not have."""


def substitute(config: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """The recipe with its data block given to the class for own files: settings that both classes have are kept.

    What the task says of the recipe's own classes goes with its data.

    Args:
        config: a recipe.
        problems: gets a line where its data say nothing of own files.
    """
    block = config.get("data") or {}
    target = str(block.get(TARGET, ""))
    try:
        attributes = schema.attributes(target)
        own = attributes.get("own_files")
        known = schema.signature(own) if own else {}
    except SchemaError as error:
        problems.append(f"data=folder: the recipe's own data: {error}")
        return config
    if not own:
        problems.append(f"data=folder: {target} has no attribute own_files, which names the class to read them")
        return config
    defaults = {key: attributes[key] for key in ("up",) if key in attributes}  # of the class itself
    settings = defaults | block
    kept = {key: settings[key] for key in known if key in settings and key not in OF_ONE_FOLDER}
    block = config.get("task")
    task = {"task": {k: v for k, v in block.items() if k not in OF_ITS_CLASSES}} if isinstance(block, Mapping) else {}
    return {**config, "data": {TARGET: own, "root": MISSING, **kept}, **task}


def settings(block: Mapping[str, Any]) -> Collection[str]:
    """Keys that a data block would have with `data=folder`; none where its class says nothing of own files."""
    try:
        own = schema.attributes(block[TARGET]).get("own_files")
        return schema.signature(own) if own else ()
    except SchemaError:
        return ()
