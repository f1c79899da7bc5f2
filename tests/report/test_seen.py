"""What a picture shows of a clip: its frames, or its sound where it has none."""

import numpy as np
import tiny

from zoo.batch import Clip
from zoo.report.over_time import seen


def sound(*hertz: float, rate: int = 16_000) -> Clip:
    seconds = np.arange(rate) / rate
    audio = np.stack([np.sin(2 * np.pi * f * seconds) for f in hertz]).astype(np.float32)
    return Clip("sound", np.full((len(hertz), 8, 8, 3), 128, np.uint8), audio, rate, {})


def test_a_film_is_its_frames() -> None:
    clip = tiny.clip(0)
    assert seen(clip) is clip.frames


def test_sound_alone_is_its_spectrogram_with_low_notes_below() -> None:
    pictures = seen(sound(500, 6000))
    assert pictures.shape[0] == 2
    assert pictures.dtype == np.uint8
    low, high = (int(picture.sum((1, 2)).argmax()) for picture in pictures)
    height = pictures.shape[1]
    assert height - 1 - low == round(500 / 8000 * (height - 1))
    assert height - 1 - high == round(6000 / 8000 * (height - 1))


def test_silence_and_short_windows_are_drawn_too() -> None:
    assert (
        seen(Clip("s", np.full((2, 8, 8, 3), 128, np.uint8), np.zeros((2, 300), np.float32), 16_000, {})).shape[0] == 2
    )
