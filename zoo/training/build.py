"""Builds everything for a training from a checked configuration: data, module, loaders, trainer."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import lightning as L
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig

from zoo.errors import SettingError
from zoo.pairing import Pairing
from zoo.recipe import data_roots, packages
from zoo.recipe.build import build_pairing
from zoo.recipe.instantiate import instantiate
from zoo.training.loaders import Loaders
from zoo.training.module import TrainingModule

if TYPE_CHECKING:
    from data_modules.base import DataModule


def build_data(config: DictConfig, stage: Literal["fit", "test"] = "fit") -> "DataModule":
    """The recipe's data, read and checked; no weight is fetched before.

    Args:
        config: the recipe.
        stage: what they are for; own files to be tested need no other split.

    Raises:
        UserError: where they lie is not given, or packages that the recipe needs are not installed.
        DataError: they cannot be read.
    """
    data_roots.require(config.data)
    packages.require(config)
    data: DataModule = instantiate(config.data)
    data.seed = config.seed
    data.setup(stage)
    return data


def build_loaders(config: DictConfig, data: "DataModule", pairing: Pairing) -> Loaders:
    """The recipe's batches of its data for a pairing.

    Raises:
        SettingError: the data do not suit the pairing.
    """
    loaders: Loaders = instantiate(config.loader, data, pairing, config.seed)
    return loaders


def build_trained(
    config: DictConfig, data: "DataModule", run_dir: Path, callbacks: Sequence[Callback] = ()
) -> tuple[TrainingModule, Loaders, L.Trainer]:
    """The recipe's pairing in training, its batches and its trainer with the recipe's own callbacks.

    Raises:
        SettingError: nothing trains; or the head has batch norm, and batches or the training split have one sample.
    """
    pairing = build_pairing(config, data.classes, scale=data.ground)
    if not pairing.trainable:
        raise SettingError(
            f"nothing trains: {type(pairing.method).__name__} adapts nothing, and the task {pairing.task.kind} has no "
            "head of its own; choose another method, like method=lora"
        )
    loaders = build_loaders(config, data, pairing)
    least, size = pairing.task.least_batch, len(data.sets["train"])
    if min(size, loaders.batch_size) < least:
        available = f"loader.batch_size = {loaders.batch_size}" if size >= least else f"{size} training sample"
        raise SettingError(f"{available}: the head has batch norm, which trains on {least} samples a batch or more")
    module = TrainingModule(pairing, optimizer=instantiate(config.optimizer), seed=config.seed)
    return module, loaders, instantiate(config.trainer, run_dir, callbacks)
