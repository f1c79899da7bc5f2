"""From a checked configuration to live objects: data module, pairing, trainer."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import lightning as L
from omegaconf import DictConfig
from torch.nn.modules.batchnorm import _BatchNorm

from zoo import data_roots
from zoo.backbones.base import TextEncoder
from zoo.batch import GroundScale, SampleSet
from zoo.errors import SettingError
from zoo.ground import GSD, measure_in, of_recipe
from zoo.memory import Bounded
from zoo.pairing import Pairing
from zoo.prefix import PrefixDataset, whole
from zoo.recipe import instantiate

if TYPE_CHECKING:
    from data_modules.base import DataModule


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
    measure_in(pairing, of_recipe(config.get("data")) if scale is None else scale)
    return pairing


def connect(data: "DataModule", pairing: Pairing, *, seed: int) -> None:
    """Let the data module's loaders apply the pairing's transforms and ask its prefix cache.

    Raises:
        SettingError: a cache was asked for although the data's samples are not deterministic, or the data lack a side
            input that the method uses.
    """
    if missing := [name for name in pairing.method.conditions if name not in data.conditions]:
        raise SettingError(
            f"method: it uses the condition {', '.join(missing)}; the samples of "
            f"{data.name} carry {', '.join(data.conditions) or 'none'}"
        )
    if pairing.cache is not None and not data.deterministic:
        raise SettingError(
            f"cache: {data.name} draws its samples anew each time, so frozen features cannot be kept; set cache=null"
        )
    data.measured_in(pairing.ground)
    backbones = {name: pairing.backbones[name] for name in pairing.depths}
    data.seed = seed

    def wrap(samples: SampleSet[Any], split: str) -> PrefixDataset:
        scale = pairing.ground if GSD in pairing.method.conditions else None
        return PrefixDataset(samples, backbones, pairing.depths, pairing.cache, scale)

    pairing.prepare = data.prepare
    if pairing.preparation is None:  # it is about to be trained
        pairing.preparation = data.preparation
    data.wrap = wrap
    data.collate = whole


def build_data(config: DictConfig, stage: Literal["fit", "test"] = "fit") -> "DataModule":
    """The recipe's data, read and checked; no weight is fetched before.

    Args:
        config: the recipe.
        stage: what they are for; own files to be tested need no other split.

    Raises:
        UserError: where they lie is not given.
        DataError: they cannot be read.
    """
    data_roots.require(config.data)
    data: DataModule = instantiate(config.data)
    data.seed = config.seed
    data.setup(stage)
    return data


def joins(pairing: Pairing) -> bool:
    """Whether batch norm is trained, so that a last batch of one sample has to join another."""
    return any(isinstance(part, _BatchNorm) for own in (pairing.method, pairing.task) for part in own.modules())


def build_trained(config: DictConfig, data: "DataModule", run_dir: Path) -> tuple[Pairing, L.Trainer]:
    """The recipe's pairing, connected to its data, and its trainer.

    Raises:
        SettingError: the head has batch norm, and batches or the training split have one sample.
    """
    pairing = build_pairing(config, data.classes, scale=data.ground)
    connect(data, pairing, seed=config.seed)
    data.joins = joins(pairing)
    least, size = pairing.task.least_batch, len(data.sets["train"])
    if min(size, data.batch_size) < least:
        lacking = f"data.batch_size = {data.batch_size}" if size >= least else f"{size} training sample"
        raise SettingError(f"{lacking}: the head has batch norm, which trains on {least} samples a batch or more")
    return pairing, instantiate(config.trainer, run_dir)
