"""One log-mel front end with the named presets of published audio encoders.

Kaldi-type presets (BEATs, AST, LAVISH) call `torchaudio.compliance.kaldi.fbank`; `aisfx` is an STFT mel of its own.
Sources: BEATs `BEATs.py::preprocess`, AST and LAVISH data loaders, aiSFX's Librosa front end.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
import torchaudio
from torch import Tensor


@dataclass(frozen=True)
class Preset:
    """A Kaldi filter bank and its normalisation `(x - mean) / (2 std)`.

    Attributes:
        mels: filters.
        hop_ms: frame shift; frames are 25 ms long and only whole frames are kept.
        mean, std: of the encoder's training set, as published.
        window: Kaldi's window type.
        htk: Kaldi's `htk_compat`.
        scale: the waveform is multiplied by it first.
        centre: whether the waveform's own mean is removed first.
    """

    mels: int
    hop_ms: float
    mean: float
    std: float
    window: str
    htk: bool
    scale: float = 1.0
    centre: bool = True


PRESETS = {
    "beats": Preset(128, 10.0, 15.41663, 6.55582, "povey", htk=False, scale=2.0**15, centre=False),
    "ast": Preset(128, 10.0, -4.2677393, 4.5689974, "hanning", htk=True),
    "lavish_swin": Preset(192, 5.2, -4.984795570, 3.70797801, "hanning", htk=True),
    "lavish_vit": Preset(128, 10.0, -4.1426, 3.2001, "hanning", htk=True),
}

KALDI_RATE, AISFX_RATE = 16_000, 44_100

AISFX_SCALE = 9.457798957824707


def fbank(waveform: Tensor, sample_rate: int, preset: str) -> Tensor:
    """Mono waveforms in [-1, 1] to normalised log-mel frames: [..., S] -> [..., frames, mels], float32.

    Args:
        waveform: each row is one window, already cut; rows do not influence each other.
        sample_rate: in Hz; must be the preset's (44.1 kHz for `aisfx`, 16 kHz for the others).
        preset: `beats`, `ast`, `lavish_swin`, `lavish_vit` or `aisfx`.

    Raises:
        ValueError: an unknown preset, another sample rate, or a window shorter than one frame.
    """
    if preset != "aisfx" and preset not in PRESETS:
        raise ValueError(f"unknown fbank preset {preset!r}: expected one of {', '.join([*PRESETS, 'aisfx'])}")
    expected = AISFX_RATE if preset == "aisfx" else KALDI_RATE
    if sample_rate != expected:
        raise ValueError(f"fbank preset {preset!r} expects {expected} Hz, got {sample_rate} Hz: resample first")
    if waveform.shape[-1] < expected // 40:
        raise ValueError(f"fbank needs at least one 25 ms frame ({expected // 40} samples), got {waveform.shape[-1]}")
    rows = waveform.reshape(-1, waveform.shape[-1]).float()
    frames = _aisfx(rows) if preset == "aisfx" else torch.stack([_kaldi(row, PRESETS[preset]) for row in rows])
    return frames.unflatten(0, waveform.shape[:-1]) if waveform.ndim > 1 else frames[0]


def _kaldi(row: Tensor, preset: Preset) -> Tensor:
    row = row * preset.scale
    frames: Tensor = torchaudio.compliance.kaldi.fbank(
        (row - row.mean() if preset.centre else row)[None],
        sample_frequency=KALDI_RATE,
        num_mel_bins=preset.mels,
        frame_length=25.0,
        frame_shift=preset.hop_ms,
        htk_compat=preset.htk,
        window_type=preset.window,
        use_energy=False,
        dither=0.0,
    )
    return (frames - preset.mean) / (2 * preset.std)


@lru_cache(maxsize=1)
def _aisfx_mel() -> torchaudio.transforms.MelSpectrogram:
    return torchaudio.transforms.MelSpectrogram(
        AISFX_RATE, n_fft=2048, hop_length=1024, f_min=0.0, f_max=22_050.0, n_mels=96, power=2.0, mel_scale="htk"
    )


def _aisfx(rows: Tensor) -> Tensor:
    power = _aisfx_mel()(rows)  # [N, 96, frames]
    return torch.log10(1 + 10_000 * power).transpose(-1, -2) / AISFX_SCALE
