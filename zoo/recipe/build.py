"""Builds a pairing from a checked configuration."""

import random
from collections.abc import Sequence

import numpy as np
import torch
from omegaconf import DictConfig

from zoo.backbones.base import TextEncoder
from zoo.batch import METRES, GroundScale
from zoo.errors import SettingError, UserError
from zoo.methods.base import Method, require_use
from zoo.methods.ground import measure_in
from zoo.pairing import Pairing
from zoo.recipe import packages, schema
from zoo.recipe.instantiate import instantiate, located
from zoo.recipe.memory import Bounded
from zoo.recipe.schema import TARGET


def build_pairing(
    config: DictConfig,
    classes: Sequence[str],
    *,
    cached: bool = True,
    scale: GroundScale | None = None,
    method: Method | None = None,
) -> Pairing:
    """The recipe's pairing for these classes, with freshly initialised trainable parts (seeded by `config.seed`).

    Args:
        config: the recipe.
        classes: in label order.
        cached: keep the recipe's prefix cache.
        scale: what ground sampling distances are measured in, where files settled it; else as the recipe says.
        method: in the place of the recipe's.

    Raises:
        MemoryError: it does not fit into this machine's memory.
        SettingError: method and task, or they and the backbones, do not go together.
        UserError: packages that it needs are not installed.
    """
    packages.require(config)  # before weights are fetched
    task = located(config.task)
    require_use(located(config.method) if method is None else type(method), task.kind, taken=task.takes_probabilities)
    with Bounded():
        encoders = {name: instantiate(block) for name, block in config.backbones.items() if block is not None}
        # After the encoders: how many random numbers they draw must not change the method's initialisation.
        random.seed(config.seed)
        np.random.seed(config.seed)
        torch.manual_seed(config.seed)
        pairing = Pairing(
            {name: encoder for name, encoder in encoders.items() if not isinstance(encoder, TextEncoder)},
            instantiate(config.method) if method is None else method,
            instantiate(config.task),
            classes=classes,
            text=next((encoder for encoder in encoders.values() if isinstance(encoder, TextEncoder)), None),
            cache=instantiate(config.cache) if cached and config.get("cache") else None,
        )
    measure_in(pairing, of_recipe(config.get("data")) if scale is None else scale)
    return pairing


def refuse_unknown(config: DictConfig) -> None:
    """Refuse models that a backbone's library does not know (its class has `named`); no data, no weight is asked for.

    Raises:
        SettingError: naming the block.
        UserError: packages that the recipe needs are not installed.
    """
    packages.require(config)  # a library is asked for its names
    for stream, block in config.backbones.items():
        if block is not None and (named := getattr(located(block), "named", None)):
            given = {key: block.get(key, known.value) for key, known in schema.signature(str(block[TARGET])).items()}
            try:
                named(given["model"], given["source"])
            except UserError as error:
                raise SettingError(f"backbones.{stream}: {error}") from error


def of_recipe(data: DictConfig | None) -> GroundScale:
    """Unit of a recipe's GSDs: its own setting, else that of its data module."""
    if data is None:
        return GroundScale()
    says = schema.attributes(str(data[TARGET]))
    return GroundScale(
        str(data.get("gsd_unit") or says.get("gsd_unit") or METRES), data.get("side") or says.get("side")
    )
