"""LLP (Tian et al., ECCV 2020): 10-second clips, 25 classes; weak labels in train, per-second labels by modality after.

Expected below ROOT, as the authors distribute it (YapengTian/AVVP-ECCV20, folder `data`):

    AVVP_train.csv, AVVP_val_pd.csv, AVVP_test_pd.csv     filename<TAB>event_labels (comma-joined, of the whole video)
    AVVP_eval_audio.csv, AVVP_eval_visual.csv             filename<TAB>onset<TAB>offset<TAB>event_labels, whole seconds
    LLP_dataset/video/<filename[:11]>.mp4                 or video/..., or beside the lists; <filename>.mp4 is read too

`python -m data_modules.llp --check ROOT` says what is missing.
"""

import csv
import sys
from pathlib import Path
from typing import Annotated, Literal

import torch
from torch import Tensor

from data_modules.check import check_command
from data_modules.errors import DataError
from data_modules.kinds.clip_files import MediaClips, locate
from data_modules.kinds.clips import ClipDataModule
from data_modules.readers.media import Policy
from zoo.batch import Clip, SampleSet

SEGMENTS, ID_LENGTH = 10, 11

LISTS = {"train": "AVVP_train.csv", "val": "AVVP_val_pd.csv", "test": "AVVP_test_pd.csv"}

EVALUATION = {"audio": "AVVP_eval_audio.csv", "visual": "AVVP_eval_visual.csv"}

FOLDERS = ("LLP_dataset/video", "video", "")

DISTRIBUTOR = "LLP is distributed by its authors: github.com/YapengTian/AVVP-ECCV20 (lists, and how to get the videos)"

CLASSES = [
    "Speech", "Car", "Cheering", "Dog", "Cat", "Frying_(food)", "Basketball_bounce", "Fire_alarm", "Chainsaw", "Cello",
    "Banjo", "Singing", "Chicken_rooster", "Violin_fiddle", "Vacuum_cleaner", "Baby_laughter", "Accordion",
    "Lawn_mower", "Motorcycle", "Helicopter", "Acoustic_guitar", "Telephone_bell_ringing", "Baby_cry_infant_cry",
    "Blender", "Clapping",
]  # fmt: skip
"""The 25 classes in the official order."""


def _rows(path: Path, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    if not path.is_file():
        raise DataError(f"{path} does not exist. {DISTRIBUTOR}")
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        if tuple(reader.fieldnames or ()) != columns:
            raise DataError(f"{path}: expected the tab-separated columns {', '.join(columns)}, got {reader.fieldnames}")
        rows = []
        for row in reader:
            if any(row[name] is None for name in columns):
                raise DataError(f"{path}, line {reader.line_num}: expected {len(columns)} tab-separated fields")
            rows.append((reader.line_num, row))
        return rows


def _index(name: str, where: str) -> int:
    if name not in CLASSES:
        raise DataError(f"{where}: {name!r} is none of the 25 classes")
    return CLASSES.index(name)


def read_weak(path: Path) -> dict[str, Tensor]:
    """Video labels float32 [25] by file name."""
    labels = {}
    for line, row in _rows(path, ("filename", "event_labels")):
        label = torch.zeros(len(CLASSES))
        label[[_index(name, f"{path}, line {line}") for name in row["event_labels"].split(",")]] = 1
        labels[row["filename"]] = label
    return labels


def read_dense(path: Path, known: set[str]) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Labels float32 [10, 25] of the files in `known`, and counts of rows that say nothing about them.

    Raises:
        DataError: naming file and line; also for the copy of DG-SCT, where a class name stands in a file name's place.
    """
    labels = {name: torch.zeros(SEGMENTS, len(CLASSES)) for name in known}
    counts = {"rows of files in no split": 0, "rows of empty events": 0}
    for line, row in _rows(path, ("filename", "onset", "offset", "event_labels")):
        where = f"{path}, line {line}"
        name, onset, offset = row["filename"], row["onset"], row["offset"]
        if name in CLASSES:
            raise DataError(
                f"{where}: the file name is the class {name!r}. Some repositories carry this damaged copy, which "
                f"deletes a test video's labels. {DISTRIBUTOR}"
            )
        label = _index(row["event_labels"], where)
        if not (onset.isdigit() and offset.isdigit() and max(int(onset), int(offset)) <= SEGMENTS):
            raise DataError(f"{where}: event {onset} to {offset} does not lie inside the 10-second clip")
        if name not in known:
            counts["rows of files in no split"] += 1
            continue
        # The official files hold a few events that end before they begin; the official code reads them as empty.
        counts["rows of empty events"] += int(onset) >= int(offset)
        labels[name][int(onset) : int(offset), label] = 1
    return labels, counts


class LLP(ClipDataModule):
    """The official split: weak labels in train, dense ones in val (which selects) and test (touched once).

    Args:
        root: folder of the data set.
        missing_audio: a clip without sound is an error, or silence (counted in the manifest).
        missing_pictures: a clip without pictures is an error, or grey ones (counted in the manifest).
        on_bad: a clip that is missing or damaged is an error, or is left out (counted in the manifest; then every
            file is decoded once at the start to find the damaged ones).
        frame_size: shorter side of decoded pictures, in pixels.
    """

    name = "LLP"
    classes = CLASSES
    segments, segment_seconds, sample_rate = SEGMENTS, 1.0, 16_000
    license = "none stated"
    own_files = "data_modules.folder_clips.ParsedClipFolder"

    def __init__(
        self,
        *,
        root: str,
        missing_audio: Literal["error", "silence"] = "error",
        missing_pictures: Literal["error", "blank"] = "error",
        on_bad: Literal["error", "skip"] = "error",
        frame_size: Annotated[int, ">= 8"] = 224,
    ) -> None:
        super().__init__()
        self.root = Path(root)
        self.policy = Policy(missing_audio=missing_audio, missing_pictures=missing_pictures)
        self.on_bad, self.frame_size = on_bad, frame_size

    def labels(self) -> dict[str, dict[str, dict[str, Tensor]]]:
        """{split: {file name: targets}}: `weak` everywhere, `audio` and `visual` in val and test."""
        weak = {split: read_weak(self.root / file) for split, file in LISTS.items()}
        evaluated = set(weak["val"]) | set(weak["test"])
        targets = {split: {name: {"weak": label} for name, label in part.items()} for split, part in weak.items()}
        for modality, file in EVALUATION.items():
            dense, counts = read_dense(self.root / file, evaluated)
            self.remarks |= {f"{file}: {reason}": n for reason, n in counts.items() if n}
            for split in ("val", "test"):
                for name, target in targets[split].items():
                    target[modality] = dense[name]
        return targets

    def splits(self) -> dict[str, SampleSet[Clip]]:
        """The three official splits."""
        folders = [self.root / folder for folder in FOLDERS]
        return {
            split: MediaClips(
                [(name, media_name(name, folders), target) for name, target in part.items()],
                data=self,
                split=split,
                folders=folders,
                distributor=DISTRIBUTOR,
            )
            for split, part in self.labels().items()
        }

    def check(self) -> list[str]:
        """Counts of lists and labels."""
        labels = self.labels()
        lines = [f"{LISTS[split]}: {len(part)} clips" for split, part in labels.items()]
        for modality in EVALUATION:
            empty = sum(not target[modality].any() for target in labels["test"].values())
            lines.append(f"test clips without any {modality} event: {empty}")
        return lines + [f"{reason}: {n}" for reason, n in self.remarks.items()]


def media_name(name: str, folders: list[Path]) -> str:
    """A clip's file: the list's whole name, or, as the authors' scripts write it, the 11 letters of the video id."""
    whole = f"{name}.mp4"
    return whole if locate(whole, folders) else f"{name[:ID_LENGTH]}.mp4"


if __name__ == "__main__":
    sys.exit(check_command("data_modules.llp", lambda root: LLP(root=root)))
