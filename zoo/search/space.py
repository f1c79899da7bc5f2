"""The space of a sweep: `search.KEY=...` words of the command line, and the points to try.

A list is tried value by value, all lists crossed; `uniform(a,b)`, `loguniform(a,b)` and `randint(a,b)` (both ends
included) are drawn, `samples` times for every combination of the lists. Everything is drawn before the first trial,
from a fixed seed, so that the same words give the same points.
"""

import itertools
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml
from omegaconf import DictConfig

from zoo import wording
from zoo.recipe import compose as recipe_compose
from zoo.recipe.compose import RecipeError
from zoo.recipe.strict_yaml import StrictLoader

PREFIX = "search."

DRAWN = ("uniform", "loguniform", "randint")

SAMPLES = 8
"""Draws for every combination of the lists, where the command does not say."""


@dataclass(frozen=True)
class Axis:
    """One searched key.

    Attributes:
        key: of the recipe.
        kind: "list", or one of `DRAWN`.
        values: of the list, or both ends.
    """

    key: str
    kind: str
    values: tuple[Any, ...]

    @property
    def record(self) -> Any:
        """The axis as on the command line: the list, or `loguniform(0.0001,0.01)`."""
        return list(self.values) if self.kind == "list" else f"{self.kind}({self.values[0]},{self.values[1]})"

    def draw(self, rng: np.random.Generator) -> Any:
        """A value between the ends."""
        low, high = self.values
        if self.kind == "randint":
            return int(rng.integers(low, high, endpoint=True))
        drawn = math.exp(rng.uniform(math.log(low), math.log(high))) if self.kind == "loguniform" else None
        return self.rounded(rng.uniform(low, high) if drawn is None else drawn)

    def rounded(self, value: float) -> float:
        """A drawn number to four digits: what is reported is what was tried."""
        low, high = self.values
        return value if self.kind == "randint" else min(max(float(f"{value:.4g}"), low), high)


def word(key: str, value: Any) -> str:
    """`key=value` as the command line of `zoo.train` has it."""
    return f"{key}={value if isinstance(value, str) else json.dumps(value)}"


def axes(words: Iterable[str]) -> list[Axis]:
    """Read `search.KEY=[...]` and `search.KEY=loguniform(a,b)` words.

    Raises:
        RecipeError: with every mistake found.
    """
    found, problems = [], []
    for given in words:
        key, _, raw = given.removeprefix(PREFIX).partition("=")
        axis = _axis(key, raw)
        if isinstance(axis, str):
            problems.append(f"{PREFIX}{key}: {axis}")
        else:
            found.append(axis)
    twice = {axis.key for axis in found if sum(other.key == axis.key for other in found) > 1}
    problems += [f"'{PREFIX}{key}' is given twice" for key in sorted(twice)]
    problems += [] if found or problems else [f"nothing to search: give {PREFIX}KEY=[value,value], for instance"]
    if problems:
        raise RecipeError(problems)
    return found


def _axis(key: str, raw: str) -> Axis | str:
    """An axis, or what is wrong with its word."""
    expected = f"expected a list like [8,16,32] or one of {', '.join(f'{kind}(low,high)' for kind in DRAWN)}, got {raw}"
    call = re.fullmatch(r"(\w+)\((.*)\)", raw.strip())
    try:
        values = yaml.load(f"[{call[2]}]" if call else raw, Loader=StrictLoader)
    except yaml.YAMLError:
        return expected
    if not call:
        if not isinstance(values, list):
            return expected
        return Axis(key, "list", tuple(values)) if values else "the list is empty"
    if call[1] not in DRAWN:
        return expected.replace("expected", f"unknown '{call[1]}'.{wording.nearest(call[1], DRAWN)} Expected")
    numbers = int if call[1] == "randint" else int | float
    if len(values) != 2 or not all(isinstance(v, numbers) and not isinstance(v, bool) for v in values):
        return f"expected two {'whole ' if call[1] == 'randint' else ''}numbers, {call[1]}(low,high), got {raw}"
    low, high = values
    if not low < high:
        return f"expected low < high, got {raw}"
    if call[1] == "loguniform" and low <= 0:
        return f"a logarithm needs low > 0, got {raw}"
    return Axis(key, call[1], (low, high))


def points(space: Sequence[Axis], samples: int | None) -> list[dict[str, Any]]:
    """All points, each a value by key.

    Args:
        space: of the sweep.
        samples: draws for every combination of the lists; `SAMPLES` where something is drawn and None is given.

    Raises:
        RecipeError: samples of nothing that is drawn.
    """
    drawn = [axis for axis in space if axis.kind != "list"]
    if samples is not None and not drawn:
        raise RecipeError([f"samples: every value is in a list, so nothing is drawn; drawn are {', '.join(DRAWN)}"])
    rng, found = np.random.default_rng(0), []
    lists = [[(axis.key, value) for value in axis.values] for axis in space if axis.kind == "list"]
    for _ in range((samples or SAMPLES) if drawn else 1):
        for combination in itertools.product(*lists):
            chosen = dict(combination) | {axis.key: axis.draw(rng) for axis in drawn}
            found.append({axis.key: chosen[axis.key] for axis in space})
    return [point for i, point in enumerate(found) if point not in found[:i]]


def compose(
    name: str, overrides: Sequence[str], space: Sequence[Axis], tried: Sequence[dict[str, Any]], *, smoke: bool
) -> list[DictConfig]:
    """The checked configuration of every point.

    Raises:
        RecipeError: with the mistakes of every value of every axis, not of the first alone.
    """
    problems: list[str] = []
    fixed = {given.partition("=")[0] for given in overrides}
    problems += [f"'{axis.key}' is both fixed and searched" for axis in space if axis.key in fixed]
    for axis in space:
        for value in axis.values if axis.key not in fixed else ():
            try:
                recipe_compose.compose(name, [*overrides, word(axis.key, value)], smoke=smoke)
            except RecipeError as error:
                problems += error.problems
    if problems:
        raise RecipeError(list(dict.fromkeys(problems)))
    composed = []
    for point in tried:
        words = [*overrides, *(word(key, value) for key, value in point.items())]
        composed.append(recipe_compose.compose(name, words, smoke=smoke))
    return composed
