"""Resampled sound and log-mel frames against torchaudio: values frozen from 2.11, and itself where it is installed."""

from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from zoo.ops.fbank import AISFX_RATE, AISFX_SCALE, KALDI_RATE, PRESETS, fbank
from zoo.ops.resample_audio import resample

FROZEN = load_file(Path(__file__).parents[1] / "data" / "torchaudio_2_11.safetensors")
RATES = [(44_100, 16_000), (48_000, 44_100), (16_000, 44_100)]
FRONT_ENDS = {**dict.fromkeys(PRESETS, KALDI_RATE), "aisfx": AISFX_RATE}


@pytest.fixture
def torchaudio() -> ModuleType:
    # Beside another torch than its own it refuses, or its library does not load.
    return pytest.importorskip("torchaudio", exc_type=(ImportError, OSError, RuntimeError))  # type: ignore[arg-type]


def noise(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) - 0.5


@pytest.mark.parametrize(("rate", "wanted"), RATES)
def test_resampling_gives_what_torchaudio_gave(rate: int, wanted: int) -> None:
    ours = resample(FROZEN[f"wave.{rate}"][: rate // 20], rate, wanted)
    torch.testing.assert_close(ours, FROZEN[f"resample.{rate}.{wanted}"], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("preset", "rate"), FRONT_ENDS.items())
def test_mel_frames_are_what_torchaudio_gave(preset: str, rate: int) -> None:
    frozen = FROZEN[f"fbank.{preset}.{rate}"]
    difference = (fbank(FROZEN[f"wave.{rate}"], rate, preset) - frozen).abs()
    # Another processor's Fourier transform rounds otherwise, and the logarithm of a quiet band magnifies it.
    assert (difference < 1e-5).double().mean() > 0.99
    assert difference.max() < 1e-4


@pytest.mark.parametrize(("rate", "wanted"), [*RATES, (8_000, 16_000), (22_050, 16_000)])
def test_resampling_has_the_bits_of_torchaudio(rate: int, wanted: int, torchaudio: ModuleType) -> None:
    for wave in (noise(rate + 17), noise(2, 2, rate // 10), noise(rate // 10).double()):
        assert torch.equal(resample(wave, rate, wanted), torchaudio.functional.resample(wave, rate, wanted))


@pytest.mark.parametrize("name", PRESETS)
def test_kaldi_frames_have_the_bits_of_torchaudio(name: str, torchaudio: ModuleType) -> None:
    preset = PRESETS[name]
    for wave in (noise(KALDI_RATE), torch.zeros(KALDI_RATE)):
        scaled = wave * preset.scale
        frames = torchaudio.compliance.kaldi.fbank(
            (scaled - scaled.mean() if preset.centre else scaled)[None],
            sample_frequency=KALDI_RATE,
            num_mel_bins=preset.mels,
            frame_shift=preset.hop_ms,
            window_type=preset.window,
        )
        assert torch.equal(fbank(wave, KALDI_RATE, name), (frames - preset.mean) / (2 * preset.std))


def test_aisfx_frames_have_the_bits_of_torchaudio(torchaudio: ModuleType) -> None:
    mel = torchaudio.transforms.MelSpectrogram(AISFX_RATE, n_fft=2048, hop_length=1024, n_mels=96)
    for waves in (noise(3, AISFX_RATE), noise(1, 5_000)):
        expected = torch.log10(1 + 10_000 * mel(waves)).transpose(-1, -2) / AISFX_SCALE
        assert torch.equal(fbank(waves, AISFX_RATE, "aisfx"), expected)


def test_a_tone_keeps_its_pitch_and_what_the_lower_rate_cannot_hold_is_gone() -> None:
    times = torch.arange(48_000, dtype=torch.float64) / 48_000
    heard, above = (torch.sin(2 * torch.pi * hz * times) for hz in (1_000, 12_000))
    expected = torch.sin(2 * torch.pi * 1_000 * torch.arange(16_000, dtype=torch.float64) / 16_000)
    middle = slice(100, -100)  # outside a sound there is silence, which its ends feel
    torch.testing.assert_close(resample(heard, 48_000, 16_000)[middle], expected[middle], atol=2e-3, rtol=0)
    assert resample(above, 48_000, 16_000)[middle].abs().max() < 0.01


def test_filters_made_without_autograd_serve_training() -> None:
    with torch.inference_mode():
        resample(noise(100), 7, 5)
    wave = noise(100).requires_grad_()
    resample(wave, 7, 5).sum().backward()
    assert wave.grad is not None
    assert wave.grad.any()


def test_a_rate_that_is_no_positive_integer_is_refused() -> None:
    wave = noise(10)
    assert resample(wave, 5, 5) is wave
    for rate, wanted in ((0, 16_000), (16_000, -1), (0.5, 1)):
        with pytest.raises(ValueError, match=r"positive integers in Hz, got"):
            resample(wave, rate, wanted)  # type: ignore[arg-type]
