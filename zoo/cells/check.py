"""What a matrix would meet only after hours, looked for before its first training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.cells.plan import Plan, Setting, configuration
from zoo.recipe import data_roots
from zoo.recipe.check import mistakes
from zoo.recipe.compose import RecipeError
from zoo.recipe.schema import SchemaError


def check(plan: Plan, pairings: Sequence[str], methods: Sequence[str]) -> None:
    """Compose the recipe of every method on every pairing, and look for folders of data; no weight is read.

    Args:
        plan: of the matrix.
        pairings: names of those that are wanted.
        methods: likewise.

    Raises:
        RecipeError: with a line for every mistake, which says the pairing, and the method where not all meet it.
    """
    problems: list[str] = []
    for setting in (one for one in plan.settings if one.name in pairings):
        problems += _composed(plan, setting, methods) or _folders(
            configuration(setting, plan.contenders[0]).data, f"{setting.name}.data"
        )
        if setting.foreign is not None:
            where = f"pairings.{setting.name}.foreign"
            problems += mistakes(setting.foreign, where) or _folders(setting.foreign, where)
    if problems:
        raise RecipeError(problems)


def _composed(plan: Plan, setting: Setting, methods: Sequence[str]) -> list[str]:
    wanted = [one for one in plan.contenders if one.name in methods]
    met: dict[str, list[str]] = {}
    for contender in wanted:
        try:
            configuration(setting, contender, size=contender.step)
        except RecipeError as error:
            for line in error.problems:
                met.setdefault(line, []).append(contender.name)
        except SchemaError as error:
            met.setdefault(f"method: {error}", []).append(contender.name)
    told = []
    for line, names in met.items():
        who = "" if len(names) == len(wanted) else f", methods.{', '.join(names)}"
        # A key of the recipe is one of the pairing in the command.
        told.append(f"pairings.{setting.name}{who}: {line.replace('give data.', f'give {setting.name}.data.')}")
    return told


def _folders(block: Mapping[str, Any], where: str) -> list[str]:
    """A line for every folder of data that is not given, or is not there."""
    given = {key: block.get(key) for key in data_roots.ROOTS}
    told = [f"{where}.{key}: which folder? give {where}.{key}=DIR" for key in data_roots.unset(block)]
    return told or [
        f"{where}.{key}: expected a folder, and '{value}' is none"
        for key, value in given.items()
        if value is not None and not Path(value).is_dir()
    ]
