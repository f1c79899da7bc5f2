"""Base of the data modules of a user's own files: list them, inspect every file, split them and report.

`data=folder data.root=DIR` replaces a recipe's own data. `data_modules/folder/rows.py` documents the layout of DIR and
`data_modules/folder/splits.py` the splits. Every file is opened once at the start, so that an unreadable file does not
stop a training half-way.
"""

import hashlib
import os
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from data_modules.base import DataModule
from data_modules.errors import DataError
from data_modules.folder.rows import Columns, FileEntry, Kinds, read_entries
from data_modules.folder.splits import OnBad, Shares, SplitItem, make_splits, plan
from data_modules.readers.foreign import reason, require_file
from data_modules.readers.lines import FEW, ErrorCollector
from zoo.batch import SampleSet
from zoo.errors import SettingError


@dataclass(frozen=True)
class Folder:
    """Location and splits of a user's files: the settings that every kind of file has.

    Raises:
        SettingError: the shares sum to more than 1, or `group_by` is no regular expression.
    """

    root: str
    manifest: str | None
    splits: str | None
    val_share: float
    test_share: float
    group_by: str | None
    on_bad: OnBad

    def __post_init__(self) -> None:
        if self.val_share + self.test_share > 1:
            raise SettingError(
                f"data.val_share + data.test_share = {self.val_share + self.test_share:g}; expected at most 1"
            )
        try:
            re.compile(self.group_by or "")
        except re.error as error:
            raise SettingError(f"data.group_by: {self.group_by!r} is no regular expression: {error}") from None

    @property
    def path(self) -> Path:
        """The folder."""
        return Path(self.root)

    def group(self, entry: FileEntry) -> str:
        """The group from the manifest, else the match of `group_by` in the file's name.

        Raises:
            DataError: `group_by` does not match.
        """
        if entry.group or self.group_by is None:
            return entry.group
        match = re.search(self.group_by, entry.name)
        if match is None:
            raise DataError(f"data.group_by: {self.group_by!r} is nowhere in {entry.name!r}")
        return next((part for part in match.groups() if part), match.group())


class OwnFiles(DataModule):
    """Splits of a user's own files. Subclasses set the attributes and implement `parse_labels`, `inspect`, `samples`.

    Attributes:
        columns: columns of a manifest.
        beside: suffixes of files that belong to a readable file.
        small: what happens to a class of too few groups to split, as in `make_splits`.
        one_label: whether the same content with two labels is an error.
        digests: sha256 of every file's content by name, once `setup` has run.
    """

    license = "of the user's own"
    columns: ClassVar[Columns]
    beside: ClassVar[tuple[str, ...]] = ()
    small: ClassVar[Literal["error", "pool"]] = "error"
    one_label: ClassVar[bool] = True
    folder: Folder
    digests: dict[str, str]

    @property
    def name(self) -> str:  # type: ignore[override]
        """Named after the folder."""
        return f"own files ({self.folder.path.resolve().name})"

    def entries(self) -> list[FileEntry]:
        """Every file with its rows, sorted by name.

        Raises:
            DataError: the folder is laid out otherwise, or all errors of a manifest.
        """
        kinds = Kinds(self.columns.kind, self.readable, self.beside, self.refused)
        return read_entries(self.folder.path, self.folder.manifest, self.columns, kinds, self.remarks)

    def parse_labels(self, entries: Sequence[FileEntry], errors: ErrorCollector) -> None:
        """Parse the labels of all entries and set `classes`; collect errors."""
        raise NotImplementedError

    def label(self, entry: FileEntry) -> str:
        """The class used for stratification; empty if the file has none."""
        raise NotImplementedError

    def inspect(self, entry: FileEntry) -> list[str]:
        """Warnings about a file, worded alike for all files so that they can be counted.

        Raises:
            DataError: the file cannot be used.
        """
        raise NotImplementedError

    def parse_contents(self, entries: Sequence[FileEntry], errors: ErrorCollector) -> None:
        """Complete `classes` from the contents of all files; collect errors."""

    def files(self, entry: FileEntry) -> list[Path]:
        """All files of an entry."""
        return [entry.path]

    def samples(self, split: str, entries: Sequence[FileEntry]) -> SampleSet[Any]:
        """The samples of one split."""
        raise NotImplementedError

    def splits(self) -> dict[str, SampleSet[Any]]:
        """The files, inspected and split.

        Raises:
            DataError: all errors of the labels, files that cannot be used, or splits that cannot be made.
        """
        folder, errors = self.folder, ErrorCollector()
        entries = self.entries()
        self.parse_labels(entries, errors)
        for entry in entries:
            with errors.catch():
                entry.group = folder.group(entry)
        errors.raise_all()
        self.digests = self._usable(entries)
        entries = [entry for entry in entries if entry.name in self.digests]
        self.parse_contents(entries, errors)
        errors.raise_all()
        if self.one_label:
            self._require_one_label(entries)
        items = [SplitItem(e.name, self.digests[e.name], e.group, self.label(e), e.split) for e in entries]
        split_of, remarks = make_splits(
            items,
            Shares(folder.test_share, folder.val_share),
            written=Path(folder.splits) if folder.splits else None,
            small=self.small,
            leaks=folder.on_bad,
        )
        self.remarks |= remarks
        self.plan = plan(split_of, self._rule(entries))
        return {
            split: self.samples(split, [entry for entry in entries if split_of.get(entry.name) == split])
            for split in ("train", "val", "test")
        }

    def _usable(self, entries: Sequence[FileEntry]) -> dict[str, str]:
        """sha256 of every usable file, by name.

        Raises:
            DataError: some files are unusable and `on_bad` is "error", or no file is usable.
        """

        def inspected(entry: FileEntry) -> tuple[str, list[str], DataError | None]:
            try:
                return _digest(self.files(entry)), self.inspect(entry), None
            except DataError as error:
                return "", [], error
            except Exception as error:  # of any decoder
                return "", [], DataError(f"{entry.path} cannot be read: {reason(error)}")

        # Decoders release the GIL. Some silence warnings, which cannot be done for one thread alone.
        with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor(os.cpu_count()) as pool:
            results = dict(zip([entry.name for entry in entries], pool.map(inspected, entries), strict=True))
        faults = [str(fault) for _, _, fault in results.values() if fault]
        usable = {name: digest for name, (digest, _, fault) in results.items() if fault is None}
        if faults and (self.folder.on_bad == "error" or not usable):
            raise DataError(
                f"{self.name}: {len(faults)} of {len(entries)} files cannot be used: {'; '.join(faults[:FEW])}. "
                "on_bad=skip leaves such files out and counts them"
            )
        reasons = Counter(warning for _, found, fault in results.values() if fault is None for warning in found)
        self.remarks |= reasons
        if faults:
            self.remarks["files that cannot be used: left out"] = len(faults)
        return usable

    def _require_one_label(self, entries: Sequence[FileEntry]) -> None:
        """Raises DataError: files of the same content have different labels."""
        first: dict[str, FileEntry] = {}
        for entry in entries:
            other = first.setdefault(self.digests[entry.name], entry)
            if self.label(other) != self.label(entry):
                raise DataError(
                    f"{other.name} and {entry.name} are the same file, but labelled {self.label(other)!r} and "
                    f"{self.label(entry)!r}; take one away"
                )

    def _rule(self, entries: Sequence[FileEntry]) -> str:
        """Description of how the splits were made."""
        folder = self.folder
        if folder.splits:
            return f"as written in {Path(folder.splits).name}"
        provided = sorted({entry.split for entry in entries if entry.split})
        hashed = (
            f"by sha256 of group or content, in every class: {folder.test_share:g} test, {folder.val_share:g} val, "
            "the rest train"
        )
        return f"as given ({', '.join(provided)}); the missing splits out of train, {hashed}" if provided else hashed

    def setup(self, stage: str | None = None) -> None:
        """Read the splits once; if `stage` is test, nothing is trained and only the test split must hold samples.

        Raises:
            DataError: a required split is empty, or as `splits`.
        """
        if not self.sets and stage == "test":
            sets = self.splits()
            if len(sets["test"]):
                self.sets = sets
                return
            raise DataError(f"{self.name}: split test is empty, so nothing can be measured")
        super().setup(stage)

    def resolved_settings(self) -> dict[str, Any]:
        """The classes, so that an adapter keeps them when it is used with other files or none."""
        return {"classes": self.classes}

    def check(self) -> list[str]:
        """Counts by split, the classes, and the numbers of files left out or of imputed values."""
        self.setup()
        lines = [f"{split}: {len(samples)} samples" for split, samples in self.sets.items()]
        return [*lines, f"classes: {', '.join(self.classes)}", *(f"{n} {reason}" for reason, n in self.remarks.items())]


def _digest(paths: Sequence[Path]) -> str:
    """sha256 of one file, or over the digests of several."""
    digests = []
    for path in paths:
        require_file(path, empty=True)
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()


def require_classes(
    found: Sequence[str], wanted: Sequence[str] | None, errors: ErrorCollector, *, where: Path, least: int
) -> list[str]:
    """Class names in label order: those that the user lists, else those found, sorted.

    Args:
        found: class name of every sample.
        wanted: the user's own list.
        errors: collects unknown names, names that differ only in case, and too few names.
        where: folder of the data, for messages.
        least: smallest number of classes.
    """
    names = sorted(set(found))
    if wanted is not None:
        if unknown := [name for name in names if name not in wanted]:
            errors.messages.append(f"data.classes: {', '.join(unknown)} not in {', '.join(wanted)}")
        return list(wanted)
    folded: dict[str, str] = {}
    for name in names:
        if (other := folded.setdefault(name.casefold(), name)) != name:
            errors.messages.append(
                f"{where}: classes {other!r} and {name!r} differ in capitals alone; give them one spelling"
            )
    if len(names) < least:
        errors.messages.append(
            f"{where}: one class alone ({', '.join(names)}): there is nothing to tell apart; expected {least}"
        )
    return names


def number(text: str, key: str, where: str) -> float:
    """The number in a cell.

    Raises:
        DataError: the cell holds none.
    """
    try:
        return float(text)
    except ValueError:
        raise DataError(f"{where}: {key} {text!r} is no number") from None
