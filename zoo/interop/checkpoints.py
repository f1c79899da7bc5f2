"""Mantis checkpoints in the layout of its authors, both ways."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from zoo.adapter import directory
from zoo.backbones.mamba3d import Net
from zoo.errors import UserError
from zoo.methods.mantis import StateAwareAdapter
from zoo.tasks.classification import Classification
from zoo.tasks.part_segmentation import PartSegmentation

DECODER = ("MAE_decoder.", "mask_token", "decoder_pos_embed.", "increase_dim.")
"""Modules that Point-MAE trains beside the encoder."""

MIXER, PROPAGATION = r"blocks.blocks.\1.mixer.", "seg_feature_propagation.mlp_"

SEGMENTER = {r"0\.0": "conv1", r"0\.1": "bn1", r"2\.0": "conv2", r"2\.1": "bn2", "3": "conv3"}

RULES = (
    (r"encoder\.(first|second)\.", r"encoder.\1_conv."),
    (r"blocks\.(\d+)\.lnp\.(alpha|beta)", r"blocks.blocks.\1.lfa.lga.affine_\2_feat"),
    (r"blocks\.(\d+)\.lnp\.norm", r"blocks.blocks.\1.lfa.pre_norm_ft"),
    (r"blocks\.(\d+)\.lnp\.proj", r"blocks.blocks.\1.lfa.mlp.share_mlp"),
    (r"blocks\.(\d+)\.mixer\.branches\.0\.", MIXER),
    (r"blocks\.(\d+)\.mixer\.branches\.1\.A_log", MIXER + "A_b_log"),
    (r"blocks\.(\d+)\.mixer\.branches\.1\.(\w+)", MIXER + r"\2_b"),
    (r"blocks\.", "blocks.blocks."),
    (r"method\.adapters\.(\d+)\.bases\.0\.(\w+)", MIXER + r"saa_basis_\2"),
    (r"method\.adapters\.(\d+)\.bases\.1\.(\w+)", MIXER + r"saa_basis_\2_b"),
    (r"method\.adapters\.(\d+)\.", MIXER + "saa_"),
    (r"method\.project\.", "dscd_head.proj_head."),
    (r"task\.label\.", "seg_label_conv."),
    (r"task\.spread\.", PROPAGATION),
    *((rf"task\.head\.{layer}\.", f"seg_{name}.") for layer, name in SEGMENTER.items()),
    (r"task\.head\.", "cls_head_finetune."),
)
"""Our prefixes of names and the authors'; the first that fits applies, other names are equal."""

CONVOLUTION = r"(encoder\.\w+_conv\.[03]|.*\.share_mlp|seg_label_conv\.0|seg_conv\d|.*\.mlp_convs\.\d+)\.weight"
"""The authors' names of weights with a last dimension of length 1: their linear layers on points are convolutions."""


Settings = dict[str, dict[str, Any]]


class ConvertError(UserError):
    """A file is not what it should be a conversion of; nothing was written."""


@dataclass
class Converted:
    """A checkpoint under our names: the backbone, what method and task trained (nothing of a backbone alone), names of
    the decoder tensors left behind and of the class tokens set to zero, and what a recipe must say, by block."""

    backbone: dict[str, Tensor]
    trainable: dict[str, Tensor]
    dropped: list[str]
    made: list[str] = field(default_factory=list)
    settings: Settings = field(default_factory=dict)


def split(state: Mapping[str, Any], *, class_token: bool = False) -> Converted:
    """Sort an official state dict into a backbone and its trained parts.

    Args:
        state: tensors by official name, `module.` and `MAE_encoder.` or `base_model.` in front or not.
        class_token: put zeros where the class token or its position is missing.

    Raises:
        ConvertError: naming every missing, left over and misshapen tensor.
    """
    named, dropped = _stripped(state)
    shapes, settings = _expected(named)
    made, problems, out = [], [], {}
    for ours, shape in shapes.items():
        name, expected = _official(ours, shape)
        if class_token and name in ("cls_token", "cls_pos") and name not in named:
            made.append(name)
            named[name] = torch.zeros(expected)
        if (tensor := named.pop(name, None)) is None:
            problems.append(f"missing {name}")
        elif tensor.shape != expected:
            problems.append(f"{name} {list(tensor.shape)}, expected {list(expected)}")
        else:
            out[ours] = tensor.reshape(shape)
    problems += [f"left over {name}" for name in named]
    if problems:
        more = f"; and {len(problems) - 12} more" if len(problems) > 12 else ""
        hint = "; class_token=zeros puts zeros there" if {"missing cls_token", "missing cls_pos"} & {*problems} else ""
        raise ConvertError("no whole Mamba3D or Mantis: " + "; ".join(problems[:12]) + more + hint)
    trainable = {name: out.pop(name) for name in list(out) if name.startswith(("method.", "task."))}
    return Converted(out, trainable, dropped, made, settings)


def official(backbone: Mapping[str, Tensor], trainable: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `split`: official names and shapes."""
    named = [(*_official(ours, t.shape), t) for ours, t in [*backbone.items(), *trainable.items()]]
    return {name: tensor.reshape(shape) for name, shape, tensor in named}


def unwrap(loaded: object) -> Mapping[str, Any]:
    """The network's tensors of a loaded checkpoint, beside which optimizers and the like may lie."""
    top = loaded if isinstance(loaded, Mapping) else {}
    found: list[Mapping[str, Any]] = [top[k] for k in ("base_model", "model") if isinstance(top.get(k), Mapping)]
    if len(found) != 1:
        keys = [*map(str, top)][:8] or f"a {type(loaded).__name__} without keys"
        raise ConvertError(f"expected a network under one of the keys 'model' and 'base_model', found {keys}")
    return found[0]


def from_run(folder: Path) -> Converted:
    """The trained backbone, or projector, of a pre-training run, whose files are verified."""
    directory.verify(folder)
    _, tensors = directory.read(folder)
    if projector := _below("method.projector.", tensors):
        return Converted(projector, {}, [], settings={"backbones.vlm": {"projector": "file:..."}})
    prefix = "method.student."
    backbone = _below(prefix, tensors)
    if not backbone:
        raise ConvertError(
            f"no tensors method.projector.* or {prefix}*: expected an adapter of a recipe that pretrains"
        )
    # Through the official names and back, for the same check of names and shapes.
    converted = split(official(backbone, {}))
    converted.dropped = [name.removeprefix("method.") for name in tensors if not name.startswith(prefix)]
    return converted


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _stripped(state: Mapping[str, Any]) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors by official name without prefixes, and names of the decoder's."""
    named, dropped = dict[str, Tensor](), list[str]()
    for key, value in state.items():
        if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_complex() or value.is_quantized:
            raise ConvertError(f"{key!r}, a {type(value).__name__}, is no dense tensor of real numbers")
        name = str(key).removeprefix("module.").removeprefix("base_model.")
        if name.startswith(DECODER):
            dropped.append(name)
        elif (name := name.removeprefix("MAE_encoder.")) in named:
            raise ConvertError(f"{name} is there twice, with and without a prefix")
        else:
            named[name] = value
    return named, dropped


def _expected(state: Mapping[str, Tensor]) -> tuple[dict[str, torch.Size], Settings]:
    """Shapes of our modules of the checkpoint's sizes, and the settings that make them."""
    width, depth = _size(state, "norm.weight"), len(_indices(state, r"blocks\.blocks\."))
    states = _size(state, "blocks.blocks.0.mixer.A_log", 1)
    adapted = _indices(state, r"blocks\.blocks\.", r"\.mixer\.saa_")
    if adapted and adapted != list(range(depth)):
        # The authors' adapted mixers reverse the sequence in their second branch and the others channels: no setting
        # of ours does both.
        raise ConvertError(f"adapters in blocks {adapted} of {depth}: expected all blocks, as published")
    settings: Settings = {"backbones.points": {"width": width, "depth": depth, "states": states}}
    with torch.device("meta"):
        parts: dict[str, nn.Module] = {"": Net(width=width, depth=depth, states=states)}
        if head := _head(state, width):
            parts["task."], settings["task"], taps = head
            branch = {"second_branch": "sequence" if adapted else "channel", "compat": "official"}
            settings["backbones.points"] |= branch | ({"taps": f"{taps} blocks"} if taps else {})
            settings["method"] = {"_target_": "zoo.methods.frozen.Frozen"}
        if head and adapted:
            mixer = "blocks.blocks.0.mixer.saa_"
            sizes = {"rank": _size(state, mixer + "controller.bias"), "hidden": _size(state, mixer + "proj.bias")}
            modulate = [name for name in ("dt", "B", "C") if any(key.endswith(f"saa_basis_{name}") for key in state)]
            adapters = (
                StateAwareAdapter(width, 2 * width, states, **sizes, modulate=modulate, spread=False) for _ in adapted
            )
            parts["method.adapters."] = nn.ModuleList(adapters)
            settings["method"] = {"_target_": "zoo.methods.mantis.Mantis", **sizes, "modulate": modulate}
            settings["method"]["dscd"] = any(key.startswith("dscd_head.") for key in state)
            if settings["method"]["dscd"]:
                inner = settings["method"]["projection"] = _size(state, "dscd_head.proj_head.0.bias")
                first = nn.Linear(2 * width * max(1, taps), inner)
                parts["method.project."] = nn.Sequential(first, nn.GELU(), nn.Linear(inner, inner))
    return {n: t.shape for p, part in parts.items() for n, t in part.state_dict(prefix=p).items()}, settings


def _head(state: Mapping[str, Tensor], width: int) -> tuple[nn.Module, dict[str, Any], int] | None:
    """The head, where there is one, its settings, and how many taps it reads: none when it reads a pooled feature."""
    sizes: dict[str, Any] = {}
    if any(key.startswith("cls_head_finetune.") for key in state):
        sizes["hidden"] = [_size(state, f"cls_head_finetune.{layer}.bias") for layer in (0, 4)]
        head = Classification(**sizes)
        head.attach({"points": 2 * width}, [str(k) for k in range(_size(state, "cls_head_finetune.8.bias"))])
        return head, {"_target_": "zoo.tasks.classification.Classification", **sizes}, 0
    if not any(key.startswith("seg_") for key in state):
        return None
    taps, rest = divmod(_size(state, PROPAGATION + "convs.0.weight", 1) - 3, width)
    sizes["label_width"], categories = (_size(state, "seg_label_conv.0.weight", axis) for axis in (0, 1))
    parts = _size(state, "seg_conv3.bias")
    if taps < 1 or rest or parts < categories:
        raise ConvertError(f"a head of {taps} taps and {rest} features for {parts} parts of {categories} categories")
    layers = range(len(_indices(state, PROPAGATION.replace(".", r"\.") + r"convs\.")))
    sizes["propagation"] = [_size(state, f"{PROPAGATION}convs.{layer}.bias") for layer in layers]
    sizes["hidden"] = [_size(state, f"seg_conv{layer}.bias") for layer in (1, 2)]
    dense = PartSegmentation(**sizes)
    dense.attach({"points": taps * width + 3}, [f"{min(part, categories - 1)}/{part}" for part in range(parts)])
    return dense, {"_target_": "zoo.tasks.part_segmentation.PartSegmentation", **sizes}, taps


def _official(ours: str, shape: Iterable[int]) -> tuple[str, tuple[int, ...]]:
    """The authors' name and shape of a tensor of ours."""
    if found := re.match(r"task\.spread\.(\d+)", ours):  # linear, batch norm, ReLU
        layer, kind = divmod(int(found[1]), 3)
        ours = f"task.spread.{('convs', 'bns')[kind]}.{layer}{ours[found.end() :]}"
    rule = next(((match, theirs) for pattern, theirs in RULES if (match := re.match(pattern, ours))), None)
    name = rule[0].expand(rule[1]) + ours[rule[0].end() :] if rule else ours
    before = 2 if name in ("cls_token", "cls_pos") else 3 if ".affine_" in name else 0
    return name, (1,) * before + tuple(shape) + (1,) * bool(re.fullmatch(CONVOLUTION, name))


def _indices(names: Iterable[str], prefix: str, suffix: str = r"\.") -> list[int]:
    return sorted({int(found[1]) for name in names if (found := re.match(rf"{prefix}(\d+){suffix}", name))})


def _size(state: Mapping[str, Tensor], name: str, axis: int = 0) -> int:
    """One length of a tensor that tells a module's width."""
    shape = state[name].shape if name in state else None
    if shape is None or len(shape) <= axis or not shape[axis]:
        raise ConvertError(f"no whole Mamba3D or Mantis: {name} is {'missing' if shape is None else list(shape)}")
    return shape[axis]


def packed(tensors: Mapping[str, Tensor], dtype: torch.dtype, settings: Settings) -> bytes:
    """A safetensors file, floating-point tensors as `dtype`; counters of batch norm stay whole numbers."""
    counter = "num_batches_tracked"
    out = {n: t.to(torch.int64 if n.endswith(counter) else dtype, copy=True).contiguous() for n, t in tensors.items()}
    if bad := [name for name, tensor in out.items() if not tensor.isfinite().all()]:
        raise ConvertError(f"not finite as {str(dtype).removeprefix('torch.')}: {', '.join(bad[:12])}")
    points = settings.get("backbones.points", {})
    architecture = {key: points[key] for key in ("width", "depth", "states") if points}
    return save(out, metadata={"architecture": json.dumps(architecture)} if points else None)


def kinds(names: Iterable[str]) -> str:
    """A count by kind: `300 tensors (blocks 264, ...)`."""
    counts = Counter(name.partition(".")[0] for name in sorted(names))
    return f"{counts.total()} tensors" + (f" ({', '.join(f'{k} {n}' for k, n in counts.items())})" if counts else "")
