"""An adapter directory out of a checkpoint that holds backbone, adapter and head in one."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig, OmegaConf

from zoo.adapter import directory, trust
from zoo.adapter.directory import BACKBONE
from zoo.backbones import weights
from zoo.backbones.mamba3d import Net
from zoo.catalog import card
from zoo.files import file_hash, scratch, write_whole
from zoo.interop.checkpoints import Converted, ConvertError, Settings, packed, split, unwrap
from zoo.ops.tensors import mismatches
from zoo.pairing import Pairing, count_parameters
from zoo.recipe import compose, data_roots, schema
from zoo.recipe.build import build_pairing
from zoo.recipe.instantiate import instantiate
from zoo.recipe.schema import TARGET
from zoo.records import provenance
from zoo.training.callbacks import CostMonitor

if TYPE_CHECKING:
    from data_modules.base import DataModule

POINTS = "backbones.points"


def to_adapter(checkpoint: Path, recipe: str, overrides: Sequence[str], folder: Path) -> Pairing:
    """Write an adapter directory whose tensors are a checkpoint's.

    Args:
        checkpoint: in the layout of Mantis's authors, with adapters and head.
        recipe: for its data, and the pairing that the tensors must fit.
        overrides: `key=value` words of the recipe.
        folder: place of the directory, which must not exist yet.

    Returns:
        What was written.

    Raises:
        ConvertError: the checkpoint is none, or does not fit the recipe; nothing is written then.
    """
    start = time.perf_counter()
    found = split(unwrap(weights.load_state_dict(checkpoint)))
    if not found.trainable:
        raise ConvertError("it holds a backbone alone: convert it with output=FILE.safetensors, and train on that")
    config = _recipe(recipe, overrides, found.settings)
    data: DataModule = instantiate(config.data)
    if not getattr(data, "classes", None):
        raise ConvertError(
            f"recipe={recipe}: its data know their classes from files alone; expected one of a benchmark"
        )
    _require_sizes(config, found, recipe)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with scratch(folder.parent, f".{folder.name}-backbone-") as space:
        file = space / BACKBONE
        write_whole(file, packed(found.backbone, torch.float32, found.settings))
        config.backbones.points.source = f"file:{file}"
        pairing = build_pairing(config, data.classes, cached=False)
        _require(mismatches(pairing.trainable_state(), found.trainable), config, found, recipe)
        try:
            pairing.load_trainable(found.trainable, source="it")
        except ValueError as error:
            raise ConvertError(str(error)) from None
        pairing.preparation = data.preparation
        # Without a folder: it is found beside the recipe, wherever the directory lies.
        config.backbones.points.source = f"file:{BACKBONE}"
        record = _record(pairing, config, data, name=Path(recipe).stem, checkpoint=checkpoint, since=start)
        text = compose.to_yaml(trust.stripped(config)[0])
        directory.save(pairing.eval(), folder, recipe=text, metrics=record, card=card.for_adapter, backbone=file)
    return pairing


def _recipe(recipe: str, overrides: Sequence[str], settings: Settings) -> DictConfig:
    """The recipe, its data's folder yet to be given, with what published checkpoints need of the backbone.

    Raises:
        ConvertError: it has no Mamba3D.
    """
    problems: list[str] = []
    plain = compose.with_blocks(compose.read(compose.find(recipe), problems), overrides, problems)
    backbone = (plain.get("backbones") or {}).get("points") or {}
    if not problems and backbone.get(TARGET) != "zoo.backbones.mamba3d.Mamba3D":
        raise ConvertError(f"recipe={recipe} has no {POINTS}, a Mamba3D; expected one of Mantis, mantis_modelnet40 say")
    given = {word.partition("=")[0] for word in overrides}
    unset = [] if problems or not plain.get("data") else data_roots.unset(plain["data"])
    words = {f"data.{key}": data_roots.PLACE for key in unset if key in data_roots.ROOTS}
    words |= {f"{POINTS}.{key}": str(settings[POINTS][key]) for key in ("second_branch", "compat")}
    return compose.compose(recipe, [*overrides, *(f"{key}={word}" for key, word in words.items() if key not in given)])


def _require_sizes(config: DictConfig, found: Converted, recipe: str) -> None:
    """The recipe's backbone takes the checkpoint's; before it is built, which takes longer."""
    own = _settings(config.backbones.points)
    with torch.device("meta"):
        net = Net(width=own["width"], depth=own["depth"], states=own["states"])
    _require(mismatches(net.state_dict(), found.backbone), config, found, recipe)


def _require(problems: Mapping[str, str], config: DictConfig, found: Converted, recipe: str) -> None:
    """Refuse tensors that do not fit, and say which settings differ."""
    if not problems:
        return
    more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    differing = []
    for block, settings in found.settings.items():
        own: Any = config.backbones.points if block == POINTS else config[block]
        known = _settings(own)
        differing += [
            f"{block}.{key}={str(value).replace(' ', '')}"
            for key, value in settings.items()
            if key != "taps" and value != known.get(key, value)
        ]
    advice = f"its own settings: {' '.join(differing)}" if differing else "take the recipe of its data"
    raise ConvertError(f"it does not fit recipe={recipe}: {'; '.join([*problems.values()][:3])}{more}; {advice}")


def _settings(block: DictConfig) -> dict[str, Any]:
    """A block's settings, defaults included; all sequences as lists."""
    given: Any = OmegaConf.to_container(block)
    known = {key: one.value for key, one in schema.signature(str(block[TARGET])).items()}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in (known | given).items()}


def _record(
    pairing: Pairing, config: DictConfig, data: "DataModule", *, name: str, checkpoint: Path, since: float
) -> dict[str, Any]:
    """What metrics.json holds: where the tensors come from, and no number, as none was measured."""
    task, (trainable, total) = pairing.task, count_parameters(pairing)
    manifest = provenance.manifest(
        recipe=name,
        seed=config.seed,
        selected_on="test",  # as published checkpoints are; of others nothing better is known
        epochs=0,
        seconds=round(time.perf_counter() - since, 1),
        data={"name": data.name, "synthetic": data.synthetic, "fingerprint": "", "license": data.license},
        backbones={key: asdict(known) for key, known in pairing.fingerprints.items()},
        parameters={"trainable": trainable, "total": total},
        cost=CostMonitor().summary(),
        **{provenance.CONVERTED: {"file": checkpoint.name, "sha256": file_hash(checkpoint)}},
    )
    return {
        "split": "test",
        "task": task.kind,
        "unit": task.unit,
        "monitor": task.monitor,
        "n": 0,
        "metrics": {task.monitor: None},
        "intervals": {},
        "baselines": {},
        "manifest": manifest,
    }
