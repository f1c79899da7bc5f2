"""The optional packages that a recipe needs, read from its classes' source: nothing is imported, torch least of all.

Needed is what importing the module of a block's `_target_` imports, directly or through other modules of the zoo, and
what that module itself imports inside its functions.
"""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from omegaconf import DictConfig, OmegaConf

from zoo.errors import OPTIONAL, require_packages
from zoo.recipe import schema
from zoo.recipe.schema import OURS, TARGET, SchemaError

BLOCKS = ("backbones", "method", "task", "data")
"""What may need an optional package; how a recipe trains does not (a logger has a setting of its own)."""


def require(config: Mapping[str, Any]) -> None:
    """The optional packages of a recipe are installed, which is better known before weights are fetched.

    Raises:
        UserError: naming those that are not.
    """
    require_packages("this recipe", *needed(config))


def needed(config: Mapping[str, Any]) -> list[str]:
    """Optional packages of a recipe's blocks, in order."""
    values: Any = OmegaConf.to_container(config) if isinstance(config, DictConfig) else config  # `???` may stand in it
    targets = {target for block in BLOCKS for target in _targets(values.get(block))}
    return sorted({package for target in targets for package in _of(target.rpartition(".")[0])})


def _targets(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from [inner] if key == TARGET else _targets(inner)


@cache
def _of(module: str) -> frozenset[str]:
    """Optional packages that a module needs, in its functions as well."""
    room = module.rpartition(".")[0]
    own = [one for one in _reached(module) if one.rpartition(".")[0] == room]
    everywhere = {name.partition(".")[0] for one in own for name in _imports(one, True)}
    at_import = {name.partition(".")[0] for one in _reached(module) for name in _imports(one, False)}
    return frozenset((everywhere | at_import) & OPTIONAL.keys())


@cache
def _reached(module: str) -> frozenset[str]:
    """Modules of the zoo that are imported along with one, and itself."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        if (one := waiting.pop()) not in seen:
            seen.add(one)
            waiting += [name for name in _imports(one, False) if name.startswith(OURS) and _is_module(name)]
    return frozenset(seen)


@cache
def _imports(module: str, everywhere: bool) -> frozenset[str]:
    """Dotted names that a module imports, of `from a import b` both `a` and `a.b`.

    Args:
        module: its dotted name.
        everywhere: inside functions as well as by its first lines.
    """
    tree, found = schema.tree(module), set[str]()
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(found)


@cache
def _is_module(name: str) -> bool:
    try:
        schema.tree(name)
    except SchemaError:
        return False
    return True
