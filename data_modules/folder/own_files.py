"""What data modules of a user's own files share: find, look at every file, divide, and say what was found.

`data=folder data.root=DIR` in place of a recipe's own data; `data_modules/folder_rows.py` says how DIR may be laid out
and `data_modules/folder_splits.py` how it is divided. Every file is opened once at the start, so that nothing is found
unreadable in the middle of a training.
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
from data_modules.folder.rows import SHOWN, Columns, Entry, Kinds, read_entries
from data_modules.folder.splits import Fate, Member, Shares, divide, plan
from data_modules.readers.foreign import reason, require_file
from data_modules.readers.lines import Mistakes
from zoo.batch import SampleSet
from zoo.errors import SettingError


@dataclass(frozen=True)
class Folder:
    """Where a user's files lie and how they are divided; the settings that every kind of file has.

    Raises:
        SettingError: shares that are more than all, or a `group_by` that is no regular expression.
    """

    root: str
    manifest: str | None
    splits: str | None
    val_share: float
    test_share: float
    group_by: str | None
    on_bad: Fate

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

    def group(self, entry: Entry) -> str:
        """What its manifest says, else what `group_by` finds in its name.

        Raises:
            DataError: `group_by` finds nothing.
        """
        if entry.group or self.group_by is None:
            return entry.group
        found = re.search(self.group_by, entry.name)
        if found is None:
            raise DataError(f"data.group_by: {self.group_by!r} is nowhere in {entry.name!r}")
        return next((part for part in found.groups() if part), found.group())


class OwnFiles(DataModule):
    """Splits of a user's own files. Subclasses set the attributes, and implement `understand`, `look` and `samples`.

    Attributes:
        columns: of a manifest.
        beside: suffixes of files that lie beside those that are read, and go with them.
        small: what to do with a class of too few groups to divide.
        one_label: whether the same content with two labels is a contradiction.
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
        """After the folder."""
        return f"own files ({self.folder.path.resolve().name})"

    def understand(self, entries: Sequence[Entry], mistakes: Mistakes) -> None:
        """Read what is said of the files, set `classes`, and collect what is wrong."""
        raise NotImplementedError

    def label(self, entry: Entry) -> str:
        """The class that a file counts for when classes are divided alike; empty where it is of none."""
        raise NotImplementedError

    def look(self, entry: Entry) -> list[str]:
        """What is odd about a file, in words that are the same for every file it holds for.

        Raises:
            DataError: it cannot be used.
        """
        raise NotImplementedError

    def looked(self, entries: Sequence[Entry], mistakes: Mistakes) -> None:
        """Add to `classes` what only a look at all files tells, and collect what is wrong."""

    def files(self, entry: Entry) -> list[Path]:
        """All that an entry is made of."""
        return [entry.path]

    def samples(self, split: str, entries: Sequence[Entry]) -> SampleSet[Any]:
        """One split."""
        raise NotImplementedError

    def splits(self) -> dict[str, SampleSet[Any]]:
        """The files, looked at and divided.

        Raises:
            DataError: everything that is wrong with what is said of them; files that cannot be used; a division that
                cannot be made.
        """
        folder, mistakes = self.folder, Mistakes()
        kinds = Kinds(self.columns.kind, self.readable, self.beside, self.refused)
        entries = read_entries(folder.path, folder.manifest, self.columns, kinds, self.remarks)
        self.understand(entries, mistakes)
        for entry in entries:
            with mistakes.catch():
                entry.group = folder.group(entry)
        mistakes.settle()
        self.digests = self._usable(entries)
        entries = [entry for entry in entries if entry.name in self.digests]
        self.looked(entries, mistakes)
        mistakes.settle()
        if self.one_label:
            self._require_one_label(entries)
        members = [Member(e.name, self.digests[e.name], e.group, self.label(e), e.split) for e in entries]
        found, remarks = divide(
            members,
            Shares(folder.test_share, folder.val_share),
            written=Path(folder.splits) if folder.splits else None,
            small=self.small,
            leaks=folder.on_bad,
        )
        self.remarks |= remarks
        self.plan = plan(found, self._rule(entries))
        return {
            split: self.samples(split, [entry for entry in entries if found.get(entry.name) == split])
            for split in ("train", "val", "test")
        }

    def _usable(self, entries: Sequence[Entry]) -> dict[str, str]:
        """sha256 of every file that can be used, by name.

        Raises:
            DataError: there are others and `on_bad` is "error", or there are no more.
        """

        def look(entry: Entry) -> tuple[str, list[str], DataError | None]:
            try:
                return _digest(self.files(entry)), self.look(entry), None
            except DataError as error:
                return "", [], error
            except Exception as error:  # of any decoder
                return "", [], DataError(f"{entry.path} cannot be read: {reason(error)}")

        # Decoders run without Python's lock. Some silence warnings, which none can do for its own thread alone.
        with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor(os.cpu_count()) as pool:
            looks = dict(zip([entry.name for entry in entries], pool.map(look, entries), strict=True))
        faults = [str(fault) for _, _, fault in looks.values() if fault]
        usable = {name: digest for name, (digest, _, fault) in looks.items() if fault is None}
        if faults and (self.folder.on_bad == "error" or not usable):
            raise DataError(
                f"{self.name}: {len(faults)} of {len(entries)} files cannot be used: {'; '.join(faults[:SHOWN])}. "
                "on_bad=skip leaves such files out and counts them"
            )
        reasons = Counter(reason for _, told, fault in looks.values() if fault is None for reason in told)
        self.remarks |= reasons
        if faults:
            self.remarks["files that cannot be used: left out"] = len(faults)
        return usable

    def _require_one_label(self, entries: Sequence[Entry]) -> None:
        """Raises DataError: files of the same content that are said to be of different classes."""
        first: dict[str, Entry] = {}
        for entry in entries:
            other = first.setdefault(self.digests[entry.name], entry)
            if self.label(other) != self.label(entry):
                raise DataError(
                    f"{other.name} and {entry.name} are the same file, but labelled {self.label(other)!r} and "
                    f"{self.label(entry)!r}; take one away"
                )

    def _rule(self, entries: Sequence[Entry]) -> str:
        """How the files were divided, in words."""
        folder = self.folder
        if folder.splits:
            return f"as written in {Path(folder.splits).name}"
        given = sorted({entry.split for entry in entries if entry.split})
        hashed = (
            f"by sha256 of group or content, in every class: {folder.test_share:g} test, {folder.val_share:g} val, "
            "the rest train"
        )
        return f"as given ({', '.join(given)}); what is lacking out of train, {hashed}" if given else hashed

    def setup(self, stage: str | None = None) -> None:
        """Read the splits once; where nothing is to be trained (`stage` is test), only test has to hold samples.

        Raises:
            DataError: a split that is needed is empty, or what `splits` refuses.
        """
        if not self.sets and stage == "test":
            found = self.splits()
            if len(found["test"]):
                self.sets = found
                return
            raise DataError(f"{self.name}: split test is empty, so nothing can be measured")
        super().setup(stage)

    def settled(self) -> dict[str, Any]:
        """The classes, so that the adapter means the same beside other files, or without any."""
        return {"classes": self.classes}

    def check(self) -> list[str]:
        """Counts by split and class, and what was left out or made up."""
        self.setup()
        lines = [f"{split}: {len(samples)} samples" for split, samples in self.sets.items()]
        return [*lines, f"classes: {', '.join(self.classes)}", *(f"{n} {reason}" for reason, n in self.remarks.items())]


def _digest(paths: Sequence[Path]) -> str:
    """sha256 of one file, or over those of several."""
    found = []
    for path in paths:
        require_file(path, empty=True)
        with path.open("rb") as file:
            found.append(hashlib.file_digest(file, "sha256").hexdigest())
    return found[0] if len(found) == 1 else hashlib.sha256(" ".join(found).encode()).hexdigest()


def require_classes(
    found: Sequence[str], wanted: Sequence[str] | None, mistakes: Mistakes, *, where: Path, least: int
) -> list[str]:
    """Class names in label order: those wanted, else those found, sorted.

    Args:
        found: a name for every sample.
        wanted: the user's own list.
        mistakes: collects names that are not wanted, that differ in capitals alone, or that are too few.
        where: folder of the data, for messages.
        least: number of classes that there must be.
    """
    names = sorted(set(found))
    if wanted is not None:
        if unknown := [name for name in names if name not in wanted]:
            mistakes.found.append(f"data.classes: {', '.join(unknown)} not in {', '.join(wanted)}")
        return list(wanted)
    folded: dict[str, str] = {}
    for name in names:
        if (other := folded.setdefault(name.casefold(), name)) != name:
            mistakes.found.append(
                f"{where}: classes {other!r} and {name!r} differ in capitals alone; give them one spelling"
            )
    if len(names) < least:
        mistakes.found.append(
            f"{where}: one class alone ({', '.join(names)}): there is nothing to tell apart; expected {least}"
        )
    return names


def number(text: str, key: str, where: str) -> float:
    """A cell as a number.

    Raises:
        DataError: it is none.
    """
    try:
        return float(text)
    except ValueError:
        raise DataError(f"{where}: {key} {text!r} is no number") from None
