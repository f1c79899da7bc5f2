"""`python -m zoo.list [task=...] [backbone=...] [method=...] [data=...] [status=...] [--json]`: list the zoo.

Two tables, recipes and adapters: pairing, data, hardware, size, licences, and the reported result beside the measured
one. A narrow terminal shows fewer columns; `python -m zoo.show NAME` and --json show everything.

    task, backbone, method, data   part of a name, in upper or lower case: method=mantis, backbone=dinov2
    status                         trained here, reported only or not measured: status=trained
    --json                         all facts as JSON
    --readme                       regenerate the tables of README.md (in a source checkout)
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console

from zoo.catalog import holdings as catalog_holdings
from zoo.catalog.entries import Catalog, Entry
from zoo.catalog.tables import ADAPTERS, BEGIN, END, RECIPES, markdown, terminal
from zoo.command_line import fail, parse_arguments, user_errors
from zoo.errors import UserError
from zoo.files import PACKAGE, json_text, write_whole

FILTERS: dict[str, Callable[[Entry], list[str]]] = {
    "task": lambda e: [e.task, e.targets["task"]],
    "backbone": lambda e: [*e.backbones, *(path for key, path in e.targets.items() if key.startswith("backbones."))],
    "method": lambda e: [e.method, e.targets["method"]],
    "data": lambda e: [e.data, e.targets["data"]],
    "status": lambda e: [e.status],
}
"""The names by which an entry is found; the first are for a reader, classes stand behind them."""

PIPE = 160
"""Columns where the output is no terminal and COLUMNS is not set."""


def chosen(entries: Sequence[Entry], arguments: Mapping[str, str]) -> list[Entry]:
    """Entries that every filter fits: part of one of their names, whatever its case and its `-`, `_` and spaces."""
    return [e for e in entries if all(_fits(e, key, word) for key, word in arguments.items())]


def _fits(entry: Entry, key: str, word: str) -> bool:
    return any(_plain(word) in _plain(name) for name in FILTERS[key](entry))


def _plain(text: str) -> str:
    return text.lower().replace("_", " ").replace("-", " ")


def _unknown(entries: Sequence[Entry], arguments: Mapping[str, str]) -> list[str]:
    """One line for each filter that fits nothing at all: what there is."""
    lines = []
    for key, word in arguments.items():
        if not chosen(entries, {key: word}):
            names = {name for entry in entries for name in FILTERS[key](entry) if name not in entry.targets.values()}
            lines.append(f"{key}={word}: there is none. Known: {'; '.join(sorted(names))}")
    return lines


def readme(catalog: Catalog) -> str:
    """README.md with its tables regenerated.

    Raises:
        UserError: this is no source checkout, or something of the zoo's own cannot be read.
    """
    path = PACKAGE.parent / "README.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if BEGIN not in text or END not in text:
        raise UserError(f"{path} has no lines {BEGIN} and {END}: --readme is for a source checkout")
    bundled = [entry for entry in catalog.adapters if entry.where == "bundled"]
    before, _, rest = text.partition(BEGIN)
    tables = markdown([entry for entry in catalog.recipes if not entry.where], bundled)
    return f"{before}{BEGIN}\n{tables}\n{END}{rest.partition(END)[2]}"


def main(argv: list[str] | None = None) -> int:
    """List; exit code 2 where a filter fits nothing that there is, 1 where several fit nothing together."""
    arguments, _ = parse_arguments(argv, __doc__ or "", optional=list(FILTERS), flags=("--json", "--readme"))
    filters = {key: arguments[key] for key in FILTERS if key in arguments}
    catalog = catalog_holdings.read_catalog()
    if lines := _unknown([*catalog.recipes, *catalog.adapters], filters):
        fail(lines)
    shown = Catalog(chosen(catalog.recipes, filters), chosen(catalog.adapters, filters), catalog.problems)
    with user_errors():
        if "--readme" in arguments:
            write_whole(PACKAGE.parent / "README.md", readme(catalog))
        elif "--json" in arguments:
            print(json_text(shown.facts(), indent=2, encoding=sys.stdout.encoding), flush=True)
        else:
            _print(shown)
        for line in catalog.problems:
            print(f"cannot be listed: {line}", file=sys.stderr)
        if not shown.recipes and not shown.adapters:
            raise UserError(f"nothing is {' and '.join(f'{key}={word}' for key, word in filters.items())}")
    return 0


def _print(shown: Catalog) -> None:
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=PIPE)
    for kind, entries, columns in (("recipe", shown.recipes, RECIPES), ("adapter", shown.adapters, ADAPTERS)):
        if entries:
            console.print(terminal(kind, entries, columns, console.width), "")


if __name__ == "__main__":
    sys.exit(main())
