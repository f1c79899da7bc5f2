"""Base of XLRS-Bench and OmniEarth-Bench: one format of questions, packed pictures, and no training split.

Both are for measuring only, although their one split is named `train` where they are distributed. All of it is `test`
here; `train` and `val` come from a user's own questions (`data_modules/kinds/questions.py`) in another folder; none of
their pictures may be one of the benchmark.
"""

import re
import reprlib
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from data_modules.errors import DataError
from data_modules.kinds.packed_pictures import PackedSet
from data_modules.kinds.picture_set import PLAUSIBLE, PictureRecord
from data_modules.kinds.pictures import PictureDataModule
from data_modules.kinds.questions import LETTERS, counted, letters, own_questions
from data_modules.readers.lines import ErrorCollector
from data_modules.readers.packed import Packed, packed_lines
from zoo.batch import Macro, Marks, Picture, Question, SampleSet

LISTED = "The choices are listed below:"

ASKED = "Select the best answer"

PARTS = 15

OPTIONS = "multi-choice options"

Prompts = Literal["upstream", "zoo"]

UPSTREAM_MARKS: Marks = "(A)"

_MARK = re.compile(r"^[ \t]*\(?([A-Z])[).:][ \t]*", re.MULTILINE)

_ANSWER = re.compile(r"\(?[A-Z]\)?(?:[ ,]*\(?[A-Z]\)?)*")


def options(value: Any, where: str) -> tuple[tuple[str, ...], str]:
    """The words of the choices and, where it stands below them, how to answer.

    Args:
        value: `["(A) red", ...]`, or one text: "The choices are listed below:", a line for each, "Select the best ...".
        where: for messages.

    Raises:
        DataError: these are no choices A, B, C and so on.
    """
    text = "\n".join(map(str, value)) if isinstance(value, list) else value
    parts: list[str] = []
    instruction = ""
    if isinstance(text, str):
        body, marker, rest = text.partition(ASKED)
        instruction = (marker + rest).strip()
        parts = _MARK.split(body.replace(LISTED, ""))
    marks, words = parts[1::2], [word.strip() for word in parts[2::2]]
    if len(words) < 2 or "".join(marks) != LETTERS[: len(marks)] or not all(words):
        raise DataError(
            f"{where}: {OPTIONS} = {reprlib.repr(value)}; expected (A) ..., (B) ..., and so on, two or more"
        )
    return tuple(words), instruction


def question_of(
    row: dict[str, Any],
    where: str,
    *,
    kind: str,
    group: str,
    macro: Macro,
    prompts: Prompts = "upstream",
    instruction: str = "",
) -> Question:
    """The question of a row.

    lmms-eval (`tasks/xlrs/mcq_utils.py`) and VLMEvalKit (`image_mcq.py`) put the question, "The choices are listed
    below:" without a space before it, a line a choice, an empty line, and how to answer. So does `upstream`, to the
    letter; `zoo` puts a space there, "A." for "(A)", and no empty line.

    Args:
        row: of the benchmark.
        where: for messages.
        kind: sub-task.
        group: of sub-tasks.
        macro: see `Question`.
        prompts: whose words and marks are put to the model.
        instruction: how to answer, where the row does not say it.

    Raises:
        DataError: naming the field and what is wrong with it.
    """
    text, answer = row["question"], row["answer"]
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{where}: question = {reprlib.repr(text)}; expected a text")
    choices, own = options(row[OPTIONS], where)
    gold = answer if isinstance(answer, str) else ""
    if not _ANSWER.fullmatch(gold.strip()):
        raise DataError(f"{where}: answer = {reprlib.repr(answer)}; expected a letter, or several")
    right = letters(re.findall("[A-Z]", gold), choices, where)
    if prompts == "zoo":
        choices, asked = tuple(" ".join(words.split()) for words in choices), f"{text.strip()} {LISTED}"
        return Question(asked, choices, right, kind, group, own or instruction, "A.", gold, macro)
    below = f"\n{own or instruction}"
    return Question(f"{text}{LISTED}", choices, right, kind, group, below, UPSTREAM_MARKS, gold, macro)


class QuestionBenchmark(PictureDataModule):
    """A benchmark of packed pictures: all of it is `test`; `train` and `val` are a user's own questions.

    Subclasses set the attributes, and implement `ask`.

    Attributes:
        parts: stem of the file names of VLMEvalKit's parts, to which their numbers are put.
        distributor: who distributes which files.
        fields: of every row, beside `index` and `image`.

    Args:
        root: folder of the benchmark.
        train_root: folder of the user's questions, train.jsonl and val.jsonl or questions.jsonl.
        max_side: pictures with a longer side are shrunk to it while they are read; null keeps all pixels.
        gsd_range: metres per pixel outside of which a ground sampling distance is taken for a slip of units.
        prompts: `upstream` asks the benchmark's questions in the very words of its scripts, and letters the choices of
            the user's own as these do, "(A)"; `zoo` letters all of them "A.".
    """

    own_files = "data_modules.folder_pictures.QuestionFolder"
    parts: str
    distributor: str
    fields: tuple[str, ...]

    def __init__(
        self,
        *,
        root: str,
        train_root: str,
        max_side: Annotated[int, ">= 1"] | None = None,
        gsd_range: tuple[float, float] = PLAUSIBLE,
        prompts: Prompts = "upstream",
    ) -> None:
        super().__init__(max_side=max_side, gsd_range=gsd_range)
        self.prompts, self.marks = prompts, UPSTREAM_MARKS if prompts == "upstream" else "A."
        self.root, self.train_root = Path(root), Path(train_root)

    def ask(self, row: dict[str, Any], where: str) -> Question:
        """The question of a row.

        Raises:
            DataError: naming the field and what is wrong with it.
        """
        raise NotImplementedError

    def files(self) -> list[Path]:
        """VLMEvalKit's parts.

        Raises:
            DataError: naming those that are missing.
        """
        paths = [self.root / f"{self.parts}{number}.jsonl" for number in range(PARTS)]
        if missing := [path for path in paths if not path.is_file()]:
            names = ", ".join(path.name for path in missing)
            raise DataError(f"{self.root}: {len(missing)} of {PARTS} files are missing: {names}. {self.distributor}")
        return paths

    def rows(self, path: Path, errors: ErrorCollector) -> list[Packed]:
        """Rows of one file."""
        return packed_lines(path, errors)

    def benchmark(self) -> PackedSet:
        """The whole benchmark.

        Raises:
            DataError: the first ten of all mistakes.
        """
        errors, shots, kept = ErrorCollector(), [], []
        for path in self.files():
            for packed in self.rows(path, errors):
                with errors.catch():
                    if missing := [name for name in self.fields if name not in packed.row]:
                        raise DataError(f"{packed.where}: {', '.join(missing)} missing")
                    question = self.ask(packed.row, packed.where)
                    shots.append(PictureRecord(f"{path.stem}/{packed.row['index']}", (), question=question))
                    kept.append(packed)
        errors.raise_all(self.distributor)
        return PackedSet(shots, kept, max_side=self.max_side, bounds=self.bounds, remarks=self.mended)

    def splits(self) -> dict[str, SampleSet[Picture]]:
        """The user's train and val, and the benchmark as test.

        Raises:
            DataError: pictures of the benchmark are among the user's.
        """
        own = own_questions(self.train_root, ("train", "val"), self.bounds)
        test = self.benchmark()
        hashes = {digest for packed in test.packed for digest in packed.hashes}
        shared = {
            str(path)
            for part in own.values()
            for question in part
            for path, digest in zip(question.shot.sources, question.pictures(), strict=True)
            if digest in hashes
        }
        if shared:
            raise DataError(
                f"{self.train_root}: {len(shared)} pictures are of {self.name}, e.g. {min(shared)}; "
                "it is for measuring only, so leave them out of training and selection"
            )
        return {
            **{name: self.pictures([self._marked(question.shot) for question in part]) for name, part in own.items()},
            "test": test,
        }

    def _marked(self, shot: PictureRecord) -> PictureRecord:
        assert shot.question is not None
        return replace(shot, question=shot.question._replace(marks=self.marks))

    def check(self) -> list[str]:
        """Counts of the benchmark."""
        return described(self.benchmark())


class BenchmarkAlone:
    """A benchmark without the user's questions, for `--check`."""

    def __init__(self, data: QuestionBenchmark) -> None:
        self.test = data.benchmark()

    def check(self) -> list[str]:
        """Counts."""
        return described(self.test)

    def splits(self) -> dict[str, SampleSet[Picture]]:
        """The benchmark."""
        return {"test": self.test}


def described(test: PackedSet) -> list[str]:
    """Questions, pictures, kinds and groups."""
    questions = [shot.question for shot in test.shots if shot.question is not None]
    pictures = {digest for packed in test.packed for digest in packed.hashes}
    return [
        f"test: {len(test)} questions about {len(pictures)} pictures",
        f"kinds: {counted([question.kind for question in questions])}",
        f"groups: {counted([question.group for question in questions])}",
    ]
