"""Class anchors that an adapter keeps, so that its text tower need not be built to predict.

    tensor `text.anchors`     the vectors, [K', d], as the method has them
    header `anchors`          the recipe's block that the text tower takes, which block asked it (`method` where nothing
                              is said), a hash of what they were made from, and what their space is called, where
                              an encoder may share it

Where recipe or classes were changed since, the anchors are not taken: the tower is built and compared, as it is for an
adapter that keeps none.
"""

import hashlib
import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from safetensors import safe_open

from zoo.errors import SettingError
from zoo.recipe.schema import TARGET

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.backbones.base import TextEncoder
    from zoo.pairing import Pairing

HEADER, ANCHORS = "anchors", "text.anchors"

KEPT = "zoo.backbones.kept_text.KeptText"


def kept(pairing: "Pairing", config: Any) -> tuple[dict[str, str], dict[str, "Tensor"]]:
    """Header entries and tensors of a pairing's text anchors.

    Empty where neither method nor task has some, and where both have: the tower is built for these.

    Args:
        pairing: built from it.
        config: a recipe as plain values.
    """
    asked = {"method": pairing.method.anchored(), "task": pairing.task.anchored()}
    found, name = {by: anchors for by, anchors in asked.items() if anchors is not None}, tower_of(config)
    if len(found) != 1 or name is None:
        return {}, {}
    ((by, anchors),) = found.items()
    told = {"backbone": name, "of": _of(config, name, pairing.classes, by), **({"by": by} if by != "method" else {})}
    told |= {"space": pairing.space} if pairing.space else {}
    return {HEADER: json.dumps(told)}, {ANCHORS: anchors}


def stored(file: Path) -> dict[str, "Tensor"]:
    """The tensors of an adapter's file that hold anchors: one or none."""
    with safe_open(file, framework="pt") as tensors:
        return {name: tensors.get_tensor(name) for name in tensors.keys() if name == ANCHORS}  # noqa: SIM118


def without_tower(config: DictConfig, file: Path, header: Mapping[str, str]) -> DictConfig:
    """A recipe whose text tower is what its adapter keeps of it; the recipe itself where that is nothing that fits.

    Args:
        config: the adapter's recipe.
        file: its adapter.safetensors.
        header: of that.
    """
    stored_header = json.loads(header.get(HEADER, "{}"))
    plain = OmegaConf.to_container(config, resolve=True)
    name = stored_header.get("backbone") if header["format"] != "1" else None
    if not isinstance(plain, dict) or name is None or name not in plain["backbones"]:
        return config
    by = stored_header.get("by", "method")
    if by not in ("method", "task") or stored_header.get("of") != _of(plain, name, json.loads(header["classes"]), by):
        return config
    block = {TARGET: KEPT, "file": str(file)}
    return OmegaConf.create({**plain, "backbones": {**plain["backbones"], name: block}})


def tower(config: DictConfig, pairing: "Pairing", adapter: str) -> "TextEncoder":
    """The text tower of an adapter's recipe, which other classes than the trained ones need.

    Args:
        config: the recipe.
        pairing: loaded from the adapter, with or without the tower.
        adapter: its name, for a message.

    Raises:
        SettingError: it is another tower than the adapter was trained with.
    """
    from zoo.recipe.instantiate import instantiate

    plain = OmegaConf.to_container(config, resolve=True)
    name = tower_of(plain)
    if name is None:
        raise SettingError(f"{adapter}: its recipe names no text tower, so that it knows no other classes")
    encoder: TextEncoder = instantiate(config.backbones[name])
    if not pairing.forced and encoder.fingerprint != pairing.fingerprints["text"]:
        raise SettingError(f"the text tower {name} is another one than {adapter} was trained with")
    return encoder


def _of(config: Any, name: str, classes: list[str], by: str) -> str:
    """sha256 of what anchors are made from: the blocks of text tower and of what asks it, and the classes."""
    parts = [config["backbones"][name], config[by], classes]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def tower_of(config: Any) -> str | None:
    """Name of a recipe's backbone that is the text tower; loads the backbones' modules."""
    from zoo.backbones.base import TextEncoder

    blocks = (config.get("backbones") or {}) if isinstance(config, dict) else {}
    for name, block in blocks.items():
        module, _, kind = str((block or {}).get(TARGET, "")).rpartition(".")
        if module and issubclass(getattr(importlib.import_module(module), kind), TextEncoder):
            return str(name)
    return None
