"""`python -m zoo.show NAME|FILE.yaml|DIR [--json]`: everything about a recipe or an adapter.

For a recipe: its header, every key with its value, type and meaning, its variants, results, licences and how to run it.
For an adapter (bundled, installed or a folder): its recipe, the required backbones, checksums, the measured result,
licences and how to use it.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from zoo import wording
from zoo.adapter import places
from zoo.catalog import holdings as catalog_holdings
from zoo.catalog.pages import adapter_summary, contents, keys, recipe_summary
from zoo.command_line import called, fail, parse_arguments, user_errors
from zoo.files import json_text
from zoo.recipe import compose
from zoo.recipe.keys import describe
from zoo.report import tables
from zoo.report.tables import Pairs


def main(argv: list[str] | None = None) -> int:
    """Show one thing; exit code 2 where there is no such name, 1 where what it names is broken."""
    arguments, _ = parse_arguments(argv, __doc__ or "", required=("name",), flags=("--json",), bare="name")
    name, as_json = arguments["name"], "--json" in arguments
    catalog = catalog_holdings.read_catalog()
    adapters = {entry.name: entry for entry in catalog.adapters}
    known = [*compose.available(), *adapters]
    with user_errors():
        if name in compose.available() or name.endswith((".yaml", ".yml")):
            details, problems = keys(name), list[str]()
            entry = catalog_holdings.of_recipe(compose.find(name), problems)
            for line in problems:
                print(f"note: {line}", file=sys.stderr)
            if as_json:
                print(json_text(entry.facts() | details, indent=2, encoding=sys.stdout.encoding), flush=True)
                return 0
            print(called(f"{describe(name)}\n"))
            tables.show(Pairs(_called(recipe_summary(entry, catalog))))
            return 0
        if len(places.summands(name)) > 1:
            places.find_adapter(name)  # which says what a sum is for
        if name not in adapters and not Path(name).is_dir():
            fail([f"unknown recipe or adapter '{name}'.{wording.nearest(name, known)}"])
        folder = places.find_adapter(name)
        details = contents(folder)
        entry = catalog_holdings.of_adapter(folder, catalog.recipes)
        if as_json:
            print(json_text(entry.facts() | details, indent=2, encoding=sys.stdout.encoding), flush=True)
            return 0
        print(f"# {entry.path}/recipe.yaml, as it was resolved\n{details['resolved']}")
        tables.show(Pairs(_called(adapter_summary(entry, details))))
    return 0


def _called(facts: Mapping[str, str]) -> dict[str, str]:
    return {name: called(text) for name, text in facts.items()}


if __name__ == "__main__":
    sys.exit(main())
