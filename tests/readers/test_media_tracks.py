"""Which track, which way up, at which time: what a container says beside its frames, as a player obeys it."""

import resource
from fractions import Fraction
from pathlib import Path

import media_files
import numpy as np
import pytest
import soundfile
from av.stream import Disposition
from media_files import Film, Sound, heard, seen, write
from PIL import Image

from data_modules.readers.media import decode_clip, probe
from data_modules.readers.media_streams import MediaError

SETTINGS = {"segments": 10, "segment_seconds": 1.0, "sample_rate": 16_000}
TONES = [200.0 + 100 * k for k in range(10)]


def corner(image: np.ndarray) -> str:
    """Which quarter of a picture is red."""
    height, width = image.shape[0] // 2, image.shape[1] // 2
    quarters = {
        "upper left": image[:height, :width],
        "upper right": image[:height, width:],
        "lower left": image[height:, :width],
        "lower right": image[height:, width:],
    }
    return max(quarters, key=lambda name: float(quarters[name][..., 0].mean() - quarters[name][..., 1].mean()))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_film_is_turned_as_its_display_matrix_says(tmp_path: Path, suffix: str, degrees: int) -> None:
    path = write(tmp_path / f"a.{suffix}", film=Film(end=2, rotation={"degrees": degrees}), sounds=[Sound(end=2)])
    shown = decode_clip(path, **SETTINGS | {"segments": 2}).frames
    stored = Image.fromarray(media_files.picture(1, (64, 48)))
    right = np.asarray(stored.rotate(degrees, expand=True))  # both count against the clock
    assert shown.shape[1:] == right.shape
    assert np.abs(shown[1].astype(int) - right).mean() < 8
    portrait = decode_clip(path, **SETTINGS | {"segments": 2}, frame_size=24).frames.shape[1:3]
    assert portrait == ((24, 32) if degrees == 180 else (32, 24))


# Of ISO/IEC 14496-12: a picture's column p of row q is shown at (a p + c q, b p + d q). A phone that is held upright
# writes the first: what lies at the top (q = 0) is shown at the right.
MATRICES = {
    (0, 1, -1, 0): "upper right",
    (-1, 0, 0, -1): "lower right",
    (0, -1, 1, 0): "lower left",
    (-1, 0, 0, 1): "upper right",  # mirrored, as selfies are
    (1, 0, 0, -1): "lower left",
    (0, 1, 1, 0): "upper left",
    (0, -1, -1, 0): "lower right",
}


@pytest.mark.parametrize("matrix", MATRICES)
def test_every_quarter_turn_and_mirror_is_obeyed(tmp_path: Path, matrix: tuple[int, ...]) -> None:
    a, b, c, d = (65536 * value for value in matrix)
    film = Film(end=2, matrix=[a, b, 0, c, d, 0, 0, 0, 1 << 30])
    decoded = decode_clip(write(tmp_path / "a.mp4", film=film), **SETTINGS | {"segments": 2})
    assert corner(decoded.frames[0]) == MATRICES[matrix]
    assert decoded.frames.shape[1:3] == ((64, 48) if not matrix[0] else (48, 64))


def test_a_turn_between_quarters_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", film=Film(end=2, rotation={"degrees": 60}), sounds=[Sound(end=2)])
    decoded = decode_clip(path, **SETTINGS | {"segments": 2})
    assert corner(decoded.frames[0]) == "lower left"
    assert decoded.notes == ["turned by the nearest quarter turn, as its own is none"]


@pytest.mark.parametrize(("aspect", "shape"), [(Fraction(2), (48, 128)), (Fraction(1, 2), (48, 32)), (None, (48, 64))])
def test_pixels_that_are_no_squares_are_made_squares(
    tmp_path: Path, aspect: Fraction | None, shape: tuple[int, int]
) -> None:
    path = write(tmp_path / "a.mkv", film=Film(end=2, aspect=aspect), sounds=[Sound(end=2)])
    assert decode_clip(path, **SETTINGS | {"segments": 2}).frames.shape[1:3] == shape
    small = decode_clip(path, **SETTINGS | {"segments": 2}, frame_size=16).frames.shape[1:3]
    assert small == tuple(round(side * 16 / min(shape)) for side in shape)


@pytest.mark.parametrize(("suffix", "codec"), [("mkv", "pcm_s16le"), ("mkv", "aac"), ("mp4", "aac")])
def test_sound_after_a_hole_stays_with_its_pictures(tmp_path: Path, suffix: str, codec: str) -> None:
    path = write(tmp_path / f"a.{suffix}", sounds=[Sound(codec=codec, hole=(3, 6))])
    decoded = decode_clip(path, **SETTINGS)
    assert seen(decoded.frames) == list(range(10))
    assert heard(decoded.audio) == [*TONES[:3], None, None, None, *TONES[6:]]
    (note,) = decoded.notes
    assert note.startswith("the sound has a hole from 3.0")
    assert note.endswith("s: silence there")
    assert "holes in the sound: silent" in probe(path, seconds=10)


def test_rounded_timestamps_leave_no_seams(tmp_path: Path) -> None:
    """Matroska counts milliseconds; 1024 samples at 44.1 kHz are 23.22 of them."""

    def tone(time: np.ndarray) -> np.ndarray:
        return 0.5 * np.sin(2 * np.pi * 440 * time)[None]

    path = write(tmp_path / "a.mkv", sounds=[Sound(codec="pcm_s16le", rate=44_100, wave=tone)])
    wave = decode_clip(path, **SETTINGS | {"sample_rate": 44_100}).audio.ravel()
    np.testing.assert_allclose(wave, tone(np.arange(len(wave)) / 44_100)[0], atol=1e-4)


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "mov", "ts"])
def test_tracks_that_begin_at_different_times_keep_their_distance(tmp_path: Path, suffix: str) -> None:
    late_sound = decode_clip(write(tmp_path / f"a.{suffix}", sounds=[Sound(begin=3)]), **SETTINGS)
    assert seen(late_sound.frames) == list(range(10))
    assert heard(late_sound.audio) == [None, None, None, *TONES[3:]]
    (note,) = late_sound.notes
    assert note in {f"sound begins {late} s late: silence before" for late in ("3.00", "2.94")}  # 64 ms of AAC's own
    late_film = decode_clip(write(tmp_path / f"b.{suffix}", film=Film(begin=4)), **SETTINGS)
    assert seen(late_film.frames) == [4, 4, 4, 4, *range(4, 10)]
    assert heard(late_film.audio) == TONES
    assert late_film.notes == ["4 segments before the first picture: it is shown"]


def test_a_clock_that_begins_elsewhere_changes_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", film=Film(begin=120, end=130), sounds=[Sound(begin=120, end=130)])
    decoded = decode_clip(path, **SETTINGS)
    assert seen(decoded.frames) == list(range(10))  # 120 is a multiple of 12 and of 20
    assert heard(decoded.audio) == TONES


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_any_sample_format_is_what_another_library_reads(tmp_path: Path, subtype: str) -> None:
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "a.wav", rng.uniform(-0.9, 0.9, (32_000, 2)), 16_000, subtype=subtype)
    right, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    ours = decode_clip(tmp_path / "a.wav", **SETTINGS | {"segments": 2}, missing_pictures="blank").audio
    np.testing.assert_allclose(ours.ravel(), right.mean(1), atol=1e-6)


def test_a_hole_between_pictures_is_told(tmp_path: Path) -> None:
    decoded = decode_clip(write(tmp_path / "a.mkv", film=Film(hole=(2, 7))), **SETTINGS)
    assert seen(decoded.frames) == [0, 1, 1, 1, 1, 1, 1, 7, 8, 9]
    assert decoded.notes == ["5 segments in a hole between pictures: the one before is shown"]


def test_a_picture_is_not_shown_before_its_time(tmp_path: Path) -> None:
    """Slides, screen recordings and animated drawings stand still for seconds; GIF counts in hundredths of one."""
    slides = [Image.fromarray(media_files.picture(k, (64, 48))) for k in (0, 4)]
    slides[0].save(tmp_path / "a.gif", save_all=True, append_images=slides[1:], duration=[4000, 6000])
    decoded = decode_clip(tmp_path / "a.gif", **SETTINGS, missing_audio="silence")
    assert seen(decoded.frames) == [0] * 4 + [4] * 6


SURROUND = ["FL", "FR", "FC", "LFE", "BL", "BR"]


@pytest.mark.parametrize(
    ("speaker", "level"), [("FL", 0.5), ("FC", 0.7071), ("BR", 0.3536), ("LFE", 0.0)]
)  # ITU-R BS.775-3, annex 4: centre and surround go to left and right at 0.7071, the effects nowhere
def test_surround_sound_is_heard_as_loud_as_its_stereo_mix(tmp_path: Path, speaker: str, level: float) -> None:
    def wave(time: np.ndarray) -> np.ndarray:
        sound: np.ndarray = media_files.counting(time) * [[float(name == speaker)] for name in SURROUND]
        return sound

    path = write(tmp_path / "a.mkv", sounds=[Sound(codec="flac", wave=wave, layout="5.1")])
    decoded = decode_clip(path, **SETTINGS)
    assert np.sqrt(2 * np.mean(decoded.audio**2)) == pytest.approx(0.5 * level, abs=0.002)
    assert decoded.notes == ([] if level else ["its sound is pure silence"])


def test_the_default_track_is_heard_and_named(tmp_path: Path) -> None:
    dumb = Sound(wave=media_files.silent, default=False)
    path = write(tmp_path / "a.mkv", sounds=[dumb, Sound(default=True)])
    decoded = decode_clip(path, **SETTINGS)
    assert heard(decoded.audio) == TONES
    assert decoded.notes == ["sound track 2 of 2 is used, the default one"]
    neither = decode_clip(write(tmp_path / "b.mkv", sounds=[Sound(default=False), dumb]), **SETTINGS)
    assert heard(neither.audio) == TONES
    assert neither.notes == ["sound track 1 of 2 is used, as none is the default"]


@pytest.mark.parametrize("mark", [Disposition.attached_pic, Disposition.default, Disposition(0)])
@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_a_cover_before_the_film_is_not_the_film(tmp_path: Path, suffix: str, mark: Disposition) -> None:
    decoded = decode_clip(write(tmp_path / f"a.{suffix}", cover=mark), **SETTINGS)
    assert seen(decoded.frames) == list(range(10))
    assert corner(decoded.frames[0]) == "upper left"
    assert decoded.notes == []


def test_channels_that_cancel_each_other_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", sounds=[Sound(codec="pcm_s16le", wave=media_files.opposite, layout="stereo")])
    decoded = decode_clip(path, **SETTINGS)
    assert heard(decoded.audio) == [None] * 10
    assert decoded.notes == [
        "the channels of its sound cancel each other (opposite phase): their mix is all but silent"
    ]
    assert probe(path, seconds=10) == ["sound whose channels cancel each other (opposite phase)"]
    one = write(
        tmp_path / "b.mkv",
        sounds=[Sound(wave=lambda t: np.repeat(media_files.counting(t), 2, 0) * [[1], [0]], layout="stereo")],
    )
    assert decode_clip(one, **SETTINGS).notes == []
    dumb = write(tmp_path / "c.mkv", sounds=[Sound(codec="pcm_s16le", wave=media_files.silent)])
    assert decode_clip(dumb, **SETTINGS).notes == ["its sound is pure silence"]


def test_a_list_of_other_files_is_not_followed_whatever_it_is_called(tmp_path: Path) -> None:
    write(tmp_path / "secret.mp4")
    (tmp_path / "film.mp4").write_text("ffconcat version 1.0\nfile secret.mp4\n")
    with pytest.raises(MediaError, match=r"film\.mp4 cannot be decoded"):
        decode_clip(tmp_path / "film.mp4", **SETTINGS)


@pytest.mark.parametrize("name", ["10:30.mp4", "concat:a.mp4", "%d.mp4", "-i.mp4", "a b\u00e9.mp4"])
def test_a_name_is_a_name(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.mp4", film=Film(end=1), sounds=[Sound(end=1)]).rename(tmp_path / name)
    assert decode_clip(Path(name), **SETTINGS | {"segments": 1}).frames.shape == (1, 48, 64, 3)


@pytest.mark.parametrize("rate", [11_127, 22_255, 44_101])
def test_a_rate_without_common_divisors_costs_no_memory(tmp_path: Path, rate: int) -> None:
    """Old sound cards' rates; a filter bank of all phases would take up to 2.8 GB."""
    path = write(tmp_path / "a.wav", film=None, sounds=[Sound(codec="pcm_s16le", rate=rate)])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    decoded = decode_clip(path, **SETTINGS, missing_pictures="blank")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB
    assert heard(decoded.audio) == TONES


def test_a_rate_that_nobody_records_at_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", film=None, sounds=[Sound(codec="pcm_s16le", end=1)])
    content = path.read_bytes()
    place = content.index(b"fmt ") + 12
    path.write_bytes(content[:place] + (2**31 - 1).to_bytes(4, "little") + content[place + 4 :])
    with pytest.raises(MediaError, match=r"a\.wav cannot be decoded: its sound has 2147483647 samples a second"):
        decode_clip(path, **SETTINGS, missing_pictures="blank")
