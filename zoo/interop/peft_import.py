"""A pairing out of a folder that HF peft wrote."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file
from torch import Tensor

from zoo.backbones.base import Backbone
from zoo.files import checksum_lines
from zoo.interop import peft_layout, peft_reading
from zoo.interop.merged import HEAD
from zoo.interop.peft_layout import CONFIG, PeftError
from zoo.interop.peft_reading import Loaded
from zoo.pairing import Pairing, count_parameters
from zoo.recipe.build import build_pairing
from zoo.recipe.instantiate import instantiate
from zoo.records import provenance
from zoo.training.build import build_data, build_loaders
from zoo.training.callbacks import CostMonitor
from zoo.training.measure import described, measure, single_trainer


def convert(
    folder: Path, config: DictConfig, name: str, base: Mapping[str, Any] | None
) -> tuple[DictConfig, Pairing, dict[str, Any], list[str]]:
    """A pairing that a PEFT folder has been put into.

    Args:
        folder: PEFT's, or one that holds one for each backbone.
        config: the recipe; its method is replaced.
        name: of the recipe.
        base: fingerprints of the backbones that it was trained on, where they are known.

    Returns:
        The recipe with LoRA, or another tuner, as method, the pairing, its metrics.json, and notes.

    Raises:
        PeftError: the files are of no tuner that is read, or of one that does not fit the recipe's backbones, or was
            trained on others.
    """
    start = time.perf_counter()
    data = build_data(config, "test")
    loaded, notes = found(folder), []
    encoders = {name: instantiate(block) for name, block in config.backbones.items() if block is not None}
    backbones = {name: encoder for name, encoder in encoders.items() if isinstance(encoder, Backbone)}
    method, state = settings(loaded, backbones)
    whole: Any = OmegaConf.to_container(config, resolve=True)
    config = OmegaConf.create({**whole, "method": method})
    pairing = build_pairing(config, data.classes, cached=False)
    own = {name: asdict(known) for name, known in pairing.fingerprints.items()}
    if base is None:
        notes += [
            f"trained on {each.base!r} according to its files, which cannot be verified" for each in loaded.values()
        ]
    elif other := [name for name in own if base.get(name) != own[name]]:
        raise PeftError(f"{folder} was trained on another {' and '.join(other)} than the recipe's: weights or settings")
    if (folder / HEAD).is_file():
        state |= load_file(folder / HEAD)
    else:
        state |= {name: tensor for name, tensor in pairing.trainable_state().items() if name.startswith("task.")}
        notes.append(f"{folder} has no {HEAD}: the head is new and untrained, so train on with init=OUTPUT")
    # What a tuner keeps beside what it trains is made of its settings and of the weight.
    beside = {name for name, _ in pairing.named_buffers()} - set(pairing.trainable)
    state = {name: tensor for name, tensor in state.items() if name not in beside}
    try:
        pairing.load_trainable(state, source=str(folder))
    except ValueError as error:
        raise PeftError(str(error)) from None
    pairing.eval()
    measured, _ = measure(build_loaders(config, data, pairing), single_trainer("auto"))
    trainable, total = count_parameters(pairing)
    manifest = provenance.manifest(
        recipe=name,
        seed=config.seed,
        selected_on="nothing: imported from HF peft",
        epochs=0,
        seconds=round(time.perf_counter() - start, 1),
        data=described(data),
        backbones=own,
        parameters={"trainable": trainable, "total": total},
        cost=CostMonitor().summary(),
        notes=notes,
    )
    return config, pairing, {**measured, "manifest": manifest}, notes


def found(folder: Path) -> dict[str, Loaded]:
    """PEFT's folders by stream; under "" one that does not say.

    Raises:
        PeftError: there is none, or one cannot be read.
    """
    sums = folder / "SHA256SUMS"
    if sums.is_file() and sums.read_text(encoding="utf-8") != checksum_lines(folder):
        raise PeftError(f"{folder} was altered: its files are not those that SHA256SUMS lists")
    if (folder / CONFIG).is_file():
        return {"": peft_reading.read(folder)}
    below = sorted(path.parent for path in folder.glob(f"*/{CONFIG}"))
    if not below:
        raise PeftError(f"{folder} holds no {CONFIG}, and no folder below it does: it is nothing that PEFT wrote")
    return {path.name: peft_reading.read(path) for path in below}


def settings(
    loaded: Mapping[str, Loaded], backbones: Mapping[str, Backbone]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The block `method:` that makes these very updates, and their tensors under the pairing's names.

    Raises:
        PeftError: layers that no backbone has, settings that differ between folders, or layers that are not the same in
            each of the last blocks.
    """
    method, *others = [each.method for each in loaded.values()]
    if differing := [other for other in others if other != method]:
        raise PeftError(f"settings differ between folders: {method} and {differing[0]}; a method has one of each")
    targets: dict[str, list[str]] = {}
    last: dict[str, int] = {}
    state: dict[str, Tensor] = {}
    for name, each in loaded.items():
        stream, root = _place(name, each, backbones)
        paths = {peft_layout.join(root, path): tensors for path, tensors in each.layers.items()}
        for tower, (suffixes, count) in _targets(paths, stream, backbones[stream]).items():
            targets[tower], last[tower] = suffixes, count
        for path, tensors in paths.items():
            state |= {f"backbones.{stream}.{path}.{inside}": tensor.float() for inside, tensor in tensors.items()}
    return {**method, "targets": targets, "last": last}, state


def _place(name: str, loaded: Loaded, backbones: Mapping[str, Backbone]) -> tuple[str, str]:
    """The stream, and the module in its backbone, that has all layers of a folder called `name`."""
    streams = [stream for stream in backbones if not name or name.partition("-")[0] == stream]
    places = [(s, root) for s in streams if (root := peft_reading.fits(loaded, backbones[s])) is not None]
    if len(places) != 1:
        first = next(iter(loaded.layers), "no layer")
        raise PeftError(
            f"{name or 'the folder'} updates {first} and {len(loaded.layers) - 1} more, which "
            f"{'several' if places else 'none'} of the backbones {', '.join(streams or backbones)} have; the folder's "
            "name says which it means"
        )
    return places[0]


def _targets(paths: Mapping[str, Any], stream: str, backbone: Backbone) -> dict[str, tuple[list[str], int]]:
    """Layer names inside a block, and how many of the last blocks have them, by tower."""
    names = {module: path for path, module in backbone.named_modules()}
    left, out = set(paths), {}
    for own, blocks in backbone.towers.items():
        # A block may be wrapped again at each access; the wrapped module is the backbone's own.
        inside = [next(names[module] for module in block.modules() if module in names) for block in blocks]
        per_block = [{p.removeprefix(f"{block}.") for p in paths if p.startswith(f"{block}.")} for block in inside]
        if not any(per_block):
            continue
        first = next(index for index, layers in enumerate(per_block) if layers)
        if uneven := [i for i, layers in enumerate(per_block) if i >= first and layers != per_block[first]]:
            raise PeftError(
                f"block {uneven[0]} of {own or stream} has other layers updated than block {first}; method LoRA "
                "updates the same ones in each of the last blocks"
            )
        out[own or stream] = (sorted(per_block[first]), len(per_block) - first)
        left -= {f"{inside[i]}.{layer}" for i, layers in enumerate(per_block) for layer in layers}
    if left:
        raise PeftError(f"{sorted(left)[0]} lies in no block of {stream}; method LoRA updates layers inside blocks")
    return out
