"""Base of the data modules of audio-visual clips: segments of a clip, and windows of a longer film.

A file that lasts longer than T segments is a film: a user is given an answer for every window of T segments, FILE#0,
FILE#1, ... one after the other until its end. What is left behind the last of them and shorter than half a segment is
not looked at.
"""

import math
from collections.abc import Mapping
from pathlib import Path

from data_modules.base import DataModule
from data_modules.errors import DataError
from data_modules.kinds import clip_probes
from data_modules.readers.media import (
    FRAMES,
    SOUNDS,
    VIDEOS,
    ClipSpec,
    DecodedClip,
    MissingAudio,
    MissingPictures,
    Policy,
    decode_clip,
    decode_sound_with_frames,
)
from data_modules.readers.media_streams import Ends, MediaError, ends, has_film
from zoo.batch import Clip, SampleSet

POLICIES = {"missing_audio": ("error", "silence"), "missing_pictures": ("error", "blank")}
"""Settings for a file without sound or without pictures."""

MOST = 10_000
"""Windows of a file; beyond, its timestamps are damaged sooner than it is a day long."""


class ClipDataModule(DataModule):
    """Splits of clips.

    Attributes:
        segments: T, segments of a clip.
        segment_seconds: length of one.
        sample_rate: of the clips' sound, in Hz.
        frame_size: shorter side of decoded pictures in pixels; None keeps the file's.
    """

    sample = Clip
    readable = (*VIDEOS, *SOUNDS)
    settings = (*POLICIES, "start", "end")
    own_files = "data_modules.folder_clips.ClipFolder"
    segments: int
    segment_seconds: float
    sample_rate: int
    frame_size: int | None = None

    @property
    def seconds(self) -> float:
        """Length of a clip."""
        return self.segments * self.segment_seconds

    def costly_probes(self) -> dict[str, SampleSet[Clip]]:
        """Silence, blank pictures, another clip's sound, noise: see `clip_probes`."""
        return clip_probes.probes(self.sets["test"])

    def require(self, settings: Mapping[str, str]) -> None:
        """Refuse a policy that is none, and a stretch that does not go forward."""
        super().require(settings)
        for key, values in POLICIES.items():
            if (value := settings.get(key, "error")) not in values:
                raise DataError(f"{key}: expected {' or '.join(values)}, got {value!r}")
        stretch(settings)

    def samples_in(self, path: Path, settings: Mapping[str, str]) -> list[Path]:
        """The file itself, or FILE#0, FILE#1, ...: its windows of T segments from `start` on."""
        try:
            start, end = stretch(settings)
            found = ends(path)
            windows = self._windows(min(end, found.length) - start)
            whole = not self._lacks(path, found, settings)
        except DataError:
            return [path]  # reading it will tell, once
        return [Path(f"{path}#{k}") for k in range(windows)] if whole and 1 < windows <= MOST else [path]

    def _lacks(self, path: Path, found: Ends, settings: Mapping[str, str]) -> bool:
        """Whether a file has no sound or no pictures at all, and that is an error."""
        mute = found.sound == -math.inf and settings.get("missing_audio", "error") == "error"
        blind = found.film == -math.inf and settings.get("missing_pictures", "error") == "error"
        return mute or (blind and frames_beside(path) is None)

    def _windows(self, seconds: float) -> int:
        return max(1, math.ceil(seconds / self.seconds - self.segment_seconds / self.seconds / 2))

    def window(self, path: Path, settings: dict[str, str]) -> tuple[Path, float, list[str]]:
        """What FILE or FILE#k and the settings `start` and `end`, which are removed, mean of a file.

        Returns:
            The file, the beginning of the window in seconds, and notes on what lies behind it.

        Raises:
            DataError: there is no such window, or a setting is invalid.
        """
        start, end = stretch(settings)
        for key in ("start", "end"):
            settings.pop(key, None)
        file, window = _window(path)
        length = ends(file).length
        if start > 0 and start >= length:
            raise MediaError(f"{file}: start={start:g} lies behind its end, at {length:.2f} s")
        windows = self._windows(min(end, length) - start)
        if window is not None and window >= windows:
            raise MediaError(f"{path}: there are {windows} windows of {self.seconds:g} s, #0 the first")
        if windows > MOST:
            raise MediaError(f"{file} claims to last {length:.0f} s; end= says how much of it to answer")
        begin = start + (window or 0) * self.seconds
        if window is not None or windows == 1:
            return file, begin, []
        said = f"only {begin:g} to {begin + self.seconds:g} s of {length:.2f} s"
        return file, begin, [f"{said}; start= says where to begin, and {file.name}#1 is what follows"]

    def read(self, path: Path, settings: dict[str, str]) -> tuple[Clip, list[str]]:
        """Decode a window of a video, or of a sound file beside a folder of frames with its name: `clip.wav` and
        `clip/0001.jpg`, ...

        `missing_audio=silence` accepts a file without sound, `missing_pictures=blank` one without pictures; `start` and
        `end`, in seconds, say which stretch of it counts.

        Raises:
            DataError: the file cannot be decoded, lacks a stream, has no such window, or a setting is invalid.
        """
        self.require({key: value for key, value in settings.items() if key in self.settings})
        policy = Policy(
            missing_audio="silence" if settings.pop("missing_audio", "error") == "silence" else "error",
            missing_pictures="blank" if settings.pop("missing_pictures", "error") == "blank" else "error",
        )
        file, begin, beyond = self.window(path, settings)
        decoded = decode(file, self.cut, **policy, start=begin)
        return Clip(str(path), decoded.frames, decoded.audio, self.sample_rate, {}, begin), [*decoded.notes, *beyond]

    @property
    def cut(self) -> ClipSpec:
        """Segments, sample rate and frame size of clips."""
        return {
            "segments": self.segments,
            "segment_seconds": self.segment_seconds,
            "sample_rate": self.sample_rate,
            "frame_size": self.frame_size,
        }


def stretch(settings: Mapping[str, str]) -> tuple[float, float]:
    """`start` and `end` in seconds; the whole file if neither is given.

    Raises:
        DataError: no numbers, or an end that is not behind the start.
    """
    found = {"start": 0.0, "end": math.inf}
    for key in found:
        if key in settings:
            try:
                found[key] = float(settings[key])
            except ValueError:
                found[key] = math.nan
            if not 0 <= found[key] < math.inf:
                raise DataError(f"{key}: expected seconds from the beginning of the file, got {settings[key]!r}")
    if found["end"] <= found["start"]:
        raise DataError(f"end={found['end']:g} is not behind start={found['start']:g}")
    return found["start"], found["end"]


def _window(path: Path) -> tuple[Path, int | None]:
    """File and number of FILE#k."""
    name, mark, number = str(path).rpartition("#")
    if path.exists() or not mark or not number.isdecimal():
        return path, None
    return Path(name), int(number)


def decode(
    path: Path,
    cut: ClipSpec,
    *,
    missing_audio: MissingAudio = "error",
    missing_pictures: MissingPictures = "error",
    start: float = 0.0,
) -> DecodedClip:
    """A video, or a sound file beside a folder of frames with its name.

    Raises:
        MediaError: see `decode_clip` and `decode_sound_with_frames`.
    """
    if (folder := frames_beside(path)) is not None:
        return decode_sound_with_frames(path, folder, **cut, start=start)
    return decode_clip(path, **cut, missing_audio=missing_audio, missing_pictures=missing_pictures, start=start)


def frames_beside(path: Path) -> Path | None:
    """The folder of a sound file's frames; None where there is none, or where the file has pictures of its own.

    Raises:
        MediaError: the file cannot be opened.
    """
    folder = path.with_suffix("")
    there = folder.is_dir() and any(file.suffix.lower() in FRAMES for file in folder.iterdir())
    return folder if there and not has_film(path) else None
