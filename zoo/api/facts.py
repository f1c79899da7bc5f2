"""A model in a few lines, for a terminal or a notebook."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from zoo import wording
from zoo.pairing import count_parameters

if TYPE_CHECKING:
    from zoo.api.model import Model

SHOWN = 8
"""Classes that are named."""


def facts(model: "Model") -> dict[str, str]:
    """What a model is and how well it did, by name; nothing that is empty."""
    trained, total = count_parameters(model.pairing)
    classes = model.classes
    found = {
        "method": type(model.pairing.method).__name__,
        "backbones": ", ".join(f"{name}: {type(one).__name__}" for name, one in model.pairing.backbones.items()),
        "task": model.pairing.task.kind,
        "classes": f"{len(classes)}: {', '.join(classes[:SHOWN])}{', ...' * (len(classes) > SHOWN)}",
        "parameters": f"{trained:,} trained of {total:,}",
        "measured": "" if model.pairing.summed else _measured(model.metrics),
        "settings": ", ".join(model.settings),
    }
    return {name: text for name, text in found.items() if text}


def _measured(metrics: Mapping[str, Any]) -> str:
    data, monitor = metrics["manifest"]["data"], metrics["monitor"]
    value = wording.number(metrics["metrics"][monitor], metrics["unit"])
    kind = ", a synthetic set" if data["synthetic"] else ""
    return f"{monitor} {value} on {data['name']} test (n = {metrics['n']}){kind}"
