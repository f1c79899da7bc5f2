"""Adapters in the layout of HF `peft`: `adapter_model.safetensors` and `adapter_config.json`.

PEFT knows one base model, so every module that others know by its own names (timm's transformer, transformers' model)
gets a folder of its own, and names start at that module: `base_model.model.blocks.11.attn.qkv.lora_A.weight` belongs to
`blocks.11.attn.qkv` of timm's model. PEFT knows no head of ours; it lies beside the folders.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from safetensors.torch import save_file
from torch import Tensor

from zoo.errors import UserError
from zoo.methods.deltas import Delta, Factors, by_place, frozen
from zoo.methods.peft import NAME, PEFT
from zoo.pairing import Pairing
from zoo.recipe import schema
from zoo.recipe.schema import TARGET

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"

SHARING = ("vera", "randlora", "vblora")
"""Tuners that keep tensors beside those of the layers."""


class PeftError(UserError):
    """A folder holds no LoRA that this package can read."""


def roots(deltas: Mapping[str, Delta]) -> dict[str, dict[str, Delta]]:
    """Changes of one backbone by the module that PEFT takes for its base model, paths counted from there.

    That is the innermost `net` around a layer; the backbone itself (``) where there is none.
    """
    found: dict[str, dict[str, Delta]] = {}
    for path, delta in deltas.items():
        before, net, rest = f".{path}".rpartition(".net.")
        root = f"{before}.net".removeprefix(".") if net else ""
        found.setdefault(root, {})[rest if net else path] = delta
    return found


def inner(root: str) -> str:
    """`vision` of `vision.net`; nothing of `net`."""
    return root.removesuffix("net").removesuffix(".")


def folder_name(stream: str, root: str) -> str:
    """`vision`, or `vlm-vision` where a backbone is made of several modules."""
    return f"{stream}-{inner(root)}" if inner(root) else stream


def write_all(
    pairing: Pairing, config: DictConfig, folder: Path, *, gsd: float | None = None
) -> dict[tuple[str, str], Path]:
    """Write a PEFT folder for every adapted module.

    Args:
        pairing: whose method is written.
        config: its recipe, which names the sources of the backbones' weights.
        folder: takes the folders.
        gsd: see `Method.deltas`.

    Returns:
        The folders by stream and the module's path inside the backbone.

    Raises:
        SettingError: the method changes no frozen layers, or depends on a side input that is not given.
        PeftError: it changes them by means that no folder of PEFT holds.
    """
    written = {}
    for stream, deltas in by_place(pairing.backbones, pairing.method.deltas(gsd=gsd)).items():
        for root, own in roots(deltas).items():
            place = folder / folder_name(stream, root)
            base, revision = base_of(config.backbones[stream], root)
            factors = {path: delta.factors for path, delta in own.items() if delta.factors}
            if len(factors) == len(own):
                write(factors, place, base=base, revision=revision)
            elif isinstance(pairing.method, PEFT) and all(frozen(one.layer) is not one.layer for one in own.values()):
                write_tuner(pairing.method, own, place, base=base, revision=revision)
            else:
                raise PeftError(
                    f"{next(iter(own))} is changed by other means than two matrices, which PEFT's layout has no place "
                    "for; format=merged folds it into the weights"
                )
            written[stream, root] = place
    return written


def base_of(block: Mapping[str, Any], root: str) -> tuple[str, str | None]:
    """The source of a module's weights: repository and revision of `hf:`, as PEFT has them; else as a recipe has it.

    Args:
        block: of the backbone, in a recipe.
        root: of the module. A backbone of several modules names a source for each, after its tower.
    """
    known = schema.signature(block[TARGET])
    key = next(key for key in ("source", inner(root), "language") if key in known)
    source = str(block.get(key) or known[key].value)
    if not source.startswith("hf:"):
        return source, None
    name, _, revision = source.removeprefix("hf:").partition("@")
    return name, revision or None


def write(factors: Mapping[str, Factors], folder: Path, *, base: str, revision: str | None = None) -> None:
    """Write one PEFT folder of a LoRA.

    Args:
        factors: by path of the layer in the base model.
        folder: made here.
        base: the base model's name, for `base_model_name_or_path`.
        revision: of the base model.

    Raises:
        PeftError: ranks or scalings differ.
    """
    from peft import LoraConfig

    kinds = {(len(each.down), each.scaling) for each in factors.values()}
    if len(kinds) != 1:
        raise PeftError(f"ranks and scalings differ between layers: {sorted(kinds)}")
    ((rank, scaling),) = kinds
    alpha = scaling * rank
    config = LoraConfig(
        r=rank,
        lora_alpha=round(alpha) if math.isclose(alpha, round(alpha)) else alpha,
        target_modules=sorted(factors),
        lora_dropout=0.0,
        base_model_name_or_path=base,
        revision=revision,
        inference_mode=True,
    )
    pairs = {path: {"lora_A.weight": each.down, "lora_B.weight": each.up} for path, each in factors.items()}
    _save(config, pairs, folder)


def write_tuner(
    method: PEFT, deltas: Mapping[str, Delta], folder: Path, *, base: str, revision: str | None = None
) -> None:
    """Write one PEFT folder of another tuner.

    Args:
        method: whose tuner and settings it takes.
        deltas: of the wrapped layers, by their path in the base model.
        folder: made here.
        base: the base model's name.
        revision: of the base model.

    Raises:
        PeftError: the tuner's layers share vectors, which lie beside them in PEFT's files.
    """
    if method.tuner in SHARING:
        raise PeftError(f"layers of {method.tuner} share vectors; format=merged folds them into the weights")
    config = method.config(sorted(deltas), base_model_name_or_path=base, revision=revision, inference_mode=True)
    tensors = {
        path: {
            name.replace(f".{NAME}", ""): tensor
            for name, tensor in delta.layer.state_dict().items()
            if not name.startswith("base_layer.")
        }
        for path, delta in deltas.items()
    }
    _save(config, tensors, folder)


def _save(config: Any, tensors: Mapping[str, Mapping[str, Tensor]], folder: Path) -> None:
    """Write a configuration, and tensors by path of their layer and name inside it."""
    config.save_pretrained(folder)
    named = {
        f"base_model.model.{path}.{name}": tensor.detach().cpu().contiguous()
        for path, own in tensors.items()
        for name, tensor in own.items()
    }
    save_file(named, folder / TENSORS, metadata={"format": "pt"})


def join(root: str, path: str) -> str:
    """A path inside a module, from outside."""
    return f"{root}.{path}" if root else path


def adapted(pairing: Pairing, folders: Mapping[tuple[str, str], Path]) -> None:
    """Let `peft` itself put its folders onto a pairing's frozen backbones, by stream and root."""
    from peft import PeftModel

    for (stream, root), folder in folders.items():
        # The updates go into the module that is given; the wrapper around it is not needed.
        PeftModel.from_pretrained(pairing.backbones[stream].get_submodule(root), str(folder))
