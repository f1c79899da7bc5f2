"""Made-up sounds, in ESC-10's layout and in class folders."""

from pathlib import Path

import numpy as np
import soundfile

from data_modules.esc10 import CLASSES, EACH, FOLDS

RATE = 8_000


def tone(path: Path, hertz: float, *, seconds: float = 0.5, seed: int = 0) -> Path:
    """A tone in faint noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * RATE)) / RATE
    noise = np.random.default_rng(seed).normal(0, 0.01, len(time))
    soundfile.write(path, 0.4 * np.sin(2 * np.pi * hertz * time) + noise, RATE)
    return path


def esc10(root: Path) -> Path:
    """Forty tones a class, eight a fold."""
    for label, name in enumerate(CLASSES):
        for number in range(EACH):
            fold = number % FOLDS + 1
            tone(
                root / "audio" / name.replace(" ", "_") / f"{fold}-{1000 + number}-A.ogg",
                200 + 100 * label,
                seed=100 * label + number,
            )
    return root


def folders(root: Path, each: int = 6, names: tuple[str, ...] = ("dog_bark", "rain")) -> Path:
    """Class folders of .wav files."""
    for label, name in enumerate(names):
        for number in range(each):
            tone(root / name / f"{number}.wav", 300 + 400 * label, seed=10 * label + number)
    return root
