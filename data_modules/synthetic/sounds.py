"""Sounds of the synthetic event set: twelve small physical models with random parameters, and a room around them."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import signal

RATE = 22_050

Wave = NDArray[np.float32]

Rng = np.random.Generator


def _time(n: int) -> NDArray[np.float64]:
    return np.arange(n) / RATE


def _drift(rng: Rng, n: int, low: float, high: float, *, points: int) -> NDArray[np.float64]:
    """A slow random curve between two values."""
    knots = rng.uniform(low, high, points)
    return np.interp(np.linspace(0, points - 1, n), np.arange(points), knots)


def _band(rng: Rng, n: int, low: float, high: float) -> NDArray[np.float64]:
    sos = signal.butter(2, [low, min(high, RATE / 2 - 100)], "bandpass", fs=RATE, output="sos")
    return signal.sosfilt(sos, rng.standard_normal(n))


def _strikes(
    rng: Rng, n: int, every: float, jitter: float, voice: Callable[[int], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Overlap-add one-shot voices at a jittered pace."""
    out, at = np.zeros(n), rng.uniform(0, every)
    while (start := int(at * RATE)) < n:
        shot = voice(n - start)
        out[start : start + len(shot)] += shot * rng.uniform(0.6, 1)
        at += every * rng.uniform(1 - jitter, 1 + jitter)
    return out


def _modes(rng: Rng, n: int, partials: NDArray[np.float64], decay: float) -> NDArray[np.float64]:
    t = _time(n)
    gains = rng.uniform(0.3, 1, len(partials)) / (1 + np.arange(len(partials)))
    return sum(
        g * np.exp(-t * (1 + 0.5 * i) / decay) * np.sin(2 * np.pi * f * t)
        for i, (g, f) in enumerate(zip(gains, partials, strict=True))
    )


def _harmonics(rng: Rng, pitch: NDArray[np.float64], count: int, tilt: float) -> NDArray[np.float64]:
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    weights = np.arange(1, count + 1) ** -tilt * rng.uniform(0.5, 1, count)
    return sum(w * np.sin(k * phase) for k, w in enumerate(weights, start=1))


def _bell(rng: Rng, n: int) -> NDArray[np.float64]:
    f = rng.uniform(260, 650) * np.array([0.5, 1, 1.19, 1.5, 2, 2.74, 3.76]) * rng.uniform(0.99, 1.01, 7)
    return _strikes(rng, n, rng.uniform(0.7, 1.4), 0.1, lambda m: _modes(rng, m, f, rng.uniform(0.6, 1.5)))


def _clock(rng: Rng, n: int) -> NDArray[np.float64]:
    f = rng.uniform(1200, 3200) * np.array([1, 1.6, 2.3])
    return _strikes(rng, n, rng.uniform(0.25, 0.5), 0.02, lambda m: _modes(rng, min(m, 1500), f, 0.012))


def _dog(rng: Rng, n: int) -> NDArray[np.float64]:
    base = rng.uniform(300, 650)

    def bark(m: int) -> NDArray[np.float64]:
        m = min(m, int(RATE * rng.uniform(0.12, 0.25)))
        shape = np.hanning(m) ** 0.5
        pitch = base * (1 + 0.4 * np.sin(np.pi * np.linspace(0, 1, m)))
        return shape * (_harmonics(rng, pitch, 10, 0.8) + 0.5 * _band(rng, m, 500, 3000))

    return _strikes(rng, n, rng.uniform(0.35, 0.7), 0.4, bark)


def _baby(rng: Rng, n: int) -> NDArray[np.float64]:
    base = rng.uniform(350, 600)

    def cry(m: int) -> NDArray[np.float64]:
        m = min(m, int(RATE * rng.uniform(0.5, 0.9)))
        t = _time(m)
        pitch = base * (1 + 0.25 * np.sin(np.pi * t / t[-1]) + 0.03 * np.sin(2 * np.pi * rng.uniform(6, 9) * t))
        return np.hanning(m) ** 0.3 * _harmonics(rng, pitch, 12, 0.7)

    return _strikes(rng, n, rng.uniform(0.8, 1.1), 0.2, cry)


def _engine(rng: Rng, n: int, low: float, high: float, rough: float, points: int) -> NDArray[np.float64]:
    pitch = _drift(rng, n, low, high, points=points)
    beat = 1 + 0.5 * signal.sawtooth(2 * np.pi * np.cumsum(pitch / 2) / RATE)
    return beat * (_harmonics(rng, pitch, 14, 0.6) + rough * _band(rng, n, 300, 4000))


def _race_car(rng: Rng, n: int) -> NDArray[np.float64]:
    return _engine(rng, n, 120, 330, 0.4, 5)


def _chainsaw(rng: Rng, n: int) -> NDArray[np.float64]:
    return _engine(rng, n, 90, 190, 1.6, 9)


def _motorcycle(rng: Rng, n: int) -> NDArray[np.float64]:
    return _engine(rng, n, 45, 130, 0.5, 4)


def _helicopter(rng: Rng, n: int) -> NDArray[np.float64]:
    chop = np.clip(signal.sawtooth(2 * np.pi * rng.uniform(9, 17) * _time(n), 0.15), 0, 1) ** 2
    return chop * (2 * _band(rng, n, 60, 300) + _band(rng, n, 300, 2500))


def _violin(rng: Rng, n: int) -> NDArray[np.float64]:
    steps = 2 ** (rng.integers(0, 12, 8) / 12)
    note = np.repeat(steps, n // 8 + 1)[:n] * rng.uniform(250, 500)
    vibrato = 1 + 0.012 * np.sin(2 * np.pi * rng.uniform(5, 7) * _time(n))
    return _harmonics(rng, note * vibrato, 14, 1.0) + 0.05 * _band(rng, n, 2000, 6000)


def _flute(rng: Rng, n: int) -> NDArray[np.float64]:
    steps = 2 ** (rng.integers(0, 12, 8) / 12)
    note = np.repeat(steps, n // 8 + 1)[:n] * rng.uniform(350, 700)
    return _harmonics(rng, note, 4, 2.0) * (1 + 0.2 * np.sin(2 * np.pi * 5 * _time(n))) + 0.15 * _band(
        rng, n, 1500, 5000
    )


def _rain(rng: Rng, n: int) -> NDArray[np.float64]:
    drops = (rng.random(n) < rng.uniform(30, 120) / RATE) * rng.uniform(1, 6, n)
    return _band(rng, n, 800, 7000) + signal.lfilter([1], [1, -0.9], drops * rng.choice([-1, 1], n))


def _frying(rng: Rng, n: int) -> NDArray[np.float64]:
    pops = (rng.random(n) < rng.uniform(60, 250) / RATE) * rng.exponential(4, n)
    sos = signal.butter(2, 2500, "highpass", fs=RATE, output="sos")
    return signal.sosfilt(sos, pops * rng.choice([-1, 1], n)) + 0.25 * _band(rng, n, 3000, 9000)


SOUNDS: dict[str, Callable[[Rng, int], NDArray[np.float64]]] = {
    "church bell": _bell,
    "wall clock": _clock,
    "dog": _dog,
    "baby": _baby,
    "race car": _race_car,
    "chainsaw": _chainsaw,
    "motorcycle": _motorcycle,
    "helicopter": _helicopter,
    "violin": _violin,
    "flute": _flute,
    "rain cloud": _rain,
    "frying pan": _frying,
}


def voice(rng: Rng, name: str, seconds: float) -> Wave:
    """A sound of a class at unit loudness: float32 [seconds * RATE]."""
    wave = SOUNDS[name](rng, int(seconds * RATE))
    return (wave / (np.sqrt(np.mean(wave**2)) + 1e-9)).astype(np.float32)


def room(rng: Rng, wave: Wave) -> Wave:
    """Add a random reverberant tail and coloured background noise at 8 to 25 dB below the sound; peak at most 0.9."""
    tail = np.exp(-_time(RATE // 4) / rng.uniform(0.02, 0.12)) * rng.standard_normal(RATE // 4)
    wet = signal.fftconvolve(wave, tail / np.linalg.norm(tail))[: len(wave)]
    colour = signal.lfilter([1], [1, -rng.uniform(0.5, 0.97)], rng.standard_normal(len(wave)))
    level = max(0.3, float(np.sqrt(np.mean(wave**2))))
    noise = colour / colour.std() * level * 10 ** (-rng.uniform(8, 25) / 20)
    mixed = wave + rng.uniform(0, 0.5) * wet + noise
    return (mixed / np.abs(mixed).max() * rng.uniform(0.3, 0.9)).astype(np.float32)
