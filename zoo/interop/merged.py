"""Changes of frozen layers folded into their weights, written as files that a recipe's `source: file:...` loads.

What comes out is a plain backbone of the recipe's kind, without any adapter: a recipe gives it to another method, and
with method `zoo.methods.frozen.Frozen` and the head it answers as the adapter does, at no further cost a layer.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save_file
from torch import Tensor, nn

from zoo.backbones import hf_weights
from zoo.backbones.base import Backbone
from zoo.backbones.hf_vision_language import HFVisionLanguage
from zoo.interop.graph import ExportError
from zoo.methods.deltas import Delta, by_place, plain_state
from zoo.pairing import Pairing
from zoo.recipe.build import build_pairing

FROZEN = {"_target_": "zoo.methods.frozen.Frozen"}

HEAD = "head.safetensors"


def write(pairing: Pairing, folder: Path, *, gsd: float | None = None) -> dict[str, Path]:
    """Write the weights of every adapted backbone, and the head.

    Args:
        pairing: whose method is folded.
        folder: takes `STREAM.safetensors`, of a vision-language model a folder `STREAM` in transformers' layout, and
            `head.safetensors`.
        gsd: see `Method.deltas`.

    Returns:
        The written file or folder of every adapted backbone.

    Raises:
        SettingError: the method is no set of changes of frozen layers.
        WeightsError: a vision-language model with random weights.
        ExportError: a backbone has no file of plain tensors, or a layer is quantised.
    """
    by_backbone = by_place(pairing.backbones, pairing.method.deltas(gsd=gsd))
    written = {}
    for name, updates in by_backbone.items():
        backbone = pairing.backbones[name]
        if isinstance(backbone, HFVisionLanguage):
            state = {key.removeprefix("net."): tensor for key, tensor in folded(backbone, updates).items()}
            hf_weights.save(backbone.net, state, backbone.source, folder / name)
            written[name] = folder / name
            continue
        if backbone.file_prefix is None:
            raise ExportError(
                f"backbones.{name} loads no file of plain tensors, so that merged "
                "weights could not be used; format=peft writes the updates beside them"
            )
        state = folded(backbone, updates)
        own = {f"{backbone.file_prefix}{key.removeprefix('net.')}": tensor for key, tensor in state.items()}
        save_file(own, folder / f"{name}.safetensors")
        written[name] = folder / f"{name}.safetensors"
    write_head(pairing, folder)
    return written


def head_of(pairing: Pairing) -> dict[str, Tensor]:
    """The trained tensors of the task."""
    return {name: t.contiguous() for name, t in pairing.trainable_state().items() if name.startswith("task.")}


def write_head(pairing: Pairing, folder: Path) -> None:
    """Write them, if there are any."""
    if head := head_of(pairing):
        save_file(head, folder / HEAD)


@torch.no_grad()
def folded(backbone: Backbone, deltas: Mapping[str, Delta]) -> dict[str, Tensor]:
    """The backbone's tensors with changes added to those of their layers, added up in float64.

    Raises:
        ExportError: a quantised layer, whose weight cannot take a change.
    """
    state = {name: tensor.clone().contiguous() for name, tensor in plain_state(backbone).items()}
    # A layer that stands at several places of the backbone has a name at each.
    places: dict[nn.Module, list[str]] = {}
    for name, module in backbone.named_modules(remove_duplicate=False):
        places.setdefault(module, []).append(name)
    for path, delta in deltas.items():
        if not state[f"{path}.{delta.weight}"].is_floating_point():
            raise ExportError(f"{path} is quantised: its weight cannot take an update")
        for tensor, change in delta.dense().items():
            frozen = state[f"{path}.{tensor}"]
            total = (frozen.double() + change).to(frozen.dtype)
            for name in places[backbone.get_submodule(path)]:
                state[f"{name}.{tensor}"] = total
    return state


def rebuild(config: DictConfig, pairing: Pairing, sources: Mapping[str, Path]) -> Pairing:
    """The pairing without its method: frozen backbones, some from files, and the trained head.

    Args:
        config: the adapter's recipe.
        pairing: the adapter.
        sources: weights files by backbone.
    """
    plain: Any = OmegaConf.to_container(config, resolve=True)
    for name, file in sources.items():
        plain["backbones"][name]["source"] = f"file:{file}"
    made = build_pairing(OmegaConf.create({**plain, "method": FROZEN}), pairing.classes, cached=False)
    made.load_trainable(head_of(pairing), source=HEAD)
    return made.eval()
