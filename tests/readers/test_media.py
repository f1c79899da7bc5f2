"""Decoding: right pictures, right windows, against an independent decode; damaged and odd files are refused or told."""

from pathlib import Path

import av
import av_files
import forked
import numpy as np
import pytest

from data_modules.readers.media import decode_clip
from data_modules.readers.media_streams import MediaError

SETTINGS = {"segments": 10, "segment_seconds": 1.0, "sample_rate": 16_000}


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 96_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_rate_and_channels_give_the_same_tone_and_pictures(tmp_path: Path, rate: int, channels: int) -> None:
    av_files.write_clip(tmp_path / "clip.mp4", rate=rate, channels=channels)
    clip = decode_clip(tmp_path / "clip.mp4", **SETTINGS)
    assert clip.frames.shape == (10, 48, 48, 3)
    assert clip.frames.dtype == np.uint8
    assert clip.audio.shape == (10, 16_000)
    assert clip.audio.dtype == np.float32
    middle = clip.frames[:, 24, 24].mean(-1)
    np.testing.assert_allclose(middle, 20 * np.arange(10), atol=6)
    for window in clip.audio[1:9]:
        spectrum = np.abs(np.fft.rfft(window))
        assert int(spectrum.argmax()) == 440
        assert np.sqrt(2 * np.mean(window**2)) == pytest.approx(0.5, abs=0.03)


def test_a_clip_without_sound_is_refused_or_silent_by_the_stated_policy(tmp_path: Path) -> None:
    av_files.write_clip(tmp_path / "mute.mp4", sound=False)
    with pytest.raises(MediaError, match=r"mute\.mp4 has no sound; set missing_audio=silence"):
        decode_clip(tmp_path / "mute.mp4", **SETTINGS)
    clip = decode_clip(tmp_path / "mute.mp4", **SETTINGS, missing_audio="silence")
    assert not clip.audio.any()
    assert clip.notes == ["no sound: silence"]


def test_a_clip_that_ends_early_says_what_was_made_up(tmp_path: Path) -> None:
    av_files.write_clip(tmp_path / "short.mp4", seconds=6)
    clip = decode_clip(tmp_path / "short.mp4", **SETTINGS)
    assert not clip.audio[7:].any()
    assert any("padded with silence" in note for note in clip.notes)
    assert any("it is repeated" in note for note in clip.notes)


@pytest.mark.parametrize("kept", [0, 100, 0.5])
def test_a_truncated_file_is_refused_by_name(tmp_path: Path, kept: float) -> None:
    av_files.write_clip(tmp_path / "whole.mp4")
    data = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: int(kept * len(data)) if kept < 1 else int(kept)])
    with pytest.raises(MediaError, match=r"cut\.mp4 cannot be decoded"):
        decode_clip(tmp_path / "cut.mp4", **SETTINGS)


def test_text_and_missing_files_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(MediaError, match=r"text\.mp4 cannot be decoded"):
        decode_clip(tmp_path / "text.mp4", **SETTINGS)
    with pytest.raises(MediaError, match="does not exist"):
        decode_clip(tmp_path / "none.mp4", **SETTINGS)


def test_predict_refuses_a_damaged_file_in_one_line(tmp_path: Path) -> None:
    done = forked.command("zoo.predict", [f"adapter={tmp_path}", "input=x.mp4"])
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_four_real_clips_equal_an_independent_decode(shared_data: Path) -> None:
    """Every frame and sample is decoded here without the module's code, then picked by its own arithmetic."""
    clips = sorted((shared_data / "clips").glob("*.mp4"))
    assert len(clips) == 4
    for path in clips:
        ours = decode_clip(path, **SETTINGS)
        with av.open(str(path)) as container:
            start = container.start_time / 1e6
            pictures = [(f.time - start, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
        for k in range(10):
            shown = max((item for item in pictures if item[0] <= k + 0.5), key=lambda item: item[0])[1]
            difference = np.abs(ours.frames[k].astype(int) - shown.astype(int))
            assert difference.mean() < 1.5, (path.name, k)
        assert ours.audio.shape == (10, 16_000)
        with av.open(str(path)) as container:
            resampler = av.AudioResampler(format="flt", layout="mono", rate=16_000)
            pieces = [r for f in container.decode(audio=0) for r in resampler.resample(f)] + resampler.resample(None)
            wave = np.concatenate([p.to_ndarray().ravel() for p in pieces])
        for k in range(1, 9):
            theirs = wave[k * 16_000 : (k + 1) * 16_000]
            # Two resamplers differ at the window's edges, and where a full-scale sample overshoots.
            assert np.corrcoef(ours.audio[k][200:-200], theirs[200:-200])[0, 1] > 0.99, (path.name, k)


def test_the_real_clips_turned_by_their_header_alone_come_turned(shared_data: Path, tmp_path: Path) -> None:
    """Packets are copied as they are; a phone writes such a header when it is held upright."""
    for path in sorted((shared_data / "clips").glob("*.mp4")):
        turned = tmp_path / path.name
        with av.open(str(path)) as source, av.open(str(turned), "w") as out:
            streams = {
                s.index: out.add_stream_from_template(s) for s in (source.streams.video[0], source.streams.audio[0])
            }
            streams[source.streams.video[0].index].set_display_rotation(-90)
            for packet in source.demux(source.streams.video[0], source.streams.audio[0]):
                if packet.dts is not None:
                    packet.stream = streams[packet.stream.index]
                    out.mux(packet)
        plain, shown = decode_clip(path, **SETTINGS), decode_clip(turned, **SETTINGS)
        assert (shown.frames == np.rot90(plain.frames, -1, (1, 2))).all(), path.name
        assert np.corrcoef(shown.audio.ravel(), plain.audio.ravel())[0, 1] > 0.999


@pytest.mark.slow
def test_a_window_of_the_real_clips_equals_an_independent_decode(shared_data: Path) -> None:
    """Everything is decoded here from the beginning, without the module's code."""
    for path in sorted((shared_data / "clips").glob("*.mp4")):
        ours = decode_clip(path, **SETTINGS | {"segments": 3}, start=5.25)
        with av.open(str(path)) as container:
            start = container.start_time / 1e6
            pictures = [(f.time - start, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
        for k in range(3):
            shown = max((item for item in pictures if item[0] <= k + 5.75), key=lambda item: item[0])[1]
            assert (ours.frames[k] == shown).all(), (path.name, k)
        with av.open(str(path)) as container:
            pieces = [frame.to_ndarray().mean(0) for frame in container.decode(audio=0)]
            rate = container.streams.audio[0].rate
        wave, at = np.concatenate(pieces).clip(-1, 1), round(5.25 * rate)
        cut = decode_clip(path, **SETTINGS | {"segments": 3, "sample_rate": rate}, start=5.25).audio.ravel()
        # One of the clips has timestamps that waver by up to 0.8 ms.
        apart = {k: float(np.abs(cut - wave[at + k : at + k + len(cut)]).max()) for k in range(-45, 46)}
        assert min(apart.values()) < 1e-3, path.name  # AAC fills bands with noise of its own


def test_a_real_sound_is_heard_without_pictures(shared_data: Path) -> None:
    import soundfile

    path = sorted((shared_data / "esc10").rglob("*.ogg"))[0]
    wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
    segments = len(wave) // rate
    settings = SETTINGS | {"segments": segments, "sample_rate": rate}
    ours = decode_clip(path, **settings, missing_pictures="blank")
    np.testing.assert_allclose(ours.audio.ravel(), wave.mean(1)[: segments * rate], atol=1e-4)
