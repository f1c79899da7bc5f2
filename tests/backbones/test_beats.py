"""BEATs loads the published layout and computes what the authors' code computes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from zoo.backbones.beats import FIXED, BEATs, published, relative_bucket
from zoo.backbones.weights import WeightsError
from zoo.ops.fbank import PRESETS, fbank

SIZES: dict[str, Any] = {
    "input_patch_size": 16,
    "embed_dim": 16,
    "conv_bias": False,
    "encoder_layers": 3,
    "encoder_embed_dim": 32,
    "encoder_ffn_embed_dim": 64,
    "encoder_attention_heads": 2,
    "conv_pos": 128,
    "conv_pos_groups": 16,
    "num_buckets": 320,
    "max_distance": 800,
    "deep_norm": True,
}
OUTSIDE = {
    "patch_embedding.weight": (16, 1, 16, 16),
    "layer_norm.weight": (16,),
    "layer_norm.bias": (16,),
    "post_extract_proj.weight": (32, 16),
    "post_extract_proj.bias": (32,),
    "encoder.pos_conv.0.weight_g": (1, 1, 128),
    "encoder.pos_conv.0.weight_v": (32, 2, 128),
    "encoder.pos_conv.0.bias": (32,),
    "encoder.layer_norm.weight": (32,),
    "encoder.layer_norm.bias": (32,),
}
LINEAR = {f"self_attn.{name}_proj": (32, 32) for name in ("q", "k", "v", "out")} | {
    "self_attn.grep_linear": (8, 16),
    "fc1": (64, 32),
    "fc2": (32, 64),
}
IN_LAYER = {
    **{f"{name}.weight": shape for name, shape in LINEAR.items()},
    **{f"{name}.bias": shape[:1] for name, shape in LINEAR.items()},
    **{f"{norm}.{kind}": (32,) for norm in ("self_attn_layer_norm", "final_layer_norm") for kind in ("weight", "bias")},
    "self_attn.grep_a": (1, 2, 1, 1),
    "self_attn.relative_attention_bias.weight": (320, 2),
}
"""Names and shapes as `microsoft/unilm`, folder `beats`, writes them; each layer repeats the first bias table."""


def wave_like(name: str, shape: tuple[int, ...]) -> Tensor:
    values = 0.5 * torch.sin(torch.arange(torch.Size(shape).numel()) * 0.37 + len(name)).reshape(shape)
    return values + (1 if name.endswith(("norm.weight", "grep_a", "weight_g")) else 0)


def checkpoint(path: Path, drop: Callable[[str], bool] = lambda name: False, **cfg: object) -> str:
    """A made-up checkpoint of the published names and shapes, small, with a classifier on top."""
    layers = {f"encoder.layers.{k}.{name}": shape for k in range(3) for name, shape in IN_LAYER.items()}
    state = {name: wave_like(name, shape) for name, shape in {**OUTSIDE, **layers}.items()}
    state["predictor.weight"] = torch.zeros(2, 32)
    kept = {name: tensor for name, tensor in state.items() if not drop(name)}
    torch.save({"cfg": {**SIZES, **FIXED, "dropout": 0.1, **cfg}, "model": kept}, path)
    return f"file:{path}"


def test_the_output_equals_the_authors_code(tmp_path: Path) -> None:
    """Expected values: the authors' `BEATs.py` (unilm 732d834), run once on these very weights and this sound."""
    model = BEATs(source=checkpoint(tmp_path / "beats.pt"))
    time = torch.arange(16_000)
    frames = fbank((0.5 * torch.sin(time * 0.05 * (1 + time / 16_000)))[None], 16_000, "beats")
    tokens = model(frames)
    expected_frames = [
        [-0.206059, -0.702855, -1.179641, -1.424353],
        [-0.030620, -0.620756, -1.083448, -0.912587],
        [-0.006526, -0.520887, -0.944378, -0.903744],
        [-0.033553, -0.395712, -0.916029, -0.817820],
    ]
    # A float32 transform errs by about 2**-24 of the loudest of a frame's amplitudes. In a bin `quiet` nepers of power
    # below it that is 2**-24 exp(quiet / 2) of the bin's own amplitude, hence twice that in its log power, which is
    # divided by twice the published deviation: 1e-6 in loud bins, 6e-4 in the quietest but one. Theirs errs as ours.
    deviation = PRESETS["beats"].std
    quiet = (frames[0, ::32].amax(1, keepdim=True) - frames[0, ::32, ::32]) * 2 * deviation
    rounding = 2 * 2**-24 * torch.exp(quiet / 2) / (2 * deviation)
    assert ((frames[0, ::32, ::32] - torch.tensor(expected_frames)).abs() <= 2 * rounding + 1e-6).all()
    expected_tokens = [
        [-1.107019, 1.525556, 1.233050, -0.204399],
        [-1.116962, 1.519512, 1.240783, -0.200937],
        [-1.116542, 1.520187, 1.240816, -0.200834],
    ]
    assert tokens.shape == (1, 48, 32)
    torch.testing.assert_close(tokens[0, ::16, :4], torch.tensor(expected_tokens), atol=1e-4, rtol=0)
    assert float(tokens.abs().mean()) == pytest.approx(0.925936, abs=1e-4)


def test_another_architecture_or_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="layer_norm_first"):
        BEATs(source=checkpoint(tmp_path / "other.pt", layer_norm_first=True))
    with pytest.raises(WeightsError, match=r"missing \['encoder\.layers\.3"):
        BEATs(source=checkpoint(tmp_path / "short.pt", encoder_layers=4))
    with pytest.raises(WeightsError, match=r"left over \['encoder\.layers\.2"):
        BEATs(source=checkpoint(tmp_path / "long.pt", encoder_layers=2))
    with pytest.raises(WeightsError, match=r"missing \['post_extract_proj\.bias'\], left over nothing"):
        BEATs(source=checkpoint(tmp_path / "holes.pt", drop=lambda name: name == "post_extract_proj.bias"))
    with pytest.raises(WeightsError, match="entries cfg and model"):
        published({"model": {}}, source="x")


def test_position_buckets_follow_t5() -> None:
    from transformers.models.t5.modeling_t5 import T5Attention

    distance = torch.arange(-900, 901)
    ours = relative_bucket(distance, buckets=320, reach=800)
    assert torch.equal(ours, T5Attention._relative_position_bucket(distance, num_buckets=320, max_distance=800))
