"""Every key of a recipe in words, for `--help` and `zoo.show`."""

import textwrap
from collections.abc import Collection
from typing import Any

from zoo.recipe import annotations, compose, own_data, schema
from zoo.recipe.check import BLOCKS
from zoo.recipe.compose import RecipeError
from zoo.recipe.own_data import WORD
from zoo.recipe.schema import TARGET, Parameter, SchemaError


def describe(name: str, words: Collection[str] = ()) -> str:
    """Every key of a recipe: value here (or default), type, meaning; with the word `data=folder`, of own files.

    Raises:
        RecipeError: the recipe cannot be read, or names a class that does not exist.
    """
    lines = [*compose.header(compose.find(name)), ""]
    for key, (block, known) in blocks(name, words).items():
        lines.append(f"{key}  ({block[TARGET]})")
        for parameter in known.values():
            lines.append(f"  {key}.{parameter.shown(block)}  [{annotations.readable(parameter.annotation)}]")
            lines += textwrap.wrap(parameter.meaning, 100, initial_indent="      ", subsequent_indent="      ")
        lines.append("")
    lines += ["callbacks  (a list of blocks, in a training alone)"]
    lines += ["  callbacks=[{_target_: lightning.pytorch.callbacks.LearningRateMonitor}], for instance", ""]
    if variants := compose.variants(name):
        lines.append(f"variants (python -m zoo.compare): {', '.join(variants)}")
    return "\n".join(lines)


def blocks(name: str, words: Collection[str] = ()) -> dict[str, tuple[dict[str, Any], dict[str, Parameter]]]:
    """The blocks of a recipe by their key, `backbones.vision` for instance: what it sets, and all that may be set.

    Args:
        name: of a recipe.
        words: of a command; `data=folder` puts the block for own files into the place of the recipe's data.

    Raises:
        RecipeError: the recipe cannot be read, or names a class that does not exist.
    """
    problems: list[str] = []
    base = compose.read(compose.find(name), problems)
    if "=".join(WORD) in words:
        base = own_data.substitute(base, problems)
    found = {k: base[k] for k in BLOCKS if isinstance(base.get(k), dict)}
    found |= {f"backbones.{k}": v for k, v in (base.get("backbones") or {}).items() if isinstance(v, dict)}
    known: dict[str, tuple[dict[str, Any], dict[str, Parameter]]] = {}
    for key, block in found.items():
        try:
            known[key] = (block, schema.signature(block[TARGET]))
        except (SchemaError, KeyError) as error:
            problems.append(f"{key}: {error}")
    if problems:
        raise RecipeError(problems)
    return known
