"""What a page says of its adapter before anybody asks it anything: HTML out of the recipe and metrics.json."""

import json
import re
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from zoo.pairing import Pairing, count_parameters
from zoo.report import number


def heading(name: str, config: DictConfig, pairing: Pairing, record: Mapping[str, Any]) -> str:
    """Name, pairing, and the number of the card with where it was measured.

    Args:
        name: of the adapter.
        config: its resolved recipe.
        pairing: loaded.
        record: its metrics.json.
    """
    backbones = ", ".join(_class(block) for block in config.backbones.values() if block is not None)
    trained, total = count_parameters(pairing)
    what = f"{_class(config.method)} on frozen {backbones}, for {pairing.task.kind.replace('-', ' ')}"
    size = f"{trained:,} of {total:,} parameters are trained ({trained / total:.2%})"
    told = [*(f"forced: {line}" for line in pairing.forced), *(f"note: {line}" for line in pairing.notes)]
    warnings = "".join(f'<p class="zoo-warning">{escape(line)}</p>' for line in told)
    return (
        f'<div class="zoo-head"><h1>{escape(name)}</h1><p>{escape(what)}. {escape(size)}.</p>'
        f"<p>{measured(record)}</p>{warnings}</div>"
    )


def measured(record: Mapping[str, Any]) -> str:
    """One sentence: the monitored metric, its interval, on what, and whether that is synthetic."""
    data, monitor, unit = record["manifest"]["data"], record["monitor"], record["unit"]
    value = f"<b>{number(record['metrics'][monitor], unit)}</b> {escape(monitor.replace('_', ' '))}"
    low, high = record["intervals"].get(monitor, (None, None))
    interval = "" if low is None else f", 95 % interval {number(low, unit)} to {number(high, unit)}"
    where = f"{escape(data['name'])}, {escape(record['split'])} split (n = {record['n']})"
    badge = ' <span class="zoo-badge">synthetic data: not a benchmark result</span>' if data["synthetic"] else ""
    return f"Measured {value} on {where}{interval}.{badge}"


def card(folder: Path) -> str:
    """The model card in Markdown, without its front matter and comments."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    return re.sub(r"<!--.*?-->", "", re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL), flags=re.DOTALL).strip()


def metrics(folder: Path) -> dict[str, Any]:
    """An adapter's metrics.json."""
    record: dict[str, Any] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return record


def _class(block: Any) -> str:
    return str(block["_target_"]).rpartition(".")[2]
