"""Which tracks of a media file are its film and its sound, their frames with their times, and its length (PyAV).

Times are seconds from the earliest timestamp of the two tracks, whatever clock the file itself counts by. A film is
what moves: attached pictures (cover art) and thumbnails are none. Of several tracks the one that the file marks as its
default counts, else the first.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import av
from av.stream import Disposition

from data_modules.errors import DataError

NO_FILM = Disposition.attached_pic | Disposition.timed_thumbnails

STILL_CODECS = ("mjpeg", "png", "bmp", "tiff", "webp")
"""A track of these codecs beside another video track is cover art that is not marked as such."""

LISTS = {"applehttp", "concat", "concatf", "dash", "hls", "image2", "imf", "lavfi", "rtp", "rtsp", "sap", "sdp"}
"""Formats that are known by their content, whatever a file is called, and have other files or addresses read."""

OPTIONS = {"format_whitelist": ",".join(sorted(av.formats_available - LISTS)), "protocol_whitelist": "file"}

NOTHING = (av.error.InvalidDataError, av.error.EOFError)
"""Errors for a damaged file whose messages concern only FFmpeg's internals."""

TICK = 1e-3
"""Seconds: timestamps of a packet and of what it decodes to may differ by rounding."""

TAIL = 1.0
"""Seconds before the end that a header claims, from where the true end is looked for."""


class MediaError(DataError):
    """A media file cannot be decoded; the message names it and says why."""


class NoSoundError(MediaError):
    """A media file has no sound, and the policy does not allow silence."""


class NoPicturesError(MediaError):
    """A media file has no pictures, and the policy does not allow grey ones."""


class Ends(NamedTuple):
    """When the last picture and the last piece of sound begin, in seconds (minus infinity where there are none), and
    when the longer of both tracks is over.
    """

    film: float
    sound: float
    length: float


class Media:
    """An open media file.

    Attributes:
        film: the track of pictures, or None.
        sound: the track of sound, or None.
        start: the file's own time, in seconds, that counts as 0 here.
        notes: which of several tracks is used.
    """

    def __init__(self, container: av.container.InputContainer) -> None:
        films = [stream for stream in container.streams.video if not stream.disposition & NO_FILM]
        # A cover without a mark lies before the film as often as not, and Matroska calls every track a default.
        films = [film for film in films if getattr(film.codec_context, "name", "") not in STILL_CODECS] or films
        sounds = list(container.streams.audio)
        self.container = container
        self.film, self.sound = _chosen(films), _chosen(sounds)
        self.streams = [stream for stream in (self.film, self.sound) if stream is not None]
        starts = [float(s.start_time * s.time_base) for s in self.streams if s.start_time is not None]
        self.start = min(starts, default=(container.start_time or 0) / av.time_base)
        self.notes = [
            f"{name} track {tracks.index(used) + 1} of {len(tracks)} is used, "
            f"{'the default one' if used.disposition & Disposition.default else 'as none is the default'}"
            for name, tracks, used in (("picture", films, self.film), ("sound", sounds, self.sound))
            if used is not None and len(tracks) > 1
        ]

    @property
    def between(self) -> float:
        """Seconds between two pictures, where the film says so; else 0."""
        rate = self.film.guessed_rate if self.film else None
        return float(1 / rate) if rate else 0.0

    @property
    def aspect(self) -> float:
        """Width of a stored pixel over its height."""
        return float(self.film.sample_aspect_ratio or 1) if self.film else 1.0

    def without_film(self) -> None:
        """Pass over the pictures: none is decoded."""
        self.film, self.streams = None, [self.sound] if self.sound else []
        self.notes = [note for note in self.notes if note.startswith("sound")]

    def seek(self, time: float) -> bool:
        """Go to the last place before a time from which decoding can begin; whether that can be done."""
        try:
            self.container.seek(round((self.start + time) * av.time_base), backward=True)
        except av.FFmpegError:
            return False
        return True

    def frames(
        self, *, film_until: float, sound_until: float, damaged_before: float = 0.0
    ) -> Iterator[tuple[float | None, av.VideoFrame | av.AudioFrame]]:
        """Decoded frames with their times, from here until both tracks have passed their ends.

        Args:
            film_until: seconds; one picture at or after it ends the film.
            sound_until: seconds; one piece of sound at or after it ends the sound.
            damaged_before: seconds; what cannot be decoded before then is passed over, as after a seek.
        """
        ends = {stream.index: film_until if stream is self.film else sound_until for stream in self.streams}
        for packet in self.container.demux(self.streams) if self.streams else ():
            index = packet.stream.index
            if index not in ends:
                continue
            try:
                decoded = packet.decode()
            except av.error.InvalidDataError:
                if packet.dts is None or packet.dts * packet.time_base - self.start >= damaged_before:
                    raise
                continue
            for frame in decoded:
                time = None if frame.time is None else frame.time - self.start
                yield time, frame
                if time is not None and time >= ends.get(index, 0.0):
                    ends.pop(index, None)
            if not ends:
                return

    def ends(self) -> "Ends":
        """Ends of the tracks from here on, without decoding."""
        last, end = {stream.index: float("-inf") for stream in self.streams}, 0.0
        for packet in self.container.demux(self.streams):
            ticks = packet.dts if packet.pts is None else packet.pts
            if ticks is not None:
                time, index = float(ticks * packet.time_base) - self.start, packet.stream.index
                last[index] = max(last[index], time)
                end = max(end, time + float((packet.duration or 0) * packet.time_base))
        film, sound = (float("-inf") if s is None else last[s.index] - TICK for s in (self.film, self.sound))
        return Ends(film, sound, end)


def _chosen(streams: list[av.stream.Stream]) -> av.stream.Stream | None:
    return next((s for s in streams if s.disposition & Disposition.default), streams[0] if streams else None)


@contextmanager
def opened(path: Path) -> Iterator[Media]:
    """An open media file; errors inside the block are raised with its name.

    Raises:
        MediaError: no such file, neither pictures nor sound, or undecodable content.
    """
    if not path.is_file():
        there = "is a folder; expected a file" if path.is_dir() else "is no regular file"
        raise MediaError(f"{path} {there if path.exists() else 'does not exist'}")
    try:
        with path.open("rb"), av.open(f"file:{path}", options=OPTIONS) as container:
            media = Media(container)
            if not media.streams:
                raise ValueError("it has neither pictures nor sound")
            yield media
    except (av.FFmpegError, OSError, ValueError) as error:
        if isinstance(error, OSError) and not isinstance(error, av.FFmpegError):
            raise MediaError(f"{path} cannot be read: {error.strerror}") from None
        why = getattr(error, "strerror", None) or error  # without the name, which stands before it
        detail = "" if isinstance(error, NOTHING) else f"{why}; "
        raise MediaError(f"{path} cannot be decoded: {detail}it is {_likely(path)}") from error


def _likely(path: Path) -> str:
    """What a file is that FFmpeg's libraries make nothing of."""
    with path.open("rb") as file:
        start = file.read(16)
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "a WebP animation, which FFmpeg does not read; save it as MP4 or GIF"
    return "damaged, cut short or no film or sound"


def has_film(path: Path) -> bool:
    """Whether a file has pictures of its own, covers aside.

    Raises:
        MediaError: it cannot be opened.
    """
    with opened(path) as media:
        return media.film is not None


def ends(path: Path) -> Ends:
    """Where the tracks of a file end.

    Raises:
        MediaError: it cannot be opened.
    """
    stat = path.stat() if path.is_file() else None
    return _ends(path, *((stat.st_mtime_ns, stat.st_size) if stat else (0, 0)))


@functools.lru_cache(maxsize=256)
def _ends(path: Path, _changed: int, _size: int) -> Ends:
    """Headers claim lengths that are estimates, or none at all: the last second is looked at, else the whole file."""
    with opened(path) as media:
        claimed = (media.container.duration or 0) / av.time_base
        if claimed > TAIL and media.seek(claimed - TAIL):
            found = media.ends()
            tracks = [last for last, stream in zip(found, (media.film, media.sound), strict=False) if stream]
            if found.length >= claimed - TAIL and min(tracks) > float("-inf"):
                return found
    with opened(path) as media:
        return media.ends()
