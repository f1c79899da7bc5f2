"""The facts of every recipe and adapter, read from their own files.

That is in recipes (header and blocks), the classes that they name, model cards, and the files of adapter directories:
bundled ones are part of the package, in `zoo/pretrained/`; those that `zoo.pull` fetched lie in the cache. Installed
packages add recipes of theirs. Nothing imports torch, nor such a package. What cannot be read becomes a line in the
list of problems; the rest is listed all the same.
"""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from zoo.adapter.places import CatalogError, bundled, installed, places
from zoo.catalog import card
from zoo.catalog.card import Card, CardError
from zoo.catalog.entries import Catalog, Control, Entry, Licences, Measured
from zoo.errors import UserError
from zoo.metrics import names
from zoo.recipe import compose, plugins, schema, sources
from zoo.recipe.compose import RecipeError
from zoo.recipe.schema import TARGET, SchemaError
from zoo.recipe.strict_yaml import StrictLoader
from zoo.records import comparison, interventions
from zoo.records.provenance import CONVERTED


def read_catalog() -> Catalog:
    """Read everything."""
    recipes: list[Entry] = []
    adapters: list[Entry] = []
    problems: list[str] = plugins.problems(compose.shipped())
    for name in compose.available():
        try:
            recipes.append(of_recipe(compose.find(name), problems))
        except CatalogError as error:
            problems.append(str(error))
    # An installed adapter hides a bundled one of the same name, here as in `resolve`.
    for folder in (bundled() | installed()).values():
        try:
            adapters.append(of_adapter(folder, recipes))
        except CatalogError as error:
            problems.append(str(error))
    return Catalog(recipes, adapters, problems)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn any error of a user's file into one line that names it."""
    try:
        yield
    except (UserError, SchemaError, SyntaxError, yaml.YAMLError, OSError) as error:
        raise CatalogError(f"{path}: {' '.join(str(error).split())}") from error
    except UnicodeDecodeError as error:
        raise CatalogError(f"{path}: what should be text is not UTF-8") from error
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise CatalogError(
            f"{path}: a value is missing or of another kind than expected ({type(error).__name__}: {error})"
        ) from error


def of_recipe(path: Path, problems: list[str]) -> Entry:
    """Facts of a recipe and its card; what is wrong with the card is added to the problems.

    Raises:
        CatalogError: the recipe cannot be read, or names a class that does not exist.
    """
    with _reading(path):
        mistakes: list[str] = []
        config = compose.read(path, mistakes)
        if mistakes:
            raise RecipeError(mistakes)
        header = compose.header(path)
        says = {key: value for key, colon, value in (line.partition(": ") for line in header) if colon}
        hardware, *takes = re.split(r"[,;] ", says.get("Hardware and time", "").rstrip("."), maxsplit=1)
        package = plugins.installed().owner(path)
        front, trainable, measured, control = ({}, None, None, None) if package else _card(path.stem, problems)
        own = front.get("zoo") or {}
        return Entry(
            kind="recipe",
            name=path.stem,
            path=str(path),
            about=next(iter(header), ""),
            recipe=path.stem,
            where=package,
            hardware=hardware,
            takes=" ".join(takes),
            trainable=trainable,
            bytes=None,
            reported=own.get("reported") or [],
            measured=measured,
            control=control,
            **_pairing(config, front, own.get("method")),
        )


def _card(name: str, problems: list[str]) -> tuple[dict[str, Any], int | None, Measured | None, Control | None]:
    """Front matter, trainable parameters, result and best control of a recipe's card; nothing of one that is absent or
    broken."""
    path = card.folder() / f"{name}.md"
    try:
        with _reading(path):
            if not path.is_file():
                return {}, None, None, None
            page = card.read(path)
            trained = [run["manifest"]["parameters"]["trainable"] for run in page.evidence["runs"]]
            return page.front, next(iter(trained), None), _published(page), _best_control(page)
    except CatalogError as error:
        problems.append(str(error))
        return {}, None, None, None


def of_adapter(folder: Path, recipes: Sequence[Entry]) -> Entry:
    """Facts of an adapter directory, from its own files.

    Args:
        folder: the directory.
        recipes: whose names for methods are taken.

    Raises:
        CatalogError: a file is missing or cannot be read.
    """
    with _reading(folder):
        config = yaml.load((folder / "recipe.yaml").read_text(encoding="utf-8"), Loader=StrictLoader)
        record = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        manifest = record["manifest"]
        named = {entry.targets["method"]: entry.method for entry in reversed(recipes)}
        try:
            front = card.facts(folder / "README.md")
        except CardError:  # its recipe has no card
            front = {}
        shared = _pairing(config, front, named.get(config["method"][TARGET]))
        return Entry(
            kind="adapter",
            name=folder.name,
            path=str(folder),
            about=next((entry.about for entry in recipes if entry.name == manifest["recipe"]), ""),
            recipe=manifest["recipe"],
            where=_where(folder),
            hardware=manifest["hardware"],
            takes=f"{manifest['seconds'] / 60:.1f} minutes" if CONVERTED not in manifest else "converted, not trained,",
            trainable=manifest["parameters"]["trainable"],
            bytes=(folder / "adapter.safetensors").stat().st_size,
            reported=[],
            measured=_of_run(record),
            changes=next(map(interventions.changes, interventions.of([record])), {}),
            control=next((entry.control for entry in recipes if entry.name == manifest["recipe"]), None),
            **{**shared, "data": manifest["data"]["name"]},
        )


def _where(folder: Path) -> str:
    """`bundled` or `installed`, by its place alone: listing what is there for every adapter would be quadratic."""
    adapter = not folder.name.startswith(".") and (folder / "SHA256SUMS").exists()
    return next((name for name, place in places().items() if adapter and folder.parent == place), "")


def _pairing(config: Mapping[str, Any], front: Mapping[str, Any], method: str | None) -> dict[str, Any]:
    """Facts shared by recipe and adapter: the pairing and its licences."""
    blocks = {f"backbones.{key}": block for key, block in config["backbones"].items() if block}
    targets = {key: config[key][TARGET] for key in ("method", "task", "data")}
    data, task = schema.attributes(targets["data"]), schema.attributes(targets["task"])
    variant = config["data"].get("variant")
    backbones = dict(named for block in blocks.values() for named in sources.licences(block))
    other = front.get("license") == "other"
    return {
        "method": method or targets["method"].rpartition(".")[2],
        "task": task.get("kind", targets["task"].rpartition(".")[2]),
        "backbones": list(backbones),
        "targets": targets | {key: block[TARGET] for key, block in blocks.items()},
        "data": data.get("name", targets["data"].rpartition(".")[2]) + (f" ({variant})" if variant else ""),
        "licences": Licences(
            adapter=str(front.get("license_name" if other else "license", "not stated")),
            backbones=backbones,
            data=data.get("license", "not stated"),
        ),
    }


def _published(page: Card) -> Measured | None:
    """The result of a recipe's card: from its `model-index`, of the metric that selected the runs."""
    index = page.front.get("model-index")
    if not index:
        return None
    result = index[0]["results"][0]
    monitors = {run["monitor"] for run in page.evidence["runs"]}
    chosen = next((m for m in result["metrics"] if m["type"] in monitors), result["metrics"][0])
    args = chosen["args"]
    shared = {key: args[key] for key in ("n", "seeds", "commit", "hardware", "date")}
    return Measured(
        metric=chosen["name"],
        value=chosen["value"],
        std=args.get("std"),
        interval=args.get("interval"),
        data=result["dataset"]["name"],
        dirty=False,
        folds=args.get("folds"),
        **shared,
    )


def _best_control(page: Card) -> Control | None:
    """The control of the card's main comparison with the highest value of the selecting metric."""
    main = page.evidence["comparisons"].get("main")
    rows = [row for row in main["rows"] if row["gap"]] if main else []
    if not rows:
        return None
    metric = main["about"]["metric"]
    best = max(rows, key=lambda row: row["metrics"][metric]["mean"])
    return Control(names.named(best["name"]), best["metrics"][metric]["mean"], best["gap"])


def _of_run(record: Mapping[str, Any]) -> Measured | None:
    """The result of an adapter, from its metrics.json."""
    manifest, monitor, unit = record["manifest"], record["monitor"], comparison.scale(record)
    value = record["metrics"].get(monitor)
    interval = record["intervals"].get(monitor)
    if value is None:
        return None
    return Measured(
        metric=names.named(monitor),
        value=unit * value,
        std=None,
        interval=[unit * end for end in interval] if interval else None,
        n=record["n"],
        seeds=[manifest["seed"]],
        data=manifest["data"]["name"],
        commit=manifest["commit"],
        dirty=bool(manifest["dirty"]),
        hardware=manifest["hardware"],
        date=manifest["date"][:10],
    )
