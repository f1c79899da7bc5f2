"""Clips that lie on the disk as one media file each: shared by the benchmarks of real video."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from torch import Tensor

from data_modules.media import MediaError, decode_clip
from zoo.batch import Clip, ClipSet

log = logging.getLogger(__name__)
SHOWN = 5


class MediaSettings(Protocol):
    """What `MediaClips` asks of its data module."""

    name: str
    segments: int
    segment_seconds: float
    sample_rate: int
    frame_size: int
    missing_audio: Literal["error", "silence"]
    on_bad: Literal["error", "skip"]
    skipped: dict[str, int]


class MediaClips(ClipSet):
    """One split of media files.

    Missing files are looked for at once, before any training. Files that turn out undecodable later raise `MediaError`;
    with `on_bad="skip"` every file is opened here first, and bad ones are left out and counted.

    Args:
        entries: (id, file name, target tensors) of every clip.
        data: its settings are used and its `skipped` counts are written.
        split: name of the split.
        folders: where files are looked for, in order.
        distributor: said where files are missing.

    Raises:
        MediaError: files are missing and `on_bad` is "error".
    """

    def __init__(
        self,
        entries: Sequence[tuple[str, str, dict[str, Tensor]]],
        *,
        data: MediaSettings,
        split: str,
        folders: Sequence[Path],
        distributor: str,
    ) -> None:
        self.settings: dict[str, Any] = {
            "segments": data.segments,
            "segment_seconds": data.segment_seconds,
            "sample_rate": data.sample_rate,
            "frame_size": data.frame_size,
            "missing_audio": data.missing_audio,
        }
        found = [(name, locate(file, folders), target) for name, file, target in entries]
        missing = [file for (_, path, _), (_, file, _) in zip(found, entries, strict=True) if path is None]
        if missing and data.on_bad == "error":
            raise MediaError(
                f"{data.name}, split {split}: {len(missing)} of {len(entries)} media files are missing, e.g. "
                f"{', '.join(missing[:SHOWN])}; looked in {', '.join(str(f) for f in folders)}. {distributor}. "
                "on_bad=skip leaves them out and counts them"
            )
        kept = [(name, path, target) for name, path, target in found if path is not None]
        if data.on_bad == "skip":
            good = [entry for entry in kept if self._opens(entry[1])]
            self._count(data, f"{split}: missing file", len(missing))
            self._count(data, f"{split}: cannot be decoded", len(kept) - len(good))
            kept = good
        self.entries = kept

    @staticmethod
    def _count(data: MediaSettings, reason: str, number: int) -> None:
        if number:
            data.skipped[reason] = number
            log.warning("%s, %s: %d clips are left out", data.name, reason, number)

    def _opens(self, path: Path) -> bool:
        try:
            decode_clip(path, **self.settings)
        except MediaError as error:
            log.warning("skipped: %s", error)
            return False
        return True

    def __len__(self) -> int:
        return len(self.entries)

    def id(self, index: int) -> str:
        """Name of a clip."""
        return self.entries[index][0]

    def key(self, index: int) -> str:
        """File size and time of change, and how it is cut: the file is not read for its key."""
        path = self.entries[index][1]
        stat = path.stat()
        text = f"{path.name}|{stat.st_size}|{stat.st_mtime_ns}|{sorted(self.settings.items())}"
        return hashlib.sha256(text.encode()).hexdigest()

    def target(self, index: int) -> dict[str, Tensor]:
        """Labels of a clip."""
        return self.entries[index][2]

    def __getitem__(self, index: int) -> Clip:
        name, path, target = self.entries[index]
        decoded = decode_clip(path, **self.settings)
        for note in decoded.notes:
            log.warning("%s: %s", path, note)
        return Clip(name, decoded.frames, decoded.audio, self.settings["sample_rate"], target)


def locate(file: str, folders: Sequence[Path]) -> Path | None:
    """First folder's file of that name."""
    return next((folder / file for folder in folders if (folder / file).is_file()), None)
