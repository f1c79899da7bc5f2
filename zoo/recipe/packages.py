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

KNOWN = OPTIONAL.keys() - {"wandb", "mlflow", "trackio"}
"""Optional packages that classes need; a logger is needed where `trainer.logger` names it (`zoo.training.loggers`)."""


def require(config: Mapping[str, Any]) -> None:
    """The optional packages of a recipe are installed, which is better known before weights are fetched.

    Raises:
        UserError: naming those that are not.
    """
    require_packages("this recipe", *needed(config))


def needed(config: Mapping[str, Any]) -> list[str]:
    """Optional packages of all blocks of a recipe, in order."""
    values = OmegaConf.to_container(config) if isinstance(config, DictConfig) else config  # `???` may stand in it
    return sorted({package for target in _targets(values) for package in _of(target.rpartition(".")[0])})


def _targets(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key == TARGET:
                yield inner
            elif key not in ("variants", "smoke"):  # what is not chosen
                yield from _targets(inner)


@cache
def _of(module: str) -> frozenset[str]:
    """Optional packages that a module needs, in its functions as well."""
    room = module.rpartition(".")[0]
    own = [one for one in _reached(module) if one.rpartition(".")[0] == room]
    found = {name.partition(".")[0] for one in own for name in _imports(ast.walk(schema.tree(one)))}
    return frozenset(found & KNOWN).union(*map(_at_import, _reached(module)))


@cache
def _at_import(module: str) -> frozenset[str]:
    """Optional packages that a module's first lines import."""
    return frozenset({name.partition(".")[0] for name in _imports(schema.tree(module).body)} & KNOWN)


def _reached(module: str) -> set[str]:
    """Modules of the zoo that are imported along with one, and itself."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        if (one := waiting.pop()) not in seen:
            seen.add(one)
            waiting += [name for name in _imports(schema.tree(one).body) if name.startswith(OURS) and _is_module(name)]
    return seen


def _imports(nodes: Any) -> Iterator[str]:
    """Dotted names that statements import: of `from a import b` both `a` and `a.b`."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def _is_module(name: str) -> bool:
    try:
        schema.tree(name)
    except SchemaError:
        return False
    return True
