"""From the name of an adapter to its directory: bundled with the package, installed, or a folder."""

import json
from pathlib import Path

from zoo import wording
from zoo.adapter.exchange import recover
from zoo.errors import UserError
from zoo.files import PACKAGE, cache_dir


class CatalogError(UserError):
    """There is no adapter of that name, or a file of the catalogue cannot be read; the message names it."""


def places() -> dict[str, Path]:
    """Folders that hold adapters, by what those in them are."""
    return {"bundled": PACKAGE / "pretrained", "installed": cache_dir() / "adapters"}


def bundled() -> dict[str, Path]:
    """Adapters that are part of the package, by name."""
    return _directories(places()["bundled"])


def installed() -> dict[str, Path]:
    """Adapters that were fetched, by name."""
    return _directories(places()["installed"])


def _directories(folder: Path) -> dict[str, Path]:
    found = sorted(folder.glob("[!.]*/SHA256SUMS")) if folder.is_dir() else []
    return {path.parent.name: path.parent for path in found}


def resolve(word: str) -> Path:
    """Directory of an adapter that is named, or given as a path.

    An installed adapter goes before a bundled one of the same name: whoever fetched it wanted it.

    Raises:
        CatalogError: neither; the nearest name is suggested.
    """
    for place in (Path(word).expanduser(), cache_dir() / "adapters" / word):
        recover(place)
    known = bundled() | installed()
    if word in known:
        return known[word]
    path = Path(word).expanduser()
    if path.is_dir():
        return path
    if "/" in word:
        raise CatalogError(f"adapter folder {word} does not exist")
    raise CatalogError(f"unknown adapter {word!r}, and no such folder.{wording.nearest(word, known)}")


def recipe_name(recipe: str) -> str:
    """Name of a recipe as a command has it; of the one in an adapter directory, that by which it was trained."""
    metrics = Path(recipe).with_name("metrics.json")
    if Path(recipe).name == "recipe.yaml" and metrics.is_file():
        return str(json.loads(metrics.read_text(encoding="utf-8"))["manifest"]["recipe"])
    return Path(recipe).stem
