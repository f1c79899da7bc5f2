"""torchaudio's speech encoders in true architectures and small sizes, and a server that has weights for them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from zoo.backbones.torchaudio_encoder import TorchaudioEncoder
from zoo.batch import Clip

try:
    from torchaudio import models, pipelines
except (ImportError, OSError, RuntimeError):  # not installed, or made for another torch
    pipelines = None

needs = pytest.mark.skipif(pipelines is None, reason="needs torchaudio 2.11, which stands beside torch 2.11 alone")

SIZES: dict[str, Any] = {
    "extractor_conv_layer_config": [
        [16, 10, 5],
        [16, 3, 2],
        [16, 3, 2],
        [16, 3, 2],
        [16, 3, 2],
        [16, 2, 2],
        [16, 2, 2],
    ],
    "encoder_embed_dim": 32,
    "encoder_num_layers": 3,
    "encoder_num_heads": 2,
    "encoder_ff_interm_features": 64,
    "encoder_pos_conv_groups": 4,
}
NAMES = ("WAV2VEC2_BASE", "HUBERT_LARGE", "WAV2VEC2_XLSR53", "WAV2VEC2_ASR_BASE_960H", "MMS_FA")
WAVLM = ("WAVLM_BASE", "WAVLM_LARGE")
RATE = 16_000


def checkpoint(name: str) -> dict[str, Tensor]:
    """What torchaudio's server would have of a bundle that was this small: a fine-tuned one with three letters more."""
    bundle = getattr(pipelines, name)
    make = {"Wav2Vec2": models.wav2vec2_model, "WavLM": models.wavlm_model}[bundle._model_type]
    letters = bundle._params["aux_num_out"] and bundle._params["aux_num_out"] + len(bundle._remove_aux_axis)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        state: dict[str, Tensor] = make(**bundle._params | {"aux_num_out": letters}).state_dict()
    draw = torch.Generator().manual_seed(len(name))
    return {key: tensor + torch.randn(tensor.shape, generator=draw) * 0.05 for key, tensor in state.items()}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Bundles of true architecture and small sizes, and what was asked of the server that has their weights."""
    asked: list[str] = []
    for name in (*NAMES, *WAVLM):
        bundle = getattr(pipelines, name)
        monkeypatch.setattr(bundle, "_params", bundle._params | SIZES)

    def download(url: str, to: str, *_: Any, **__: Any) -> None:
        asked.append(url)
        (name,) = (n for n in (*NAMES, *WAVLM) if url.endswith(getattr(pipelines, n)._path))
        torch.save(checkpoint(name), to)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    return asked


def clip(segments: int = 3, rate: int = RATE) -> Clip:
    rng = np.random.default_rng(4)
    audio = rng.standard_normal((segments, rate // 2)) * np.geomspace(0.02, 0.2, segments)[:, None] + 0.1
    return Clip("c", np.zeros((segments, 4, 4, 3), np.uint8), audio.astype(np.float32), rate, {})


def encoder(name: str, **settings: Any) -> TorchaudioEncoder:
    return TorchaudioEncoder(**{"model": name, "source": f"torchaudio:{name}"} | settings)


RECIPE = """
include: [backbone/torchaudio_encoder, trainer/cpu]
seed: 0
data: {_target_: data_modules.synthetic_events.SyntheticEvents}
loader: {batch_size: 4}
method: {_target_: zoo.methods.frozen.Frozen}
task: {_target_: zoo.tasks.event_localization.EventLocalization, hidden: 16}
optimizer: {lr: 1.0e-2}
trainer: {max_epochs: 1}
smoke: {data.train_clips: 8, data.val_clips: 4, data.test_clips: 4}
"""
WORDS = ["method=lora", "method.targets={audio: [q_proj, v_proj]}", "method.rank=2", "--smoke"]
