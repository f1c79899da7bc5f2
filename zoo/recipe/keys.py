"""Every key of a recipe in words, for `--help` and `zoo.show`."""

import textwrap
from collections.abc import Sequence
from typing import Any

from zoo.recipe import annotations, compose, schema
from zoo.recipe.check import BLOCKS
from zoo.recipe.compose import RecipeError
from zoo.recipe.schema import TARGET, Parameter, SchemaError


def describe(name: str, words: Sequence[str] = ()) -> str:
    """Every key of a recipe: value here (or default), type, meaning; with `data=folder`, of own files; with
    `method=lora`, of that method.

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


def blocks(name: str, words: Sequence[str] = ()) -> dict[str, tuple[dict[str, Any], dict[str, Parameter]]]:
    """The blocks of a recipe by their key, `backbones.vision` for instance: what it sets, and all that may be set.

    Args:
        name: of a recipe.
        words: of a command; those that name whole blocks (`data=folder`, `method=lora`) take the place of the recipe's.

    Raises:
        RecipeError: the recipe cannot be read, or names a class that does not exist.
    """
    problems: list[str] = []
    base = compose.read(compose.find(name), problems)
    base = compose.with_blocks(base, words, problems)
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
