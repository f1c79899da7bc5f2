"""A value in memory is read as the file that holds the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from data_modules.errors import DataError
from data_modules.readers.media import decode_clip
from data_modules.readers.point_files import read_points
from data_modules.readers.raster import read_picture
from zoo.inference.values import write

rng = np.random.default_rng(0)
PICTURE = rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)
FRAMES = rng.integers(0, 256, (50, 24, 36, 3), dtype=np.uint8)
STEREO = (rng.standard_normal((2, 32_000)) / 10).astype(np.float32)


@pytest.mark.parametrize(
    "value",
    [
        PICTURE,
        PICTURE.transpose(2, 0, 1),
        PICTURE / 255,
        torch.from_numpy(PICTURE),
        torch.from_numpy(PICTURE).permute(2, 0, 1).float() / 255,
        PICTURE.astype(np.int64),
        PICTURE.astype(np.float32),
        Image.fromarray(PICTURE),
    ],
    ids=["last", "first", "floats", "tensor", "float tensor", "integers", "whole floats", "PIL"],
)
def test_a_picture_in_any_layout_is_the_same_pixels(value: Any, tmp_path: Path) -> None:
    read, notes = read_picture(write(value, "pictures", tmp_path / "input"), "input")
    assert np.array_equal(read, PICTURE)
    assert notes == []


def test_a_picture_keeps_its_bands_palette_depth_and_orientation(tmp_path: Path) -> None:
    grey, notes = read_picture(write(PICTURE[..., 0], "pictures", tmp_path / "grey"), "grey")
    assert np.array_equal(grey[..., 1], PICTURE[..., 0])
    assert "one band is repeated" in notes[0]
    deep = PICTURE[..., 0].astype(np.uint16) * 200
    assert "uint16" in read_picture(write(deep, "pictures", tmp_path / "deep"), "deep")[1][0]
    assert "uint16" in read_picture(write(Image.fromarray(deep), "pictures", tmp_path / "deep"), "deep")[1][0]
    palette = Image.fromarray(PICTURE).convert("P")
    read, _ = read_picture(write(palette, "pictures", tmp_path / "palette"), "palette")
    assert np.array_equal(read, np.asarray(palette.convert("RGB")))
    ranged = write(PICTURE * 20.0, "pictures", tmp_path / "ranged", ranged=True)
    assert "percentiles" in read_picture(ranged, "ranged")[1][0]
    held = Image.fromarray(PICTURE)
    held.getexif()[274] = 6
    assert read_picture(write(held, "pictures", tmp_path / "held"), "held")[0].shape == (30, 40, 3)
    with pytest.raises(DataError, match="bands="):
        read_picture(write(rng.random((11, 20, 20)).astype(np.float32), "pictures", tmp_path / "bands"), "bands")


def test_a_cloud_keeps_every_digit(tmp_path: Path) -> None:
    points = rng.normal(size=(50, 5)) + 1e7
    assert np.array_equal(read_points(write(points, "clouds", tmp_path / "input"))[0], points)
    assert np.array_equal(read_points(write(torch.from_numpy(points), "clouds", tmp_path / "input"))[0], points)


@pytest.mark.parametrize("channels", [1, 2])
def test_a_clip_keeps_pictures_and_sound(channels: int, tmp_path: Path) -> None:
    sound = STEREO[:channels]
    file = write({"frames": FRAMES, "fps": 25, "audio": sound, "sample_rate": 16_000}, "clips", tmp_path / "input")
    clip = decode_clip(file, segments=2, segment_seconds=1.0, sample_rate=16_000)
    assert np.array_equal(clip.frames, FRAMES[[12, 37]])
    assert np.abs(clip.audio.reshape(-1) - sound.mean(0)).max() < 1e-7
    assert clip.notes == []


def test_a_clip_of_one_stream_is_what_a_file_of_one_is(tmp_path: Path) -> None:
    settings = {"segments": 2, "segment_seconds": 1.0, "sample_rate": 16_000}
    mute = write({"frames": FRAMES.transpose(0, 3, 1, 2), "fps": 25}, "clips", tmp_path / "mute")
    with pytest.raises(DataError, match="has no sound"):
        decode_clip(mute, **settings)
    assert decode_clip(mute, **settings, missing_audio="silence").notes == ["no sound: silence"]
    blind = write({"audio": STEREO[0], "sample_rate": 16_000}, "clips", tmp_path / "blind")
    assert decode_clip(blind, **settings, missing_pictures="blank").notes == ["no pictures: grey ones"]


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("pictures", PICTURE / 127 - 1, "values from -1 to 1.*before it was normalised"),
        ("pictures", PICTURE + 0.5, "values from 0.5 to 256.*stretch=LOW"),
        ("pictures", PICTURE / np.float32(np.nan), "values from nan to nan"),
        ("pictures", FRAMES, "or a list of pictures"),
        ("pictures", "x", "input is str; expected a picture"),
        ("pictures", -PICTURE.astype(int), "values from -255 to 0; expected 0 to 255"),
        ("pictures", PICTURE > 3, "bool; expected a picture"),
        ("pictures", np.zeros((0, 3, 3)), r"shape \[0, 3, 3\]"),
        ("clouds", np.zeros((2, 5, 3)), "one cloud .* or a list of clouds"),
        ("clouds", [[0, 0, 0]], "input is list; expected a cloud"),
        ("clips", FRAMES, "expected a clip: a mapping of frames, fps, audio, sample_rate"),
        ("clips", {"picture": FRAMES}, "a mapping of picture; expected"),
        ("clips", {"frames": FRAMES}, "beside frames expected fps, a number above 0, got None"),
        ("clips", {"frames": FRAMES[..., :2], "fps": 2}, r"expected uint8 \[F, H, W, 3\]"),
        ("clips", {"audio": STEREO.astype(int), "sample_rate": 8000}, "audio is .*expected floats"),
        ("words", "x", "read from files alone"),
    ],
)
def test_what_is_no_sample_is_told_in_one_line(kind: str, value: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as error:
        write(value, kind, tmp_path / "input")
    assert "\n" not in str(error.value)
    assert str(tmp_path) not in str(error.value)
