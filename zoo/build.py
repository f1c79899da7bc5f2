"""From a checked configuration to a live pairing."""

import random
from collections.abc import Sequence

import numpy as np
import torch
from omegaconf import DictConfig

from zoo.backbones.base import TextEncoder
from zoo.batch import GroundScale
from zoo.ground import measure_in, of_recipe
from zoo.memory import Bounded
from zoo.pairing import Pairing
from zoo.recipe import instantiate


def build_pairing(
    config: DictConfig, classes: Sequence[str], *, cached: bool = True, scale: GroundScale | None = None
) -> Pairing:
    """The recipe's pairing for these classes, with freshly initialised trainable parts (seeded by `config.seed`).

    Args:
        config: the recipe.
        classes: in label order.
        cached: keep the recipe's prefix cache.
        scale: what ground sampling distances are measured in, where files settled it; else as the recipe says.

    Raises:
        MemoryError: it does not fit into this machine's memory.
    """
    with Bounded():
        encoders = {name: instantiate(block) for name, block in config.backbones.items() if block is not None}
        # After the encoders: how many random numbers they draw must not change the method's initialisation.
        random.seed(config.seed)
        np.random.seed(config.seed)
        torch.manual_seed(config.seed)
        pairing = Pairing(
            {name: encoder for name, encoder in encoders.items() if not isinstance(encoder, TextEncoder)},
            instantiate(config.method),
            instantiate(config.task),
            classes=classes,
            text=next((encoder for encoder in encoders.values() if isinstance(encoder, TextEncoder)), None),
            cache=instantiate(config.cache) if cached and config.get("cache") else None,
        )
    measure_in(pairing, of_recipe(config.get("data")) if scale is None else scale)
    return pairing
