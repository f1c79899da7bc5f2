"""Pictures of what sounds: lit where a mask says so, dark elsewhere, and as they are where nobody knows."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from drawn import pixels

from data_modules.synthetic_sounding_objects import SoundingClips
from zoo.ops.frame import IGNORE
from zoo.predictions import Predictions
from zoo.report import sounding
from zoo.report.run import Run


def test_what_sounds_is_lit_in_the_central_square_and_what_is_unknown_stays_as_it_is() -> None:
    frames = np.full((3, 40, 80, 3), 120, np.uint8)
    frames[:, :, :20] = 255  # beside the central square
    masks = np.zeros((3, 4, 4), np.uint8)
    masks[0, :, 2:], masks[1] = 1, IGNORE
    shown = sounding.painted(frames, masks)
    assert shown.shape == (3, sounding.SIDE, sounding.SIDE, 3)
    half = sounding.SIDE // 2
    assert (shown[0, :, :half] == 40).all()
    assert (shown[0, :, half:, 0] > 150).all()
    assert (shown[1] == 120).all()
    assert (shown[2] == 40).all()


def test_label_stands_above_prediction(tmp_path: Path) -> None:
    samples = SoundingClips("test", 2, seed=0, image_size=32)
    kept = Predictions()
    kept.ids = ["a", "b"]
    target = torch.stack([samples.target(index)["masks"] for index in range(2)])
    kept.target, kept.prediction = {"masks": [target.float()]}, {"masks": [torch.ones(2, 5, 16, 16)]}
    sounding.clips(Run(tmp_path, kept, SimpleNamespace(sets={"test": samples}), SimpleNamespace()))  # type: ignore[arg-type]
    rows = np.array_split(pixels(tmp_path / "sounding.png"), 4)
    dark = [float((row.max(-1) < 90).mean()) for row in rows]
    assert min(dark[0], dark[2]) > max(dark[1], dark[3])  # everything is claimed
