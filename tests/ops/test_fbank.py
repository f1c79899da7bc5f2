"""The log-mel front end against formulas written out in numpy."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from zoo.ops.fbank import AISFX_SCALE, PRESETS, Preset, fbank

Array = NDArray[np.float64]


def sound(rate: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(-0.5, 0.5, rate).astype(np.float32)


def kaldi_mel(hz: Array | float) -> Array | float:
    return 1127 * np.log(1 + hz / 700)


def triangles(places: Array, edges: Array) -> Array:
    """Filters [M, bins]: rising between edges m and m + 1, falling to edge m + 2, on a common axis."""
    low, peak, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    return np.maximum(0, np.minimum((places - low) / (peak - low), (high - places) / (high - peak)))


def kaldi(wave: NDArray[np.float32], preset: Preset) -> Array:
    """Kaldi's `compute-fbank-feats` at 16 kHz without dither: 25 ms frames, pre-emphasis 0.97, 512-point power."""
    samples = wave.astype(np.float64) * preset.scale
    samples = samples - samples.mean() if preset.centre else samples
    size, hop = 400, int(16 * preset.hop_ms)
    frames = np.stack([samples[i : i + size] for i in range(0, len(samples) - size + 1, hop)])
    frames -= frames.mean(1, keepdims=True)
    frames = frames - 0.97 * np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / (size - 1))
    power = np.abs(np.fft.rfft(frames * (hann**0.85 if preset.window == "povey" else hann), 512)) ** 2
    edges = np.linspace(kaldi_mel(20), kaldi_mel(8000), preset.mels + 2)
    filters = triangles(kaldi_mel(np.arange(257) * 16_000 / 512), edges)
    return (np.log(np.maximum(power @ filters.T, np.finfo(np.float32).eps)) - preset.mean) / (2 * preset.std)


@pytest.mark.parametrize(("name", "shape"), [("beats", 98), ("ast", 98), ("lavish_swin", 188), ("lavish_vit", 98)])
def test_kaldi_presets_equal_the_formula_and_have_the_frames_the_papers_say(name: str, shape: int) -> None:
    wave = sound(16_000)
    ours = fbank(torch.from_numpy(wave), 16_000, name)
    assert ours.shape == (shape, PRESETS[name].mels)
    np.testing.assert_allclose(ours.numpy(), kaldi(wave, PRESETS[name]), atol=1e-3)


def test_yamnet_equals_the_formula() -> None:
    wave = sound(16_000).astype(np.float64)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = np.stack([wave[i : i + 400] * hann for i in range(0, 16_000 - 399, 160)])
    edges = np.linspace(kaldi_mel(125), kaldi_mel(7500), 66)
    filters = triangles(kaldi_mel(np.arange(257) * 16_000 / 512), edges)
    filters[:, 0] = 0
    expected = np.log(np.abs(np.fft.rfft(frames, 512)) @ filters.T + 0.001)
    np.testing.assert_allclose(fbank(torch.from_numpy(sound(16_000)), 16_000, "yamnet").numpy(), expected, atol=1e-4)


def test_aisfx_equals_the_formula() -> None:
    wave = sound(44_100)
    padded = np.pad(wave.astype(np.float64), 1024, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(2048) / 2048)
    frames = np.stack([padded[i : i + 2048] * window for i in range(0, len(padded) - 2047, 1024)])
    power = np.abs(np.fft.rfft(frames)) ** 2
    htk = np.linspace(0, 2595 * np.log10(1 + 22_050 / 700), 98)
    filters = triangles(np.arange(1025) * 44_100 / 2048, 700 * (10 ** (htk / 2595) - 1))
    expected = np.log10(1 + 10_000 * power @ filters.T) / AISFX_SCALE
    np.testing.assert_allclose(fbank(torch.from_numpy(wave), 44_100, "aisfx").numpy(), expected, atol=1e-4)


@pytest.mark.parametrize(("name", "rate"), [("beats", 16_000), ("aisfx", 44_100)])
def test_rows_do_not_meet_and_another_rate_is_refused(name: str, rate: int) -> None:
    waves = torch.from_numpy(np.stack([sound(rate), sound(rate)[::-1].copy()]))
    torch.testing.assert_close(fbank(waves, rate, name)[1], fbank(waves[1], rate, name))
    with pytest.raises(ValueError, match=f"expects {rate} Hz, got 22050 Hz: resample first"):
        fbank(waves, 22_050, name)
    with pytest.raises(ValueError, match="at least one 25 ms frame"):
        fbank(waves[:, :300], rate, name)
    with pytest.raises(ValueError, match="unknown fbank preset 'vggish': expected one of beats"):
        fbank(waves, rate, "vggish")
