"""The parts of an adapter that may be published: an allow-list, not a search for secrets.

A value goes only if the zoo itself gave it out: numbers, words that stand in its own recipes, choices and defaults of
its classes, names of its data, and the adapter's own classes. Whatever else somebody typed (folders in any spelling,
addresses, names of people, of projects and of collections) is replaced: by the setting's default where it has one,
else by DIR or TEXT. What belongs to the trained structure cannot be replaced; if it looks like a place or a secret,
nothing goes. What people write themselves, the text of a card, is searched all the same (`leaks`).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from zoo.adapter.leaks import leaks
from zoo.adapter.trust import TRAINING
from zoo.errors import UserError
from zoo.files import PACKAGE
from zoo.recipe import compose, schema
from zoo.recipe.schema import TARGET, Parameter, SchemaError

OWN, PLACE, TEXT, WEIGHTS = "own files", "DIR", "TEXT", "file:WEIGHTS"

REPLACEABLE = ("data", "loader", "cache", "trainer", "optimizer")

STRUCTURE = ("backbones", "method", "task")

UNTOLD = ("into", "runs", "card", "output")
"""Words of a command that mean nothing to who repeats it."""

COMMAND = (
    *("recipe", "adapter", "init", "resume", "test", "seeds", "folds", "variants", "probes"),
    *("input", "folders", "format", "gsd", "tolerance"),
)

PLAIN = (("data", "folder"), *(("format", form) for form in ("merged", "peft", "torch", "onnx")))

PLACES = ("root", "folder", "folders", "input", "manifest", "splits", "adapter", "init")

FLAGS = ("-m", "--smoke", "--force", "--unquantized", "--update-card")

NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|true|false|null")

KEY = re.compile(r"[\w@%<>=+. ,:/()\-]{1,80}")


class ShareError(UserError):
    """Something of an adapter that cannot be replaced tells of this machine; the message names it."""


@dataclass(frozen=True)
class Public:
    """Words that anybody may read.

    Args:
        config: a recipe as plain values; empty where it is not known.
        classes: of the adapter.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    classes: Sequence[str] = ()

    def allows(self, value: Any, known: Parameter | None = None) -> bool:
        """Whether a value of a setting is public."""
        match value:
            case None | bool() | int() | float():
                return True
            case list():
                return all(self.allows(part, known) for part in value)
            case dict():
                return all(self.allows(part, known) and is_key(key) for key, part in value.items())
        word = str(value)
        choices = re.findall(r"'([^']*)'", known.annotation) if known and "Literal" in known.annotation else []
        return (
            word in ("", PLACE, TEXT, *self.classes, *choices)
            or word in words()
            or (known is not None and word == known.value)
        )

    def parameter(self, key: str) -> Parameter | None:
        """The rule for `block.setting` or `backbones.name.setting`."""
        *path, name = key.split(".")
        block: Any = self.config
        for part in path:
            block = block.get(part) if isinstance(block, Mapping) else None
        return _signature(block).get(name)


@cache
def words() -> frozenset[str]:
    """Texts in the zoo's own recipes, and their names and those of their variants."""
    recipes = {name: compose.read(compose.find(name), []) for name in compose.shipped()}
    variants = {variant for values in recipes.values() for variant in values.get("variants") or {}}
    texts = {text for values in recipes.values() for text in leaves(values) if "file:" not in text}
    return frozenset({"recipe", *recipes, *variants, *texts})


def bundled() -> set[str]:
    """Names of the adapters that come with the zoo."""
    return {path.parent.name for path in (PACKAGE / "pretrained").glob("*/SHA256SUMS")}


def leaves(value: Any) -> Iterator[str]:
    """Every text in plain values, however deep; not their keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from leaves(inner)


def _signature(block: Any) -> dict[str, Parameter]:
    try:
        return schema.signature(str(block[TARGET])) if isinstance(block, Mapping) and TARGET in block else {}
    except SchemaError:
        return {}


def is_key(key: Any) -> bool:
    """Whether a name of a value is short, plain, and tells nothing."""
    return bool(KEY.fullmatch(str(key))) and "://" not in str(key) and not leaks(str(key))


def settings(config: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """A recipe's values without places, addresses and names of this machine's user.

    Raises:
        ShareError: a setting of the trained structure holds one.
    """
    public, found = Public(config, classes), dict[str, Any]()
    for key, block in config.items():
        if key in REPLACEABLE and isinstance(block, Mapping):
            found[key] = _replaced(block, public)
        elif key in STRUCTURE:
            found[key] = _kept(block, key, public)
        elif key == "seed" or (key in REPLACEABLE and block is None):
            found[key] = block if isinstance(block, int | None) else 0
    return found


def _replaced(block: Mapping[str, Any], public: Public) -> dict[str, Any]:
    known, found = _signature(block), dict[str, Any]()
    for key, value in block.items():
        parameter = known.get(key)
        if key == TARGET or public.allows(value, parameter):
            found[key] = value
        elif isinstance(value, Mapping) and value.get(TARGET) in TRAINING:
            found[key] = _replaced(value, public)
        elif parameter is None or parameter.default is None:
            found[key] = PLACE
        elif not isinstance(parameter.value, str) or public.allows(parameter.value, parameter):
            found[key] = list(parameter.value) if isinstance(parameter.value, tuple) else parameter.value
    return found


def _kept(value: Any, where: str, public: Public) -> Any:
    if isinstance(value, Mapping):
        for key in value:
            if not is_key(key):
                raise ShareError(f"recipe.yaml, {where}: the name {key!r} tells of this machine; train under another")
        return {key: _kept(inner, f"{where}.{key}", public) for key, inner in value.items()}
    if isinstance(value, list):
        return [_kept(inner, where, public) for inner in value]
    if not isinstance(value, str) or public.allows(value, public.parameter(where)):
        return value
    if value.startswith("file:"):
        return WEIGHTS
    if found := leaks(value) or ("\\" in value and ["a place on this machine"]):
        raise ShareError(
            f"recipe.yaml, {where}={value!r} holds {found[0]}, and is part of what was trained: it cannot be replaced"
        )
    return value


def command(text: str, public: Public) -> str:
    """A command as its reader would type it, with DIR or TEXT in place of what only its writer has."""
    typed = str(text).split(" ")
    options = dict(word.partition("=")[::2] for word in typed)
    shown = []
    for place, word in enumerate(typed):
        key, equals, value = word.partition("=")
        if not equals:
            module = re.fullmatch(r"(zoo|data_modules)(\.[a-z_0-9]+)*|python|pytest", word) or word in FLAGS
            shown += [word] if module else ["SCRIPT"] if place == 2 else []
        elif key == "recipe":
            name = options.get("card") or value.rpartition("/")[2]
            shown.append(f"recipe={name if name.removesuffix('.yaml') in compose.shipped() else 'own.yaml'}")
        elif key in ("adapter", "init"):
            shown.append(f"{key}={value if value in bundled() else PLACE}")
        elif key not in UNTOLD and (key in COMMAND or _is_setting(key, public)):
            shown.append(f"{key}={value if _is_public(key, value, public) else _stand_in(key)}")
    return " ".join(shown)


def _is_setting(key: str, public: Public) -> bool:
    top = key.partition(".")[0]
    known = (*REPLACEABLE, *STRUCTURE, "seed")
    return top in known and (key == top or public.parameter(key) is not None or not public.config or top == "data")


def _is_public(key: str, value: str, public: Public) -> bool:
    if (key, value) in PLAIN:
        return True
    if value.startswith("[") != value.endswith("]"):
        return False
    parts = [part for part in re.split(r"[\[\],{}\s]+", value) if part]
    return all(NUMBER.fullmatch(part) or public.allows(part, public.parameter(key)) for part in parts)


def _stand_in(key: str) -> str:
    return PLACE if key.rpartition(".")[2] in PLACES else TEXT
