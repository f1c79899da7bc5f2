"""Low-rank updates folded into the frozen weights, written as files that a recipe's `source: file:...` loads.

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

from zoo.backbones.base import Backbone
from zoo.interop.graph import ExportError
from zoo.methods.base import LowRank
from zoo.pairing import Pairing
from zoo.recipe.build import build_pairing

FROZEN = {"_target_": "zoo.methods.frozen.Frozen"}

HEAD = "head.safetensors"


def write(pairing: Pairing, folder: Path, *, gsd: float | None = None) -> dict[str, Path]:
    """Write the weights of every adapted backbone, and the head.

    Args:
        pairing: whose method is folded.
        folder: takes `STREAM.safetensors` and `head.safetensors`.
        gsd: see `Method.low_rank`.

    Returns:
        The written file of every adapted backbone.

    Raises:
        SettingError: the method is no set of low-rank updates.
        ExportError: a backbone has no file of plain tensors, or a layer is quantised.
    """
    by_backbone = sorted_out(pairing, pairing.method.low_rank(gsd=gsd))
    written = {}
    for name, updates in by_backbone.items():
        backbone = pairing.backbones[name]
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


def sorted_out(pairing: Pairing, updates: list[LowRank]) -> dict[str, dict[str, LowRank]]:
    """Updates by backbone and path of their layer inside it."""
    found: dict[str, dict[str, LowRank]] = {}
    for name, backbone in pairing.backbones.items():
        paths = {module: path for path, module in backbone.named_modules()}
        own = {paths[update.layer]: update for update in updates if update.layer in paths}
        if own:
            found[name] = own
    return found


@torch.no_grad()
def folded(backbone: Backbone, updates: Mapping[str, LowRank]) -> dict[str, Tensor]:
    """The backbone's tensors with updates added to the weights of their layers, added up in float64.

    Raises:
        ExportError: a quantised layer, whose weight cannot take an update.
    """
    # Where LoRA wraps a layer, the layer itself is called `base_layer`.
    state = {
        name.replace(".base_layer.", "."): tensor.detach().clone().contiguous()
        for name, tensor in backbone.state_dict().items()
        if ".lora_" not in name
    }
    # A layer that stands at several places of the backbone has a name at each.
    places: dict[nn.Module, list[str]] = {}
    for name, module in backbone.named_modules(remove_duplicate=False):
        places.setdefault(module, []).append(name)
    for path, update in updates.items():
        weight = state[f"{path}.weight"]
        if not weight.is_floating_point():
            raise ExportError(f"{path} is quantised: its weight cannot take an update")
        up, down = update.up.double().flatten(1), update.down.double()
        delta = update.scaling * torch.einsum("or,r...->o...", up, down)
        for name in places[backbone.get_submodule(path)]:
            state[f"{name}.weight"] = (weight.double() + delta).to(weight.dtype)
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
