"""Makes the object that a recipe's block names in `_target_`."""

import importlib
from typing import Any

from omegaconf import DictConfig, OmegaConf

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
    nested = {k: _call(v) if isinstance(v, dict) and TARGET in v else v for k, v in values.items() if k != TARGET}
    return target(*args, **nested, **extra)
