"""What a page says of its adapter before anybody asks it anything: HTML out of the recipe and metrics.json.

An adapter's files are foreign text. `Markup.format` escapes whatever is put into it, so no value can be forgotten; the
card's Markdown may hold no HTML, no link but to a page, and no picture, which would tell its host of every visitor.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markupsafe import Markup
from omegaconf import DictConfig

from zoo.metrics import names
from zoo.pairing import Pairing, count_parameters
from zoo.recipe import sources
from zoo.recipe.schema import SchemaError
from zoo.wording import number

HEAD = Markup('<div class="zoo-head"><h1>{}</h1><p>{}. {}.</p><p>{}</p>{}</div>')

WARNING = Markup('<p class="zoo-warning">{}: {}</p>')

MEASURED = Markup("Measured <b>{}</b> {} on {}, {} split (n = {}){}.{}")

SYNTHETIC = Markup(' <span class="zoo-badge">synthetic data: not a benchmark result</span>')


def heading(name: str, config: DictConfig, pairing: Pairing, record: Mapping[str, Any]) -> str:
    """Name, pairing, and the number of the card with where it was measured.

    Args:
        name: of the adapter.
        config: its resolved recipe.
        pairing: loaded.
        record: its metrics.json.
    """
    backbones = ", ".join(name for block in config.backbones.values() if block is not None for name in _frozen(block))
    trained, total = count_parameters(pairing)
    what = f"{names.called(_class(config.method))} on frozen {backbones}, for {pairing.task.kind.replace('-', ' ')}"
    size = f"{trained:,} of {total:,} parameters are trained ({trained / total:.2%})"
    notes = [*pairing.caveats, *pairing.notes]
    told = [*(("forced", line) for line in pairing.forced), *(("note", line) for line in notes)]
    warnings = Markup("").join(WARNING.format(*line) for line in told)
    return str(HEAD.format(name, what, size, measured(record), warnings))


def measured(record: Mapping[str, Any]) -> Markup:
    """One sentence: the monitored metric, its interval, on what, and whether that is synthetic."""
    data, monitor, unit = record["manifest"]["data"], record["monitor"], record["unit"]
    if record["metrics"][monitor] is None:
        return Markup("Not measured by this code.")
    low, high = record["intervals"].get(monitor, (None, None))
    interval = "" if low is None else f", 95 % interval {number(low, unit)} to {number(high, unit)}"
    return MEASURED.format(
        number(record["metrics"][monitor], unit),
        names.named(monitor),
        data["name"],
        record["split"],
        record["n"],
        interval,
        SYNTHETIC if data["synthetic"] else "",
    )


def card(folder: Path) -> str:
    """The model card as HTML, without its front matter and comments."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"<!--.*?-->", "", re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL), flags=re.DOTALL).strip()
    return str(MarkdownIt("js-default").disable("image").render(text))


def metrics(folder: Path) -> dict[str, Any]:
    """An adapter's metrics.json."""
    record: dict[str, Any] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return record


def _frozen(block: Any) -> list[str]:
    """What a backbone's weights are called; the class's name where nobody knows that."""
    try:
        return [name for name, _ in sources.licences(block)] or [_class(block)]
    except SchemaError:
        return [_class(block)]


def _class(block: Any) -> str:
    return str(block["_target_"]).rpartition(".")[2]
