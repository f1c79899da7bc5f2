"""Differences between a run and the command that resumes it: settings and samples, as text."""

from collections.abc import Mapping
from typing import Any

SHOWN = 3
"""So many settings or samples are named in a message."""


def differing(then: Any, now: Any, at: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted keys in which plain values differ, and both values; None where there is none."""
    if isinstance(then, dict) and isinstance(now, dict):
        keys = [*then, *(key for key in now if key not in then)]
        inner = (differing(then.get(key), now.get(key), f"{at}.{key}" if at else str(key)) for key in keys)
        return {key: pair for part in inner for key, pair in part.items()}
    return {} if then == now else {at: (then, now)}


def differing_settings(changed: Mapping[str, tuple[Any, Any]]) -> str:
    """The differences that `differing` found, as text."""
    differences = [f"{key}: {there} there, {here} here" for key, (there, here) in list(changed.items())[:SHOWN]]
    return "; ".join(differences) + (f"; and {len(changed) - SHOWN} more" if len(changed) > SHOWN else "")


def differing_samples(then: Mapping[str, Mapping[str, str]], now: Mapping[str, Mapping[str, str]]) -> str:
    """Changes between two readings of the data, by split; empty if there are none."""
    differences = []
    for split in dict.fromkeys((*then, *now)):
        old, new = then.get(split, {}), now.get(split, {})
        kinds = {
            "changed": [name for name in old if name in new and old[name] != new[name]],
            "gone": [name for name in old if name not in new],
            "new": [name for name in new if name not in old],
        }
        parts = [f"{len(names)} {kind} ({_some(names)})" for kind, names in kinds.items() if names]
        differences += [f"{split}: {', '.join(parts)}"] if parts else []
    return "; ".join(differences)


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + ", ..." * (len(names) > SHOWN)
