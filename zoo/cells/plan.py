"""The plan of a matrix: which methods on which pairings, at which budgets, from one YAML file.

seeds: [0, 1, 2]
rates: [1.0e-3, 3.0e-3, 1.0e-2]     learning rates; the first seed's validation chooses
budgets: [0.001, 0.01]              trained numbers of a method, as shares of the weights of `stream`
against: lora                       the method that the others are compared with
pairings:
  pictures:
    title: DINOv2-S, RSSCN7
    recipe: pictures.yaml           a recipe's name, or a file beside the plan
    stream: vision                  whose weights the budgets are shares of
    places: {targets: ...}          settings that every method takes which has them
    foreign: {_target_: ...}        data on which the change of the frozen features is measured
    changes: {head_only: {trainer.max_epochs: 40}}   of the recipe, for single methods
methods:
  lora: {method: {_target_: lora}, size: [rank, alpha]}   settings that take the size, so that it fits a budget
  gse: {method: gse, size: rank, step: 8}                 sizes are multiples of the step
  bitfit: {method: bitfit}                                without `size`: it has one size, its own
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig

from zoo.files import json_text
from zoo.recipe import compose, schema, short_names
from zoo.recipe.compose import RecipeError
from zoo.recipe.schema import TARGET
from zoo.recipe.strict_yaml import StrictLoader
from zoo.wording import nearest

OWN = "own"
"""The budget of a method that has one size."""

KEYS = {
    "plan": ("seeds", "rates", "budgets", "against", "pairings", "methods"),
    "pairings": ("title", "recipe", "stream", "places", "foreign", "changes"),
    "methods": ("method", "size", "step"),
}

LISTS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "seeds": ("whole numbers", lambda one: type(one) is int and one >= 0),
    "rates": ("numbers above 0", lambda one: type(one) in (int, float) and one > 0),
    "budgets": ("shares above 0 and up to 1", lambda one: type(one) in (int, float) and 0 < one <= 1),
}
"""What the lists of a plan hold."""

KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "places": ("a mapping of settings to values", lambda one: isinstance(one, dict)),
    "foreign": ("a block of data", lambda one: isinstance(one, dict | str)),
    "changes": (
        "a mapping of methods to settings",
        lambda one: isinstance(one, dict) and all(isinstance(inner, dict) for inner in one.values()),
    ),
    "method": ("a name, or a block", lambda one: isinstance(one, dict | str)),
    "size": (
        "a setting of the method, or a list of them",
        lambda one: isinstance(one, str) or (isinstance(one, list) and all(isinstance(key, str) for key in one)),
    ),
    "step": ("a whole number above 0", lambda one: type(one) is int and one > 0),
}
"""What the keys of a pairing and of a method hold, where that is not any text."""


@dataclass(frozen=True)
class Setting:
    """A pairing of the plan: frozen backbones, a task and data, on which every method is tried.

    Attributes:
        name: of the pairing.
        title: for a reader.
        recipe: name or file.
        stream: whose weights budgets are shares of.
        places: settings that every method takes which has them.
        foreign: data on which the change of the frozen features is measured, if any.
        changes: of the recipe for single methods, by dotted key.
        overrides: `key=value` words of the command, `data.root` and the like.
    """

    name: str
    title: str
    recipe: str
    stream: str
    places: Mapping[str, Any] = field(default_factory=dict)
    foreign: Mapping[str, Any] | None = None
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contender:
    """A method of the plan.

    Attributes:
        name: of the row.
        block: the recipe's `method`.
        size: its settings that take the size, dotted; none where it has one size.
        step: of which sizes are multiples.
    """

    name: str
    block: Mapping[str, Any]
    size: tuple[str, ...] = ()
    step: int = 1


@dataclass(frozen=True)
class Plan:
    """What a matrix is to show.

    Attributes:
        name: of the plan's file.
        seeds: the first one's validation chooses learning rates.
        rates: learning rates that are tried.
        budgets: shares of a backbone's weights.
        against: name of the method that the others are compared with.
        settings: pairings.
        contenders: methods.
    """

    name: str
    seeds: tuple[int, ...]
    rates: tuple[float, ...]
    budgets: tuple[float, ...]
    against: str
    settings: tuple[Setting, ...]
    contenders: tuple[Contender, ...]

    def budgets_of(self, contender: Contender) -> tuple[float | str, ...]:
        """The budgets at which a method is tried: all of the plan's, or its own size."""
        return self.budgets if contender.size else (OWN,)


def read(path: Path, overrides: Mapping[str, str] | None = None) -> Plan:
    """The plan in a file.

    Args:
        path: of the YAML file.
        overrides: `PAIRING.KEY=VALUE` of the command, by what stands before `=`.

    Raises:
        RecipeError: with a line for every mistake; no weight, no data has been read by then.
    """
    if not path.is_file():
        raise RecipeError([f"plan file '{path}' does not exist"])
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=StrictLoader)
    except (yaml.YAMLError, ValueError) as error:
        raise RecipeError([f"{path}: {' '.join(str(error).split())}"]) from error
    problems = _keys(values, path)
    if problems:
        raise RecipeError(problems)
    words = dict(overrides or {})
    settings = tuple(
        _setting(str(name), block, path.parent, words, problems) for name, block in values["pairings"].items()
    )
    problems += [f"'{key}={value}': the plan has no such pairing" for key, value in words.items()]
    contenders = tuple(_contender(str(name), block, problems) for name, block in values["methods"].items())
    plan = Plan(
        path.stem, tuple(values["seeds"]), tuple(values["rates"]), tuple(values["budgets"]), values["against"],
        settings, contenders,
    )  # fmt: skip
    if plan.against not in (one.name for one in contenders):
        problems.append(f"{path}: against: '{plan.against}' is none of its methods")
    for setting in settings:
        problems += [
            f"{path}: pairings.{setting.name}.changes.{name}: there is no such method"
            for name in setting.changes
            if str(name) not in (one.name for one in contenders)
        ]
    if problems:
        raise RecipeError(problems)
    return plan


def _keys(values: Any, path: Path) -> list[str]:
    """What is missing, unknown or of another kind in a plan."""
    if not isinstance(values, dict):
        return [f"{path}: expected a mapping of {', '.join(KEYS['plan'])}"]
    missing = [key for key in KEYS["plan"] if not values.get(key)]
    problems = [f"{path}: '{key}' is missing" for key in missing]
    problems += _unknown(values, KEYS["plan"], f"{path}: ")
    for key, (words, fits) in LISTS.items():
        told = values.get(key)
        if told and not (isinstance(told, list) and all(map(fits, told)) and len(set(told)) == len(told)):
            problems.append(f"{path}: {key}: expected a list of {words}, each once, got {told!r}")
    for room in ("pairings", "methods"):
        blocks = values.get(room) or {}
        if not isinstance(blocks, dict) or not all(isinstance(block, dict) for block in blocks.values()):
            problems.append(f"{path}: {room}: expected a mapping of names to {', '.join(KEYS[room])}")
            continue
        for name, block in blocks.items():
            problems += _unknown(block, KEYS[room], f"{path}: {room}.{name}: ")
            needed = ("title", "recipe", "stream") if room == "pairings" else ("method",)
            problems += [f"{path}: {room}.{name}: '{key}' is missing" for key in needed if not block.get(key)]
            problems += [
                f"{path}: {room}.{name}.{key}: expected {words}, got {block[key]!r}"
                for key, (words, fits) in KINDS.items()
                if key in KEYS[room] and block.get(key) is not None and not fits(block[key])
            ]
            if not re.fullmatch(r"[\w-]+", str(name)):  # it is the name of a folder, and begins keys of the command
                problems.append(f"{path}: {room}: a name has letters, digits, '_' and '-', got {name!r}")
    return problems


def _unknown(block: Mapping[str, Any], known: tuple[str, ...], where: str) -> list[str]:
    return [f"{where}unknown key '{key}'.{nearest(str(key), known)}" for key in block if key not in known]


def _setting(name: str, block: Mapping[str, Any], beside: Path, words: dict[str, str], problems: list[str]) -> Setting:
    recipe = str(block["recipe"])
    file = beside / recipe
    own = [key for key in words if key.startswith(f"{name}.")]
    return Setting(
        name, block["title"], str(file) if file.is_file() else recipe, block["stream"], block.get("places") or {},
        _spelled("data", block["foreign"], f"pairings.{name}.foreign", problems) if block.get("foreign") else None,
        block.get("changes") or {},
        tuple(f"{key.removeprefix(f'{name}.')}={words.pop(key)}" for key in own),
    )  # fmt: skip


def _contender(name: str, block: Mapping[str, Any], problems: list[str]) -> Contender:
    method = _spelled("method", block["method"], f"methods.{name}", problems)
    if TARGET not in method:
        problems.append(f"methods.{name}.method: expected a block with {TARGET}, got {block['method']!r}")
    size = block.get("size") or ()
    return Contender(name, method, (size,) if isinstance(size, str) else tuple(size), block.get("step") or 1)


def _spelled(kind: str, block: Any, where: str, problems: list[str]) -> dict[str, Any]:
    """A block, or the name of a class, with its dotted path."""
    unknown: list[str] = []
    found = short_names.spelled({kind: block}, unknown)[kind]
    problems += [f"{where}: {line}" for line in unknown]
    return {TARGET: found} if isinstance(found, str) else dict(found)


def configuration(
    setting: Setting, contender: Contender, *, size: int | None = None, rate: float | None = None, seed: int = 0
) -> DictConfig:
    """The recipe of one training.

    Args:
        setting: of the plan.
        contender: likewise.
        size: of the method, where it has several.
        rate: the learning rate.
        seed: of the training.

    Raises:
        RecipeError: the settings do not suit the method, or the recipe.
    """
    block = dict(contender.block)
    known = schema.signature(block[TARGET])
    block = {key: value for key, value in setting.places.items() if key in known} | block
    if size is not None:
        for key in contender.size:
            _put(block, key.split("."), size)
    words = [*setting.overrides, f"method={json_text(block)}", f"seed={seed}"]
    if rate is not None:
        words.append(f"optimizer.lr={rate}")
    changes = setting.changes.get(contender.name, {})
    words += [f"{key}={json_text(value)}" for key, value in changes.items()]
    return compose.compose(setting.recipe, words)


def _put(block: dict[str, Any], path: list[str], value: int) -> None:
    for key in path[:-1]:
        block[key] = dict(block.get(key, {}))
        block = block[key]
    block[path[-1]] = value
