"""torchaudio's bundles of speech encoders: names, architectures, and weights, which it fetches into the zoo's cache.

The layers are torchaudio's own, but for WavLM's attention: there it multiplies by the packed weight of a
`MultiheadAttention` that it never calls, so that no adapter could act; here four linear layers have the same weights.
torchaudio ends at 2.11, and is imported where it is asked.
"""

import contextlib
import http.client
import logging
import os
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo import files, wording
from zoo.backbones import hashes, weights
from zoo.backbones.beats import relative_bucket
from zoo.backbones.weights import WeightsError
from zoo.errors import SettingError, UserError, install, require_packages
from zoo.files import cache_dir, file_hash

FORMS = "torchaudio:BUNDLE, file:PATH or random:SEED"

HEAD = "aux."
"""Tensors of a fine-tuned checkpoint's layer for letters, which are left behind."""

log = logging.getLogger(__name__)


class RelativeAttention(nn.Module):
    """WavLM's self-attention, whose position bias [1, H, L, L] is gated by the tokens, head by head.

    Args:
        theirs: torchaudio's `WavLMSelfAttention`, whose weights it takes.
    """

    def __init__(self, theirs: Any) -> None:
        super().__init__()
        self.heads, self.buckets, self.reach = theirs.num_heads, theirs.num_buckets, theirs.max_distance
        packed = theirs.attention
        parts = zip(packed.in_proj_weight.chunk(3), packed.in_proj_bias.chunk(3), strict=True)
        self.q_proj, self.k_proj, self.v_proj = (_linear(weight, bias) for weight, bias in parts)
        self.out_proj = _linear(packed.out_proj.weight, packed.out_proj.bias)
        self.gru_rel_pos_linear, self.gru_rel_pos_const = theirs.gru_rel_pos_linear, theirs.gru_rel_pos_const
        self.rel_attn_embed = theirs.rel_attn_embed

    def bias(self, length: int) -> Tensor:
        """Position bias [1, H, L, L] from the table that the first layer has."""
        places = torch.arange(length)
        bucket = relative_bucket(places[None] - places[:, None], buckets=self.buckets, reach=self.reach)
        out: Tensor = self.rel_attn_embed(bucket.to(self.rel_attn_embed.weight.device)).permute(2, 0, 1)[None]
        return out

    def forward(self, tokens: Tensor, position_bias: Tensor, **_nothing: None) -> tuple[Tensor, Tensor]:
        """[N, L, D] and the bias -> [N, L, D] and the bias, as torchaudio's layers call it; they mask nothing."""
        split = (*tokens.shape[:2], self.heads, -1)
        query, key, value = (p(tokens).view(split).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        gates = self.gru_rel_pos_linear(tokens.view(split).transpose(1, 2)).unflatten(-1, (2, 4)).sum(-1).sigmoid()
        gate = gates[..., :1] * (gates[..., 1:] * self.gru_rel_pos_const - 1) + 2  # [N, H, L, 1]
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=gate * position_bias)
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), position_bias


def fetched(name: str) -> Path:
    """The checkpoint of a bundle in the zoo's cache, where torchaudio puts it at first use, or where it is damaged.

    Raises:
        UserError: torchaudio cannot be imported.
        SettingError: it has no such bundle.
        WeightsError: its server cannot be reached, what came is no checkpoint, or there is no room to store it.
    """
    target, bundle = weights.bundle_path(name), bundle_of(name)
    if hashes.intact(target, cache_dir()):
        return target
    by_hand = f"get {Path(bundle._path).name} elsewhere and set source=file:PATH"
    log.warning("torchaudio fetches the weights of %s (once)", name)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # torch.hub says on standard output what it fetches, which is that of whoever reads the command's results.
        with files.scratch(target.parent, ".fetch-") as scratch, contextlib.redirect_stdout(sys.stderr):
            # Reading it is torchaudio's way to say that the whole file came; the settings are torch.hub's.
            bundle._get_state_dict(
                {"model_dir": str(scratch), "file_name": target.name, "map_location": "cpu", "weights_only": True}
            )
            (scratch / "sums").write_text(hashes.listing(scratch / target.name, file_hash), encoding="utf-8")
            os.replace(scratch / target.name, target)
            os.replace(scratch / "sums", hashes.sums(target))
    except OSError as error:
        why, remedy = "is not in the cache, and its server cannot be read", f"connect once, or {by_hand}"
        if error.errno in files.STORAGE:
            why, remedy = (
                f"cannot be stored below {target.parent}",
                "free some room, or set ZOO_CACHE to another folder",
            )
        raise WeightsError(f"torchaudio:{name} {why} ({_first_line(error)}): {remedy}") from error
    except (http.client.HTTPException, pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        raise WeightsError(
            f"torchaudio:{name}: what came is no whole checkpoint of tensors alone, and was not kept "
            f"({_first_line(error)}): try again, or {by_hand}"
        ) from error
    return target


def bundles() -> dict[str, Any]:
    """Every pipeline of torchaudio that is such an encoder, by name.

    Raises:
        UserError: torchaudio is not installed, or cannot be imported beside the installed torch.
    """
    require_packages("a speech encoder of torchaudio", "torchaudio")
    try:
        from torchaudio import pipelines
    except (ImportError, OSError, RuntimeError, AttributeError) as error:  # a library made for another torch
        raise UserError(
            f"torchaudio cannot be imported beside torch {torch.__version__} ({_first_line(error)}): "
            f"{install('torchaudio')}"
        ) from error
    return {name: made for name, made in vars(pipelines).items() if isinstance(made, pipelines.Wav2Vec2Bundle)}


def bundle_of(name: str) -> Any:
    """The bundle of a name.

    Raises:
        UserError: torchaudio cannot be imported.
        SettingError: it has none; the nearest is named.
    """
    known = bundles()
    if name not in known:
        raise SettingError(f"torchaudio has no speech encoder {name!r}.{wording.nearest(name, known)}")
    return known[name]


def build(bundle: Any, config: Mapping[str, Any]) -> nn.Module:
    """A bundle's architecture without the layer for letters, WavLM's attention unpacked.

    Args:
        bundle: of torchaudio.
        config: arguments in place of the bundle's.

    Raises:
        SettingError: an argument that there is not, or sizes that do not go together.
    """
    from torchaudio import models

    for key in config:
        if key not in bundle._params:
            raise SettingError(f"config.{key}: no argument of this architecture.{wording.nearest(key, bundle._params)}")
    make = {"Wav2Vec2": models.wav2vec2_model, "WavLM": models.wavlm_model}[bundle._model_type]
    try:
        net: nn.Module = make(**{**bundle._params, **config, "aux_num_out": None})
    except (ValueError, TypeError, RuntimeError, AssertionError) as error:  # sizes that do not go together
        raise SettingError(f"config = {dict(config)}: {_first_line(error)}") from error
    if bundle._model_type == "WavLM":
        for layer in net.get_submodule("encoder.transformer.layers").children():
            layer.attention = RelativeAttention(layer.attention)
    return net


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    layer.weight, layer.bias = nn.Parameter(weight.detach().clone()), nn.Parameter(bias.detach().clone())
    return layer


def renamed(state: Any, source: str) -> dict[str, Tensor]:
    """A checkpoint's tensors under the names of `build`: weight norm as PyTorch has it today, attention unpacked.

    Raises:
        WeightsError: it is no mapping of names to tensors.
    """
    if not isinstance(state, Mapping) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise WeightsError(f"{source}: expected tensors by name, as torchaudio's checkpoints have them")
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        owner, _, last = name.rpartition(".")
        if last in ("weight_g", "weight_v"):
            found[f"{owner}.parametrizations.weight.original{'gv'.index(last[-1])}"] = tensor
        elif last in ("in_proj_weight", "in_proj_bias"):
            above = owner.removesuffix(".attention")
            parts = zip("qkv", tensor.chunk(3), strict=True)
            found |= {f"{above}.{part}_proj.{last.removeprefix('in_proj_')}": value for part, value in parts}
        elif not name.startswith(HEAD):
            found[name.replace(".attention.attention.", ".attention.")] = tensor
    return found


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
