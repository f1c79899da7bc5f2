"""AVE (Tian et al., ECCV 2018): 10-second clips, 28 event classes and background, one label a second.

Expected below ROOT, as the authors distribute it (YapengTian/AVE-ECCV18):

    Annotations.txt, trainSet.txt, valSet.txt, testSet.txt     Category&VideoID&Quality&StartTime&EndTime
    AVE/<VideoID>.mp4                                          or video/<VideoID>.mp4, or <VideoID>.mp4

`python -m data_modules.ave --check ROOT` says what is missing. Copies with and without the header line are both read.
"""

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from torch import Tensor

from data_modules.check import check_command
from data_modules.errors import DataError
from data_modules.kinds.clip_files import MediaClips
from data_modules.kinds.clips import ClipDataModule
from data_modules.readers.media import Policy
from zoo.batch import Clip, SampleSet

SEGMENTS = 10

FILES = {"train": "trainSet.txt", "val": "valSet.txt", "test": "testSet.txt"}

FOLDERS = ("AVE", "video", "")

DISTRIBUTOR = "AVE is distributed by its authors: github.com/YapengTian/AVE-ECCV18 (videos and lists)"

CLASSES = [
    "Church bell", "Male speech, man speaking", "Bark", "Fixed-wing aircraft, airplane", "Race car, auto racing",
    "Female speech, woman speaking", "Helicopter", "Violin, fiddle", "Flute", "Ukulele", "Frying (food)", "Truck",
    "Shofar", "Motorcycle", "Acoustic guitar", "Train horn", "Clock", "Banjo", "Goat", "Baby cry, infant cry", "Bus",
    "Chainsaw", "Cat", "Horse", "Toilet flush", "Rodents, rats, mice", "Accordion", "Mandolin",
]  # fmt: skip
"""The 28 classes in label order (`categories.txt`); index 28 is background."""


@dataclass(frozen=True)
class Row:
    """One annotation: class index, video, and the half-open event interval in seconds."""

    label: int
    video: str
    start: int
    end: int

    def segments(self) -> Tensor:
        """int64 [10]: the class inside the event, background outside."""
        return torch.tensor([self.label if self.start <= t < self.end else len(CLASSES) for t in range(SEGMENTS)])


def read_rows(path: Path) -> list[Row]:
    """Rows of one annotation file, with or without its header line. Category names contain commas; `&` separates.

    Raises:
        DataError: file, line, and what is wrong with it.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist. {DISTRIBUTOR}")
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        fields = line.split("&")
        if not line.strip() or (number == 1 and fields[0] == "Category"):
            continue
        where = f"{path}, line {number}"
        if len(fields) != 5:
            raise DataError(f"{where}: expected Category&VideoID&Quality&StartTime&EndTime, got {line!r}")
        category, video, _, start, end = fields
        if category not in CLASSES:
            raise DataError(f"{where}: {category!r} is none of the 28 classes of categories.txt")
        if not (start.isdigit() and end.isdigit() and int(start) <= int(end) <= SEGMENTS):
            raise DataError(f"{where}: event {start} to {end} does not lie inside the 10-second clip")
        rows.append(Row(CLASSES.index(category), video, int(start), int(end)))
    return rows


class AVE(ClipDataModule):
    """The official split; selection on val, test touched once.

    Eight ids of the test split occur in train as well, under another label: they are reported, and dropped from train
    when `drop_train_test_overlap` says so.

    Args:
        root: folder of the data set.
        drop_train_test_overlap: leave clips whose video is in test out of train.
        missing_audio: a clip without sound is an error, or silence (counted in the manifest).
        missing_pictures: a clip without pictures is an error, or grey ones (counted in the manifest).
        on_bad: a clip that is missing or damaged is an error, or is left out (counted in the manifest; then every
            file is decoded once at the start to find the damaged ones).
        frame_size: shorter side of decoded pictures, in pixels.
    """

    name = "AVE"
    classes = CLASSES
    segments, segment_seconds, sample_rate = SEGMENTS, 1.0, 16_000
    license = "none stated"

    def __init__(
        self,
        *,
        root: str,
        drop_train_test_overlap: bool = False,
        missing_audio: Literal["error", "silence"] = "error",
        missing_pictures: Literal["error", "blank"] = "error",
        on_bad: Literal["error", "skip"] = "error",
        frame_size: Annotated[int, ">= 8"] = 224,
    ) -> None:
        super().__init__()
        self.root, self.drop_overlap = Path(root), drop_train_test_overlap
        self.policy = Policy(missing_audio=missing_audio, missing_pictures=missing_pictures)
        self.on_bad, self.frame_size = on_bad, frame_size

    def rows(self) -> dict[str, list[Row]]:
        """Annotations by split, as filed."""
        return {split: read_rows(self.root / file) for split, file in FILES.items()}

    def splits(self) -> dict[str, SampleSet[Clip]]:
        """The three official splits."""
        rows = self.rows()
        shared = overlap(rows["train"], rows["test"])
        self.remarks["train clips whose video is also in test" + ("" if self.drop_overlap else " (kept)")] = sum(
            row.video in shared for row in rows["train"]
        )
        if self.drop_overlap:
            rows["train"] = [row for row in rows["train"] if row.video not in shared]
        return {split: self._clips(split, part) for split, part in rows.items()}

    def _clips(self, split: str, rows: list[Row]) -> MediaClips:
        # One video may carry two events, so a clip is named by its label as well.
        return MediaClips(
            [(f"{row.video}#{row.label}", media_name(row), {"segments": row.segments()}) for row in rows],
            data=self,
            split=split,
            folders=[self.root / folder for folder in FOLDERS],
            distributor=DISTRIBUTOR,
        )

    def check(self) -> list[str]:
        """Counts and overlaps of a copy; the command checks the media."""
        rows = self.rows()
        every = read_rows(self.root / "Annotations.txt")
        repeated = sum(n > 1 for n in Counter(row.video for row in every).values())
        lines = [
            f"Annotations.txt: {len(every)} rows over {len({r.video for r in every})} videos ({repeated} ids repeated)"
        ]
        lines += [f"{FILES[split]}: {len(part)} clips" for split, part in rows.items()]
        for a, b in (("train", "test"), ("train", "val"), ("val", "test")):
            shared = sorted(overlap(rows[a], rows[b]))
            lines.append(f"ids in both {a} and {b}: {len(shared)} {' '.join(shared)}".rstrip())
        return lines


def media_name(row: Row) -> str:
    """File name of a row's clip."""
    return f"{row.video}.mp4"


def overlap(a: list[Row], b: list[Row]) -> set[str]:
    """Videos of both lists."""
    return {row.video for row in a} & {row.video for row in b}


if __name__ == "__main__":
    sys.exit(check_command("data_modules.ave", lambda root: AVE(root=root)))
