"""What every data module shares: splits of samples, what a user's file becomes, a fingerprint of what was read."""

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from data_modules.errors import DataError
from zoo.batch import Batch, GroundScale, Question, SampleSet


class DataModule:
    """Train, val and test splits of samples.

    Subclasses set the attributes below and implement `splits`.

    Attributes:
        name: of the data set.
        classes: K class names in label order, without background.
        sample: class of its samples, which says how they are drawn and shown.
        synthetic: whether the data were made by a program; said wherever a number stands.
        deterministic: whether a sample is the same every time it is read (else frozen features cannot be cached).
        license: of the data.
        conditions: side inputs that its samples carry.
        readable: suffixes of a user's files that `read` takes, in lower case.
        refused: suffixes of files of the same kind that `read` refuses, saying what to do: in a folder they are no
            strangers that are passed over.
        settings: what a user may say beside a file, as `read` takes it.
        own_files: the class, by its dotted path, that reads a user's own files in its place (`data=folder`).
        preparation: name and version of what `prepare` does; an adapter keeps that which it was trained with.
        former: in what the preparation of earlier versions differed.
        remarks: how many samples were left out or have something made up, by reason; stands in the manifest.
        plan: how samples were divided, where that is not fixed elsewhere; a run writes it down as `splits.json`.
        seed: of the run, from which augmentation and choices among samples follow.
    """

    name: str
    classes: list[str]
    sample: type[Any] | None = None
    synthetic: bool = False
    deterministic: bool = True
    license: str = "not stated"
    conditions: tuple[str, ...] = ()
    readable: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    own_files: str = ""
    preparation: str = ""
    former: str = ""

    def __init__(self) -> None:
        self.seed = 0
        self.sets: dict[str, SampleSet[Any]] = {}
        self.remarks: dict[str, int] = {}
        self.plan: dict[str, Any] = {}

    def splits(self) -> dict[str, SampleSet[Any]]:
        """The splits `train`, `val` and `test`."""
        raise NotImplementedError

    def probes(self, conditions: Collection[str]) -> dict[str, SampleSet[Any]]:
        """The test split seen otherwise, by name, to measure what answers rest on: once `setup` has run.

        Args:
            conditions: the side inputs that the method uses.
        """
        return {}

    def settled(self) -> dict[str, Any]:
        """Settings that the files decided, once `setup` has run: an adapter's recipe names them."""
        return {}

    def require(self, settings: Mapping[str, str]) -> None:
        """Refuse what `read` would refuse whatever the file, before one is read or weights are fetched.

        Raises:
            DataError: a setting that means nothing to this data set, or a value that is none.
        """
        if unknown := [f"{key}=" for key in settings if key not in self.settings]:
            known = f"it takes {', '.join(f'{key}=' for key in self.settings)}" if self.settings else "it takes none"
            raise DataError(f"{', '.join(unknown)} means nothing to {self.name}, the data of this adapter; {known}")

    @property
    def ground(self) -> GroundScale:
        """What ground sampling distances are measured in, where samples have one."""
        return GroundScale()

    def measured_in(self, ground: GroundScale) -> None:
        """Take ground sampling distances in the unit of an adapter, where samples have one."""

    def asked(self, settings: Mapping[str, str]) -> Question | None:
        """The question among these settings."""
        return None

    def samples_in(self, path: Path, settings: Mapping[str, str]) -> list[Path]:
        """What to `read` of a file: itself, or FILE#0, FILE#1, ... where these settings make it several samples."""
        return [path]

    def read(self, path: Path, settings: dict[str, str]) -> tuple[Any, list[str]]:
        """A user's own file as this data set would give it, and notes on what had to be made up.

        Args:
            path: the file, or one of its `samples_in`.
            settings: further words of the command line; those used are taken out.

        Raises:
            DataError: the file is no such sample.
        """
        raise NotImplementedError

    def prepare(self, sample: Any) -> Any:
        """A decoded sample as this data set would give it; one that is prepared already is returned as it is.

        Raises:
            DataError: it is no such sample.
        """
        return sample

    def augment(self, batch: Batch, epoch: int) -> Batch:
        """A training batch, on its device, as an epoch sees it."""
        return batch

    def setup(self, stage: str | None = None) -> None:
        """Read the splits once.

        Raises:
            DataError: a split is empty.
        """
        if self.sets:
            return
        self.sets = self.splits()
        empty = [split for split, samples in self.sets.items() if not len(samples)]
        if empty:
            raise DataError(f"{self.name}: split {', '.join(empty)} is empty, so nothing can be trained or measured")

    def fingerprint(self) -> str:
        """sha256 over content keys, labels, conditions and questions of every sample of every split."""
        digest = hashlib.sha256()
        for split, samples in sorted(self.sets.items()):
            for line in sorted(f"{split}|{samples.key(i)}|{_told(samples, i)}" for i in range(len(samples))):
                digest.update(f"{line}\n".encode())
        return digest.hexdigest()

    def sample_digests(self) -> dict[str, dict[str, str]]:
        """By split and sample id, a hash of all that `fingerprint` covers: by which two readings are compared."""
        found: dict[str, dict[str, str]] = {}
        for split, samples in self.sets.items():
            known = found[split] = {}
            for i in range(len(samples)):
                name, told = samples.id(i), f"{samples.key(i)}|{_told(samples, i)}"
                known[name] = hashlib.sha256(f"{known.get(name, '')}{told}".encode()).hexdigest()[:16]
        return found

    def report(self) -> dict[str, Any]:
        """Counts for the manifest: samples by split, samples left out or mended by reason, licence."""
        counts = {split: len(samples) for split, samples in self.sets.items()}
        return {**counts, "remarks": self.remarks, "license": self.license}


def _told(samples: SampleSet[Any], index: int) -> str:
    """Hash of a sample's labels, conditions and question."""
    asked = samples.question(index)
    return _hash(samples.target(index) | samples.conditions(index)) + ("" if asked is None else repr(asked))


def _hash(target: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, values in sorted(target.items()):
        digest.update(name.encode() + values.numpy().tobytes())
    return digest.hexdigest()
