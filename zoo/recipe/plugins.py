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
import os
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

METADATA = ("*.dist-info", "*.egg-info")
"""Folders in which installers keep a package's metadata."""

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
    return _read(tuple(sys.path), os.getcwd())


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
def _read(path: tuple[str, ...], here: str) -> Plugins:
    """All declarations, in the order of the packages' names, so that of two equal names the same one is always taken.

    Args:
        path: where packages are looked for (`sys.path`).
        here: the working directory.
    """
    path = tuple(place for place in path if place and Path(place).resolve() != Path(here))
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
    seen: set[str] = set()
    files = [file for place in path for kind in METADATA for file in Path(place).glob(f"{kind}/entry_points.txt")]
    for file in files:
        try:
            if b"[zoo." not in file.read_bytes():
                continue
            # A tenth of the start of commands, and of most environments nothing would come of it.
            from importlib.metadata import Distribution

            package = Distribution.at(file.parent)
            if (name := _name(package, file)) in seen:
                continue
            seen.add(name)
            yield from ((name, point) for point in package.entry_points if point.group in (RECIPES, *GROUPS.values()))
        except Exception as error:  # whatever a foreign package's metadata hold
            problems.append(f"{file}: its entry points cannot be read: {' '.join(str(error).split())}")


def _name(package: "Distribution", file: Path) -> str:
    return package.metadata["Name"] or file.parent.name.partition("-")[0]


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
