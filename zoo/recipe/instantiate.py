"""Makes the object that a recipe's block names in `_target_`."""

import importlib
from functools import partial
from typing import Any

from omegaconf import DictConfig, OmegaConf

from zoo.recipe import schema
from zoo.recipe.schema import TARGET


def instantiate(block: Any, *args: Any, **extra: Any) -> Any:
    """Import a block's `_target_` and call it with the block's keys; nested blocks first.

    Args:
        block: a checked block.
        *args: what the program supplies before the keys.
        **extra: further keywords.
    """
    values = OmegaConf.to_container(block, resolve=True) if isinstance(block, DictConfig) else block
    return _call(values, *args, **extra)


def located(block: Any) -> Any:
    """The class or function that a block names."""
    module, _, name = block[TARGET].rpartition(".")
    return getattr(importlib.import_module(module), name)


def _call(values: Any, *args: Any, **extra: Any) -> Any:
    target = located(values)
    settings = {k: v for k, v in values.items() if k != TARGET}
    nested = {k: v for k, v in settings.items() if isinstance(v, dict) and TARGET in v}
    known = schema.signature(values[TARGET]) if nested else {}
    made = {k: _made_ready(v) if k in known and known[k].awaits else _call(v) for k, v in nested.items()}
    return target(*args, **settings | made, **extra)


def _made_ready(values: dict[str, Any]) -> Any:
    """What a signature takes as a `Callable`: its receiver calls it, with what it has to add."""
    return partial(_call, values)
