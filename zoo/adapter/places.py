"""Finds an adapter's directory by name: bundled with the package, installed, or a folder."""

import json
from pathlib import Path

from zoo import wording
from zoo.adapter.exchange import recover
from zoo.errors import UserError
from zoo.files import PACKAGE, cache_dir


class CatalogError(UserError):
    """An adapter does not exist, or a file of the catalogue cannot be read; the message names it."""


def places() -> dict[str, Path]:
    """Folders that hold bundled and installed adapters."""
    return {"bundled": PACKAGE / "pretrained", "installed": cache_dir() / "adapters"}


def bundled() -> dict[str, Path]:
    """Adapters that are part of the package, by name."""
    return _directories(places()["bundled"])


def installed() -> dict[str, Path]:
    """Installed adapters, by name."""
    return _directories(places()["installed"])


def _directories(folder: Path) -> dict[str, Path]:
    found = sorted(folder.glob("[!.]*/SHA256SUMS")) if folder.is_dir() else []
    return {path.parent.name: path.parent for path in found}


def find_adapter(word: str) -> Path:
    """Directory of an adapter by name or path.

    An installed adapter takes precedence over a bundled one of the same name, because the user chose to install it.

    Raises:
        CatalogError: there is none; the nearest name is suggested.
    """
    for place in (Path(word).expanduser(), cache_dir() / "adapters" / word):
        recover(place)
    known = bundled() | installed()
    if word in known:
        return known[word]
    path = Path(word).expanduser()
    if path.is_dir():
        return path
    if len(summands(word)) > 1:
        raise CatalogError(f"{word} is a sum of adapters, which zoo.load, zoo predict and zoo evaluate take; name one")
    if "/" in word:
        raise CatalogError(f"adapter folder {word} does not exist")
    raise CatalogError(f"unknown adapter {word!r}, and no such folder.{wording.nearest(word, known)}")


SUM = "+"
"""Between the names of adapters whose updates are added: `a+b`."""


def summands(word: str) -> list[str]:
    """The adapters that `a+b` names; a single one where something bears the whole name.

    Raises:
        CatalogError: a name is missing.
    """
    known = bundled() | installed()
    if SUM not in word or word in known or Path(word).expanduser().is_dir():
        return [word]
    parts = [part.strip() for part in word.split(SUM)]
    if not all(parts):
        raise CatalogError(f"{word}: expected the name or folder of an adapter on either side of each {SUM}")
    return parts


def find_adapters(word: str) -> list[Path]:
    """Directories of the adapters of `a+b`, by name or path; of one adapter its own.

    Raises:
        CatalogError: there is none of a name; the nearest is suggested.
    """
    return [find_adapter(part) for part in summands(word)]


def recipe_name(recipe: str) -> str:
    """Name of a recipe; for the recipe.yaml of an adapter, the name of the recipe it was trained by."""
    metrics = Path(recipe).with_name("metrics.json")
    if Path(recipe).name == "recipe.yaml" and metrics.is_file():
        return str(json.loads(metrics.read_text(encoding="utf-8"))["manifest"]["recipe"])
    return Path(recipe).stem
