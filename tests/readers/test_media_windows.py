"""Films of any length: every window is what a decode from the beginning gives, and costs no more than itself."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import media_files
import numpy as np
import pytest
from media_files import Film, Sound, heard, seen, write

from data_modules.errors import DataError
from data_modules.kinds.clips import ClipDataModule
from data_modules.readers.media import SOUNDS, VIDEOS, decode_clip
from data_modules.readers.media_pictures import Pictures
from data_modules.readers.media_streams import ends

SETTINGS: dict[str, Any] = {"segments": 10, "segment_seconds": 1.0, "sample_rate": 16_000}
RATES = {"libopus": 48_000, "ac3": 48_000, "libmp3lame": 44_100, "mp2": 44_100, "wmav2": 44_100}


def tones(start: int) -> list[float]:
    return [200.0 + 100 * (second % 20) for second in range(start, start + 10)]


def some(every: Iterable[str], *quick: str) -> list[Any]:
    """All of them, the rest as slow tests."""
    return [suffix if suffix in quick else pytest.param(suffix, marks=pytest.mark.slow) for suffix in every]


def long(path: Path, seconds: float = 60, **film: Any) -> Path:
    pictures, sound = media_files.CONTAINERS[path.suffix[1:]]
    fps = 25 if pictures == "mpeg2video" else 4
    return write(
        path,
        film=Film(codec=pictures, end=seconds, fps=fps, keys=40, **film),
        sounds=[Sound(codec=sound, end=seconds, rate=RATES.get(sound, 16_000))],
    )


@pytest.mark.parametrize("suffix", some(media_files.CONTAINERS, "mp4"))
def test_a_window_of_a_long_film_is_entered_and_left_on_time(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, count = long(tmp_path / f"a.{suffix}"), []
    add = Pictures.add
    monkeypatch.setattr(Pictures, "add", lambda self, *frame: (count.append(1), add(self, *frame)))
    fps = 25 if suffix in ("mts", "mpg") else 4
    for start in (0, 30, 50):
        count.clear()
        decoded = decode_clip(path, **SETTINGS, start=start)
        assert seen(decoded.frames) == [second % 12 for second in range(start, start + 10)]
        assert heard(decoded.audio) == tones(start)
        assert len(count) <= 24 * fps  # its own ten seconds, up to a second and a group of pictures before, a retry
    assert ends(path).length == pytest.approx(60, abs=0.3)
    data = module()
    assert data.samples_in(path, {}) == [Path(f"{path}#{k}") for k in range(6)]


@pytest.mark.parametrize("suffix", some(media_files.SOUND_FILES, "wav", "mp3"))
def test_a_window_of_a_long_sound_is_entered_and_left_on_time(tmp_path: Path, suffix: str) -> None:
    codec = media_files.SOUND_FILES[suffix]
    path = write(
        tmp_path / f"a.{suffix}", film=None, sounds=[Sound(codec=codec, end=60, rate=RATES.get(codec, 16_000))]
    )
    for start in (0, 20, 50):
        decoded = decode_clip(path, **SETTINGS, start=start, missing_pictures="blank")
        assert heard(decoded.audio) == tones(start)
    assert len(module().samples_in(path, {"missing_pictures": "blank"})) == 6
    assert module().samples_in(path, {}) == [path]  # that it has no pictures is said once


def test_tracks_that_lie_one_behind_the_other_in_the_file_are_both_found(tmp_path: Path) -> None:
    """Matroska without interleaving: all sound lies behind all pictures."""
    path = tmp_path / "a.mkv"
    write(path, film=Film(end=90), sounds=[Sound(end=90)], interleaved=False)
    for start in (0, 30, 80):
        decoded = decode_clip(path, **SETTINGS, start=start)
        assert seen(decoded.frames) == [second % 12 for second in range(start, start + 10)]
        assert heard(decoded.audio) == tones(start)


def test_a_track_that_ended_or_has_not_begun_is_told_in_its_windows(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", film=Film(end=40), sounds=[Sound(begin=12, end=25)])
    window = {start: decode_clip(path, **SETTINGS, start=start) for start in (0, 10, 20, 30)}
    assert [not decoded.audio.any() for decoded in window.values()] == [True, False, False, True]
    assert window[0].notes == window[30].notes == ["no sound in these seconds: silence"]
    assert window[10].notes == ["sound begins 2.00 s late: silence before"]
    assert window[20].notes[0].startswith("sound ends 4.9")  # AAC fills its last 64 ms
    longer = write(tmp_path / "b.mkv", film=Film(end=15), sounds=[Sound(end=40)])
    last = decode_clip(longer, **SETTINGS, start=30)
    assert seen(last.frames) == [14 % 12] * 10
    assert heard(last.audio) == tones(30)
    assert last.notes == ["10 segments after the last picture: it is repeated"]


def module() -> ClipDataModule:
    data = ClipDataModule()
    data.name, data.segments, data.segment_seconds, data.sample_rate = "clips", 10, 1.0, 16_000
    return data


def test_a_film_is_answered_over_its_whole_length(tmp_path: Path) -> None:
    path, data = long(tmp_path / "a.mp4", seconds=33), module()
    parts = data.samples_in(path, {})
    assert [str(part.name) for part in parts] == ["a.mp4#0", "a.mp4#1", "a.mp4#2", "a.mp4#3"]
    clips = [data.read(part, {}) for part in parts]
    assert [(clip.start, clip.end) for clip, _ in clips] == [(0, 10), (10, 20), (20, 30), (30, 40)]
    assert [seen(clip.frames)[0] for clip, _ in clips] == [0, 10, 8, 6]
    assert [notes for _, notes in clips[:3]] == [[], [], []]
    assert any("padded with silence" in note for note in clips[3][1])
    clip, (note,) = data.read(path, {})
    assert clip.end == 10
    assert note.startswith("only 0 to 10 s of 33.0")


def test_a_stretch_of_a_film_is_counted_from_its_start(tmp_path: Path) -> None:
    path, data = long(tmp_path / "a.mp4", seconds=33), module()
    said = {"start": "12.5", "end": "30"}
    parts = data.samples_in(path, said)
    assert [part.name for part in parts] == ["a.mp4#0", "a.mp4#1"]
    assert [data.read(part, dict(said))[0].start for part in parts] == [12.5, 22.5]
    assert data.samples_in(path, {"start": "3", "end": "5"}) == [path]
    assert data.read(path, {"start": "3", "end": "5"})[1] == []
    assert data.samples_in(path, {"start": "50"}) == [path]
    with pytest.raises(DataError, match=r"a\.mp4: start=50 lies behind its end, at 33\.0\d s"):
        data.read(path, {"start": "50"})
    with pytest.raises(DataError, match=r"a\.mp4#9: there are 4 windows of 10 s"):
        data.read(Path(f"{path}#9"), {})
    for wrong, told in {
        "start=soon": "start: expected seconds from the beginning of the file, got 'soon'",
        "end=-1": "end: expected seconds",
        "start=nan": "start: expected seconds",
    }.items():
        key, _, value = wrong.partition("=")
        with pytest.raises(DataError, match=told):
            data.require({key: value})
    with pytest.raises(DataError, match=r"end=3 is not behind start=5"):
        data.require({"start": "5", "end": "3"})


@pytest.mark.parametrize("seconds", [9.0, 10.0, 10.4])
def test_a_clip_is_no_film_for_a_fraction_of_a_segment(tmp_path: Path, seconds: float) -> None:
    path = write(tmp_path / "a.mkv", film=Film(end=seconds, fps=20), sounds=[Sound(end=seconds)])
    assert module().samples_in(path, {}) == [path]


def test_a_header_that_lies_about_its_length_is_not_believed(tmp_path: Path) -> None:
    """An MP3 of changing bit rates without an index: FFmpeg guesses its length from its first frames."""

    def wave(time: np.ndarray) -> np.ndarray:
        loud = np.random.default_rng(0).normal(size=len(time))
        return np.where(time < 5, 0.0, 0.1 * loud)[None]

    path = write(tmp_path / "a.aac", film=None, sounds=[Sound(codec="aac", end=40, wave=wave)])
    assert ends(path).length == pytest.approx(40, abs=0.2)
    whole = write(tmp_path / "b.mkv", film=Film(end=60), sounds=[Sound(end=60)]).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    assert 20 < ends(tmp_path / "cut.mkv").length < 40


def test_every_kind_is_looked_for_in_folders() -> None:
    known = {
        *media_files.CONTAINERS,
        *media_files.SOUND_FILES,
        "gif",
        "m2ts",
        "m4v",
        "mpeg",
        "vob",
        "3g2",
        "oga",
        "amr",
    }
    assert {f".{suffix}" for suffix in known} <= set(ClipDataModule.readable)
    assert len({*VIDEOS, *SOUNDS}) == len(VIDEOS) + len(SOUNDS)


@pytest.mark.parametrize("kind", ["gif", "webm"])
def test_pictures_without_sound_and_sound_without_pictures_have_one_policy(tmp_path: Path, kind: str) -> None:
    data = module()
    codec = {"gif": "gif", "webm": "libvpx-vp9"}[kind]
    dumb = write(tmp_path / f"a.{kind}", film=Film(codec=codec), sounds=[])
    with pytest.raises(DataError, match="has no sound; set missing_audio=silence"):
        data.read(dumb, {})
    clip, notes = data.read(dumb, {"missing_audio": "silence"})
    assert seen(clip.frames) == list(range(10))
    assert not clip.audio.any()
    assert notes == ["no sound: silence"]
    blind = write(tmp_path / "b.mp3", film=None, sounds=[Sound(codec="libmp3lame")])
    with pytest.raises(DataError, match=r"b\.mp3 has no pictures.*set missing_pictures=blank"):
        data.read(blind, {})
    clip, notes = data.read(blind, {"missing_pictures": "blank"})
    assert heard(clip.audio) == tones(0)
    assert (clip.frames == 128).all()
    assert notes[0] == "no pictures: grey ones"
    with pytest.raises(DataError, match="missing_pictures: expected error or blank, got 'black'"):
        data.require({"missing_pictures": "black"})


def test_a_cover_is_no_picture_of_what_happens(tmp_path: Path) -> None:
    sound = Sound(codec="libmp3lame")
    path = write(tmp_path / "a.mp3", film=None, sounds=[sound], cover=media_files.Disposition.attached_pic)
    with pytest.raises(DataError, match="has no pictures"):
        decode_clip(path, **SETTINGS)


@pytest.mark.parametrize("suffix", some(["mp3", "m4a", "opus", "aac", "wma"], "mp3"))
def test_any_sound_goes_with_the_frames_beside_it(tmp_path: Path, suffix: str) -> None:
    from PIL import Image

    codec = media_files.SOUND_FILES[suffix]
    path = write(
        tmp_path / f"a.{suffix}", film=None, sounds=[Sound(codec=codec, end=20, rate=RATES.get(codec, 16_000))]
    )
    (tmp_path / "a").mkdir()
    for second in range(20):
        Image.fromarray(media_files.picture(second, (64, 48))).save(tmp_path / "a" / f"{second}.png")
    data = module()
    parts = data.samples_in(path, {})
    assert len(parts) == 2
    clip, _ = data.read(parts[1], {})
    assert seen(clip.frames) == [second % 12 for second in range(10, 20)]
    assert heard(clip.audio) == tones(10)
