"""A user's own sounds, with one class each: files of sound, or films whose pictures are not looked at.

Class folders, or a manifest with the columns `path,label`. Names of classes are words that a text tower is told:
`dog_bark` is read as "dog bark". A recording is cut into T segments; what a longer one has beyond is not used.
`python -m data_modules.folder_sounds --check DIR` says what is in a folder.
"""

import sys
from collections.abc import Sequence
from typing import Annotated, Literal

from data_modules.check import check_command
from data_modules.folder.own_files import Folder, OwnFiles, require_classes
from data_modules.folder.rows import Columns, FileEntry, repeated_files
from data_modules.kinds.sounds import Recording, SoundDataModule, SoundSet, inspected
from data_modules.readers.lines import ErrorCollector
from data_modules.readers.media_streams import ends
from zoo.batch import Clip, SampleSet


class SoundFolder(OwnFiles, SoundDataModule):
    """Sounds with one class each.

    Args:
        root: folder of the files.
        manifest: CSV or JSON lines, relative to the root; by default manifest.csv or manifest.jsonl if one exists,
            else class folders.
        classes: class names in label order; by default those found, sorted.
        segments: T, of every recording.
        segment_seconds: length of one.
        sample_rate: in Hz, of the decoded sound.
        splits: a run's splits.json to follow.
        val_share: of every class's groups, to select on.
        test_share: of every class's groups, to measure.
        group_by: regular expression; files in whose path it finds the same (its first bracket, where it has one) stay
            together, e.g. "recorder[0-9]+".
        on_bad: a file that cannot be used is an error, or is left out (counted in the manifest).
    """

    own_files = "data_modules.folder_sounds.SoundFolder"
    columns = Columns("sounds", ("label",))

    def __init__(
        self,
        *,
        root: str,
        manifest: str | None = None,
        classes: tuple[str, ...] | None = None,
        segments: Annotated[int, ">= 1"] = 5,
        segment_seconds: Annotated[float, "> 0"] = 1.0,
        sample_rate: Annotated[int, ">= 1000"] = 16_000,
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

    def parse_labels(self, entries: Sequence[FileEntry], errors: ErrorCollector) -> None:
        """Class names; a recording has one row."""
        errors.messages += repeated_files(entries)
        labels = [self.label(entry) for entry in entries]
        self.classes = require_classes(labels, self.wanted, errors, where=self.folder.path, least=2)

    def label(self, entry: FileEntry) -> str:
        """The class."""
        return entry.rows[0].values["label"]

    def inspect(self, entry: FileEntry) -> list[str]:
        """Warnings about length and sound.

        Raises:
            DataError: it cannot be decoded, or has no sound.
        """
        remarks = inspected(entry.path, self.seconds)
        if ends(entry.path).length > self.seconds + self.segment_seconds / 2:
            remarks.append(f"recordings longer than {self.seconds:g} s, of which the rest is not used")
        return remarks

    def samples(self, split: str, entries: Sequence[FileEntry]) -> SampleSet[Clip]:
        """Recordings of one split."""
        return SoundSet(
            [Recording(e.name, e.path, self.classes.index(self.label(e)), self.digests[e.name]) for e in entries],
            cut=self.cut,
        )


if __name__ == "__main__":
    sys.exit(check_command("data_modules.folder_sounds", lambda root: SoundFolder(root=root)))
