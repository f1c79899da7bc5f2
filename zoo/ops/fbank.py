"""One log-mel front end with the named presets of published audio encoders.

Kaldi-type presets (BEATs, AST, LAVISH) are Kaldi's `compute-fbank-feats` without dither and energy; `aisfx` and
`yamnet` are STFT mels of their own. All but the last give the bits of torchaudio 2.11 (`compliance.kaldi.fbank`,
`transforms.MelSpectrogram`), with which adapters were trained, so that float32 operations stand in its order. Sources:
BEATs `BEATs.py::preprocess`, AST and LAVISH data loaders, aiSFX's Librosa front end, YAMNet's `features.py`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Preset:
    """A Kaldi filter bank and its normalisation `(x - mean) / (2 std)`.

    Attributes:
        mels: filters.
        hop_ms: frame shift; frames are 25 ms long and only whole frames are kept.
        mean, std: of the encoder's training set, as published.
        window: `hanning`, or `povey`, which is that to the power of 0.85.
        scale: the waveform is multiplied by it first.
        centre: whether the waveform's own mean is removed first.
    """

    mels: int
    hop_ms: float
    mean: float
    std: float
    window: Literal["hanning", "povey"]
    scale: float = 1.0
    centre: bool = True


PRESETS = {
    "beats": Preset(128, 10.0, 15.41663, 6.55582, "povey", scale=2.0**15, centre=False),
    "ast": Preset(128, 10.0, -4.2677393, 4.5689974, "hanning"),
    "lavish_swin": Preset(192, 5.2, -4.984795570, 3.70797801, "hanning"),
    "lavish_vit": Preset(128, 10.0, -4.1426, 3.2001, "hanning"),
}

KALDI_RATE, FRAME, FFT = 16_000, 400, 512

AISFX_RATE, AISFX_FFT = 44_100, 2048

AISFX_SCALE = 9.457798957824707

YAMNET_MELS, YAMNET_HOP, YAMNET_OFFSET = 64, 160, 0.001


def fbank(waveform: Tensor, sample_rate: int, preset: str) -> Tensor:
    """Mono waveforms in [-1, 1] to normalised log-mel frames: [..., S] -> [..., frames, mels], float32.

    Args:
        waveform: each row is one window, already cut; rows do not influence each other.
        sample_rate: in Hz; must be the preset's (44.1 kHz for `aisfx`, 16 kHz for the others).
        preset: `beats`, `ast`, `lavish_swin`, `lavish_vit`, `aisfx` or `yamnet`.

    Raises:
        ValueError: an unknown preset, another sample rate, or a window shorter than one frame.
    """
    if preset not in (*PRESETS, *OTHERS):
        raise ValueError(f"unknown fbank preset {preset!r}: expected one of {', '.join([*PRESETS, *OTHERS])}")
    expected = AISFX_RATE if preset == "aisfx" else KALDI_RATE
    if sample_rate != expected:
        raise ValueError(f"fbank preset {preset!r} expects {expected} Hz, got {sample_rate} Hz: resample first")
    if waveform.shape[-1] < expected // 40:
        raise ValueError(f"fbank needs at least one 25 ms frame ({expected // 40} samples), got {waveform.shape[-1]}")
    rows = waveform.reshape(-1, waveform.shape[-1]).float()
    whole = OTHERS.get(preset)
    frames = whole(rows) if whole else torch.stack([_kaldi(row, PRESETS[preset]) for row in rows])
    return frames.unflatten(0, waveform.shape[:-1]) if waveform.ndim > 1 else frames[0]


def _kaldi(row: Tensor, preset: Preset) -> Tensor:
    """[S] -> [frames, mels]. Rows come one by one: a product of matrices rounds by how many rows it has."""
    row = row * preset.scale
    row = row - row.mean() if preset.centre else row
    frames = row.unfold(0, FRAME, int(KALDI_RATE * preset.hop_ms * 0.001))  # [frames, 400]
    frames = frames - frames.mean(1, keepdim=True)
    before = F.pad(frames[None], (1, 0), mode="replicate")[0, :, :-1]
    frames = (frames - 0.97 * before) * _kaldi_window(preset.window).to(row.device)
    power = torch.fft.rfft(F.pad(frames, (0, FFT - FRAME))).abs().pow(2.0)  # [frames, 257]
    mels = power @ _kaldi_filters(preset.mels).to(row.device).T
    smallest = torch.tensor(torch.finfo(torch.float32).eps, device=row.device)
    return (torch.max(mels, smallest).log() - preset.mean) / (2 * preset.std)


@lru_cache
@torch.inference_mode(False)  # what is kept serves callers of both modes
def _kaldi_window(name: str) -> Tensor:
    """[400]"""
    hanning = torch.hann_window(FRAME, periodic=False)
    return hanning.pow(0.85) if name == "povey" else hanning


@lru_cache
@torch.inference_mode(False)
def _kaldi_filters(mels: int) -> Tensor:
    """Triangles even on Kaldi's mel axis, 1127 ln(1 + f / 700), from 20 Hz to 8 kHz: [mels, 257], the last column 0."""
    low, high = (1127.0 * math.log(1.0 + hz / 700.0) for hz in (20.0, KALDI_RATE / 2))
    step, number = (high - low) / (mels + 1), torch.arange(mels)[:, None]
    left, centre, right = (low + (number + place) * step for place in (0.0, 1.0, 2.0))
    mel = 1127.0 * (1.0 + KALDI_RATE / FFT * torch.arange(FFT / 2) / 700.0).log()
    rising, falling = (mel - left) / (centre - left), (right - mel) / (right - centre)
    return F.pad(torch.min(rising, falling).clamp(min=0), (0, 1))


def _aisfx(rows: Tensor) -> Tensor:
    """[N, S] -> [N, frames, 96]; frames are centred, and the ends reflected."""
    window, filters = (kept.to(rows.device) for kept in _aisfx_filters())
    stft = torch.stft(rows, AISFX_FFT, AISFX_FFT // 2, window=window, return_complex=True)  # [N, 1025, frames]
    power = stft.abs().pow(2.0).transpose(1, 2) @ filters
    return torch.log10(1 + 10_000 * power) / AISFX_SCALE


@lru_cache
@torch.inference_mode(False)
def _aisfx_filters() -> tuple[Tensor, Tensor]:
    """Hann window [2048], and triangles in Hz between 98 points even on HTK's mel axis, 0 to 22.05 kHz: [1025, 96]."""
    nyquist = AISFX_RATE / 2
    hz = torch.linspace(0, nyquist, AISFX_FFT // 2 + 1)[:, None]
    points = 700.0 * (10.0 ** (torch.linspace(0, 2595.0 * math.log10(1.0 + nyquist / 700.0), 98) / 2595.0) - 1.0)
    width, above = points.diff(), points - hz  # [97], [1025, 98]
    triangles = torch.min(-above[:, :-2] / width[:-1], above[:, 2:] / width[1:]).clamp(min=0)
    return torch.hann_window(AISFX_FFT), triangles


def _yamnet(rows: Tensor) -> Tensor:
    """[N, S] -> [N, frames, 64]; whole frames of 25 ms alone, and their magnitudes, not their power."""
    window, filters = (kept.to(rows.device) for kept in _yamnet_filters())
    frames = rows.unfold(-1, FRAME, YAMNET_HOP) * window  # [N, frames, 400]
    magnitude = torch.fft.rfft(F.pad(frames, (0, FFT - FRAME))).abs()
    return torch.log(magnitude @ filters + YAMNET_OFFSET)


@lru_cache
@torch.inference_mode(False)
def _yamnet_filters() -> tuple[Tensor, Tensor]:
    """Hann window [400], and triangles even on HTK's mel axis, 125 Hz to 7.5 kHz, without the constant: [257, 64]."""
    hz = torch.linspace(0, KALDI_RATE / 2, FFT // 2 + 1, dtype=torch.float64)[:, None]
    low, high, mel = (1127.0 * torch.log1p(value / 700.0) for value in (*torch.tensor([[125.0], [7500.0]]), hz))
    points = low + (high - low) * torch.linspace(0, 1, YAMNET_MELS + 2, dtype=torch.float64)
    width = points.diff()  # [65]
    filters = torch.min((mel - points[:-2]) / width[:-1], (points[2:] - mel) / width[1:]).clamp(min=0)
    filters[0] = 0
    return torch.hann_window(FRAME), filters.float()


OTHERS: dict[str, Callable[[Tensor], Tensor]] = {"aisfx": _aisfx, "yamnet": _yamnet}
"""Presets that are no Kaldi filter banks: [N, S] -> [N, frames, mels]."""
