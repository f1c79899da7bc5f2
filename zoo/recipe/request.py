"""A recipe and the arguments of the command line that change it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml


@dataclass
class Request:
    """A parsed command line."""

    recipe: str
    overrides: list[str] = field(default_factory=list)
    extra: dict[str, str] = field(default_factory=dict)
    smoke: bool = False


def overrides(changes: Mapping[str, Any]) -> list[str]:
    """`key=value` words of changes to a recipe, nested or with dotted keys; a block with a `_target_` stays whole."""
    return [f"{key}={value if isinstance(value, str) else _yaml(value)}" for key, value in _flat(changes, "")]


def _flat(changes: Mapping[str, Any], before: str) -> Iterator[tuple[str, Any]]:
    for key, value in changes.items():
        if isinstance(value, Mapping) and value and "_target_" not in value:
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _yaml(value: Any) -> str:
    """A value in one line."""
    plain = str(value) if isinstance(value, Path) else value
    text: str = yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True, width=float("inf"))
    return text.removesuffix("...\n").strip()
