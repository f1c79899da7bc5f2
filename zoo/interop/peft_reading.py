"""Folders that HF `peft` wrote, of LoRA and other tuners of `zoo.methods.peft`, as settings and tensors of ours."""

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from zoo.interop import peft_layout
from zoo.interop.peft_layout import CONFIG, SHARING, TENSORS, PeftError
from zoo.methods.peft import NAME, OURS, Tuner

LORA, PEFT = "zoo.methods.lora.LoRA", "zoo.methods.peft.PEFT"

KEY = re.compile(r"base_model\.model\.(?P<path>.+)\.lora_(?P<part>[AB])\.weight")

PLAIN: dict[str, Any] = {
    "peft_type": "LORA",
    "use_dora": False,
    "use_qalora": False,
    "use_bdlora": None,
    "bias": "none",
    "lora_bias": False,
    "fan_in_fan_out": False,
    "modules_to_save": None,
    "layer_replication": None,
    "target_parameters": None,
    "alora_invocation_tokens": None,
    "arrow_config": None,
    "kasa_config": None,
    "rank_pattern": {},
    "alpha_pattern": {},
}
"""What a configuration must say, or leave out, for its update to be `W + scaling B A` in equal form everywhere."""


DRAWN = {"shira": "random_seed"}
"""Settings without which a tuner would draw anew what its files do not say."""


@dataclass(frozen=True)
class Loaded:
    """An adapter as PEFT writes it.

    Attributes:
        method: the block `method:` that makes it, but for where it acts.
        layers: tensors by path of the layer in its base model, and by their name inside the layer that a tuner makes.
        base: the base model according to the configuration; not verified.
    """

    method: dict[str, Any]
    layers: dict[str, dict[str, Tensor]]
    base: str


def read(folder: Path) -> Loaded:
    """Read one PEFT folder.

    Raises:
        PeftError: no such folder, a tuner or a variant of one that is not known here, or tensors that belong to none.
    """
    for name in (CONFIG, TENSORS):
        if not (folder / name).is_file():
            raise PeftError(f"{folder} is no PEFT folder: it has no {name} (pickled weights are not read)")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        tensors = load_file(folder / TENSORS)
        kind = str(config["peft_type"]).lower()
        method, layers = (_lora if kind == "lora" else _tuner)(folder, config, tensors)
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise PeftError(f"{folder} is damaged: {type(error).__name__}: {error}") from None
    return Loaded(method, layers, str(config.get("base_model_name_or_path")))


Read = tuple[dict[str, Any], dict[str, dict[str, Tensor]]]


def _lora(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Read:
    rank, alpha = int(config["r"]), float(config["lora_alpha"])
    if other := [f"{key}={config[key]!r}" for key, plain in PLAIN.items() if (config.get(key) or plain) != plain]:
        raise PeftError(f"{folder / CONFIG} says {', '.join(other)}; only plain LoRA can be read")
    matches = {name: KEY.fullmatch(name) for name in tensors}
    if left := [name for name, match in matches.items() if match is None]:
        raise PeftError(f"{folder / TENSORS} holds more than LoRA's A and B: {', '.join(left[:3])}")
    layers: dict[str, dict[str, Tensor]] = {}
    for name, match in matches.items():
        assert match is not None
        layers.setdefault(match["path"], {})[f"lora_{match['part']}.{NAME}.weight"] = tensors[name]
    for path, pair in layers.items():
        if len(pair) != 2 or len(pair[f"lora_A.{NAME}.weight"]) != rank:
            raise PeftError(f"{folder / TENSORS}: {path} has no pair of A and B of rank {rank}")
    if config.get("use_rslora"):
        alpha *= math.sqrt(rank)
    return {"_target_": LORA, "rank": rank, "alpha": alpha}, layers


def _tuner(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Read:
    from peft import PeftType
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_PREFIX_MAPPING

    name = str(config["peft_type"]).lower()
    if name not in get_args(Tuner) or name in SHARING:
        known = ", ".join(each for each in get_args(Tuner) if each not in SHARING)
        raise PeftError(f"{folder / CONFIG} is of {name}, which cannot be read; read are {known}")
    if (drawn := DRAWN.get(name)) and config.get(drawn) is None:
        raise PeftError(f"{folder / CONFIG}: without {drawn}, what {name} drew cannot be found again")
    whole = {key: config.get(key) for key in ("modules_to_save", "target_parameters", "layer_replication")}
    if beside := [f"{key}={value!r}" for key, value in whole.items() if value]:
        raise PeftError(f"{folder / CONFIG} says {', '.join(beside)}: only a tuner's layers can be read")
    kind = PeftType(name.upper())
    fields = {field.name: field for field in dataclasses.fields(PEFT_TYPE_TO_CONFIG_MAPPING[kind])}
    settings = {
        key: value
        for key, value in config.items()
        if key in fields and key not in OURS and value != _default(fields[key]) and not key.endswith("dropout")
    }
    inside = re.compile(rf"base_model\.model\.(?P<path>.+?)\.(?P<name>{PEFT_TYPE_TO_PREFIX_MAPPING[kind]}.+)")
    layers: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if (match := inside.fullmatch(key)) is None:
            raise PeftError(f"{folder / TENSORS} holds what is not {name}'s: {key}")
        first, _, rest = match["name"].partition(".")
        layers.setdefault(match["path"], {})[f"{first}.{NAME}{f'.{rest}' if rest else ''}"] = tensor
    return {"_target_": PEFT, "tuner": name, "settings": settings}, layers


def _default(field: "dataclasses.Field[Any]") -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def fits(loaded: Loaded, backbone: nn.Module) -> str | None:
    """The module of a backbone that holds all layers of a LoRA, as in `roots`; None where none does."""
    paths = {path for path, _ in backbone.named_modules()}
    nets = {path for path in paths if path == "net" or path.endswith(".net")} | {""}
    holding = (
        root for root in sorted(nets, reverse=True) if all(peft_layout.join(root, p) in paths for p in loaded.layers)
    )
    return next(holding, None)
