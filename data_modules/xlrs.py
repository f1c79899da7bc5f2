"""XLRS-Bench, its VQA part "lite" (arXiv 2503.23771, CVPR 2025): 13 sub-tasks on pictures of about 8,500 x 8,500.

Expected below ROOT, as either of the two layouts that initiacms distributes on Hugging Face:

    XLRS-Bench-lite_part0.jsonl ... part14.jsonl       XLRS-Bench-lite_VLM: VLMEvalKit's parts, pictures in base64
    *.parquet (also in folders)                        XLRS-Bench-lite: needs pyarrow, slower, takes more memory

and below TRAIN_ROOT a user's own train.jsonl and val.jsonl, or questions.jsonl (data_modules/kinds/questions.py): the
benchmark is for measuring only, so that all of it is `test`, though its split is named `train` where it comes from.

Questions are put in upstream's words, to the letter, unless `prompts: zoo` is set. One sub-task, "Overall Land use
classification", may have several right letters; upstream compares the answer as the file writes it character by
character, so that one with spaces between its letters counts as wrong there whatever is said. Its macro is the plain
mean over the sub-tasks. The ground sampling distance is not given. Pictures of all pixels take gigabytes: `max_side`
shrinks them while they are read.
`python -m data_modules.xlrs --check ROOT` says what is missing.
"""

import re
import sys
from pathlib import Path
from typing import Any

from data_modules.check import check_command
from data_modules.errors import DataError
from data_modules.kinds.benchmark_questions import OPTIONS, BenchmarkAlone, QuestionBenchmark, question_of
from data_modules.kinds.questions import PerPicture
from data_modules.readers.lines import ErrorCollector
from data_modules.readers.packed import Packed, packed_cells
from zoo.batch import Question

KINDS = [
    "Complex reasoning/Anomaly Detection and Interpretation",
    "Complex reasoning/Environmental condition reasoning",
    "Complex reasoning/Route planning",
    "Counting/Counting with changing detection",
    "Counting/Counting with complex reasoning",
    "Counting/Overall counting",
    "Counting/Regional counting",
    "Land use classification/Overall Land use classification",
    "Land use classification/Regional Land use classification",
    "Object properties/Object classification",
    "Object properties/Object color",
    "Object properties/Object motion state",
    "Object spatial relationship/Object spatial relationship",
]

SEVERAL = "Land use classification/Overall Land use classification"
"""The sub-task with several right letters."""

ONE_LETTER = (
    "Select the best answer for the multiple-choice question based on the image. Only respond with the letter "
    "corresponding to the correct answer (A, B, C, D).\nThe answer is:"
)

SEVERAL_LETTERS = (
    "Select the best answer(s) for the multiple-choice question based on the image. There may be more than one correct "
    "option. Only respond with the letter(s) corresponding to the correct answer(s) (A, B, C, D), with multiple "
    "choices separated by spaces.The answer(s) is(are):"
)
"""lmms-eval's words (tasks/xlrs/mcq_utils.py), its missing space kept; VLMEvalKit's parts bring their own."""

SHARD = re.compile(r"(.*)-(\d+)-of-(\d+)")


class XLRSBench(QuestionBenchmark):
    """XLRS-Bench-lite as test, a user's questions as train and val. Classes are the benchmark's 13 sub-tasks.

    Arguments are those of `QuestionBenchmark`.
    """

    name = "XLRS-Bench-lite"
    classes = KINDS
    license = "CC BY-NC-SA 4.0 (annotations; the pictures under their sources' terms, some for research only)"
    parts = "XLRS-Bench-lite_part"
    fields = ("question", OPTIONS, "answer")
    distributor = (
        "XLRS-Bench-lite is distributed by initiacms: huggingface.co/datasets/initiacms/XLRS-Bench-lite_VLM (15 jsonl "
        "files) or huggingface.co/datasets/initiacms/XLRS-Bench-lite (parquet files)"
    )

    def files(self) -> list[Path]:
        """VLMEvalKit's parts where there are any, else the parquet files.

        Raises:
            DataError: naming what is missing.
        """
        if list(self.root.glob(f"{self.parts}*.jsonl")):
            return super().files()
        paths = sorted(self.root.rglob("*.parquet"))
        if not paths:
            raise DataError(f"{self.root} holds neither {self.parts}0.jsonl nor *.parquet. {self.distributor}")
        names = {path.stem for path in paths}
        shards = {match.groups() for name in names if (match := SHARD.fullmatch(name))}
        wanted = {f"{stem}-{k:0{len(of)}d}-of-{of}" for stem, _, of in shards for k in range(int(of))}
        if missing := sorted(wanted - names):
            raise DataError(f"{self.root}: {', '.join(missing)} (parquet) missing. {self.distributor}")
        return paths

    def rows(self, path: Path, errors: ErrorCollector) -> list[Packed]:
        """Rows of one file of either layout."""
        return packed_cells(path, errors) if path.suffix == ".parquet" else super().rows(path, errors)

    def ask(self, row: dict[str, Any], where: str) -> Question:
        """The question of a row.

        Raises:
            DataError: naming the field and what is wrong with it.
        """
        kind = sub_task(row, where)
        instruction = SEVERAL_LETTERS if kind == SEVERAL else ONE_LETTER
        question = question_of(
            row,
            where,
            kind=kind,
            group=kind.partition("/")[0],
            macro="kinds",
            prompts=self.prompts,
            instruction=instruction,
        )
        if " " in question.answer and kind != SEVERAL:
            raise DataError(f"{where}: answer {question.answer}, but in {kind} one letter is right")
        return question


def sub_task(row: dict[str, Any], where: str) -> str:
    """One of the 13, from `category` ("Counting/Overall counting") or `l2-category`, or from both put together.

    Raises:
        DataError: it is none of them.
    """
    known = {name.casefold(): kind for kind in KINDS for name in (kind, kind.partition("/")[2])}
    category, second = (str(row.get(key)) for key in ("category", "l2-category"))
    for name in (category, second, f"{category}/{second}"):
        if kind := known.get(name.casefold()):
            return kind
    raise DataError(f"{where}: category {category!r}, l2-category {second!r}: none of the 13 sub-tasks")


if __name__ == "__main__":
    sys.exit(
        check_command(
            "data_modules.xlrs", lambda root: PerPicture(BenchmarkAlone(XLRSBench(root=root, train_root=root)))
        )
    )
