"""Tables of a run for the terminal: records in, rich renderables out."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

from zoo.metrics.names import HIGHER_ELSE, directed, named
from zoo.metrics.wilson import wilson
from zoo.records import calibration, comparison, interventions
from zoo.records.comparison import BRANCH, COST
from zoo.wording import number, seconds, size


def show(renderable: Any) -> None:
    """Print a renderable; a pipe gets plain text, 100 columns wide."""
    console = Console()
    (console if console.is_terminal else Console(width=100)).print(renderable, crop=False)


def interval(record: Mapping[str, Any], metric: str) -> str:
    """A metric's 95 % interval for a reader, empty where it has none; that of a share says whose it is."""
    low, high = record["intervals"].get(metric, (None, None))
    if low is None:
        return ""
    whole = 1 if record["unit"] == "fraction" else 100
    share, n = record["metrics"][metric] / whole, record["n"]
    told = f"{number(low, record['unit'])} to {number(high, record['unit'])}"
    is_wilson = n and 0 <= share <= 1 and math.dist(wilson(share, n), (low / whole, high / whole)) < 1e-9
    return f"{told} (Wilson)" if is_wilson else told


def duration(seconds: float) -> str:
    """A time to wait, for a reader."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


class Pairs:
    """Names in bold, and beside each its text, whatever brackets are in it.

    A command stays on one line and no word is broken, however narrow the terminal: what is printed can be copied.

    Args:
        rows: text by name.
    """

    def __init__(self, rows: Mapping[str, str]) -> None:
        self.rows = rows

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        """Lines for a terminal as wide as the options say."""
        indent = max(map(len, self.rows), default=0) + 2
        for name, text in self.rows.items():
            lines = [part for line in text.splitlines() for part in _wrapped(line, options.max_width - indent)] or [""]
            for index, line in enumerate(lines):
                label = (name if index == 0 else "").ljust(indent)
                yield Text.assemble((label, "bold"), line, no_wrap=True, overflow="ignore")


def _wrapped(line: str, room: int) -> list[str]:
    """Prose in lines of so many characters, where its words allow it."""
    if "python -m " in line:
        return [line]
    return textwrap.wrap(line, max(room, 20), break_long_words=False, break_on_hyphens=False) or [""]


def _metrics(record: Mapping[str, Any], title: str) -> Table:
    unit, synthetic = record["unit"], record.get("manifest", {}).get("data", {}).get("synthetic")
    table = Table(title=title, caption=_caption(synthetic, record.get("note", "")))
    table.add_column("metric")
    table.add_column("test", justify="right", style="bold")
    table.add_column("95 % interval over samples", justify="right")
    for name in record["baselines"]:
        table.add_column(named(name), justify="right", style="dim")
    for metric, name in _named(record).items():
        table.add_row(
            name,
            number(record["metrics"][metric], unit),
            interval(record, metric),
            *(number(values.get(metric), unit) for values in record["baselines"].values()),
        )
    return table


def _caption(synthetic: bool, note: str = "") -> str:
    further = ("a synthetic set: not a benchmark result" if synthetic else "", note)
    return "; ".join([HIGHER_ELSE, *(text for text in further if text)])


def _named(record: Mapping[str, Any]) -> dict[str, str]:
    """Metrics in the order in which they are printed, and their names: those of probes indented beneath the monitored
    one, so that what a method says without the picture stands beside what it says with it."""
    monitor = record["monitor"]
    beneath = {
        f"{monitor}_{probe}": f"  {named(probe)}" + (f", n = {part['n']}" if part["n"] < record["n"] else "")
        for probe, part in record["probes"].items()
    }
    others = {metric: directed(metric) for metric in record["metrics"] if metric not in beneath}
    return {monitor: others.pop(monitor)} | beneath | others


LONGEST = 12
"""Groups of a table by group; the record has all of them, and the confusion matrix the classes."""


def _details(record: Mapping[str, Any]) -> list[Table]:
    """What has units of its own, branches on the split and on its probes, and accuracy by group: what there is."""
    unit, found = record["unit"], []
    shown = {record["split"]: record, **record["probes"]}
    # Of the split alone: a probe tells a wrong scale or none, and what is counted against that says nothing.
    counted = record["method"] | record.get("quantities", {}) | record.get("concluded", {})
    own = [[directed(name), f"{value:.3g}"] for name, value in counted.items() if not name.startswith(BRANCH)]
    if own:
        found.append(_grid("in units of their own", ["", record["split"]], own))
    taken = list(dict.fromkeys(branch for part in shown.values() for branch in part["branches"]))
    if taken:
        rows = []
        for what, part in shown.items():
            of = [part["branches"].get(branch) for branch in taken]
            cells = [f"{100 * p['share']:.1f} %: {number(p['accuracy'], unit)}" if p else "" for p in of]
            rows += [[what, str(part["n"]), *cells]] if any(cells) else []
        found.append(_grid("share of the samples and accuracy by branch", ["shown", "n", *taken], rows))
    if rows := calibration.cells(calibration.summary([record])):
        title = f"calibration, {record[calibration.KEY]['n']} labels of {record['split']}"
        found.append(_grid(title, calibration.HEADER, rows))
        found[-1].caption = calibration.LEGEND
    for what, part in record["probes"].items():
        there = calibration.summary([part])
        there.pop(calibration.SHARES, None)  # the split's, told above
        if there:
            found.append(_grid(f"calibration, {named(what)}", calibration.HEADER, calibration.cells(there)))
    measured, factor = interventions.of([record]), comparison.scale(record)
    replaced = interventions.summary(measured, factor)
    for what, header, cells_of, legend in (
        (
            "one part of the method replaced at a time",
            interventions.HEADER,
            interventions.cells(replaced, interventions.intervals(measured, factor)),
            interventions.LEGEND,
        ),
        ("control signals", interventions.SIGNAL_HEADER, interventions.signal_cells(replaced), None),
    ):
        if cells_of:
            found.append(_grid(f"{what}, {measured[0]['n']} test samples", header, cells_of))
            found[-1].caption = legend
    for what, groups in record["by"].items():
        if len(groups) <= LONGEST:
            rows = [[name, number(group["accuracy"], unit), str(group["n"])] for name, group in groups.items()]
            found.append(_grid(f"by {what}", [what, "accuracy", "n"], rows))
    return found


def unlike(found: Mapping[str, Any]) -> str:
    """How often the signal for what is unlike training fired on a split."""
    return f"{100 * found['fires']:.1f} % of the split's {found['n']} samples"


def weight_change(changes: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """The largest of the changes of frozen weights, as a share of its weight, by either norm."""
    layers = {f"{name}: {path}": one for name, own in changes.items() for path, one in own.items()}
    where = max(layers, key=lambda layer: layers[layer]["frobenius"])
    parts = (f"{100 * share:.2g} % ({norm} norm)" for norm, share in layers[where].items())
    return f"{', '.join(parts)}, {where}; {len(layers)} layers"


def foreign(name: str, found: Mapping[str, Any]) -> Table:
    """How often the signal fired on an adapter's own test split and on foreign sets."""
    rows = [[f"{name}, own test split", found], *found["foreign"].items()]
    cells = [[what, f"{100 * one['fires']:.1f} %", str(one["n"])] for what, one in rows]
    return _grid("unlike its training", ["files", "fires", "n"], cells)


def summary(record: Mapping[str, Any], run_dir: Path) -> Group:
    """The last screen of a training: metrics beside trivial baselines, cost, and where everything lies."""
    manifest = record["manifest"]
    cost, count = manifest["cost"], manifest["parameters"]
    rows = {
        "trainable parameters": "{trainable:,} of {total:,} ({share:.2%})".format(
            **count, share=count["trainable"] / count["total"]
        ),
        **({"unlike its training": unlike(record["familiarity"])} if "familiarity" in record else {}),
        **({"largest weight change": weight_change(record["weight_changes"])} if "weight_changes" in record else {}),
        "peak memory": size(cost["peak_memory_bytes"]),
        "median step": f"{cost['median_step_s'] * 1000:.0f} ms",
        "first epoch, later epochs": ", ".join(seconds(cost[name]) for name in ("first_epoch_s", "later_epoch_s")),
        "checkpoint": size(cost["checkpoint_bytes"]),
        "whole run": f"{manifest['seconds']:.0f} s on {manifest['hardware']}",
        "run folder": str(run_dir),
        "  adapter": "adapter/ (safetensors, recipe, metrics, card, checksums)",
        "  pictures": ", ".join(sorted(p.name for p in (run_dir / "report").glob("*.png"))),
    }
    title = (
        f"{manifest['recipe']} on {manifest['data']['name']} (n = {record['n']}, selected on {manifest['selected_on']})"
    )
    return Group(_metrics(record, title), *_details(record), Pairs({f"  {name}": text for name, text in rows.items()}))


def evaluation(record: Mapping[str, Any], stored: Mapping[str, Any]) -> Group:
    """Measured now beside what the adapter's card says, and trivial predictors; details as in `summary`."""
    unit = record["unit"]
    caption = _caption(False, record.get("note", ""))
    table = Table(title=f"measured on {record['split']} (n = {record['n']})", caption=caption)
    names = [named(name) for name in record["baselines"]]
    for name in ("metric", "now", "card", "95 % interval now", *names):
        table.add_column(name, justify="left" if name == "metric" else "right", style="dim" if name in names else None)
    for metric, name in _named(record).items():
        value = record["metrics"][metric]
        trivial = [number(values.get(metric), unit) for values in record["baselines"].values()]
        was = number(stored["metrics"].get(metric), unit)
        table.add_row(name, number(value, unit), was, interval(record, metric), *trivial)
    return Group(table, *_details(record))


def voted(record: Mapping[str, Any]) -> str:
    """A vote in one line, beside the number without voting."""
    found, monitor, unit = record["voted"], record["monitor"], record["unit"]
    bounds = interval({**record, **found}, monitor)
    return (
        f"voted over {found['views']} views ({', '.join(found['augment'])}): {named(monitor)} "
        f"{number(found['metrics'][monitor], unit)}{f', 95 % interval {bounds}' if bounds else ''}; without voting "
        f"{number(record['metrics'][monitor], unit)}"
    )


def compared(record: Mapping[str, Any]) -> Group:
    """A recipe beside its controls, from `comparison.gather`: one table of what they reach, one of what they cost."""
    about = record["about"]
    header, rows = comparison.cells(record)
    reached = len(header) - len(COST)
    title = f"{about['dataset']}, {about['split']} (n = {about['n']}, seeds {about['seeds']})"
    quality = _grid(title, header[:reached], [row[:reached] for row in rows])
    quality.caption = _caption(about["synthetic"])
    costs = [[row[0], *row[reached:]] for row in rows[: len(record["rows"])]]
    details = [
        _grid(what, *cells)
        for what, cells in (
            ("in units of their own", comparison.method_cells(record)),
            ("branches of the methods", comparison.branch_cells(record)),
            ("calibration", comparison.calibration_cells(record)),
            ("one part replaced at a time", comparison.part_cells(record)),
            ("control signals", comparison.signal_cells(record)),
        )
        if cells[1]
    ]
    return Group(quality, *details, _grid("what it costs", [header[0], *header[reached:]], costs))


def _grid(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title)
    for name in header:
        first = name == header[0]
        whole = first or name.endswith("95 %")  # an interval that is broken is read as another number
        table.add_column(named(name), justify="left" if first else "right", no_wrap=whole, overflow="fold")
    for name, *cells in rows:
        table.add_row(named(name), *cells)
    return table
