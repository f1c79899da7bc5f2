"""Decode a media file into one picture and one sound window per segment, cut exactly at the segment borders (PyAV)."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypedDict

import av
import numpy as np
import torch
import torchaudio
from numpy.typing import NDArray
from PIL import Image

from data_modules.errors import DataError
from data_modules.raster import read_picture

VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")
SOUNDS = (".wav", ".flac", ".ogg")
FRAMES = (".jpg", ".jpeg", ".png")


class Cut(TypedDict):
    """How clips are cut: see `decode_clip`."""

    segments: int
    segment_seconds: float
    sample_rate: int
    frame_size: int | None


class MediaError(DataError):
    """A media file cannot be decoded; the message names it and says why."""


class NoSoundError(MediaError):
    """A media file has no sound, and the policy does not allow silence."""


@dataclass(frozen=True)
class Decoded:
    """Pictures uint8 [T, H, W, 3], sound float32 [T, S] mono in [-1, 1], and what had to be made up."""

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
    missing_audio: Literal["error", "silence"] = "error",
) -> Decoded:
    """Cut a media file into segments.

    Pictures are those nearest to the segments' centres by their timestamps; channels are averaged to mono; both streams
    start at the file's earliest timestamp. A clip that ends early repeats its last picture and is padded with silence,
    which `notes` says.

    Args:
        path: anything FFmpeg's libraries read.
        segments: T.
        segment_seconds: length of one.
        sample_rate: of the returned sound, in Hz.
        frame_size: shorter side of the returned pictures in pixels; None keeps the file's.
        missing_audio: what to do with a file that has no (or an empty) sound track.

    Raises:
        MediaError: no such file, no pictures, no sound, or undecodable content.
    """
    if not path.is_file():
        raise MediaError(f"{path} is a folder; expected a file" if path.is_dir() else f"{path} does not exist")
    centres = [(k + 0.5) * segment_seconds for k in range(segments)]
    try:
        with av.open(str(path)) as container:
            pictures, last, waves, rate = _read(container, frame_size, centres, segments * segment_seconds)
        frames = np.stack(pictures) if pictures else np.empty(0, np.uint8)
    except PermissionError as error:
        raise MediaError(f"{path} cannot be read: {error.strerror}") from None
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"{path} cannot be decoded: {error}; it is damaged or no media file") from error
    if not pictures:
        raise MediaError(f"{path} holds no pictures; expected a video of {segments * segment_seconds:g} s")
    notes: list[str] = []
    if late := sum(centre > last + segment_seconds / 2 for centre in centres):
        notes.append(f"{late} segments after the last picture: it is repeated")
    if not waves:
        _require_sound(path, missing_audio)
        notes.append("no sound: silence")
        return Decoded(frames, np.zeros((segments, round(segment_seconds * sample_rate)), np.float32), notes)
    return Decoded(frames, _windows(path, waves, rate, segments, segment_seconds, sample_rate, notes), notes)


def decode_sound_with_frames(
    path: Path,
    folder: Path,
    *,
    segments: int,
    segment_seconds: float,
    sample_rate: int,
    frame_size: int | None = None,
) -> Decoded:
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

    Raises:
        MediaError: no sound, no pictures, pictures of several sizes, or a damaged file.
    """
    waves, rate, heard = _sound(path, segments * segment_seconds)
    files = sorted((f for f in folder.glob("*") if f.suffix.lower() in FRAMES), key=lambda f: _in_order(f.name))
    if not files:
        raise MediaError(f"{path} has no pictures: expected {' or '.join(FRAMES)} in the folder {folder} beside it")
    notes: list[str] = []
    centres = (np.arange(segments) + 0.5) * segment_seconds
    if late := int((centres > heard).sum()):
        notes.append(f"{late} segments after the last picture: it is repeated")
    chosen = np.minimum(centres / heard * len(files), len(files) - 1).astype(int).tolist()
    pictures = {k: _sized(read_picture(files[k], str(files[k]))[0], frame_size) for k in sorted(set(chosen))}
    if len(sizes := {picture.shape for picture in pictures.values()}) > 1:
        shown = ", ".join(f"{width} x {height}" for height, width, _ in sorted(sizes))
        raise MediaError(f"{folder}: pictures of several sizes ({shown}); expected one")
    frames = np.stack([pictures[k] for k in chosen])
    return Decoded(frames, _windows(path, waves, rate, segments, segment_seconds, sample_rate, notes), notes)


def _sound(path: Path, seconds: float) -> tuple["Pieces", int, float]:
    """Pieces of the first so many seconds, their rate, and the length in seconds of all there is."""
    waves, rate, heard = [], 0, 0.0
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(*container.streams.audio[:1]) if container.streams.audio else ():
                rate = rate or frame.sample_rate
                if heard < seconds:
                    waves.append((heard, _mono(frame)))
                heard += frame.samples / rate
    except FileNotFoundError:
        raise MediaError(f"{path} does not exist") from None
    except PermissionError as error:
        raise MediaError(f"{path} cannot be read: {error.strerror}") from None
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"{path} cannot be decoded: {error}; it is damaged or no media file") from error
    if not heard:
        raise NoSoundError(f"{path} has no sound")
    return waves, rate, heard


def _in_order(name: str) -> list[tuple[int, str]]:
    """Sorts 9.jpg before 10.jpg."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _sized(image: NDArray[np.uint8], frame_size: int | None) -> NDArray[np.uint8]:
    scale = frame_size / min(image.shape[:2]) if frame_size else 1.0
    size = round(image.shape[1] * scale), round(image.shape[0] * scale)
    return image if scale == 1 else np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def _require_sound(path: Path, missing_audio: Literal["error", "silence"]) -> None:
    if missing_audio == "error":
        raise NoSoundError(f"{path} has no sound; set missing_audio=silence to use silence and count such files")


def probe(path: Path, *, seconds: float, missing_audio: Literal["error", "silence"]) -> list[str]:
    """What is odd about a file, without decoding its pictures: what a whole data set can afford before training.

    Args:
        path: a media file.
        seconds: length that a clip must have.
        missing_audio: as for `decode_clip`.

    Returns:
        Reasons in words, each the same for every file it holds for; empty for a sound clip.

    Raises:
        MediaError: it cannot be opened, holds no pictures, or its sound cannot be decoded.
        NoSoundError: it has no sound, and `missing_audio` is "error".
    """
    remarks: list[str] = []
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise MediaError(f"{path} holds no pictures")
            pictures, sound = container.streams.video[0], container.streams.audio[:1]
            if pictures.duration and pictures.duration * float(pictures.time_base or 0) < seconds - 0.5:
                remarks.append("pictures end early: the last one is repeated")
            heard, loudest = 0.0, 0.0
            for frame in container.decode(*sound) if sound else ():
                heard += frame.samples / frame.sample_rate
                loudest = max(loudest, float(np.abs(_mono(frame)).max(initial=0)))
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"{path} cannot be decoded: {error}; it is damaged or no media file") from error
    if not heard:
        _require_sound(path, missing_audio)
        return [*remarks, "no sound: silence is used"]
    if not loudest:
        remarks.append("a sound track of pure silence")
    if heard < seconds - 0.5:
        remarks.append("sound ends early: padded with silence")
    return remarks


Pieces = list[tuple[float, NDArray[np.float32]]]


def _read(
    container: av.container.InputContainer, frame_size: int | None, centres: list[float], seconds: float
) -> tuple[list[NDArray[np.uint8]], float, Pieces, int]:
    """The picture nearest to each centre, the last picture's time, timestamped sound pieces and their rate."""
    streams = [*container.streams.video[:1], *container.streams.audio[:1]]
    if not streams:
        raise ValueError("it has neither pictures nor sound")
    start = (container.start_time or 0) / av.time_base
    nearest: list[av.VideoFrame | None] = [None] * len(centres)
    distance = [float("inf")] * len(centres)
    last, rate, waves = float("-inf"), 0, []
    for frame in container.decode(*streams):
        if frame.time is None or (time := frame.time - start) > seconds + 1:
            continue
        if isinstance(frame, av.VideoFrame):
            last = max(last, time)
            for k, centre in enumerate(centres):
                if abs(time - centre) < distance[k]:
                    nearest[k], distance[k] = frame, abs(time - centre)
        else:
            rate = frame.sample_rate
            waves.append((time, _mono(frame)))
    return [_pixels(frame, frame_size) for frame in nearest if frame is not None], last, waves, rate


def _pixels(frame: av.VideoFrame, frame_size: int | None) -> NDArray[np.uint8]:
    scale = frame_size / min(frame.width, frame.height) if frame_size else 1.0
    small = frame.reformat(round(frame.width * scale), round(frame.height * scale), format="rgb24")
    pixels: NDArray[np.uint8] = small.to_ndarray()
    return pixels


def _mono(frame: av.AudioFrame) -> NDArray[np.float32]:
    """A sound frame of any sample format to float32 [n], the mean of its channels."""
    raw = frame.to_ndarray()
    if not frame.format.is_planar:
        raw = raw.reshape(-1, frame.layout.nb_channels).T
    if raw.dtype == np.uint8:
        raw = raw.astype(np.float32) / 128 - 1
    elif np.issubdtype(raw.dtype, np.integer):
        raw = raw.astype(np.float32) / np.float32(-float(np.iinfo(raw.dtype).min))
    mono: NDArray[np.float32] = raw.mean(0, dtype=np.float32)
    return mono


def _windows(
    path: Path, waves: Pieces, rate: int, segments: int, seconds: float, sample_rate: int, notes: list[str]
) -> NDArray[np.float32]:
    """Place the pieces by their timestamps, resample, cut."""
    length = round(segments * seconds * rate)
    track = np.zeros(length + rate, np.float32)
    end = max(0, round(waves[0][0] * rate))
    for _, piece in waves:  # pieces follow each other without gaps; timestamps of later ones are rounded
        room = max(0, len(track) - end)
        track[end : end + len(piece)] = piece[:room]
        end += len(piece)
    if not np.isfinite(track).all():
        raise MediaError(f"{path}: {int((~np.isfinite(track)).sum())} samples of its sound are NaN or infinite")
    if end < length:
        notes.append(f"sound ends {(length - end) / rate:.2f} s early: padded with silence")
    wave = torch.from_numpy(track[:length])
    if rate != sample_rate:
        wave = torchaudio.functional.resample(wave, rate, sample_rate)
    size = round(seconds * sample_rate)
    out = torch.zeros(segments * size)
    out[: len(wave)] = wave[: segments * size]
    return out.reshape(segments, size).numpy()
