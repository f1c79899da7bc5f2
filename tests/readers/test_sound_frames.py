"""A sound file beside a folder of frames is cut as the video that they came from would be."""

from pathlib import Path

import av
import av_files
import numpy as np
import pytest
import soundfile
from PIL import Image

from data_modules.errors import DataError
from data_modules.kinds.clips import ClipDataModule
from data_modules.readers.media import decode_clip, decode_sound_with_frames
from data_modules.readers.media_streams import MediaError

SETTINGS = {"segments": 10, "segment_seconds": 1.0, "sample_rate": 16_000}


def write(root: Path, *, frames: int, seconds: float = 10, suffix: str = "wav", rate: int = 44_100) -> Path:
    """Grey pictures that say when in the clip they were taken, and a tone whose loudness does."""
    (root / "clip").mkdir(parents=True)
    for k in range(frames):
        grey = round(250 * (k + 0.5) / frames)
        Image.fromarray(np.full((30, 40, 3), grey, np.uint8)).save(root / "clip" / f"frame_{k}.png")
    time = np.arange(round(seconds * rate)) / rate
    wave = time / seconds * np.sin(2 * np.pi * 440 * time)
    soundfile.write(root / f"clip.{suffix}", np.stack([wave, wave], 1), rate)
    return root / f"clip.{suffix}"


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
@pytest.mark.parametrize("frames", [1, 10, 16, 250])
def test_frames_of_any_rate_lie_evenly_over_the_sound(tmp_path: Path, suffix: str, frames: int) -> None:
    decoded = decode_sound_with_frames(write(tmp_path, frames=frames, suffix=suffix), tmp_path / "clip", **SETTINGS)
    assert decoded.frames.shape == (10, 30, 40, 3)
    assert decoded.audio.shape == (10, 16_000)
    assert decoded.notes == []
    # Half a frame away at most.
    centres = 250 * (np.arange(10) + 0.5) / 10
    assert np.abs(decoded.frames.mean((1, 2, 3)) - centres).max() <= 125 / frames + 1
    loudness = np.sqrt(2 * (decoded.audio**2).mean(1))
    np.testing.assert_allclose(loudness, (np.arange(10) + 0.5) / 10, atol=0.03)


def test_the_same_clip_as_video_and_as_sound_and_frames_is_the_same_sample(tmp_path: Path) -> None:
    av_files.write_clip(tmp_path / "clip.mkv", fps=4)
    video = decode_clip(tmp_path / "clip.mkv", **SETTINGS)
    (tmp_path / "clip").mkdir()
    with av.open(str(tmp_path / "clip.mkv")) as container:
        for k, frame in enumerate(container.decode(video=0)):
            frame.to_image().save(tmp_path / "clip" / f"{k + 1}.png")
    with av.open(str(tmp_path / "clip.mkv")) as container:
        wave = np.concatenate([frame.to_ndarray().mean(0) for frame in container.decode(audio=0)])
    soundfile.write(tmp_path / "clip.wav", wave[:160_000], 16_000, subtype="FLOAT")
    apart = decode_sound_with_frames(tmp_path / "clip.wav", tmp_path / "clip", **SETTINGS)
    # A second is 20 levels from the next; noise in a corner tells neighbouring frames apart.
    difference = np.abs(video.frames.astype(int) - apart.frames)
    assert difference[:, 10:, 10:].max() <= 4
    assert difference.max() <= 10
    assert np.corrcoef(video.audio.ravel(), apart.audio.ravel())[0, 1] > 0.99


def test_a_sound_that_ends_early_or_late_is_told_or_cut(tmp_path: Path) -> None:
    short = decode_sound_with_frames(write(tmp_path / "a", frames=6, seconds=6), tmp_path / "a" / "clip", **SETTINGS)
    assert short.notes == [
        "4 segments after the last picture: it is repeated",
        "sound ends 4.00 s early: padded with silence",
    ]
    assert not short.audio[7:].any()
    assert (short.frames[6:] == short.frames[5]).all()
    long = decode_sound_with_frames(write(tmp_path / "b", frames=20, seconds=20), tmp_path / "b" / "clip", **SETTINGS)
    assert long.notes == []
    assert np.abs(long.frames.mean((1, 2, 3)) - 12.5 * (np.arange(10) + 0.5)).max() <= 1


def module(frame_size: int | None = None) -> ClipDataModule:
    data = ClipDataModule()
    data.name, data.segments, data.segment_seconds, data.sample_rate = "clips", 10, 1.0, 16_000
    data.frame_size = frame_size
    return data


def test_a_data_module_reads_them_at_the_size_of_its_training(tmp_path: Path) -> None:
    path = write(tmp_path, frames=4)
    clip, notes = module(15).read(path, {})
    assert clip.frames.shape == (10, 15, 20, 3)
    assert (clip.id, notes) == (str(path), [])
    av_files.write_clip(tmp_path / "video.mp4")
    assert module(24).read(tmp_path / "video.mp4", {})[0].frames.shape == (10, 24, 24, 3)


def test_what_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, frames=2)
    other = Image.fromarray(np.zeros((9, 9, 3), np.uint8))
    other.save(tmp_path / "clip" / "frame_1.png")
    with pytest.raises(MediaError, match=r"clip: pictures of several sizes \(9 x 9, 40 x 30\)"):
        module().read(path, {})
    (tmp_path / "clip" / "frame_1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match=r"frame_1\.png cannot be read"):
        module().read(path, {})
    (tmp_path / "clip" / "frame_1.png").unlink()
    (tmp_path / "clip").rename(tmp_path / "other")
    with pytest.raises(
        MediaError, match=r"clip\.wav has no pictures: expected \.jpg .* in the folder .*clip beside it"
    ):
        module().read(path, {})
    (tmp_path / "other").rename(tmp_path / "clip")
    path.write_bytes(b"RIFF")
    with pytest.raises(MediaError, match=r"clip\.wav cannot be decoded"):
        module().read(path, {})
    soundfile.write(path, np.zeros(0), 16_000)
    with pytest.raises(MediaError, match=r"clip\.wav has no sound"):
        module().read(path, {})
    soundfile.write(path, np.full(16_000, np.nan), 16_000, subtype="FLOAT")
    with pytest.raises(MediaError, match=r"clip\.wav: \d+ samples of its sound are NaN or infinite"):
        module().read(path, {})
    path.unlink()
    with pytest.raises(MediaError, match=r"clip\.wav does not exist"):
        module().read(path, {})
    (tmp_path / "x.mp4").mkdir()
    with pytest.raises(MediaError, match=r"x\.mp4 is a folder; expected a file"):
        module().read(tmp_path / "x.mp4", {})
