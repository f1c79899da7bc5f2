"""A user's own audio-visual clips with timed events, for event localisation and video parsing.

A clip is a video, or a sound file beside a folder of frames with its name, of T segments; the rest
of a longer file is not used. In class folders, a clip is one event from its beginning to its end. A manifest has a
line an event, and a line without a label for a clip in which nothing happens:

    path,start,end,label
    morning.mp4,2.5,6,dog
    morning.mp4,7,9,church bell
    street.mp4,,,

in seconds; without start and end an event lasts as long as its clip. For event localisation a segment carries the class
that covers at least half of it, so events of different classes may not overlap. For video parsing they may, and the
column `modality` (audio, visual or both, which is the default) says where an event is; training sees the classes of
whole clips alone. `python -m data_modules.folder_clips --check DIR` says what is in a folder.
"""

import hashlib
import itertools
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import torch
from torch import Tensor

from data_modules.check import check_command
from data_modules.errors import DataError
from data_modules.folder.own_files import Folder, OwnFiles, number, require_classes
from data_modules.folder.rows import Columns, FileEntry
from data_modules.kinds.clips import ClipDataModule, decode, frames_beside
from data_modules.readers.lines import ErrorCollector
from data_modules.readers.manifest import ManifestRow
from data_modules.readers.media import FRAMES, READER, ClipSpec, Policy, probe
from data_modules.readers.media_streams import ends
from zoo.batch import Clip, SampleSet

MODALITIES = ("audio", "visual")


class Event(NamedTuple):
    """An event from `start` to `end` in seconds, in some of the modalities."""

    label: str
    start: float
    end: float
    modalities: tuple[str, ...]
    where: str


class FolderClips(SampleSet[Clip]):
    """One split.

    Args:
        entries: its files.
        digests: sha256 of each file's content, by name.
        targets: label tensors of each file.
        cut: how clips are cut.
        policy: what to do with a clip without sound, or without pictures.
    """

    def __init__(
        self,
        entries: Sequence[FileEntry],
        digests: dict[str, str],
        targets: Sequence[dict[str, Tensor]],
        *,
        cut: ClipSpec,
        policy: Policy,
    ) -> None:
        self.entries, self.digests, self.targets = list(entries), digests, list(targets)
        self.cut, self.policy = cut, policy

    def __len__(self) -> int:
        return len(self.entries)

    def id(self, index: int) -> str:
        """Path below the root."""
        return self.entries[index].name

    def key(self, index: int) -> str:
        """sha256 over the file's content and how it is cut."""
        cut = sorted({**self.cut, **self.policy}.items())
        text = f"{self.digests[self.id(index)]}|{cut}|reader {READER}"
        return hashlib.sha256(text.encode()).hexdigest()

    def target(self, index: int) -> dict[str, Tensor]:
        """Labels of a clip."""
        return self.targets[index]

    def __getitem__(self, index: int) -> Clip:
        decoded = decode(self.entries[index].path, self.cut, **self.policy)
        return Clip(self.id(index), decoded.frames, decoded.audio, self.cut["sample_rate"], self.target(index))


class ClipFolder(OwnFiles, ClipDataModule):
    """Clips with one class, or none, a segment.

    Args:
        root: folder of the files.
        manifest: CSV or JSON lines, relative to the root; by default manifest.csv or manifest.jsonl if one exists,
            else class folders.
        classes: class names in label order; by default those found, sorted.
        segments: T, of every clip.
        segment_seconds: length of one.
        sample_rate: of the sound, in Hz.
        frame_size: shorter side of decoded pictures, in pixels.
        missing_audio: a clip without sound is an error, or silence (counted in the manifest).
        missing_pictures: a clip without pictures is an error, or grey ones (counted in the manifest).
        splits: a run's splits.json to follow.
        val_share: of every class's groups, to select on.
        test_share: of every class's groups, to measure.
        group_by: regular expression; files in whose path it finds the same (its first bracket, where it has one) stay
            together, e.g. "speaker[0-9]+".
        on_bad: a file that cannot be used is an error, or is left out (counted in the manifest).
    """

    own_files = "data_modules.folder_clips.ClipFolder"
    columns = Columns("clips", ("label",), ("start", "end"), blank=("label",))
    beside = FRAMES

    def __init__(
        self,
        *,
        root: str,
        manifest: str | None = None,
        classes: tuple[str, ...] | None = None,
        segments: Annotated[int, ">= 1"] = 10,
        segment_seconds: Annotated[float, "> 0"] = 1.0,
        sample_rate: Annotated[int, ">= 1000"] = 16_000,
        frame_size: Annotated[int, ">= 8"] = 224,
        missing_audio: Literal["error", "silence"] = "error",
        missing_pictures: Literal["error", "blank"] = "error",
        splits: str | None = None,
        val_share: Annotated[float, ">= 0", "<= 1"] = 0.2,
        test_share: Annotated[float, ">= 0", "<= 1"] = 0.2,
        group_by: str | None = None,
        on_bad: Literal["error", "skip"] = "error",
    ) -> None:
        super().__init__()
        self.folder = Folder(root, manifest, splits, val_share, test_share, group_by, on_bad)
        self.wanted, self.classes = classes, list(classes or ())
        self.segments, self.segment_seconds, self.sample_rate = segments, segment_seconds, sample_rate
        self.frame_size, self.policy = (
            frame_size,
            Policy(missing_audio=missing_audio, missing_pictures=missing_pictures),
        )
        self.events: dict[str, list[Event]] = {}

    def parse_labels(self, entries: Sequence[FileEntry], errors: ErrorCollector) -> None:
        """Parse events by file, sorted by time, and class names."""
        for entry in entries:
            self.events[entry.name] = events = []
            for row in entry.rows:
                with errors.catch():
                    events += self._event(row, lone=len(entry.rows) == 1)
            events.sort(key=lambda event: event.start)
            with errors.catch():
                self.require_apart(events)
        names = [event.label for events in self.events.values() for event in events]
        empty = not all(self.events.values()) or any(event.end - event.start < self.seconds for event in self.every())
        self.classes = require_classes(names, self.wanted, errors, where=self.folder.path, least=1 if empty else 2)

    def every(self) -> itertools.chain[Event]:
        """All events."""
        return itertools.chain.from_iterable(self.events.values())

    def _event(self, row: ManifestRow, *, lone: bool) -> list[Event]:
        """The event of a row, or none.

        Raises:
            DataError: the interval is incomplete, reversed, or outside the clip.
        """
        label, start, end, modality = (row.values.get(key, "") for key in ("label", "start", "end", "modality"))
        if bool(start) != bool(end):
            raise DataError(f"{row.where}: start {start!r}, end {end!r}; expected both, or none for the whole clip")
        if not label:
            if start or not lone:
                raise DataError(f"{row.where}: no label; a clip without events has one line, with its path alone")
            return []
        if modality not in ("", "both", *MODALITIES):
            raise DataError(f"{row.where}: modality {modality!r} is none of {', '.join(MODALITIES)}, both")
        first = number(start, "start", row.where) if start else 0.0
        last = number(end, "end", row.where) if end else self.seconds
        if not 0 <= first < last < math.inf:
            raise DataError(f"{row.where}: {label!r} from {first:g} to {last:g} s; expected 0 <= start < end")
        if first >= self.seconds or last > self.seconds + self.segment_seconds / 2:
            raise DataError(
                f"{row.where}: {label!r} from {first:g} to {last:g} s lies outside of the clip, {self.seconds:g} s "
                f"long; data.segments={math.ceil(last / self.segment_seconds)} makes clips longer"
            )
        return [Event(label, first, last, MODALITIES if modality in ("", "both") else (modality,), row.where)]

    def require_apart(self, events: Sequence[Event]) -> None:
        """Raises DataError: events of different classes at one time."""
        for one, other in itertools.combinations(events, 2):
            if one.label != other.label and other.start < one.end:
                raise DataError(
                    f"{other.where}: {other.label!r} from {other.start:g} s overlaps {one.label!r}, which lasts until "
                    f"{one.end:g} s; "
                    "event localisation has one class at a time (the task of recipe=tb_ava_llp takes several)"
                )

    def label(self, entry: FileEntry) -> str:
        """The first event's class, or none."""
        events = self.events[entry.name]
        return events[0].label if events else ""

    def inspect(self, entry: FileEntry) -> list[str]:
        """Warnings about length and sound; the whole file is decoded if bad files are left out.

        Raises:
            DataError: the file cannot be decoded, or an event starts after its end.
        """
        frames = frames_beside(entry.path)
        remarks = probe(entry.path, seconds=self.seconds, frames=frames is not None, **self.policy)
        if frames is not None or self.folder.on_bad == "skip":
            decode(entry.path, self.cut, **self.policy)
        length = ends(entry.path).length
        for event in self.events[entry.name]:
            if 0 < length <= event.start:
                raise DataError(
                    f"{event.where}: {event.label!r} begins at {event.start:g} s, but the clip has {length:g} s"
                )
        if length > self.seconds + self.segment_seconds / 2:
            remarks.append(f"clips longer than {self.seconds:g} s, of which the rest is not used")
        return remarks

    def files(self, entry: FileEntry) -> list[Path]:
        """A video, or a sound file and its frames."""
        folder = frames_beside(entry.path)
        frames = sorted(folder.glob("*")) if folder else []
        return [entry.path, *(path for path in frames if path.suffix.lower() in FRAMES)]

    def covered(self, events: Sequence[Event]) -> Tensor:
        """bool [T, K]: classes that cover at least half of a segment."""
        covered = torch.zeros(self.segments, len(self.classes))
        until = dict.fromkeys(self.classes, 0.0)
        for event in sorted(events, key=lambda event: event.start):
            start = max(event.start, until[event.label])  # a moment counts once, whatever covers it
            until[event.label] = max(event.end, until[event.label])
            for t in range(self.segments):
                begin = t * self.segment_seconds
                inside = min(event.end, begin + self.segment_seconds) - max(start, begin)
                covered[t, self.classes.index(event.label)] += max(0.0, inside)
        return covered >= self.segment_seconds / 2 - 1e-6

    def target(self, entry: FileEntry) -> dict[str, Tensor]:
        """`segments`: int64 [T]; K is background."""
        seen = self.covered(self.events[entry.name])
        return {"segments": torch.where(seen.any(1), seen.int().argmax(1), len(self.classes))}

    def samples(self, split: str, entries: Sequence[FileEntry]) -> SampleSet[Clip]:
        """Clips of one split; events too short for a segment of their own are counted."""
        short = sum(not self.covered([event]).any() for entry in entries for event in self.events[entry.name])
        if short:
            self.remarks[f"{split}: events that cover half of no segment, and so are not seen"] = short
        targets = [self.target(entry) for entry in entries]
        return FolderClips(entries, self.digests, targets, cut=self.cut, policy=self.policy)


class ParsedClipFolder(ClipFolder):
    """Clips with any number of classes a segment, by modality; only `weak` labels are learned from."""

    own_files = "data_modules.folder_clips.ParsedClipFolder"
    columns = Columns("clips", ("label",), ("start", "end", "modality"), blank=("label",))

    def require_apart(self, events: Sequence[Event]) -> None:
        """Events may overlap."""

    def target(self, entry: FileEntry) -> dict[str, Tensor]:
        """`weak`: float32 [K]; `audio` and `visual`: float32 [T, K]."""
        events = self.events[entry.name]
        weak = torch.tensor([float(any(e.label == name for e in events)) for name in self.classes])
        dense = {m: self.covered([e for e in events if m in e.modalities]).float() for m in MODALITIES}
        return {"weak": weak, **dense}


if __name__ == "__main__":
    sys.exit(check_command("data_modules.folder_clips", lambda root: ClipFolder(root=root)))
