"""Clips that lie on the disk as one media file each, or as a sound file and its pictures: shared by the benchmarks of
real video."""

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from torch import Tensor

from data_modules.readers.lines import FEW
from data_modules.readers.media import (
    FRAMES,
    READER,
    ClipSpec,
    DecodedClip,
    Policy,
    decode_clip,
    decode_sound_with_frames,
    probe,
)
from data_modules.readers.media_streams import MediaError, NoPicturesError, NoSoundError
from zoo.batch import Clip, SampleSet

log = logging.getLogger(__name__)

LACKING = {NoSoundError: "no sound", NoPicturesError: "no pictures"}


class MediaSettings(Protocol):
    """Attributes of a data module that `MediaClips` uses."""

    name: str
    segments: int
    segment_seconds: float
    sample_rate: int
    frame_size: int | None
    policy: Policy
    on_bad: Literal["error", "skip"]
    remarks: dict[str, int]


class FileCheck(NamedTuple):
    """Result of inspecting a file: sha256 of its content, warnings, and the error if it cannot be used."""

    digest: str
    remarks: list[str]
    fault: MediaError | None


class MediaClips(SampleSet[Clip]):
    """One split of media files.

    Every file is inspected here (hashed, its sound decoded), so that missing, damaged or silent files are known before
    training. A picture that cannot be decoded later raises `MediaError`. With `on_bad="skip"` every file is decoded
    whole here instead, and bad ones are left out and counted.

    Args:
        entries: (id, file name, target tensors) of every clip.
        data: its settings are used and its `remarks` are written.
        split: name of the split.
        folders: where files are looked for, in order.
        distributor: advice for missing files.
        pictures: folder of the pictures of a sound file; None, which it also says of a video, means in the file itself.

    Raises:
        MediaError: files are missing or damaged and `on_bad` is "error".
    """

    def __init__(
        self,
        entries: Sequence[tuple[str, str, dict[str, Tensor]]],
        *,
        data: MediaSettings,
        split: str,
        folders: Sequence[Path],
        distributor: str,
        pictures: Callable[[Path], Path | None] = lambda _: None,
    ) -> None:
        self.policy, self.pictures = data.policy, pictures
        self.cut: ClipSpec = {
            "segments": data.segments,
            "segment_seconds": data.segment_seconds,
            "sample_rate": data.sample_rate,
            "frame_size": data.frame_size,
        }
        self.settings: dict[str, Any] = {**self.cut, **data.policy}
        found = [(name, locate(file, folders), target) for name, file, target in entries]
        missing = [file for (_, path, _), (_, file, _) in zip(found, entries, strict=True) if path is None]
        if missing and data.on_bad == "error":
            raise MediaError(
                f"{data.name}, split {split}: {len(missing)} of {len(entries)} media files are missing, e.g. "
                f"{', '.join(missing[:FEW])}; looked in {', '.join(str(f) for f in folders)}. {distributor}. "
                "on_bad=skip leaves them out and counts them"
            )
        kept = [(name, path, target) for name, path, target in found if path is not None]
        checks = self._look({path for _, path, _ in kept}, whole=data.on_bad == "skip")
        faults = [str(check.fault) for check in checks.values() if check.fault]
        if faults and data.on_bad == "error":
            raise MediaError(
                f"{data.name}, split {split}: {len(faults)} media files cannot be used: {'; '.join(faults[:FEW])}. "
                "on_bad=skip leaves such files out and counts them"
            )
        reasons = ["missing file: left out"] * len(missing)
        for _, path, _ in kept:
            fault = checks[path].fault
            what = next((words for kind, words in LACKING.items() if isinstance(fault, kind)), "cannot be decoded")
            reasons += [f"{what}: left out"] if fault else checks[path].remarks
        for reason, number in Counter(reasons).items():
            data.remarks[f"{split}: {reason}"] = number
            log.warning("%s, %s: %s (%d of %d clips)", data.name, split, reason, number, len(entries))
        self.entries = [(name, path, target) for name, path, target in kept if not checks[path].fault]
        self.digests = {path: check.digest for path, check in checks.items()}

    def _look(self, paths: Collection[Path], *, whole: bool) -> dict[Path, FileCheck]:
        """Inspect every file once, decoding its pictures too if `whole`."""
        seconds = self.settings["segments"] * self.settings["segment_seconds"]

        def check(path: Path) -> FileCheck:
            digest, beside = self._digest(path), self.pictures(path)
            try:
                if whole:
                    self._decoded(path)
                remarks = probe(path, seconds=seconds, frames=beside is not None, **self.policy)
            except MediaError as error:
                return FileCheck(digest, [], error)
            return FileCheck(digest, remarks, None)

        ordered = sorted(paths)
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # FFmpeg's libraries run without Python's lock
            return dict(zip(ordered, pool.map(check, ordered), strict=True))

    def _decoded(self, path: Path) -> DecodedClip:
        if (folder := self.pictures(path)) is not None:
            return decode_sound_with_frames(path, folder, **self.cut)
        return decode_clip(path, **self.settings)

    def _digest(self, path: Path) -> str:
        """sha256 of a file; of a sound file and its pictures over those of all of them."""
        folder = self.pictures(path)
        pictures = [] if folder is None else sorted(f for f in folder.glob("*") if f.suffix.lower() in FRAMES)
        digests = []
        for each in (path, *pictures):
            with each.open("rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").hexdigest())
        return hashlib.sha256(" ".join(digests).encode()).hexdigest() if pictures else digests[0]

    def __len__(self) -> int:
        return len(self.entries)

    def id(self, index: int) -> str:
        """Name of a clip."""
        return self.entries[index][0]

    def key(self, index: int) -> str:
        """sha256 over the file's content and how it is cut."""
        text = f"{self.digests[self.entries[index][1]]}|{sorted(self.settings.items())}|reader {READER}"
        return hashlib.sha256(text.encode()).hexdigest()

    def target(self, index: int) -> dict[str, Tensor]:
        """Labels of a clip."""
        return self.entries[index][2]

    def __getitem__(self, index: int) -> Clip:
        name, path, target = self.entries[index]
        decoded = self._decoded(path)
        return Clip(name, decoded.frames, decoded.audio, self.settings["sample_rate"], target)


def locate(file: str, folders: Sequence[Path]) -> Path | None:
    """First folder's file of that name."""
    return next((folder / file for folder in folders if (folder / file).is_file()), None)
