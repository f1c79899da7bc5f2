"""Multiple-choice questions about pictures in JSON lines: our own schema, read with every mistake at once.

One object a line, in UTF-8:

    image      path relative to ROOT, or a list of paths where several pictures are shown
    question   the question alone
    choices    list of 2 to 26 texts, the words of A, B, C, ...; without letters before them
    answer     "B", or a list of letters, ["A", "C"], where several may be right (also where only one is)
    gsd        ground sampling distance of the pictures in metres per pixel; null where it is not known
               (of a GeoTIFF it is then read from the file)
    source     where the pictures come from
    kind       the sub-task
    id         unique name; optional, "train:12" for line 12 of train.jsonl otherwise

Further keys are ignored. Pictures are identified by their contents, so that a copy under another name is the same.
"""

import os
import reprlib
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_modules.check import Checkable
from data_modules.errors import DataError
from data_modules.kinds.picture_probes import Probe
from data_modules.kinds.picture_set import PictureRecord, plausible
from data_modules.kinds.pictures import split
from data_modules.readers.lines import ErrorCollector, Line, json_lines
from data_modules.readers.raster import content_hash
from zoo.batch import Question, SampleSet

LETTERS = string.ascii_uppercase

SEVERAL = "Answer with the letters of all right choices, separated by spaces."

KEYS = ("image", "question", "choices", "answer", "gsd", "source", "kind")

WHOLE = "questions.jsonl"

SHARE = 0.1
"""Share of pictures for val, and for test, if one file is split."""

POOL = 10
"""Sub-tasks with fewer groups of pictures are split together, as a tenth of them would be none."""

LAYOUT = (
    f"Expected are train.jsonl, val.jsonl and test.jsonl, or {WHOLE} alone: one JSON object of {', '.join(KEYS)} a line"
)


def letters(found: Sequence[Any], choices: Sequence[str], where: str) -> str:
    """Right letters in order, with spaces between them.

    Raises:
        DataError: none, one twice, or one that is no letter of the choices.
    """
    allowed = LETTERS[: len(choices)]
    if not found or len({*map(str, found)}) < len(found) or not all(letter in [*allowed] for letter in found):
        raise DataError(
            f"{where}: answer {reprlib.repr(list(found))}: expected letters from A to {allowed[-1]}, as there are "
            f"{len(choices)} choices"
        )
    return " ".join(sorted(found))


@dataclass(frozen=True)
class Asked:
    """A question of one line, the source of its pictures, and the place for messages."""

    shot: PictureRecord
    source: str
    where: str

    @property
    def question(self) -> Question:
        """The question."""
        assert self.shot.question is not None
        return self.shot.question

    def pictures(self) -> list[str]:
        """Content hashes of its pictures."""
        return [content_hash(source, self.where) for source in self.shot.sources]


def parse(line: Line, root: Path, bounds: tuple[float, float]) -> Asked:
    """A line in our schema.

    Args:
        line: of the file.
        root: folder that picture paths begin in.
        bounds: of a plausible ground sampling distance, metres per pixel.

    Raises:
        DataError: file, line, and what is wrong with it.
    """
    row, where = line.row, line.where

    def refuse(key: str, expected: str) -> DataError:
        return DataError(f"{where}: {key} = {reprlib.repr(row[key])}; expected {expected}")

    if missing := [key for key in KEYS if key not in row]:
        raise DataError(f"{where}: {', '.join(missing)} missing; every line has {', '.join(KEYS)}")
    for key in ("question", "source", "kind", *(["id"] if "id" in row else [])):
        if not _words(row[key]):
            raise refuse(key, "a text")
    names = row["image"] if isinstance(row["image"], list) else [row["image"]]
    if not names or not all(map(_words, names)):
        raise refuse("image", "a path relative to the root, or a list of them")
    choices = row["choices"]
    if not isinstance(choices, list) or not 2 <= len(choices) <= len(LETTERS) or not all(map(_words, choices)):
        number = f" (there are {len(choices)})" if isinstance(choices, list) else ""
        raise refuse("choices", f"a list of 2 to {len(LETTERS)} texts{number}")
    several = isinstance(row["answer"], list)
    answer = letters(row["answer"] if several else [row["answer"]], choices, where)
    gsd = row["gsd"]
    if gsd is not None:
        if isinstance(gsd, bool) or not isinstance(gsd, int | float):
            raise refuse("gsd", "a number of metres per pixel, or null")
        plausible(gsd, where, bounds)
    question = Question(row["question"], tuple(choices), answer, row["kind"], instruction=SEVERAL if several else "")
    paths = tuple(Path(os.path.normpath(root / name)) for name in names)
    return Asked(
        PictureRecord(row.get("id", f"{line.path.stem}:{line.number}"), paths, gsd=gsd, question=question),
        row["source"],
        where,
    )


def _words(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def read_questions(paths: Sequence[Path], root: Path, bounds: tuple[float, float]) -> list[list[Asked]]:
    """The questions of every file.

    Raises:
        DataError: the first ten of all mistakes, among them missing pictures and names that stand twice.
    """
    errors = ErrorCollector()
    files: list[list[Asked]] = []
    for path in paths:
        files.append([])
        for line in json_lines(path, errors):
            with errors.catch():
                files[-1].append(parse(line, root, bounds))
    seen: set[Path] = set()
    named: dict[str, str] = {}
    for item in (item for file in files for item in file):
        for picture in item.shot.sources:
            if isinstance(picture, Path) and picture not in seen:
                seen.add(picture)
                if not picture.is_file():
                    errors.messages.append(f"{item.where}: picture {picture} does not exist")
        if (other := named.setdefault(item.shot.id, item.where)) != item.where:
            errors.messages.append(f"{item.where}: id {item.shot.id!r} stands also in {other}")
    errors.raise_all()
    return files


def own_questions(root: Path, splits: Sequence[str], bounds: tuple[float, float]) -> dict[str, list[Asked]]:
    """A user's questions by split.

    Args:
        root: folder of the files and their pictures.
        splits: those that are wanted, `train` among them.
        bounds: of a plausible ground sampling distance, metres per pixel.

    Raises:
        DataError: naming the files that are missing, or what is wrong with them.
    """
    paths = [root / f"{name}.jsonl" for name in splits]
    missing = [path for path in paths if not path.is_file()]
    if len(missing) == len(paths) and (root / WHOLE).is_file():
        return by_picture(read_questions([root / WHOLE], root, bounds)[0], splits)
    if missing:
        verb = "does" if len(missing) == 1 else "do"
        raise DataError(f"{', '.join(map(str, missing))} {verb} not exist. {LAYOUT}")
    return dict(zip(splits, read_questions(paths, root, bounds), strict=True))


def by_picture(rows: Sequence[Asked], splits: Sequence[str]) -> dict[str, list[Asked]]:
    """Questions by split, by a hash of their pictures: a tenth each of val and test, and the rest train.

    Pictures that one question shows together are a group and stay together. The shares are taken within the groups'
    commonest sub-tasks where those have ten groups.
    """
    leader: dict[str, str] = {}

    def lead(picture: str) -> str:
        while leader.setdefault(picture, picture) != picture:
            picture = leader[picture]
        return picture

    shown = [item.pictures() for item in rows]
    for pictures in shown:
        leads = sorted(map(lead, pictures))
        leader.update(dict.fromkeys(leads, leads[0]))
    kinds: dict[str, Counter[str]] = {}
    for item, pictures in zip(rows, shown, strict=True):
        kinds.setdefault(lead(pictures[0]), Counter())[item.question.kind] += 1
    strata = {group: min(count, key=lambda kind: (-count[kind], kind)) for group, count in kinds.items()}
    sizes = Counter(strata.values())
    groups = list(strata)
    found = split(
        groups,
        [strata[group] if sizes[strata[group]] >= POOL else "" for group in groups],
        {name: SHARE for name in splits if name != "train"},
    )
    of = {groups[row]: name for name, chosen in found.items() for row in chosen}
    parts: dict[str, list[Asked]] = {name: [] for name in splits}
    for item, pictures in zip(rows, shown, strict=True):
        parts[of[lead(pictures[0])]].append(item)
    return parts


class PerPicture:
    """A data module for `--check`, with one question about every picture, so that none is decoded twice."""

    def __init__(self, data: Checkable) -> None:
        self.data = data

    def check(self) -> list[str]:
        """The data module's own."""
        return self.data.check()

    def splits(self) -> dict[str, SampleSet[Any]]:
        """The first sample of every picture."""
        return {name: self._first(samples) for name, samples in self.data.splits().items()}

    @staticmethod
    def _first(samples: SampleSet[Any]) -> SampleSet[Any]:
        rows: dict[str, int] = {}
        for row in range(len(samples)):
            rows.setdefault(samples.key(row), row)
        return Probe(samples, list(rows.values()), gsd=None)


def counted(names: Sequence[str]) -> str:
    """`a 3, b 1`, for lines of `--check`."""
    return ", ".join(f"{name} {number}" for name, number in sorted(Counter(names).items()))
