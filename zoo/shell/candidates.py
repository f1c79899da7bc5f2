"""What may stand in the place of the last word of a command line that begins with `zoo`."""

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from zoo.adapter import places
from zoo.command_line import Takes
from zoo.recipe import compose, keys, short_names
from zoo.recipe.compose import RecipeError
from zoo.recipe.schema import Parameter
from zoo.shell import scripts
from zoo.shell.commands import OWN, commands

FILES = "<files>"
"""The candidate that stands for any file; shells know best how these are completed and quoted."""

MEASURED, AGAIN = ("data.",), ("data.", "trainer.", "cache.")
"""Keys of an adapter's recipe that may be changed when it is measured or used, and when it is trained again."""

SEARCH = "search."
"""What stands before a key of a sweep (`zoo.search.space`, which brings NumPy)."""

OF_PLAN = ("pairings", "methods", "budgets")
"""Keys of `zoo matrix` whose values stand in its plan."""

Found = dict[str, str]
"""Candidates and their meanings, which may be empty."""


@dataclass(frozen=True)
class Line:
    """What stands before the word to be completed.

    Attributes:
        command: by name.
        takes: what it says that it takes.
        words: behind it.
    """

    command: str
    takes: Takes
    words: Sequence[str]

    @property
    def given(self) -> dict[str, str]:
        """Values by key; of the key that need not be written, too."""
        pairs = {key: value for key, equals, value in (word.partition("=") for word in self.words) if equals}
        bare = [word for word in self.words if "=" not in word and word[:1] != "-"]
        return ({self.takes.bare: bare[0]} if self.takes.bare and bare else {}) | pairs


def candidates(words: Sequence[str], takes: Callable[[str], Takes | None]) -> Found:
    """Whole words that may take the place of the last one, with which they begin; or FILES alone.

    Args:
        words: behind `zoo`; the last one, up to the cursor, may be empty.
        takes: what a command says that it takes.
    """
    *before, current = words or [""]
    if not before:
        return _beginning(current, commands() | OWN)
    if before == ["help"]:
        return _beginning(current, commands())
    command, *others = before[1:] if before[0] == "help" else before
    taken = takes(command) if command in commands() else None
    if taken is None:
        return {}
    line = Line(command, taken, others)
    key, equals, _ = current.partition("=")
    if equals:
        values = _values(key, line)
        return _beginning(current, {v if v == FILES else f"{key}={v}": meaning for v, meaning in values.items()})
    options = _beginning(current, {name: meaning for name, meaning in taken.options.items() if name not in others})
    return options if current.startswith("-") else _keys(current, line) or options


def _beginning(current: str, found: Mapping[str, str]) -> Found:
    """Those that begin with what is typed; files where none of them does."""
    fitting = {word: meaning for word, meaning in found.items() if word.startswith(current) and word != FILES}
    return fitting or {FILES: ""} if FILES in found else fitting


def _next_parts(current: str, found: Mapping[str, str]) -> Found:
    """Dotted keys up to their next dot, `trainer.` for all settings of the trainer, unless there is nothing else."""
    short: Found = {}
    for word, meaning in found.items():
        dot = word.find(".", len(current))
        short |= {word: meaning} if dot < 0 else {word[: dot + 1]: ""}
    if len(short) == 1 and (only := next(iter(short))).endswith("."):
        return dict(found) if only == current else _next_parts(only, found)
    return short


# --- keys and values --------------------------------------------------------------------------------------------------


def _keys(current: str, line: Line) -> Found:
    """Keys of a command and of its recipe that are not given yet; and what may be given without a key."""
    own = {f"{name}=": meaning for name, meaning in line.takes.keys.items() if name != "shell"}
    settings = {f"{name}=": known.meaning if known else "" for name, known in _settings(line).items()}
    if line.command == "sweep":
        settings |= {f"{SEARCH}{word}": meaning for word, meaning in settings.items()}
    left = {word: meaning for word, meaning in (own | settings).items() if word[:-1] not in line.given}
    found = _next_parts(current, _beginning(current, left))
    if line.takes.bare and line.takes.bare not in line.given:
        found |= _beginning(current, _values(line.takes.bare, line))
    return found


def _settings(line: Line) -> dict[str, Parameter | None]:
    """What may be set of the recipe that the line names, or of that of its adapter; None stands for a whole block."""
    adapter = line.given.get("adapter", line.given.get("init", ""))
    folder = (places.bundled() | places.installed()).get(adapter, Path(adapter).expanduser())
    recipe = line.given.get("recipe") or (str(folder / "recipe.yaml") if adapter else "")
    if not line.takes.recipe or not recipe:
        return {}
    found: dict[str, Parameter | None] = {"seed": None}
    try:
        for block, (_, parameters) in keys.blocks(recipe, line.words).items():
            found |= {block: None} if short_names.kind_of(block) else {}
            found |= {f"{block}.{name}": parameter for name, parameter in parameters.items()}
    except RecipeError:
        return {}
    free = AGAIN if line.command == "reproduce" else ("",) if "recipe" in line.takes.keys else MEASURED
    return {key: parameter for key, parameter in found.items() if key.startswith(free)}


def _values(key: str, line: Line) -> Found:
    """Values of a key."""
    own = line.takes.keys
    adapters = {name: where for where in ("bundled", "installed") for name in getattr(places, where)()}
    names: dict[str, Callable[[], Found]] = {
        "recipe": lambda: compose.available() | {FILES: ""},
        "adapter": lambda: adapters | {FILES: ""},
        "init": lambda: adapters | {FILES: ""},
        "name": lambda: compose.available() | adapters | {FILES: ""},
        "shell": lambda: dict.fromkeys(scripts.shells(), ""),
        "backbone": lambda: short_names.known("backbones"),
    }
    if key in own and key in names:
        return names[key]()
    if key in own and key in OF_PLAN:
        return _of_plan(key, line)
    if kind := short_names.kind_of(key):
        folder = {"folder": "your own files"} if kind == "data" and line.takes.recipe else {}
        return folder | short_names.known(kind)
    if key in own:
        return _own_values(key, line.takes)
    parameter = _settings(line).get(key)
    return _typed(ast.parse(parameter.annotation, mode="eval").body) if parameter else {}


def _of_plan(key: str, line: Line) -> Found:
    """What the plan of a matrix, which the line names, has of a kind; nothing where it cannot be read."""
    try:
        plan = yaml.safe_load(Path(line.given.get("plan", "")).expanduser().read_text(encoding="utf-8"))
        return dict.fromkeys(map(str, plan[key]), "")
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError):
        return {}


def _own_values(key: str, taken: Takes) -> Found:
    """Values of a command's own key, as its help has them: `format=merged|peft`, `output=FILE`, `true: go on with`."""
    if word := re.match(r"(true|false): (.*)", taken.keys[key]):
        return {word[1]: word[2]}
    told = re.search(rf"\b{key}=([\w.-]+(?:\|[\w.-]+)*)", taken.help)
    if told is None or re.match("FILE|DIR|FOLDER|PATTERN|PATH", told[1]):
        return {FILES: ""}
    return dict.fromkeys(told[1].split("|"), "") if told[1].islower() or told[1].isdecimal() else {}


def _typed(node: ast.expr) -> Found:
    """Values of a type: those of a `Literal`, true and false, files where it is text."""
    if isinstance(node, ast.BinOp):
        return _typed(node.left) | _typed(node.right)
    if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Literal":
        return {str(ast.literal_eval(one)): "" for one in getattr(node.slice, "elts", [node.slice])}
    values = {"bool": ("true", "false"), "str": (FILES,), "Path": (FILES,)}
    return dict.fromkeys(values.get(ast.unparse(node), ()), "")
