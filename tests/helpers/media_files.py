"""Media files whose right decoding is known by how they are written: what is seen and heard says at which second it is.

Second k of the film is grey 20 k, modulo 240, with a red upper left quarter; second k of the sound is a tone of
200 + 100 (k modulo 20) Hz.
"""

import heapq
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition

Wave = Callable[[np.ndarray], np.ndarray]
RED = (230, 20, 20)
CONTAINERS = {
    "avi": ("mpeg4", "libmp3lame"),
    "mkv": ("mpeg4", "aac"),
    "mp4": ("mpeg4", "aac"),
    "mov": ("libx264", "aac"),
    "webm": ("libvpx-vp9", "libopus"),
    "ts": ("libx264", "aac"),
    "mts": ("mpeg2video", "mp2"),
    "mpg": ("mpeg2video", "mp2"),
    "flv": ("flv", "libmp3lame"),
    "wmv": ("wmv2", "wmav2"),
    "3gp": ("mpeg4", "aac"),
}
"""Suffix to codecs of pictures and sound."""
SOUND_FILES = {
    "wav": "pcm_s16le",
    "flac": "flac",
    "ogg": "libopus",
    "opus": "libopus",
    "mp3": "libmp3lame",
    "m4a": "aac",
    "aac": "aac",
    "mka": "flac",
    "wma": "wmav2",
    "aiff": "pcm_s16be",
    "ac3": "ac3",
}
FORMATS = {"mts": "mpegts", "aac": "adts", "mka": "matroska", "wma": "asf", "m4a": "ipod"}
"""Of a suffix, where FFmpeg does not know it."""


def pitch(time: np.ndarray) -> np.ndarray:
    return 200 + 100 * (np.floor(time) % 20)


def counting(time: np.ndarray) -> np.ndarray:
    """[1, n]: the tone of every second."""
    return 0.5 * np.sin(2 * np.pi * pitch(time) * (time % 1))[None]


def silent(time: np.ndarray) -> np.ndarray:
    return np.zeros((1, len(time)))


def opposite(time: np.ndarray) -> np.ndarray:
    return np.concatenate([counting(time), -counting(time)])


@dataclass(frozen=True)
class Film:
    """A track of pictures: from `begin` to `end` in seconds, none in the `hole`."""

    codec: str = "mpeg4"
    fps: int = 4
    begin: float = 0.0
    end: float = 10.0
    hole: tuple[float, float] = (0.0, 0.0)
    size: tuple[int, int] = (64, 48)
    rotation: dict[str, Any] | None = None
    matrix: list[int] | None = None
    aspect: Fraction | None = None
    keys: int = 12


@dataclass(frozen=True)
class Sound:
    """A track of sound: what `wave` says at every moment from `begin` to `end`, none in the `hole`."""

    codec: str = "aac"
    rate: int = 16_000
    begin: float = 0.0
    end: float = 10.0
    hole: tuple[float, float] = (0.0, 0.0)
    wave: Wave = counting
    layout: str = "mono"
    default: bool | None = None


def picture(second: int, size: tuple[int, int]) -> np.ndarray:
    width, height = size
    image = np.full((height, width, 3), 20 * (second % 12), np.uint8)
    image[: height // 2, : width // 2] = RED
    return image


def write(
    path: Path,
    *,
    film: Film | None = Film(),
    sounds: Sequence[Sound] = (Sound(),),
    cover: Disposition | None = None,
    interleaved: bool = True,
) -> Path:
    """Write a file; `cover` puts a green still before the film, marked as it says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format=FORMATS.get(path.suffix[1:])) as out:
        green = _add_cover(out, cover) if cover is not None else None
        video = _add_film(out, film) if film else None
        audios = [_add_sound(out, sound) for sound in sounds]
        if green is not None:
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), (0, 200, 0), np.uint8), format="rgb24")
            frame = frame.reformat(format=green.pix_fmt)
            frame.pts, frame.time_base = 0, Fraction(1, 25)
            out.mux([*green.encode(frame), *green.encode()])
        written = [_pictures(film, video)] if film else []
        written += [_pieces(sound, audio) for sound, audio in zip(sounds, audios, strict=True)]
        ordered = heapq.merge(*written, key=lambda timed: timed[0]) if interleaved else itertools.chain(*written)
        for _, packets in ordered:
            out.mux(packets)
    return path


def _add_cover(out: Any, mark: Disposition) -> Any:
    stream = out.add_stream("mjpeg", rate=25)
    stream.width = stream.height = 32
    stream.pix_fmt = "yuvj420p"
    stream.disposition = mark
    return stream


def _add_film(out: Any, film: Film) -> Any:
    stream = out.add_stream(film.codec, rate=film.fps)
    stream.width, stream.height = film.size
    stream.pix_fmt = "gray" if film.codec == "gif" else "yuv420p"
    stream.codec_context.gop_size = film.keys
    if film.codec == "libx264":
        stream.options = {"preset": "ultrafast"}
    if film.codec == "libvpx-vp9":
        stream.options = {"cpu-used": "8", "deadline": "realtime"}
    if film.aspect:
        stream.codec_context.sample_aspect_ratio = film.aspect
    if film.rotation is not None:
        stream.set_display_rotation(**film.rotation)
    if film.matrix is not None:
        stream.set_display_matrix(film.matrix)
    return stream


def _add_sound(out: Any, sound: Sound) -> Any:
    stream = out.add_stream(sound.codec, rate=sound.rate, layout=sound.layout)
    stream.bit_rate = 64_000
    if sound.default is not None:
        stream.disposition = Disposition.default if sound.default else Disposition(0)
    return stream


def _pictures(film: Film, stream: Any) -> Iterator[tuple[float, Any]]:
    for k in range(round(film.begin * film.fps), round(film.end * film.fps)):
        if film.hole[0] <= k / film.fps < film.hole[1]:
            continue
        frame = av.VideoFrame.from_ndarray(picture(k // film.fps, film.size), format="rgb24")
        frame = frame.reformat(format=stream.pix_fmt)
        frame.pts, frame.time_base = k, Fraction(1, film.fps)
        yield k / film.fps, stream.encode(frame)
    yield film.end, stream.encode()


def _pieces(sound: Sound, stream: Any) -> Iterator[tuple[float, Any]]:
    step = stream.codec_context.frame_size or 1024
    kind = stream.codec_context.format.name
    first, last = round(sound.begin * sound.rate), round(sound.end * sound.rate)
    for at in range(first, last, step):
        if sound.hole[0] <= at / sound.rate < sound.hole[1]:
            continue
        wave = sound.wave(np.arange(at, min(at + step, last)) / sound.rate)
        wave = np.resize(wave, (stream.codec_context.channels, wave.shape[1]))
        frame = av.AudioFrame.from_ndarray(_as(wave, kind), format=kind, layout=sound.layout)
        frame.sample_rate, frame.pts, frame.time_base = sound.rate, at, Fraction(1, sound.rate)
        yield at / sound.rate, stream.encode(frame)
    yield sound.end, stream.encode()


def _as(wave: np.ndarray, kind: str) -> np.ndarray:
    """[C, n] in [-1, 1] as a sample format wants it."""
    if kind.startswith("flt"):
        wave = wave.astype(np.float32)
    else:
        bits = {"s16": 15, "s32": 31}[kind.removesuffix("p")]
        wave = np.clip(wave * 2**bits, -(2**bits), 2**bits - 1).astype(f"int{bits + 1}")
    return np.ascontiguousarray(wave if kind.endswith("p") else wave.T.reshape(1, -1))


def heard(audio: np.ndarray, rate: int = 16_000) -> list[float | None]:
    """The loudest frequency of every window [T, S] to 10 Hz, leaving its edges aside; None where it is silent."""
    found: list[float | None] = []
    for window in audio:
        middle = window[len(window) // 10 : -len(window) // 10]
        spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
        loud = np.abs(middle).max() > 0.02
        found.append(float(round(int(spectrum.argmax()) * rate / len(middle), -1)) if loud else None)
    return found


def seen(frames: np.ndarray) -> list[int]:
    """The second that every picture [T, H, W, 3] is of, modulo 12, by its lower right quarter."""
    height, width = frames.shape[1:3]
    greys = frames[:, height * 5 // 8 : height * 7 // 8, width * 5 // 8 : width * 7 // 8].mean((1, 2, 3))
    return [int(second) for second in np.round(greys / 20)]
