"""What installed packages add to the zoo: recipes, and classes with a short name.

A package declares them as entry points in its `pyproject.toml`, one group a kind:

    [project.entry-points."zoo.methods"]      # also zoo.tasks, zoo.backbones, zoo.data
    my_method = "my_peft.method:MyMethod"     # method=my_method, and `method: my_method` in a recipe

    [project.entry-points."zoo.recipes"]
    my_peft = "my_peft.recipes"               # a folder of the package: every YAML file directly in it is a recipe

Only the metadata of packages is read, and their files as text. A package is imported when a recipe that names its class
is built, not before. What is wrong with one becomes a line of `problems`.
"""

import importlib.util
import re
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.recipe import schema
from zoo.recipe.schema import SchemaError

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

GROUPS = {"method": "zoo.methods", "task": "zoo.tasks", "backbones": "zoo.backbones", "data": "zoo.data"}
"""Groups of entry points that give a class a short name, by the key of a recipe."""

RECIPES = "zoo.recipes"

CLASS = re.compile(r"([A-Za-z_][\w.]*):([A-Za-z_]\w*)", re.ASCII)


@dataclass
class Plugins:
    """Everything that packages declare.

    Attributes:
        classes: dotted paths by short name, by the key of a recipe.
        recipes: files by name.
        package: that declares a recipe or a class, by the recipe's name or the class's dotted path.
        problems: one line each, with the name of the package.
    """

    classes: dict[str, dict[str, str]] = field(default_factory=lambda: {kind: {} for kind in GROUPS})
    recipes: dict[str, Path] = field(default_factory=dict)
    package: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def owner(self, path: Path) -> str:
        """The package that brings a recipe; empty where none does."""
        return next((self.package[name] for name, file in self.recipes.items() if file == path), "")

    def targets(self) -> set[str]:
        """Every class that a package declares, by its dotted path."""
        return {target for names in self.classes.values() for target in names.values()}


def installed() -> Plugins:
    """What the packages of this environment declare.

    The folder that one runs from is no place where packages are installed: what lies there may have come with a
    download, and would be trusted for what it declares (`zoo.adapter.trust`).
    """
    here = Path.cwd()
    return _read(tuple(place for place in sys.path if place and Path(place).resolve() != here))


def problems(shipped: Collection[str]) -> list[str]:
    """What is wrong with packages, and which of their recipes have the name of one of the zoo's own; one line each."""
    found = installed()
    lines = list(found.problems)
    for name in sorted({*found.recipes} & {*shipped}):
        lines.append(f"{found.package[name]}: its recipe '{name}' has the name of one of the zoo's, which is taken")
    for kind, names in found.classes.items():
        for name, target in names.items():
            try:
                schema.definition(target)
            except SchemaError as error:
                lines.append(f"{found.package[target]}: entry point '{name}' of {GROUPS[kind]} names {target}: {error}")
    return lines


@cache
def _read(path: tuple[str, ...]) -> Plugins:
    """All declarations, in the order of the packages' names, so that of two equal names the same one is always taken.

    Args:
        path: where packages are looked for (`sys.path`).
    """
    found = Plugins()
    for package, point in sorted(_entries(path, found.problems), key=lambda pair: (pair[0], pair[1].name)):
        if point.group == RECIPES:
            _add_recipes(found, package, point)
            continue
        kind = next(key for key, group in GROUPS.items() if group == point.group)
        if not (parts := CLASS.fullmatch(point.value)):
            found.problems.append(
                f"{package}: entry point '{point.name} = {point.value}' of {point.group}: expected module:Class"
            )
        elif point.name in found.classes[kind]:
            found.problems.append(f"{package}: another package has a '{point.name}' of {point.group}, which is taken")
        else:
            target = f"{parts[1]}.{parts[2]}"
            found.classes[kind][point.name], found.package[target] = target, package
    return found


def _entries(path: tuple[str, ...], problems: list[str]) -> Iterator[tuple[str, "EntryPoint"]]:
    """Package and entry point of everything that is declared for the zoo; the first of two equal packages counts."""
    import importlib.metadata  # a tenth of the start of commands that need no packages

    seen: set[str] = set()
    wanted = {*GROUPS.values(), RECIPES}
    for package in importlib.metadata.distributions(path=list(path)):
        try:
            # Of a package that is no plug-in nothing else is read.
            if "[zoo." not in (package.read_text("entry_points.txt") or "") or (name := _name(package)) in seen:
                continue
            seen.add(name)
            yield from ((name, point) for point in package.entry_points if point.group in wanted)
        except Exception as error:  # whatever a foreign package's metadata hold
            problems.append(f"{_name(package)}: its entry points cannot be read: {' '.join(str(error).split())}")


def _name(package: "Distribution") -> str:
    try:
        return str(package.metadata["Name"] or "a package without a name")
    except Exception:  # no METADATA, or no text
        return str(getattr(package, "_path", "a package without metadata"))


def _add_recipes(found: Plugins, package: str, point: "EntryPoint") -> None:
    folder = _folder(point.value)
    if folder is None:
        found.problems.append(f"{package}: it has no folder '{point.value}', which should hold its recipes")
        return
    for file in sorted(folder.glob("*.yaml")):
        if file.stem in found.recipes:
            other = found.package[file.stem]
            found.problems.append(f"{package}: its recipe '{file.stem}' has the name of one of {other}, which is taken")
            continue
        found.recipes[file.stem], found.package[file.stem] = file, package


def _folder(dotted: str) -> Path | None:
    """A folder of a package that is not imported."""
    top, *rest = dotted.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return None
    places = (spec and spec.submodule_search_locations) or []
    return next((folder for place in places if (folder := Path(place).joinpath(*rest)).is_dir()), None)
