"""Former names in recipes, adapters and runs of earlier versions, replaced once, when YAML is read.

Classes of methods and tasks never move, for an adapter's fingerprint of its structure holds their dotted paths.
"""

from collections.abc import Mapping
from typing import Any

from zoo.recipe.schema import TARGET

LOADERS = "zoo.training.loaders.Loaders"

TARGETS = {
    "zoo.trainer.Optimizer": "zoo.training.optimizer.Optimizer",  # in adapters of format 1
    "zoo.optimizer.Optimizer": "zoo.training.optimizer.Optimizer",
    "zoo.trainer.build_trainer": "zoo.training.trainer.build_trainer",
}
"""Former dotted paths of what a recipe's blocks name."""

KEYS = {"data.batch_size": "loader.batch_size", "data.num_workers": "loader.num_workers"}
"""Former keys of a recipe, as the command line has them."""


def today(values: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe, or one of its layers, by today's names.

    Args:
        values: as YAML gives them; keys may be dotted.
    """
    found: dict[str, Any] = _targets(values)
    for former, now in KEYS.items():
        block, _, key = former.partition(".")
        if isinstance(holder := found.get(block), dict) and key in holder:
            found[block] = {name: value for name, value in holder.items() if name != key}
            _put(found, now, holder[key])
        if former in found:
            _put(found, now, found.pop(former))
    for name in ("smoke", "variants"):
        layers = {"": found[name]} if name == "smoke" and name in found else found.get(name)
        if isinstance(layers, dict):
            renamed = {label: today(layer) if isinstance(layer, dict) else layer for label, layer in layers.items()}
            found[name] = renamed[""] if name == "smoke" else renamed
    return found


def _put(values: dict[str, Any], path: str, value: Any) -> None:
    """Set a dotted key, where nothing says it yet."""
    block, _, key = path.partition(".")
    own = values.get(block) or {}
    if path not in values and isinstance(own, dict):  # else the mistake is told of the block itself
        values[block] = {key: value, **own}


def _targets(value: Any) -> Any:
    if isinstance(value, list):
        return [_targets(one) for one in value]
    if not isinstance(value, Mapping):
        return value
    return {
        key: TARGETS.get(one, one) if key == TARGET or str(key).endswith(f".{TARGET}") else _targets(one)
        for key, one in value.items()
    }
