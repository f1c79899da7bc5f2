"""The page of a matrix: tables and rankings in Markdown between two marks, and a picture a pairing beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.cells import marks, pareto
from zoo.files import write_json, write_whole
from zoo.metrics.names import named
from zoo.records import calibration
from zoo.records.over_runs import plus_minus

COSTS: dict[str, tuple[str, float]] = {
    "trained": ("trained numbers", 1),
    "peak_mib": ("peak memory, MiB", 1),
    "step_ms": ("step, ms", 1),
    "bytes": ("checkpoint, KiB", 1024),
}
"""Costs by key of a row: what each is called, and the unit that it is shown in, in units of the record."""

LEGEND = (
    "Methods have the size that comes nearest to a budget, a share of the backbone's weights, or the one they have. "
    "Learning rates were chosen by validation with the first seed; test was measured with the chosen one alone. *In "
    "italics*: level with {against} within the 95 % interval (paired bootstrap over test samples, of {against} with "
    "the nearest number of trained numbers). Trained numbers are the method's, without its head. A step is the "
    "median one of the fastest seed. `forward` is the time of a forward pass over the frozen model's, before merging; "
    "a method that merges costs nothing afterwards. `changed` is the largest ||Delta|| / ||W|| of a layer. `moved` "
    "is one minus the cosine between features of foreign data and the frozen ones, or, of a language model, "
    "the perplexity of English text as a ratio to the frozen model's; both are of the first seed. ECE: 15 bins, as the "
    "probabilities are, and at a temperature fitted on validation. A rate with \u2020 is the smallest or largest that "
    "was tried: a better one may lie beyond."
)

EDGE = " \u2020"


def write(path: Path, record: Mapping[str, Any], command: str) -> None:
    """Write the generated part of a page, and beside it its pictures and the record itself.

    Args:
        path: of the page, which has both marks; a new one is begun.
        record: of the matrix.
        command: that made it.

    Raises:
        RecipeError: the page exists, and has no marks.
    """
    head, tail = marks.require(path)
    record = {"command": command, **record}
    for name, pairing in record["pairings"].items():
        if pairing["rows"]:
            pareto.draw(picture(path, name), pairing, COSTS)
    write_json(path.with_suffix(".json"), record)
    write_whole(path, head + marks.BEGIN + generated(path, record) + marks.END + tail)


def picture(path: Path, pairing: str) -> Path:
    """Of a pairing, beside the page."""
    return path.with_name(f"{path.stem}_{pairing}.png")


def generated(path: Path, record: Mapping[str, Any]) -> str:
    """What stands between the marks of a page."""
    lines = ["", f"`{record['command']}`", "", LEGEND.format(against=record["plan"]["against"]), ""]
    for name, pairing in record["pairings"].items():
        lines += [*section(pairing, record["plan"]), ""]
        lines += [f"![{pairing['title']}]({picture(path, name).name})", ""] if pairing["rows"] else []
    return "\n".join([*lines, ""])


def section(pairing: Mapping[str, Any], plan: Mapping[str, Any]) -> list[str]:
    """One pairing in Markdown: what was measured, the table, rankings by every cost, and what is missing."""
    head, missing = (
        [f"## {pairing['title']}", ""],
        [
            *(f"- {method} does not go here: {why}" for method, why in sorted(pairing["refused"].items())),
            *(f"- {training} ended with an error: {why}" for training, why in sorted(pairing["failed"].items())),
        ],
    )
    rows = sorted(pairing["rows"], key=lambda row: -row["mean"])
    if not rows:
        return [*head, "No method was trained with every seed.", "", *missing]
    about = f"{pairing['dataset']}{', a synthetic set' * pairing['synthetic']}, n = {pairing['n']}, seeds "
    about += f"{list(plan['seeds'])}, selected on validation; {pairing['weights']:,} weights; commit "
    about += f"{', '.join(pairing['commits'])}, {', '.join(pairing['hardware'])}, {pairing['dates'][-1]}."
    if pairing["trivial"] is not None:
        about += f" Best trivial predictor: {pairing['trivial']:.2f} %."
    return [
        *head,
        about,
        "",
        *table(rows, pairing, plan["against"]),
        "",
        *rankings(rows),
        *missing,
    ]


def table(rows: Sequence[Mapping[str, Any]], pairing: Mapping[str, Any], against: str) -> list[str]:
    """The rows, in the order given."""
    header = ["method", "share, %", f"{named(pairing['metric'])}, %", f"minus {against}, 95 %", "learning rate"]
    header += [words for words, _ in COSTS.values()]
    header += ["NLL", "ECE", "ECE, tempered", "forward", "merges", "changed", "moved"]
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    return lines + [f"| {' | '.join(_cells(row, pairing))} |" for row in rows]


def _cells(row: Mapping[str, Any], pairing: Mapping[str, Any]) -> list[str]:
    gap, level = row["gap"], row["gap"] is not None and row["gap"][0] <= 0 <= row["gap"][1]
    told = f"{gap[0]:+.2f}..{gap[1]:+.2f}" if gap else ""
    main = [plus_minus(row), told]
    of = row["trained"] / pairing["weights"]
    measured = row["calibration"]
    raw, tempered = (measured.get(which, {}) for which in (calibration.RAW, calibration.TEMPERED))
    moved = row.get("moved", row.get("perplexity"))
    return [
        row["method"],
        f"{100 * of:.2g}",
        *(f"*{cell}*" if level and cell else cell for cell in main),
        f"{row['rate']:g}{EDGE * _at_edge(row)}",
        *(f"{row[key] / unit:,.0f}" for key, (_, unit) in COSTS.items()),
        plus_minus(raw.get("nll"), 3),
        plus_minus(raw.get("ece_15"), 3),
        plus_minus(tempered.get("ece_15"), 3),
        f"{row['slower']:.2f}" if "slower" in row else "",
        {True: "yes", False: "no", None: ""}[row.get("merges")] if row["trained"] else "",
        f"{row['changes']:.3f}" if row["changes"] is not None else "",
        f"{moved:.3f}" if moved is not None else "",
    ]


def _at_edge(row: Mapping[str, Any]) -> bool:
    """Whether the best learning rate is the first or last of those that were tried."""
    rates = sorted(map(float, row["validation"]))
    return len(rates) > 1 and row["rate"] in (rates[0], rates[-1])


def rankings(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line a cost, the cheapest method first: they are different rankings."""
    several = {row["method"] for row in rows if row["budget"] != "own"}
    lines = []
    for key, (words, unit) in COSTS.items():
        ordered = sorted(rows, key=lambda row: row[key])
        parts = [
            f"{row['method']}{_at(row) if row['method'] in several else ''} ({row[key] / unit:,.0f})" for row in ordered
        ]
        lines.append(f"- By {words}: {', '.join(parts)}.")
    return lines


def _at(row: Mapping[str, Any]) -> str:
    """Budget of a row whose method has several."""
    return f" {100 * float(row['budget']):g} %"
