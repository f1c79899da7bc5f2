"""What the zoo holds: from the name of an adapter to its directory.

Bundled adapters are part of the package, in `zoo/adapters/`; those that `zoo.pull` fetched lie in the cache.
"""

from pathlib import Path

import zoo
from zoo import schema
from zoo.backbones.weights import cache_dir
from zoo.errors import UserError


class CatalogError(UserError):
    """No adapter of that name."""


def bundled() -> dict[str, Path]:
    """Adapters that are part of the package, by name."""
    return _directories(Path(zoo.__file__).parent / "adapters")


def installed() -> dict[str, Path]:
    """Adapters that were fetched, by name."""
    return _directories(cache_dir() / "adapters")


def _directories(folder: Path) -> dict[str, Path]:
    found = sorted(folder.glob("[!.]*/SHA256SUMS")) if folder.is_dir() else []
    return {path.parent.name: path.parent for path in found}


def resolve(word: str) -> Path:
    """Directory of an adapter that is named, or given as a path.

    An installed adapter goes before a bundled one of the same name: whoever fetched it wanted it.

    Raises:
        CatalogError: neither; the nearest name is suggested.
    """
    known = bundled() | installed()
    if word in known:
        return known[word]
    path = Path(word).expanduser()
    if path.is_dir():
        return path
    if "/" in word:
        raise CatalogError(f"adapter folder {word} does not exist")
    raise CatalogError(f"unknown adapter {word!r}, and no such folder.{schema.nearest(word, known)}")
