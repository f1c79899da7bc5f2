"""What data modules of audio-visual clips share: how a clip is cut into segments."""

from pathlib import Path

from data_modules.base import DataModule
from data_modules.errors import DataError
from data_modules.media import decode_clip
from zoo.batch import Clip


class ClipDataModule(DataModule):
    """Splits of clips.

    Attributes:
        segments: T, segments of a clip.
        segment_seconds: length of one.
        sample_rate: of the clips' sound, in Hz.
    """

    segments: int
    segment_seconds: float
    sample_rate: int

    def read(self, path: Path, settings: dict[str, str]) -> tuple[Clip, list[str]]:
        """Decode a media file; `missing_audio=silence` accepts one without sound.

        Raises:
            DataError: the file cannot be decoded, lacks a stream, or `missing_audio` is neither error nor silence.
        """
        missing = settings.pop("missing_audio", "error")
        if missing not in ("error", "silence"):
            raise DataError(f"missing_audio: expected error or silence, got {missing!r}")
        decoded = decode_clip(
            path,
            segments=self.segments,
            segment_seconds=self.segment_seconds,
            sample_rate=self.sample_rate,
            missing_audio="silence" if missing == "silence" else "error",
        )
        return Clip(str(path), decoded.frames, decoded.audio, self.sample_rate, {}), decoded.notes
