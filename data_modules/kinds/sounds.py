"""Base of the data modules of sounds: one class a recording, whose pictures, where it has some, are not looked at.

Clips carry grey pictures of a few pixels, so that whatever shows clips shows them.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from data_modules.errors import DataError
from data_modules.kinds import clip_probes
from data_modules.kinds.clips import ClipDataModule
from data_modules.readers.media import GREY, READER, ClipSpec, decode_sound, probe
from zoo.batch import Clip, SampleSet

SIDE = 8
"""Side in pixels of the grey pictures."""


class Recording(NamedTuple):
    """A file and its class, and how it was inspected.

    Attributes:
        name: unique within the data set.
        path: of the file.
        label: number of the class.
        digest: sha256 of its content.
    """

    name: str
    path: Path
    label: int
    digest: str


class SoundSet(SampleSet[Clip]):
    """One split.

    Args:
        recordings: its files.
        cut: how they are cut.
        candidates: bool [K], the classes between which these recordings are to be decided; None where that is all.
    """

    def __init__(self, recordings: Sequence[Recording], *, cut: ClipSpec, candidates: Tensor | None = None) -> None:
        self.recordings, self.cut, self.candidates = list(recordings), cut, candidates

    def __len__(self) -> int:
        return len(self.recordings)

    def id(self, index: int) -> str:
        """Name of a recording."""
        return self.recordings[index].name

    def key(self, index: int) -> str:
        """sha256 over the file's content and how it is cut."""
        text = f"{self.recordings[index].digest}|sound|{sorted(self.cut.items())}|reader {READER}"
        return hashlib.sha256(text.encode()).hexdigest()

    def target(self, index: int) -> dict[str, Tensor]:
        """`label`: int64 []."""
        return {"label": torch.tensor(self.recordings[index].label)}

    def conditions(self, index: int) -> dict[str, Tensor]:
        """`candidates`: bool [K], where the split has some."""
        return {} if self.candidates is None else {"candidates": self.candidates}

    def __getitem__(self, index: int) -> Clip:
        recording, cut = self.recordings[index], self.cut
        audio, _ = heard(recording.path, cut)
        return Clip(recording.name, blank(cut), audio, cut["sample_rate"], self.target(index))


class SoundDataModule(ClipDataModule):
    """Splits of sounds. Any file with a sound track is one, a film too."""

    settings = ("start", "end")
    own_files = "data_modules.folder_sounds.SoundFolder"
    frame_size = SIDE

    def _lacks(self, path: Path, found: object, settings: Mapping[str, str]) -> bool:
        """Reading says where there is no sound; pictures are not needed."""
        return False

    def costly_probes(self) -> dict[str, SampleSet[Clip]]:
        """Silence and noise: see `clip_probes`."""
        return clip_probes.probes(self.sets["test"], sound_alone=True)

    def read(self, path: Path, settings: dict[str, str]) -> tuple[Clip, list[str]]:
        """Decode a window of a file; `start` and `end`, in seconds, say which stretch of it counts.

        Raises:
            DataError: the file cannot be decoded, has no sound, has no such window, or a setting is invalid.
        """
        self.require({key: value for key, value in settings.items() if key in self.settings})
        file, begin, notes = self.window(path, settings)
        audio, told = heard(file, self.cut, start=begin)
        return Clip(str(path), blank(self.cut), audio, self.sample_rate, {}, begin), [*told, *notes]


def heard(path: Path, cut: ClipSpec, start: float = 0.0) -> tuple[np.ndarray, list[str]]:
    """Sound float32 [T, S] of a window, and notes.

    Raises:
        MediaError: see `decode_sound`.
    """
    return decode_sound(
        path,
        segments=cut["segments"],
        segment_seconds=cut["segment_seconds"],
        sample_rate=cut["sample_rate"],
        start=start,
    )


def blank(cut: ClipSpec) -> np.ndarray:
    """Grey pictures uint8 [T, 8, 8, 3]."""
    return np.full((cut["segments"], SIDE, SIDE, 3), GREY, np.uint8)


def inspected(path: Path, seconds: float) -> list[str]:
    """Warnings about a file's sound, each the same for every file that it holds for.

    Raises:
        MediaError: it cannot be decoded, or has no sound.
    """
    return [remark for remark in probe(path, seconds=seconds, frames=True) if not remark.startswith("pictures")]


def digest_of(path: Path) -> str:
    """sha256 of a file's content.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
