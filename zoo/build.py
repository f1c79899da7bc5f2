"""From a checked configuration to live objects: data module, pairing, trainer."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import lightning as L
from omegaconf import DictConfig

from zoo.backbones.base import TextEncoder
from zoo.errors import SettingError
from zoo.pairing import Pairing
from zoo.prefix import PrefixDataset, whole
from zoo.recipe import instantiate

if TYPE_CHECKING:
    from data_modules.base import DataModule


def build_pairing(config: DictConfig, classes: Sequence[str], *, cached: bool = True) -> Pairing:
    """The recipe's pairing for these classes, with freshly initialised trainable parts (seeded by `config.seed`)."""
    encoders = {name: instantiate(block) for name, block in config.backbones.items() if block is not None}
    # After the encoders: how many random numbers they draw must not change the method's initialisation.
    L.seed_everything(config.seed, verbose=False)
    pairing = Pairing(
        {name: encoder for name, encoder in encoders.items() if not isinstance(encoder, TextEncoder)},
        instantiate(config.method),
        instantiate(config.task),
        classes=classes,
        text=next((encoder for encoder in encoders.values() if isinstance(encoder, TextEncoder)), None),
        optimizer=instantiate(config.optimizer) if config.get("optimizer") else None,
        cache=instantiate(config.cache) if cached and config.get("cache") else None,
    )
    pairing.seed = config.seed
    return pairing


def connect(data: "DataModule", pairing: Pairing, *, seed: int) -> None:
    """Let the data module's loaders apply the pairing's transforms and ask its prefix cache.

    Raises:
        SettingError: a cache was asked for although the data's samples are not deterministic, or the data lack a side
            input that the method uses.
    """
    if missing := [name for name in pairing.method.conditions if name not in data.conditions]:
        raise SettingError(
            f"method: {type(pairing.method).__name__} uses the condition {', '.join(missing)}; the samples of "
            f"{data.name} carry {', '.join(data.conditions) or 'none'}"
        )
    if pairing.cache is not None and not data.deterministic:
        raise SettingError(
            f"cache: {data.name} draws its samples anew each time, so frozen features cannot be kept; set cache=null"
        )
    backbones = {name: pairing.backbones[name] for name in pairing.depths}
    data.seed = seed
    pairing.prepare = data.prepare
    if pairing.preparation is None:  # it is about to be trained
        pairing.preparation = data.preparation
    data.wrap = lambda samples, split: PrefixDataset(samples, backbones, pairing.depths, pairing.cache)
    data.collate = whole


def build(config: DictConfig, run_dir: Path) -> tuple["DataModule", Pairing, L.Trainer]:
    """Data module, pairing and trainer of a composed recipe; data is checked before any weight is fetched."""
    data: DataModule = instantiate(config.data)
    data.seed = config.seed
    data.setup("fit")
    pairing = build_pairing(config, data.classes)
    connect(data, pairing, seed=config.seed)
    return data, pairing, instantiate(config.trainer, run_dir)
