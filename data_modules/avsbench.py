"""AVSBench-object (Zhou et al., ECCV 2022, arXiv 2207.05042): what makes the sound, a mask a second.

Clips of five seconds, a picture and a second of sound each. S4 has one source of 23 categories, MS3 several. Expected
below ROOT, as the authors distribute it (OpenNLPLab/AVSBench; sounds and masks by their form or by mail):

    Single-source/s4_meta_data.csv      name in the first column, category in the third, and `split`
    Single-source/s4_data/visual_frames/<split>/<category>/<name>/<name>_{1..5}.png
    Single-source/s4_data/gt_masks/<split>/<category>/<name>/<name>_{1..5}.png     of train <name>_1.png alone
    Single-source/s4_data/audio_wav/<split>/<category>/<name>.wav
    Multi-sources/ms3_meta_data.csv     name in the first column, and `split`
    Multi-sources/ms3_data/visual_frames/<name>/<name>.mp4_{1..5}.png              no split, `.mp4` inside the name
    Multi-sources/ms3_data/gt_masks/<split>/<name>/<name>_{1..5}.png               five in train too
    Multi-sources/ms3_data/audio_wav/<split>/<name>.wav

Whatever is not 0 in a mask file sounds: S4's are of one bit, MS3's have a palette whose index is 1, which the authors'
loader divides by 255. A picture without a mask is all `zoo.ops.frame.IGNORE`. The log-mel pickles beside the sounds are
not read. `python -m data_modules.avsbench --check ROOT [data.variant=ms3]` says what is missing.
"""

import csv
import hashlib
import io
import os
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from data_modules.check import check_command
from data_modules.errors import DataError
from data_modules.kinds.clips import ClipDataModule
from data_modules.readers.foreign import read_text
from data_modules.readers.lines import FEW, ErrorCollector
from data_modules.readers.media import READER, decode_sound, probe
from data_modules.readers.object_masks import object_mask, opened
from zoo.batch import Clip, SampleSet
from zoo.errors import SettingError
from zoo.ops.frame import IGNORE

SEGMENTS, RATE, SIDE = 5, 16_000, 224

SQUARE = (SIDE, SIDE)

SPLITS = ("train", "val", "test")

DISTRIBUTOR = "AVSBench is distributed by its authors: github.com/OpenNLPLab/AVSBench (sounds and masks by their form)"

FOLDERS = [
    "ambulance_siren", "baby_laughter", "cap_gun_shooting", "cat_meowing", "chainsawing_trees", "coyote_howling",
    "dog_barking", "driving_buses", "female_singing", "helicopter", "horse_clip-clop", "lawn_mowing", "lions_roaring",
    "male_speech", "mynah_bird_singing", "playing_acoustic_guitar", "playing_glockenspiel", "playing_piano",
    "playing_tabla", "playing_ukulele", "playing_violin", "race_car", "typing_on_computer_keyboard",
]  # fmt: skip
"""The 23 categories of S4 as its folders are called; MS3's sources are of them too, but it does not say which."""

CLASSES = [name.replace("_", " ") for name in FOLDERS]

Part = Literal["s4", "ms3"]

PLACES: dict[Part, tuple[str, str, str]] = {
    "s4": ("Single-source", "s4_meta_data.csv", "s4_data"),
    "ms3": ("Multi-sources", "ms3_meta_data.csv", "ms3_data"),
}

PUBLISHED = {"s4": (3452, 740, 740), "ms3": (296, 64, 64)}
"""Clips of train, val and test."""


class Row(NamedTuple):
    """A clip of the list; `category` is empty in MS3."""

    name: str
    category: str
    split: str


class ClipFiles(NamedTuple):
    """Files of one clip: five pictures, one mask or five, and its sound."""

    id: str
    pictures: tuple[Path, ...]
    masks: tuple[Path, ...]
    sound: Path

    @property
    def every(self) -> tuple[Path, ...]:
        """All of them."""
        return (*self.pictures, *self.masks, self.sound)


def read_rows(path: Path, part: Part) -> list[Row]:
    """Clips of a list; the name and S4's category are found by their place, as the authors' code finds them.

    Raises:
        DataError: all mistakes of the list at once, with their lines.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist. {DISTRIBUTOR}")
    lines = list(csv.reader(io.StringIO(read_text(path))))
    header = lines[0] if lines else []
    least = 3 if part == "s4" else 2
    if "split" not in header or len(header) < least:
        raise DataError(f"{path}: expected a header of {least} columns or more, one of them split; got {header}")
    at, rows, errors, first = header.index("split"), [], ErrorCollector(), dict[str, int]()
    for number, cells in enumerate(lines[1:], 2):
        where = f"{path}, line {number}"
        if not any(cells):
            continue
        if len(cells) != len(header):
            errors.messages.append(f"{where}: {len(cells)} cells; the header has {len(header)}")
            continue
        row = Row(cells[0], cells[2] if part == "s4" else "", cells[at])
        if not row.name or Path(row.name).name != row.name or row.name in (".", ".."):
            errors.messages.append(f"{where}: {row.name!r} is no name of a file")
        elif row.split not in SPLITS:
            errors.messages.append(f"{where}: split {row.split!r} is none of {', '.join(SPLITS)}")
        elif part == "s4" and row.category not in FOLDERS:
            errors.messages.append(f"{where}: category {row.category!r} is none of {', '.join(FOLDERS)}")
        elif (other := first.setdefault(row.name, number)) != number:
            errors.messages.append(f"{where}: {row.name} stands in line {other} as well")
        else:
            rows.append(row)
    errors.raise_all()
    return rows


def files_of(root: Path, part: Part, row: Row) -> ClipFiles:
    """Where the files of a clip lie."""
    folder, _, data = PLACES[part]
    base, own = root / folder / data, Path(row.split, row.category, row.name)
    pictures, infix = (
        (base / "visual_frames" / own, "") if part == "s4" else (base / "visual_frames" / row.name, ".mp4")
    )
    masked = 1 if part == "s4" and row.split == "train" else SEGMENTS
    return ClipFiles(
        row.name,
        tuple(pictures / f"{row.name}{infix}_{k}.png" for k in range(1, SEGMENTS + 1)),
        tuple(base / "gt_masks" / own / f"{row.name}_{k}.png" for k in range(1, masked + 1)),
        base / "audio_wav" / own.with_name(f"{row.name}.wav"),
    )


class AVSBenchClips(SampleSet[Clip]):
    """One split.

    Args:
        clips: files of its clips.
        digests: sha256 over the files of every clip, by id.
    """

    def __init__(self, clips: Sequence[ClipFiles], digests: dict[str, str]) -> None:
        self.clips, self.digests = list(clips), digests

    def __len__(self) -> int:
        return len(self.clips)

    def id(self, index: int) -> str:
        """The benchmark's name of a clip."""
        return self.clips[index].id

    def key(self, index: int) -> str:
        """sha256 over the clip's files and how they are read."""
        text = f"{self.digests[self.id(index)]}|{SEGMENTS} {RATE}|reader {READER}"
        return hashlib.sha256(text.encode()).hexdigest()

    def target(self, index: int) -> dict[str, Tensor]:
        """`masks`: uint8 [5, 224, 224], 1 on what sounds; all `IGNORE` of a picture that has no mask."""
        masks = np.full((SEGMENTS, SIDE, SIDE), IGNORE, np.uint8)
        for k, path in enumerate(self.clips[index].masks):
            masks[k] = object_mask(opened(path, SQUARE))
        return {"masks": torch.from_numpy(masks)}

    def __getitem__(self, index: int) -> Clip:
        clip = self.clips[index]
        frames = np.stack([np.asarray(opened(path, SQUARE).convert("RGB")) for path in clip.pictures])
        sound, _ = decode_sound(clip.sound, segments=SEGMENTS, segment_seconds=1.0, sample_rate=RATE)
        return Clip(clip.id, frames, sound, RATE, self.target(index))


class AVSBench(ClipDataModule):
    """S4 or MS3 in the official split; selection on val, test touched once.

    Args:
        root: folder with `Single-source` and `Multi-sources`, or one of them.
        variant: `s4`, one source a clip, or `ms3`, several.

    Raises:
        SettingError: another part.
    """

    name = "AVSBench"
    segments, segment_seconds, sample_rate, frame_size = SEGMENTS, 1.0, RATE, SIDE
    classes = CLASSES
    license = "on request; the videos are YouTube's users'"
    own_files = "data_modules.folder_sounding_objects.SoundingFolder"

    def __init__(self, *, root: str, variant: Part = "s4") -> None:
        super().__init__()
        if variant not in PLACES:
            raise SettingError(f"data.variant = {variant}: expected {' or '.join(PLACES)}")
        self.root, self.variant = Path(root), variant
        self.name = f"AVSBench ({variant})"

    def rows(self) -> list[Row]:
        """The list of the part."""
        folder, listed, _ = PLACES[self.variant]
        return read_rows(self.root / folder / listed, self.variant)

    def splits(self) -> dict[str, SampleSet[Clip]]:
        """The official splits, once every file has been found and looked at.

        Raises:
            DataError: all missing files at once, or else all files that cannot be used.
        """
        rows = self.rows()
        clips = {row.name: files_of(self.root, self.variant, row) for row in rows}
        missing = [path for clip in clips.values() for path in clip.every if not path.is_file()]
        if missing:
            counted = Counter(path.relative_to(self.root).parts[2] for path in missing)
            raise DataError(
                f"{self.name}: {len(missing)} files are missing below {self.root} "
                f"({', '.join(f'{number} of {folder}' for folder, number in counted.items())}), e.g. "
                f"{', '.join(str(path.relative_to(self.root)) for path in missing[:FEW])}. {DISTRIBUTOR}"
            )
        digests, errors = {}, ErrorCollector()
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoders run without Python's lock
            for name, found in zip(clips, pool.map(_inspected, clips.values()), strict=True):
                digests[name] = found.digest
                errors.messages += found.faults
                for remark in found.remarks:
                    self.remarks[remark] = self.remarks.get(remark, 0) + 1
        errors.raise_all()
        return {
            split: AVSBenchClips([clips[row.name] for row in rows if row.split == split], digests) for split in SPLITS
        }

    def check(self) -> list[str]:
        """Clips by split beside the published numbers, and videos of which clips are in several splits."""
        rows = self.rows()
        counted = [sum(row.split == split for row in rows) for split in SPLITS]
        lines = [
            f"{split}: {number} clips; published: {known}"
            for split, number, known in zip(SPLITS, counted, PUBLISHED[self.variant], strict=True)
        ]
        videos = {split: {row.name[:11] for row in rows if row.split == split} for split in SPLITS}
        for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
            lines.append(f"videos with clips in both {one} and {other}: {len(videos[one] & videos[other])}")
        return lines


class Inspected(NamedTuple):
    """sha256 over the files of a clip, what cannot be used of them, and remarks on its sound."""

    digest: str
    faults: list[str]
    remarks: list[str]


def _inspected(clip: ClipFiles) -> Inspected:
    errors, digests, remarks = ErrorCollector(), [], list[str]()
    for path in clip.every:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    for path in (*clip.pictures, *clip.masks):
        with errors.catch():
            opened(path, SQUARE)
    with errors.catch():
        remarks = probe(clip.sound, seconds=SEGMENTS, frames=True)
    return Inspected(hashlib.sha256(" ".join(digests).encode()).hexdigest(), errors.messages, remarks)


if __name__ == "__main__":
    sys.exit(
        check_command(
            "data_modules.avsbench", lambda root, **settings: AVSBench(root=root, **settings), settings=("variant",)
        )
    )
