"""GRID (Cooke et al., JASA 2006), one speaker: which digit is spoken, and when, from lips and voice.

Expected below ROOT:

    labels.csv    clip,command,color,preposition,letter,digit,adverb,n_frames
    words.csv     clip,word,start_s,end_s                     forced alignment, seconds
    frames/<clip>.jpg      5 x 5 contact sheet of 25 mouth pictures, 64 x 64 each; picture k was taken at 3 k / 25 s
    audio/<clip>.ogg       3 s, 16 kHz, mono

A clip is cut into 12 segments of 0.25 s. A segment carries the digit's class when the spoken digit covers at least half
of it, else background. Splits (60 / 20 / 20) follow the first 8 bytes of the sha256 of the clip's name, so that they
depend on nothing else. `python -m data_modules.grid_av --check ROOT` says what is missing.
"""

import csv
import hashlib
import itertools
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile
import torch
from PIL import Image
from torch import Tensor

from data_modules.check import check_command
from data_modules.errors import DataError
from data_modules.kinds.clips import ClipDataModule
from zoo.batch import Clip, SampleSet

CLASSES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]

SEGMENTS, SECONDS, RATE = 12, 0.25, 16_000

SHEET, SIDE, PICTURE_SECONDS = 5, 64, 3 / 25

SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}

DISTRIBUTOR = "GRID is distributed at spandh.dcs.shef.ac.uk/gridcorpus and on Zenodo (record 3625687)"


def split_of(clip: str) -> str:
    """The split a clip belongs to, by its name alone."""
    position = int.from_bytes(hashlib.sha256(clip.encode()).digest()[:8]) / 2**64
    for split, share in SHARES.items():
        if position < share:
            return split
        position -= share
    return "test"


def segment_labels(digit: int, start: float, end: float) -> Tensor:
    """int64 [12]: the digit where it covers at least half of a segment, else background (10)."""
    edges = [k * SECONDS for k in range(SEGMENTS + 1)]
    covered = [min(end, b) - max(start, a) >= SECONDS / 2 - 1e-9 for a, b in itertools.pairwise(edges)]
    return torch.tensor([digit if inside else len(CLASSES) for inside in covered])


def _rows(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    if not path.is_file():
        raise DataError(f"{path} does not exist. {DISTRIBUTOR}")
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = set(columns) - set(reader.fieldnames or [])
        if missing:
            raise DataError(f"{path} lacks the columns {', '.join(sorted(missing))}; it has {reader.fieldnames}")
        return list(reader)


def read_labels(root: Path) -> dict[str, Tensor]:
    """Segment labels by clip, from labels.csv and words.csv.

    Raises:
        DataError: naming file and clip: an unknown digit, a digit that words.csv does not place, or places outside.
    """
    placed: dict[tuple[str, str], tuple[float, float]] = {}
    for row in _rows(root / "words.csv", ("clip", "word", "start_s", "end_s")):
        placed[row["clip"], row["word"]] = (float(row["start_s"]), float(row["end_s"]))
    labels = {}
    for row in _rows(root / "labels.csv", ("clip", "digit")):
        clip, digit = row["clip"], row["digit"]
        if digit not in CLASSES:
            raise DataError(f"{root / 'labels.csv'}, clip {clip}: {digit!r} is none of {', '.join(CLASSES)}")
        if (clip, digit) not in placed:
            raise DataError(f"{root / 'words.csv'} does not say when clip {clip} speaks {digit!r}")
        start, end = placed[clip, digit]
        if not 0 <= start < end <= SEGMENTS * SECONDS:
            raise DataError(
                f"{root / 'words.csv'}, clip {clip}: {digit!r} from {start} to {end} s lies outside the clip"
            )
        labels[clip] = segment_labels(CLASSES.index(digit), start, end)
    return labels


class GridClips(SampleSet[Clip]):
    """One split of GRID."""

    def __init__(self, root: Path, labels: dict[str, Tensor], split: str) -> None:
        self.root = root
        self.entries = [(clip, label) for clip, label in sorted(labels.items()) if split_of(clip) == split]
        missing = [p for clip, _ in self.entries for p in self._paths(clip) if not p.is_file()]
        if missing:
            names = ", ".join(str(p) for p in missing[:5])
            raise DataError(f"GRID, split {split}: {len(missing)} files are missing, e.g. {names}. {DISTRIBUTOR}")

    def _paths(self, clip: str) -> tuple[Path, Path]:
        return self.root / "frames" / f"{clip}.jpg", self.root / "audio" / f"{clip}.ogg"

    def __len__(self) -> int:
        return len(self.entries)

    def id(self, index: int) -> str:
        """The corpus's clip name."""
        return self.entries[index][0]

    def key(self, index: int) -> str:
        """sha256 over both files."""
        digest = hashlib.sha256(f"grid {SEGMENTS} {SECONDS}".encode())
        for path in self._paths(self.id(index)):
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def target(self, index: int) -> dict[str, Tensor]:
        """Segment labels."""
        return {"segments": self.entries[index][1]}

    def __getitem__(self, index: int) -> Clip:
        clip = self.id(index)
        picture, sound = self._paths(clip)
        try:
            sheet = np.asarray(Image.open(picture).convert("RGB"))
            audio, rate = soundfile.read(sound, dtype="float32", always_2d=True)
        except (OSError, soundfile.LibsndfileError) as error:
            raise DataError(f"clip {clip} in {self.root} cannot be read: {error}") from error
        if sheet.shape != (SHEET * SIDE, SHEET * SIDE, 3):
            raise DataError(
                f"{picture} is {sheet.shape[1]} x {sheet.shape[0]}; expected a sheet of {SHEET * SIDE} squared"
            )
        if rate != RATE:
            raise DataError(f"{sound} has {rate} Hz; expected {RATE}")
        length = round(SECONDS * RATE)
        if len(audio) < (SEGMENTS - 1) * length:
            raise DataError(f"{sound} lasts {len(audio) / rate:.2f} s; expected {SEGMENTS * SECONDS:g} s")
        pictures = sheet.reshape(SHEET, SIDE, SHEET, SIDE, 3).swapaxes(1, 2).reshape(-1, SIDE, SIDE, 3)
        nearest = [round((k + 0.5) * SECONDS / PICTURE_SECONDS) for k in range(SEGMENTS)]
        wave = np.zeros(SEGMENTS * length, np.float32)
        mono = audio.mean(1)[: len(wave)]
        wave[: len(mono)] = mono
        return Clip(clip, pictures[nearest], wave.reshape(SEGMENTS, length), RATE, self.target(index))


class GridAV(ClipDataModule):
    """Digits of one GRID speaker.

    Args:
        root: folder of the data set.
    """

    name = "GRID digits (one speaker)"
    classes = CLASSES
    segments, segment_seconds, sample_rate = SEGMENTS, SECONDS, RATE
    license = "CC BY 4.0"
    on_bad = "error"

    def __init__(self, *, root: str) -> None:
        super().__init__()
        self.root = Path(root)

    def splits(self) -> dict[str, SampleSet[Clip]]:
        """60 / 20 / 20 by a hash of the clip's name."""
        labels = read_labels(self.root)
        return {split: GridClips(self.root, labels, split) for split in SHARES}

    def check(self) -> list[str]:
        """Counts of the label files."""
        labels = read_labels(self.root)
        return [f"labels.csv and words.csv: {len(labels)} clips, {len(CLASSES)} digits"]


if __name__ == "__main__":
    sys.exit(check_command("data_modules.grid_av", lambda root: GridAV(root=root)))
