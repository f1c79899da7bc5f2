"""metrics.json with what is public in it: numbers under public names, and facts of a run that are known words."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zoo.adapter.leaks import leaks
from zoo.adapter.public import OWN, Public, ShareError, bundled, command, is_key
from zoo.recipe import compose, schema
from zoo.recipe.schema import TARGET, SchemaError
from zoo.records.cautions import NEVER

SPLITS = ("train", "val", "test")

NUMBERS = (
    *("n", "metrics", "calibration", "intervals", "baselines", "probes", "interventions", "by", "method"),
    *("branches", "concluded", "quantities"),
)
"""Keys of metrics.json that hold nothing else."""

UNITS = ("fraction", "percent")

LISTS = re.compile(r"files that .* does not list", re.DOTALL)

FRESH = re.compile(r"its \d+ classes are not these \d+|")

TENSOR = re.compile(r"(task|method)(\.\w+)+")

HEX = re.compile(r"[0-9a-f]{12,64}")

COMPUTED = re.compile(r"torch \d[\w.+]*, [\w .\-]{1,60}(, \d+ threads?)?")

RESTATED = re.compile(r"keys of samples hold nine digits of every length since; the same samples were [0-9a-f]{12}")


def record(metrics: Mapping[str, Any], config: Mapping[str, Any] | None = None, classes: Sequence[str] = ()) -> Any:
    """metrics.json with what is public in it: numbers under public names, and facts of the run that are known words.

    Args:
        metrics: as a run or an evaluation leaves it.
        config: the recipe as plain values; by default, that of the zoo which the manifest names.
        classes: of the adapter.

    Raises:
        ShareError: it has not the values of every metrics.json.
    """
    try:
        manifest, values = metrics["manifest"], metrics["metrics"]
        if config is None:
            name = str(manifest["recipe"])
            config = compose.read(compose.find(name), []) if name in compose.shipped() else {}
        public = Public(config, classes)
        description: dict[str, Callable[[Any], Any]] = {
            "split": lambda value: _one_of(value, SPLITS, "test"),
            "unit": lambda value: _one_of(value, UNITS, "fraction"),
            "task": lambda value: _attribute(config, "task", "kind", value),
            "note": lambda value: _attribute(config, "task", "note", value),
            "monitor": lambda value: _one_of(value, tuple(values), ""),
            "forced": lambda value: [line if public.allows(line) else "it was forced" for line in value],
            # The classes are part of the adapter.
            NEVER: lambda value: [name for name in value if name in classes],
            "evaluations": lambda value: [record(one, config, classes) for one in value],
            "manifest": lambda value: _manifest(value, public),
            "familiarity": lambda value: (
                _numbers(value) | ({"manifest": _manifest(value["manifest"], public)} if "manifest" in value else {})
            ),
        }
        return {
            key: description[key](value) if key in description else _numbers(value)
            for key, value in metrics.items()
            if key in description or key in NUMBERS
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ShareError(f"metrics.json has a missing value, or one of an unexpected type: {error}") from None


def _numbers(value: Any) -> Any:
    """Numbers under public names; nothing else."""
    if isinstance(value, Mapping):
        kept = {key: _numbers(inner) for key, inner in value.items() if is_key(key) and not isinstance(inner, str)}
        return {key: inner for key, inner in kept.items() if inner is not None or value[key] is None}
    if isinstance(value, list):
        return [_numbers(inner) for inner in value if not isinstance(inner, str)]
    return value if isinstance(value, int | float) else None


def _one_of(value: Any, known: Sequence[str], otherwise: str) -> str:
    return value if value in known else otherwise


def _attribute(config: Mapping[str, Any], block: str, name: str, value: Any) -> str:
    """A class's own constant, where the value is that; else a word that says nothing."""
    try:
        constant = str(schema.attributes(str(config[block][TARGET]))[name])
    except (KeyError, TypeError, SchemaError):
        return "not stated"
    # "ScanObjectNN (PB_T50_RS)" is a part of a public set.
    part = re.fullmatch(re.escape(constant) + r"( \([\w ,.\-]+\))?", str(value))
    return str(value) if part else constant


def _manifest(manifest: Mapping[str, Any], public: Public) -> dict[str, Any]:
    texts: dict[str, Callable[[Any], Any]] = {
        "command": lambda value: command(value, public),
        "date": lambda value: _matching(value, r"\d{4}-\d\d-\d\dT[\d:.]+(\+00:00|Z)?", "1970-01-01"),
        "hardware": lambda value: _matching(
            value, r"CPU \w+, \d+ cores|\d+x (NVIDIA|AMD|Tesla)[\w .\-]*", "not stated"
        ),
        "versions": lambda value: {k: v for k, v in value.items() if is_key(k) and re.fullmatch(r"\d[\w.+]*", str(v))},
        "commit": lambda value: value if value is None or HEX.fullmatch(str(value)) else None,
        "adapter": lambda value: _matching(value, HEX, ""),
        "recipe": lambda value: value if value in compose.shipped() else "own",
        "selected_on": lambda value: _one_of(value, SPLITS, "val"),
        "data": lambda value: _data(value, public),
        "backbones": lambda value: {k: _hashes(v) for k, v in value.items() if is_key(k)},
        "init": lambda value: _start(value, public),
        "converted": lambda value: {"sha256": _matching(value.get("sha256"), HEX, "")},
        "features": lambda value: [_matching(each, COMPUTED, "not stated") for each in value],
        "precision": lambda value: _matching(value, r"(32|16|bf16)-(true|mixed)", "not stated"),
    }
    numbers = ("dirty", "seed", "epochs", "seconds", "parameters", "cost")
    return {
        key: texts[key](value) if key in texts else _numbers(value)
        for key, value in manifest.items()
        if key in texts or key in numbers
    }


def _matching(value: Any, pattern: str | re.Pattern[str], otherwise: str) -> str:
    return str(value) if re.fullmatch(pattern, str(value)) else otherwise


def _hashes(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _hashes(inner) for key, inner in value.items() if is_key(key)}
    return _matching(value, HEX, "")


def _data(data: Mapping[str, Any], public: Public) -> dict[str, Any]:
    own = str(data["name"]).startswith(OWN)
    texts: dict[str, Callable[[Any], Any]] = {
        "name": lambda value: OWN if own else _attribute(public.config, "data", "name", value),
        "license": lambda value: "not stated" if own else _attribute(public.config, "data", "license", value),
        "fingerprint": lambda value: _matching(value, HEX, ""),
        "restated": lambda value: _matching(value, RESTATED, ""),
        # Names of a user's own lists stand in some.
        "remarks": lambda value: _numbers(
            {LISTS.sub("files that the list does not list", reason): n for reason, n in value.items()}
        ),
    }
    numbers = ("synthetic", *SPLITS)
    description = {
        key: texts[key](value) if key in texts else _numbers(value)
        for key, value in data.items()
        if key in texts or key in numbers
    }
    # A later measurement may be of another set than the recipe's, whose name is no known word here.
    if description.get("synthetic") and "synthetic" not in description["name"].lower():
        description["name"] = f"synthetic ({description['name']})"
    return description


def _start(init: Mapping[str, Any], public: Public) -> dict[str, Any]:
    name = init["adapter"]
    why, changed = str(init.get("why_fresh", "")), [line.partition("=")[0] for line in init["settings"]]
    return {
        "adapter": name if name in bundled() else "another adapter",
        "sha256": _matching(init["sha256"], HEX, ""),
        "taken": _numbers(init["taken"]),
        "fresh": [name for name in init["fresh"] if TENSOR.fullmatch(name) and not leaks(name)],
        "why_fresh": why if FRESH.fullmatch(why) else "its classes or its task differ",
        "settings": [name for name in changed if public.parameter(f"method.{name}")],
    }
