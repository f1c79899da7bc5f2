"""The catalogue for a reader: short cells, tables for a terminal of 80 to 200 columns, and those of the README."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from zoo.catalog.entries import Entry
from zoo.metrics.names import named as named_metric
from zoo.records.interventions import WITHOUT
from zoo.wording import size

BEGIN, END = "<!-- catalog:begin -->", "<!-- catalog:end -->"


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: its head.
        cell: what it says of an entry.
        width: columns of the terminal from which on it is shown.
        until: columns from which on another one takes its place.
        least: its own width at least; None where its cells are not wrapped.
        right: justified.
    """

    title: str
    cell: Callable[[Entry], str]
    width: int = 0
    until: int = 1000
    least: int | None = None
    right: bool = False


def named(entry: Entry) -> str:
    """Name of a recipe; beside it the package that it comes from, where that is not the zoo."""
    return f"{entry.name} ({entry.where})" if entry.where else entry.name


def device(entry: Entry) -> str:
    """`CPU`, or `GPU` with the memory that it should have."""
    memory = re.search(r"(\d+) GB", entry.hardware)
    return "CPU" if "CPU" in entry.hardware else f"GPU {memory[1]} GB" if memory else "GPU"


def backbones(entry: Entry) -> str:
    """Names of the frozen weights."""
    return ", ".join(entry.backbones)


def task(entry: Entry) -> str:
    """The task's class in words: `EventLocalization` is event localization, `OpenVQA` open VQA."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", entry.targets["task"].rpartition(".")[2])
    return " ".join(word if word.isupper() else word.lower() for word in words)


def method(entry: Entry) -> str:
    """Name of the method; what its card adds in brackets left out."""
    return entry.method.partition(" (")[0]


def reported(entry: Entry) -> str:
    """The number that the method's own source reports, in per cent, or the lowest and the highest."""
    values = sorted({float(r["value"]) for r in entry.own_reported()})
    return "-".join(f"{value:g}" for value in dict.fromkeys(values[:1] + values[-1:])) + (" %" if values else "")


def measured(entry: Entry) -> str:
    """Our number, with its deviation over seeds; else the status."""
    found = entry.measured
    if found is None:
        return entry.status
    spread = f" ± {found.std:.1f}" if found.std is not None else ""
    doubt = " (uncommitted code)" if found.dirty else "" if found.commit else " (commit unknown)"
    return f"{found.value:.1f}{spread} %{doubt}"


def exactly(entry: Entry) -> str:
    """Our number with the metric, and of one training with the 95 % interval over samples."""
    found = entry.measured
    if found is None:
        return ""
    interval = f" [{found.interval[0]:.1f}, {found.interval[1]:.1f}]" if found.interval else ""
    return f"{measured(entry)}{interval} {found.metric}"


def control(entry: Entry) -> str:
    """The best control with its number, and whether the difference to the recipe is clear."""
    best = entry.control
    return "" if best is None else f"{best.name}: {best.value:.1f} %, {best.verdict}"


def replaced(entry: Entry) -> str:
    """By mechanism of an adapter's method, the share of test predictions that replacing it changes."""
    return ", ".join(
        f"{'whole method' if name == WITHOUT else named_metric(name)} {100 * share:.1f} %"
        for name, share in entry.changes.items()
    )


def licences(entry: Entry) -> str:
    """Licences of adapter and backbones, each once, then of the data; without text in brackets."""
    own = entry.licences
    *weights, data = (re.split(r" \(|;| as ", text)[0] for text in (own.adapter, *own.backbones.values(), own.data))
    spelled = {text.lower().replace("-", " "): text for text in weights if text != "none needed"}
    listed = ", ".join(text.replace("apache", "Apache") for text in spelled.values())
    return listed if data == "none needed" else f"{listed}; data: {data}"


PAIRING = (
    Column("method", method, 120, least=10),
    Column("frozen backbones", backbones, 144, least=17),
    Column("task", task, 120, least=14),
    Column("data", lambda e: e.data, least=15),
)

RESULT = (
    Column("measured", measured, until=188, right=True),
    Column("measured", exactly, 188, least=18),
    Column("best control", control, 220, least=16),
    Column("status", lambda e: e.status, 188),
)

RECIPES = (
    Column("recipe", named),
    *PAIRING,
    Column("runs on", device),
    Column("trainable", lambda e: f"{e.trainable:,}" if e.trainable else "", 100, right=True),
    Column("licences", licences, 158, least=15),
    Column("reported", reported, right=True),
    *RESULT,
)

ADAPTERS = (
    Column("adapter", lambda e: e.name),
    Column("recipe", lambda e: e.recipe, 180),
    *PAIRING,
    Column("size", lambda e: size(e.bytes or 0), right=True),
    Column("trainable", lambda e: f"{e.trainable:,}", 100, right=True),
    Column("licences", licences, 158, least=15),
    *RESULT,
    Column("where", lambda e: e.where),
)


def terminal(kind: str, entries: Sequence[Entry], columns: Sequence[Column], width: int) -> Group:
    """A table of the columns that there is room for, and a line on the others.

    Args:
        kind: what the entries are, one of them.
        entries: at least one.
        columns: all that there are.
        width: of the terminal.
    """
    title = f"{len(entries)} {kind}{'s' * (len(entries) > 1)}"
    shown = [column for column in columns if column.width <= width < column.until]
    hidden = [column.title for column in columns if column.title not in {c.title for c in shown}]
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.padding = (0, 0)
    for column in shown:
        justify: Literal["left", "right"] = "right" if column.right else "left"
        whole = column.least is None
        table.add_column(column.title, justify=justify, no_wrap=whole, min_width=column.least, overflow="fold")
    for entry in entries:
        table.add_row(*(Text(column.cell(entry)) for column in shown))
    # No caption of the table: one is cut where the table is wider than the terminal.
    return Group(table, *([Text(f"a wider terminal adds {', '.join(hidden)}", style="dim")] if hidden else []))


def markdown(recipes: Sequence[Entry], adapters: Sequence[Entry]) -> str:
    """The tables of the README: recipes, and adapters where there are any.

    Args:
        recipes: all of them.
        adapters: those that are part of the package.
    """
    parts = [
        _table(
            ("recipe", "method", "frozen backbones", "data", "runs on", "reported", "measured by us", "best control"),
            [
                (_link(e), method(e), backbones(e), e.data, device(e), reported(e), _result(e), control(e))
                for e in recipes
            ],
        )
    ]
    if adapters:
        parts.append("Adapters that come with the package; every command takes them by name:")
        parts.append(
            _table(
                (
                    "adapter",
                    "recipe",
                    "task",
                    "data",
                    "size",
                    "trainable",
                    "licences",
                    "measured by us",
                    "best control of the recipe",
                    "predictions that change with a part replaced",
                ),
                [
                    (
                        f"`{e.name}`",
                        f"`{e.recipe}`",
                        task(e),
                        e.data,
                        size(e.bytes or 0),
                        f"{e.trainable:,}",
                        licences(e),
                        _result(e),
                        control(e),
                        replaced(e),
                    )
                    for e in adapters
                ],
            )
        )
    return "\n\n".join(parts)


def _link(recipe: Entry) -> str:
    return f"[`{recipe.name}`](model_cards/{recipe.name}.md)"


def _result(entry: Entry) -> str:
    found = entry.measured
    if found is None:
        return "not yet"
    rounds = f", {found.rounds}" if found.rounds else ""
    return f"{measured(entry)} {found.metric} (n = {found.n}{rounds})"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
