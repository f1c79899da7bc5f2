"""Decode a media file into one picture and one sound window per segment, cut exactly at the segment borders (PyAV).

A window may begin anywhere: the file is entered shortly before it and left when it is over, so a film of any length
costs what its window costs. Where the way in turns out too late for the pictures or the sound of the window (transport
streams have no index), it is tried from farther back, at last from the beginning: a window is the same whichever way.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypedDict

import av
import numpy as np
from numpy.typing import NDArray

from data_modules.readers.media_pictures import Pictures, sized
from data_modules.readers.media_sound import Sound
from data_modules.readers.media_streams import Ends, MediaError, NoPicturesError, NoSoundError, ends, opened
from data_modules.readers.raster import read_picture

VIDEOS = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".vob", ".flv",
    ".f4v", ".wmv", ".asf", ".3gp", ".3g2", ".ogv", ".mxf", ".nut", ".dv", ".mjpg", ".mjpeg", ".y4m", ".h264", ".264",
    ".hevc", ".h265", ".265", ".ivf", ".obu", ".ism", ".ismv", ".mj2", ".amv", ".rm", ".rmvb",
)  # fmt: skip

SOUNDS = (
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2", ".m4a", ".m4b", ".aac", ".wma", ".aif", ".aiff", ".au",
    ".caf", ".amr", ".ac3", ".eac3", ".dts", ".mka", ".weba", ".wv", ".tta", ".ape", ".w64", ".voc", ".spx",
)  # fmt: skip
"""Suffixes of files that may hold pictures, or sound alone: those looked for in folders. What a file holds decides."""

FRAMES = (".jpg", ".jpeg", ".png")

BACK = (1.0, 8.0, 64.0)
"""Seconds before a window at which a file is entered, in turn; after them the beginning."""

GREY, SIDE = 128, 224
"""Side in pixels of blank pictures, if no size is requested."""

READER = 3
"""Of what a file decodes to; part of what names a cached sample. 2: display matrices, timestamps, default tracks. 3: a
picture is shown until the next one's time; surround sound keeps its centre."""


class ClipSpec(TypedDict):
    """Segments, sample rate and frame size: see `decode_clip`."""

    segments: int
    segment_seconds: float
    sample_rate: int
    frame_size: int | None


MissingAudio = Literal["error", "silence"]

MissingPictures = Literal["error", "blank"]


class Policy(TypedDict):
    """How to handle a file without sound or without pictures: see `decode_clip`."""

    missing_audio: MissingAudio
    missing_pictures: MissingPictures


@dataclass(frozen=True)
class DecodedClip:
    """Pictures uint8 [T, H, W, 3], sound float32 [T, S] mono in [-1, 1], and notes on imputed values."""

    frames: NDArray[np.uint8]
    audio: NDArray[np.float32]
    notes: list[str] = field(default_factory=list)


def decode_clip(
    path: Path,
    *,
    segments: int,
    segment_seconds: float,
    sample_rate: int,
    frame_size: int | None = None,
    missing_audio: MissingAudio = "error",
    missing_pictures: MissingPictures = "error",
    start: float = 0.0,
) -> DecodedClip:
    """Cut a window of a media file into segments.

    Pictures are those that a player shows at the segments' centres; sound lies where its timestamps say, mixed to mono;
    both count from the file's earliest timestamp. A file that ends early
    repeats its last picture and is padded with silence, holes are silent, and `notes` says so.

    Args:
        path: anything FFmpeg's libraries read.
        segments: T.
        segment_seconds: length of one.
        sample_rate: of the returned sound, in Hz.
        frame_size: shorter side of the returned pictures in pixels; None keeps the file's.
        missing_audio: a file that has no (or an empty) sound track is an error, or silent.
        missing_pictures: a file that has no pictures is an error, or grey.
        start: of the window, in seconds.

    Raises:
        MediaError: no such file, no pictures, no sound, or undecodable content.
    """
    cut = ClipSpec(segments=segments, segment_seconds=segment_seconds, sample_rate=sample_rate, frame_size=frame_size)
    frames, sound, notes = _window(path, cut, start)
    if frames is None:
        _require_pictures(path, missing_pictures)
        notes.append("no pictures: grey ones")
        frames = np.full((segments, frame_size or SIDE, frame_size or SIDE, 3), GREY, np.uint8)
    if sound is None:
        _require_sound(path, missing_audio)
        notes.append("no sound: silence")
        return DecodedClip(frames, np.zeros((segments, round(segment_seconds * sample_rate)), np.float32), notes)
    return DecodedClip(frames, _heard(path, sound, cut), [*notes, *sound.notes()])


def decode_sound(
    path: Path, *, segments: int, segment_seconds: float, sample_rate: int, start: float = 0.0
) -> tuple[NDArray[np.float32], list[str]]:
    """The sound of a window of a media file, as `decode_clip` cuts it, and notes; pictures are passed over.

    Returns:
        float32 [T, S] mono in [-1, 1].

    Raises:
        MediaError: no such file, no sound, or undecodable content.
    """
    cut = ClipSpec(segments=segments, segment_seconds=segment_seconds, sample_rate=sample_rate, frame_size=None)
    _, sound, notes = _window(path, cut, start, film=False)
    if sound is None:
        raise NoSoundError(f"{path} has no sound")
    return _heard(path, sound, cut), [*notes, *sound.notes()]


def _window(
    path: Path, cut: ClipSpec, start: float, *, film: bool = True
) -> tuple[NDArray[np.uint8] | None, Sound | None, list[str]]:
    """Pictures and sound of a window, None where the file has none, and notes on the pictures and the tracks; without
    `film` the sound alone."""
    seconds = cut["segments"] * cut["segment_seconds"]
    last = ends(path) if start else Ends(float("inf"), float("inf"), float("inf"))
    for back in (*(back for back in BACK if back < start), None):
        with opened(path) as media:
            if not film:
                media.without_film()
            if back is not None and not media.seek(start - back):
                continue
            pictures = Pictures(start, cut["segments"], cut["segment_seconds"], media.between)
            sound = Sound(start, seconds)
            until = {
                "film_until": min(pictures.centres[-1], last.film),
                "sound_until": min(start + seconds, last.sound),
            }
            for time, frame in media.frames(**until, damaged_before=start if back else float("-inf")):
                (pictures if isinstance(frame, av.VideoFrame) else sound).add(time, frame)
            # Where the first that came through lies inside of the window, the file may hold others before it.
            seen = media.film is None or (pictures.first is not None and pictures.first <= pictures.centres[0])
            heard = last.sound < start or (sound.first is not None and sound.first <= start)
            if back is not None and not (seen and heard):
                continue
            has_sound = media.sound is not None and (sound.first is not None or start > 0)
            if pictures.first is None:
                return None, sound if has_sound else None, media.notes
            frames = pictures.pixels(cut["frame_size"], media.aspect)
            return frames, sound if has_sound else None, [*media.notes, *pictures.notes()]
    raise AssertionError("the last way in is the beginning")


def decode_sound_with_frames(
    path: Path,
    folder: Path,
    *,
    segments: int,
    segment_seconds: float,
    sample_rate: int,
    frame_size: int | None = None,
    start: float = 0.0,
) -> DecodedClip:
    """A sound file and pictures taken while it sounded, cut into segments as `decode_clip` cuts a video.

    The pictures, in order of the numbers in their names, lie evenly over the sound's whole length: number k of n stands
    for its share from k / n to (k + 1) / n, whatever rate they were taken at.

    Args:
        path: of the sound.
        folder: of the pictures; other files in it are passed over.
        segments: T.
        segment_seconds: length of one.
        sample_rate: of the returned sound, in Hz.
        frame_size: shorter side of the returned pictures in pixels; None keeps the files'.
        start: of the window, in seconds.

    Raises:
        MediaError: no sound, no pictures, pictures of several sizes, or a damaged file.
    """
    cut = ClipSpec(segments=segments, segment_seconds=segment_seconds, sample_rate=sample_rate, frame_size=frame_size)
    _, sound, notes = _window(path, cut, start)
    if sound is None:
        raise NoSoundError(f"{path} has no sound")
    files = sorted((f for f in folder.glob("*") if f.suffix.lower() in FRAMES), key=lambda f: _in_order(f.name))
    if not files:
        _require_pictures(path, "error")
    centres = start + (np.arange(segments) + 0.5) * segment_seconds
    heard = ends(path).length
    if late := int((centres > heard).sum()):
        notes.append(f"{late} segments after the last picture: it is repeated")
    chosen = np.minimum(centres / heard * len(files), len(files) - 1).astype(int).tolist()
    pictures = {k: sized(read_picture(files[k], str(files[k]))[0], frame_size) for k in sorted(set(chosen))}
    if len(sizes := {picture.shape for picture in pictures.values()}) > 1:
        shown = ", ".join(f"{width} x {height}" for height, width, _ in sorted(sizes))
        raise MediaError(f"{folder}: pictures of several sizes ({shown}); expected one")
    frames = np.stack([pictures[k] for k in chosen])
    return DecodedClip(frames, _heard(path, sound, cut), [*notes, *sound.notes()])


def _in_order(name: str) -> list[tuple[int, str]]:
    """Sorts 9.jpg before 10.jpg."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _heard(path: Path, sound: Sound, cut: ClipSpec) -> NDArray[np.float32]:
    try:
        return sound.windows(cut["segments"], cut["sample_rate"])
    except MediaError as error:
        raise MediaError(f"{path}: {error}") from None


def _require_sound(path: Path, missing_audio: MissingAudio) -> None:
    if missing_audio == "error":
        raise NoSoundError(f"{path} has no sound; set missing_audio=silence to use silence and count such files")


def _require_pictures(path: Path, missing_pictures: MissingPictures) -> None:
    if missing_pictures == "error":
        raise NoPicturesError(
            f"{path} has no pictures: expected {' or '.join(FRAMES)} in the folder {path.with_suffix('')} beside it; "
            "set missing_pictures=blank to use grey ones and count such files"
        )


def probe(
    path: Path,
    *,
    seconds: float,
    missing_audio: MissingAudio = "error",
    missing_pictures: MissingPictures = "error",
    frames: bool = False,
) -> list[str]:
    """Warnings about a file without decoding its pictures: cheap enough for a whole data set before training.

    Args:
        path: a media file.
        seconds: length that a clip must have.
        missing_audio: as for `decode_clip`.
        missing_pictures: as for `decode_clip`.
        frames: a folder of pictures lies beside it.

    Returns:
        Reasons in words, each the same for every file it holds for; empty for a sound clip.

    Raises:
        MediaError: it cannot be opened, or its sound cannot be decoded.
        NoPicturesError: it holds no pictures, and `missing_pictures` is "error".
        NoSoundError: it has no sound, and `missing_audio` is "error".
    """
    remarks: list[str] = []
    with opened(path) as media:
        film, sound = media.film, Sound(0.0, seconds)
        if film is None and not frames:
            _require_pictures(path, missing_pictures)
            remarks.append("no pictures: grey ones are used")
        elif film is not None and film.duration:
            end = float((film.duration + (film.start_time or 0)) * film.time_base) - media.start
            if end < seconds - 0.5:
                remarks.append("pictures end early: the last one is repeated")
        if media.notes:
            remarks.append("several tracks of pictures or sound: the default one, or the first, is used")
        media.streams = [media.sound] if media.sound else []
        for time, frame in media.frames(film_until=0.0, sound_until=seconds):
            sound.add(time, frame)
    if sound.first is None:
        _require_sound(path, missing_audio)
        return [*remarks, "no sound: silence is used"]
    if sound.cancelled:
        remarks.append("sound whose channels cancel each other (opposite phase)")
    elif not sound.track.any():
        remarks.append("a sound track of pure silence")
    if sound.holes:
        remarks.append("holes in the sound: silent")
    if sound.first > 0.5:
        remarks.append("sound begins late: silence before")
    if sound.cursor < len(sound.track) - 0.5 * sound.rate:
        remarks.append("sound ends early: padded with silence")
    return remarks
