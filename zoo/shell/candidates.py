"""What may stand in the place of the last word of a command line that begins with `zoo`."""

import ast
import re
from collections.abc import Callable, Mapping, Sequence

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

Found = dict[str, str]
"""Candidates and their meanings, which may be empty."""


def candidates(words: Sequence[str], takes: Callable[[str], Takes | None]) -> Found:
    """Whole words that may take the place of the last one, with which they begin; or FILES alone.

    Args:
        words: behind `zoo`; the last one, up to the cursor, may be empty.
        takes: what a command says that it takes.
    """
    *before, current = words or [""]
    if before[:1] == ["help"]:
        before = before[1:]
    elif not before:
        return _beginning(current, commands() | OWN)
    if not before:
        return _beginning(current, commands())
    command, *others = before
    taken = takes(command) if command in commands() else None
    if taken is None:
        return {}
    given = {key: value for key, equals, value in (word.partition("=") for word in others) if equals}
    key, equals, _ = current.partition("=")
    if equals:
        values = _values(key, command, taken, given, others)
        return _beginning(current, {v if v == FILES else f"{key}={v}": meaning for v, meaning in values.items()})
    if current.startswith("-"):
        return _beginning(
            current, {option: meaning for option, meaning in taken.options.items() if option not in others}
        )
    own = {f"{name}=": meaning for name, meaning in taken.keys.items() if name not in given and name != "shell"}
    settings = _settings(command, taken, given, others)
    meanings = {f"{name}=": known.meaning if known else "" for name, known in settings.items() if name not in given}
    if command == "sweep":
        meanings |= {f"{SEARCH}{word}": meaning for word, meaning in meanings.items()}
    found = _next_parts(current, _beginning(current, own | meanings))
    if taken.bare and taken.bare not in given and all("=" in word or word[:1] == "-" for word in others):
        found |= _beginning(current, _values(taken.bare, command, taken, given, others))
    return found


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


def _settings(
    command: str, taken: Takes, given: Mapping[str, str], others: Sequence[str]
) -> dict[str, Parameter | None]:
    """What may be set of the recipe that the line names, or of that of its adapter; None stands for a whole block."""
    adapter = (places.bundled() | places.installed()).get(given.get("adapter", given.get("init", "")))
    recipe = given.get("recipe") or (str(adapter / "recipe.yaml") if adapter else "")
    if not taken.recipe or not recipe:
        return {}
    found: dict[str, Parameter | None] = {"seed": None}
    try:
        for block, (_, parameters) in keys.blocks(recipe, others).items():
            found |= {block: None} if short_names.kind_of(block) else {}
            found |= {f"{block}.{name}": parameter for name, parameter in parameters.items()}
    except RecipeError:
        return {}
    free = AGAIN if command == "reproduce" else () if "recipe" in taken.keys else MEASURED
    return {key: parameter for key, parameter in found.items() if key.startswith(free or "")}


def _values(key: str, command: str, taken: Takes, given: Mapping[str, str], others: Sequence[str]) -> Found:
    """Values of a key."""
    adapters = {name: where for where in ("bundled", "installed") for name in getattr(places, where)()}
    names: dict[str, Callable[[], Found]] = {
        "recipe": lambda: compose.available() | {FILES: ""},
        "adapter": lambda: adapters | {FILES: ""},
        "init": lambda: adapters | {FILES: ""},
        "name": lambda: compose.available() | adapters | {FILES: ""},
        "shell": lambda: dict.fromkeys(scripts.shells(), ""),
        "backbone": lambda: short_names.known("backbones"),
    }
    if key in taken.keys and key in names:
        return names[key]()
    if kind := short_names.kind_of(key):
        own = {"folder": "your own files"} if kind == "data" and taken.recipe else {}
        return own | short_names.known(kind)
    if key in taken.keys:
        return _own_values(key, taken)
    parameter = _settings(command, taken, given, others).get(key)
    return _typed(ast.parse(parameter.annotation, mode="eval").body) if parameter else {}


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
