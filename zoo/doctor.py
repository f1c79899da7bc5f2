"""`python -m zoo.doctor [recipe=NAME] [key=value ...] [--json]`: what is installed here, and which recipes can run.

One line per recipe: whether it can run on this machine, and what is missing: packages, a GPU, data or weights.
Below, for each missing item: where to obtain it, its licence page and the expected file.

    recipe    only this one, with the `key=value` arguments of `zoo.train`; the exit code is 1 if it cannot run
    --json    the same as JSON
"""

import sys
from dataclasses import asdict
from pathlib import Path

from zoo.catalog import holdings as catalog_holdings
from zoo.catalog.readiness import composed, examine, page
from zoo.command_line import parse_arguments, user_errors
from zoo.files import json_text
from zoo.recipe import compose
from zoo.recipe.compose import RecipeError
from zoo.records import machine
from zoo.report import tables


def main(argv: list[str] | None = None) -> int:
    """Look and tell; exit code 1 where `recipe=` names one that cannot run here."""
    named, arguments = parse_arguments(argv, __doc__ or "", optional=("recipe",), flags=("--json",), free=True)
    with user_errors():
        if arguments and "recipe" not in named:
            raise RecipeError([f"'{word}' belongs to a recipe: say which, recipe=NAME" for word in arguments])
        here, problems = machine.look(), list[str]()
        if name := named.get("recipe"):
            configs = [(catalog_holdings.of_recipe(compose.find(name), problems), composed(name, arguments))]
        else:
            catalog = catalog_holdings.read_catalog()
            problems = catalog.problems
            configs = [(entry, compose.read(Path(entry.path), [])) for entry in catalog.recipes]
        verdicts = [examine(entry, config, here) for entry, config in configs]
    if "--json" in named:
        rows = [asdict(verdict) | {"runs": verdict.runs} for verdict in verdicts]
        record = {"machine": asdict(here), "recipes": rows, "problems": problems}
        print(json_text(record, indent=2, encoding=sys.stdout.encoding))
    else:
        tables.show(page(here, verdicts))
    for line in problems:
        print(f"cannot be read: {line}", file=sys.stderr)
    return int(bool(named.get("recipe")) and bool(verdicts[0].missing))


if __name__ == "__main__":
    sys.exit(main())
