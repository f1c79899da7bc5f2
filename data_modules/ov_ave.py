"""OV-AVEBench (Zhou et al., CVPR 2025): 24,800 clips of ten seconds, one label a second, classes kept from training.

67 classes, of which 46 are seen (in train, val and test) and 21 unseen (in val and test). Expected below ROOT, as the
authors distribute it (jasongief/OV-AVEL, `meta_anno_files`, and the preprocessed media or the raw videos):

    ovave_dataset_meta.csv                 split,cls_name,cls_type,vid_name    cls_type: close (seen) or open (unseen)
    released_ovavel_dataset_anno.json      {vid_name: {"category": cls_name, "label": "[0, 1, 1, ...]"}}
    <split>/audio/<cls_name>/<vid_name>.wav  and  <split>/video/<cls_name>/<vid_name>/*.png   the preprocessed media, or
    <split>/<cls_name>/<vid_name>.mp4  or  video/<vid_name>.mp4  or  <vid_name>.mp4           the videos

The lists may stay in their folder `meta_anno_files`, the preprocessed media in `ovave_dataset_preprocessed`. A clip of
a class may have no second of it: all of it is background then. `python -m data_modules.ov_ave --check ROOT` says what
is missing.
"""

import csv
import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from data_modules.check import check_command
from data_modules.errors import DataError
from data_modules.kinds.clip_files import MediaClips, locate
from data_modules.kinds.clips import ClipDataModule
from data_modules.readers.lines import FEW, ErrorCollector
from data_modules.readers.media import FRAMES, Policy
from zoo.batch import Clip, SampleSet

SEGMENTS = 10

META, LABELS = "ovave_dataset_meta.csv", "released_ovavel_dataset_anno.json"

COLUMNS = ["split", "cls_name", "cls_type", "vid_name"]

PUBLISHED = {"train": (13_182, 0), "val": (1651, 4147), "test": (1664, 4156)}
"""Clips of seen and of unseen classes in the authors' list."""

DISTRIBUTOR = "OV-AVEBench is distributed by its authors: github.com/jasongief/OV-AVEL (lists, and links to the media)"

SEEN = [
    "airplane flyby", "ambulance siren", "arc welding", "bowling impact", "cat purring", "cattle mooing",
    "child singing", "child speech", "cricket chirping", "crow cawing", "engine accelerating", "female speech",
    "fire truck siren", "fireworks banging", "frog croaking", "gibbon howling", "horse clip-clop", "missile launch",
    "motorboat", "mynah bird singing", "ocean burbling", "people booing", "people burping", "people cheering",
    "people crowd", "people sniggering", "people whistling", "playing acoustic guitar", "playing banjo",
    "playing bass drum", "playing bass guitar", "playing cymbal", "playing glockenspiel", "playing harp",
    "playing mandolin", "playing sitar", "playing synthesizer", "playing violin", "race car", "roller coaster running",
    "singing bowl", "slot machine", "turkey gobbling", "typing on typewriter", "volcano explosion",
    "woodpecker pecking tree",
]  # fmt: skip

UNSEEN = [
    "baby laughter", "basketball bounce", "bird chirping", "chainsawing trees", "chicken crowing",
    "church bell ringing", "dog barking", "driving buses", "electric shaver", "female singing", "goose honking",
    "helicopter", "lions roaring", "people clapping", "playing bassoon", "playing drum kit", "playing electric guitar",
    "playing piano", "playing saxophone", "train horning", "vacuum cleaner cleaning floors",
]  # fmt: skip

CLASSES = sorted(SEEN + UNSEEN)
"""All 67 in the authors' order; background follows them."""


@dataclass(frozen=True)
class Row:
    """A clip: its split, the class that it was chosen for, its video, and the seconds of that class, 0 or 1."""

    split: str
    category: str
    video: str
    present: tuple[int, ...]

    @property
    def unseen(self) -> bool:
        """Whether its class has no training samples."""
        return self.category in UNSEEN

    def target(self, classes: list[str]) -> dict[str, Tensor]:
        """`segments`: int64 [10], the class or background (K); `unseen`: bool []."""
        label = classes.index(self.category)
        segments = torch.tensor([label if on else len(classes) for on in self.present])
        return {"segments": segments, "unseen": torch.tensor(self.unseen)}


def read_rows(root: Path) -> list[Row]:
    """All clips of the list with their labels.

    Raises:
        DataError: with every mistake of both files, by file and line or name.
    """
    meta, errors, rows = _list(root, META), ErrorCollector(), []
    known = read_labels(_list(root, LABELS), errors)
    with meta.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != COLUMNS:
            raise DataError(f"{meta}: expected the columns {', '.join(COLUMNS)}, got {reader.fieldnames}")
        found: set[str] = set()
        for line in reader:
            with errors.catch():
                rows.append(_row(line, found, known, f"{meta}, line {reader.line_num}"))
    errors.raise_all(DISTRIBUTOR)
    return rows


def _row(line: dict[str, Any], found: set[str], known: dict[str, tuple[str, tuple[int, ...]]], where: str) -> Row:
    """A line of the list, whose video enters `found`; raises DataError: what is wrong with it."""
    split, category, kind, video = (line[name] for name in COLUMNS)
    if None in line or None in line.values():
        raise DataError(f"{where}: expected {len(COLUMNS)} fields between commas")
    if split not in PUBLISHED:
        raise DataError(f"{where}: split {split!r} is none of {', '.join(PUBLISHED)}")
    if category not in CLASSES:
        raise DataError(f"{where}: {category!r} is none of the {len(CLASSES)} classes")
    if kind != ("open" if category in UNSEEN else "close"):
        raise DataError(f"{where}: cls_type {kind!r}, but {category!r} is {'un' * (category in UNSEEN)}seen")
    if split == "train" and category in UNSEEN:
        raise DataError(f"{where}: {category!r} is an unseen class, which train must not have")
    if video in found:
        raise DataError(f"{where}: {video} stands there twice")
    found.add(video)
    if video not in known:
        raise DataError(f"{where}: {video} has no labels in {LABELS}")
    if known[video][0] != category:
        raise DataError(f"{where}: {category!r}, but {LABELS} says {known[video][0]!r} of {video}")
    return Row(split, category, video, known[video][1])


def read_labels(path: Path, errors: ErrorCollector) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Class and ten seconds, 0 or 1, by video; those without mistakes.

    Raises:
        DataError: the file as a whole is no such list.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is no JSON: {error}. {DISTRIBUTOR}") from error
    if not isinstance(stored, dict):
        raise DataError(f"{path}: expected an object with a key a video. {DISTRIBUTOR}")
    labels = {}
    for video, entry in stored.items():
        with errors.catch():
            labels[video] = _seconds(entry, f"{path}, {video}")
    return labels


def _seconds(entry: Any, where: str) -> tuple[str, tuple[int, ...]]:
    """Class and seconds of a video's entry; raises DataError: it is none."""
    label = entry.get("label") if isinstance(entry, dict) else None
    try:
        seconds = json.loads(label) if isinstance(label, str) else label  # the authors keep a list as text
    except ValueError:
        seconds = None
    if not isinstance(seconds, list) or len(seconds) != SEGMENTS or any(second not in (0, 1) for second in seconds):
        raise DataError(f"{where}: label {label!r}; expected {SEGMENTS} numbers, 0 or 1")
    return str(entry.get("category")), tuple(int(second) for second in seconds)


def _list(root: Path, name: str) -> Path:
    """One of the authors' files, below ROOT or in their folder of lists.

    Raises:
        DataError: there is none.
    """
    found = locate(name, [root, root / "meta_anno_files"])
    if found is None:
        raise DataError(f"{root / name} does not exist. {DISTRIBUTOR}")
    return found


class OVAVE(ClipDataModule):
    """The official split: seen classes to train and select on, or, with `unseen`, all of them to be measured.

    Args:
        root: folder of the data set.
        unseen: val and test with their clips of unseen classes, decided between all 67 names, for an evaluation of a
            task that takes classes by name; there is no training on it.
        missing_audio: a clip without sound is an error, or silence (counted in the manifest).
        missing_pictures: a clip without pictures is an error, or grey ones (counted in the manifest).
        on_bad: a clip that is missing or damaged is an error, or is left out (counted in the manifest; then every
            file is decoded once at the start to find the damaged ones).
        frame_size: shorter side of decoded pictures, in pixels.
    """

    name = "OV-AVEBench"
    segments, segment_seconds, sample_rate = SEGMENTS, 1.0, 16_000
    license = "none stated"

    def __init__(
        self,
        *,
        root: str,
        unseen: bool = False,
        missing_audio: Literal["error", "silence"] = "error",
        missing_pictures: Literal["error", "blank"] = "error",
        on_bad: Literal["error", "skip"] = "error",
        frame_size: Annotated[int, ">= 8"] = 224,
    ) -> None:
        super().__init__()
        self.root, self.unseen = Path(root), unseen
        self.classes = list(CLASSES if unseen else SEEN)
        self.policy = Policy(missing_audio=missing_audio, missing_pictures=missing_pictures)
        self.on_bad, self.frame_size = on_bad, frame_size

    def setup(self, stage: str | None = None) -> None:
        """Read the splits once.

        Raises:
            DataError: a split is empty, or unseen classes are asked for in a training.
        """
        if self.unseen and stage == "fit" and not self.sets:
            raise DataError("data.unseen=true: a training must not know these classes; give it to zoo.evaluate alone")
        super().setup(stage)

    def splits(self) -> dict[str, SampleSet[Clip]]:
        """The official splits; without train where unseen classes are asked for."""
        rows = [row for row in read_rows(self.root) if self.unseen or not row.unseen]
        return {
            split: self._clips(split, [row for row in rows if row.split == split])
            for split in PUBLISHED
            if split != "train" or not self.unseen
        }

    def _clips(self, split: str, rows: list[Row]) -> MediaClips:
        folders = [self.root, self.root / "video", self.root / "ovave_dataset_preprocessed"]
        names = [media_name(row, folders) for row in rows]
        if self.policy["missing_pictures"] == "error" and self.on_bad == "error":
            self._require_pictures(split, [path for name in names if (path := locate(name, folders))])
        return MediaClips(
            [(row.video, name, row.target(self.classes)) for row, name in zip(rows, names, strict=True)],
            data=self,
            split=split,
            folders=folders,
            distributor=DISTRIBUTOR,
            pictures=pictures_of,
        )

    def _require_pictures(self, split: str, paths: list[Path]) -> None:
        """Raises DataError: sound files whose folder of pictures is missing or empty."""
        lacking = [str(beside(path)) for path in paths if path.suffix == ".wav" and pictures_of(path) is None]
        if lacking:
            raise DataError(
                f"{self.name}, split {split}: {len(lacking)} of {len(paths)} clips have no pictures, looked for in "
                f"{', '.join(lacking[:FEW])}. {DISTRIBUTOR}. missing_pictures=blank or on_bad=skip goes on without them"
            )

    def check(self) -> list[str]:
        """Counts of the list beside the published ones; the command checks the media."""
        rows = read_rows(self.root)
        lines = [f"{META}: {len(rows)} clips of {len({row.category for row in rows})} classes"]
        for split, published in PUBLISHED.items():
            count = Counter(row.unseen for row in rows if row.split == split)
            said = f"{split}: {count[False]} clips of seen classes and {count[True]} of unseen ones"
            other = (
                "" if (count[False], count[True]) == published else f"; published: {published[0]} and {published[1]}"
            )
            lines.append(said + other)
        return [*lines, f"clips that are background alone: {sum(not any(row.present) for row in rows)}"]


def media_name(row: Row, folders: list[Path]) -> str:
    """A clip's file: its video, or its sound among the preprocessed media."""
    inside = f"{row.split}/{row.category}/{row.video}.mp4"
    ways = [f"{row.split}/audio/{row.category}/{row.video}.wav", inside, f"{row.video}.mp4"]
    return next((way for way in ways if locate(way, folders)), ways[0])


def beside(path: Path) -> Path:
    """Where the pictures of a sound file <split>/audio/<cls_name>/<vid_name>.wav lie."""
    return path.parents[2] / "video" / path.parent.name / path.stem


def pictures_of(path: Path) -> Path | None:
    """The folder of a sound file's pictures; None of a video, and where it has none."""
    if path.suffix != ".wav" or not (folder := beside(path)).is_dir():
        return None
    return folder if any(file.suffix.lower() in FRAMES for file in folder.iterdir()) else None


class EveryClip(OVAVE):
    """Every clip of every split, to check a copy."""

    def splits(self) -> dict[str, SampleSet[Clip]]:
        """Train, too, beside val and test with their unseen classes."""
        rows = read_rows(self.root)
        return {split: self._clips(split, [row for row in rows if row.split == split]) for split in PUBLISHED}


if __name__ == "__main__":
    sys.exit(check_command("data_modules.ov_ave", lambda root: EveryClip(root=root, unseen=True)))
