"""Settings of a trained method that a command chooses anew: `method.rank=4`."""

from collections.abc import Sequence
from typing import Any

import yaml

from zoo.recipe.strict_yaml import StrictLoader

METHOD = "method."


def divided(words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Settings of the method among the words of a command, by name, and the other words."""
    found = {}
    for word in words:
        name, equals, value = word.removeprefix(METHOD).partition("=")
        if word.startswith(METHOD) and equals:
            try:
                found[name] = yaml.load(value, Loader=StrictLoader)
            except (yaml.YAMLError, ValueError, RecursionError):
                found[name] = value  # which the method refuses in words
    return found, [word for word in words if not (word.startswith(METHOD) and "=" in word)]
