"""`python -m zoo.show NAME|FILE.yaml|DIR [--json]`: everything about a recipe or an adapter.

Of a recipe: its header, every key with its value here, type and meaning, its variants, results, licences and how to run
it. Of an adapter, bundled or installed or a folder: the recipe that made it, what its backbones must be, checksums, the
measured result, licences and how to use it.
"""

import sys
from pathlib import Path

from zoo import wording
from zoo.adapter import places
from zoo.catalog import holdings as catalog_holdings
from zoo.catalog.pages import adapter_summary, contents, keys, recipe_summary
from zoo.command_line import fail, parse_words, user_errors
from zoo.files import json_text
from zoo.recipe import compose
from zoo.recipe.keys import describe
from zoo.report import tables
from zoo.report.tables import Pairs


def main(argv: list[str] | None = None) -> int:
    """Show one thing; exit code 2 where there is no such name, 1 where what it names is broken."""
    words, _ = parse_words(argv, __doc__ or "", required=("name",), flags=("--json",), bare="name")
    name, as_json = words["name"], "--json" in words
    holdings = catalog_holdings.holdings()
    adapters = {entry.name: entry for entry in holdings.adapters}
    known = [*compose.available(), *adapters]
    with user_errors():
        if name in compose.available() or name.endswith((".yaml", ".yml")):
            told, problems = keys(name), list[str]()
            entry = catalog_holdings.of_recipe(compose.find(name), problems)
            for line in problems:
                print(f"note: {line}", file=sys.stderr)
            if as_json:
                print(json_text(entry.facts() | told, indent=2, encoding=sys.stdout.encoding), flush=True)
                return 0
            print(f"{describe(name)}\n")
            tables.show(Pairs(recipe_summary(entry, holdings)))
            return 0
        if name not in adapters and not Path(name).is_dir():
            fail([f"unknown recipe or adapter '{name}'.{wording.nearest(name, known)}"])
        folder = places.resolve(name)
        told = contents(folder)
        entry = catalog_holdings.of_adapter(folder, holdings.recipes)
        if as_json:
            print(json_text(entry.facts() | told, indent=2, encoding=sys.stdout.encoding), flush=True)
            return 0
        print(f"# {entry.path}/recipe.yaml, as it was resolved\n{told['resolved']}")
        tables.show(Pairs(adapter_summary(entry, told)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
