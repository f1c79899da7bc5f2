"""What data modules of audio-visual clips share: how a clip is cut into segments."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from data_modules.base import DataModule
from data_modules.errors import DataError
from data_modules.media import SOUNDS, VIDEOS, Cut, Decoded, decode_clip, decode_sound_with_frames
from zoo.batch import Clip


class ClipDataModule(DataModule):
    """Splits of clips.

    Attributes:
        segments: T, segments of a clip.
        segment_seconds: length of one.
        sample_rate: of the clips' sound, in Hz.
        frame_size: shorter side of decoded pictures in pixels; None keeps the file's.
    """

    readable = (*VIDEOS, *SOUNDS)
    settings = ("missing_audio",)
    own_files = "data_modules.folder_clips.ClipFolder"
    segments: int
    segment_seconds: float
    sample_rate: int
    frame_size: int | None = None

    def require(self, settings: Mapping[str, str]) -> None:
        """Refuse a policy for missing sound that is none."""
        super().require(settings)
        if (missing := settings.get("missing_audio", "error")) not in ("error", "silence"):
            raise DataError(f"missing_audio: expected error or silence, got {missing!r}")

    def read(self, path: Path, settings: dict[str, str]) -> tuple[Clip, list[str]]:
        """Decode a video, or a sound file beside a folder of frames with its name: `clip.wav` and `clip/0001.jpg`, ...

        `missing_audio=silence` accepts a video without sound.

        Raises:
            DataError: the file cannot be decoded, lacks a stream, or `missing_audio` is neither error nor silence.
        """
        self.require({key: value for key, value in settings.items() if key in self.settings})
        missing = settings.pop("missing_audio", "error")
        decoded = decode(path, self.cut, missing_audio="silence" if missing == "silence" else "error")
        return Clip(str(path), decoded.frames, decoded.audio, self.sample_rate, {}), decoded.notes

    @property
    def cut(self) -> Cut:
        """How clips are cut."""
        return {
            "segments": self.segments,
            "segment_seconds": self.segment_seconds,
            "sample_rate": self.sample_rate,
            "frame_size": self.frame_size,
        }


def decode(path: Path, cut: Cut, *, missing_audio: Literal["error", "silence"]) -> Decoded:
    """A video, or a sound file beside a folder of frames with its name.

    Raises:
        MediaError: see `decode_clip` and `decode_sound_with_frames`.
    """
    if path.suffix.lower() in SOUNDS:
        return decode_sound_with_frames(path, path.with_suffix(""), **cut)
    return decode_clip(path, **cut, missing_audio=missing_audio)
