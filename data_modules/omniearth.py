"""OmniEarth-Bench (arXiv 2505.23522), multiple choice: six spheres of the Earth and what lies across them.

Not "OmniEarth" (arXiv 2603.09471), which is another benchmark. Expected below ROOT, as initiacms distributes it on
Hugging Face for VLMEvalKit:

    OmniEarth-Bench_MCQ_part0.jsonl ... part14.jsonl       up to seven choices, pictures in base64

and below TRAIN_ROOT a user's own train.jsonl and val.jsonl, or questions.jsonl (data_modules/kinds/questions.py): the
benchmark is for measuring only, so that all of it is `test`.

A sub-task is a task of the fourth level, named with those above it, as the same name stands below several; its group is
the sphere. Which tasks there are differs between releases, so they are taken from the files. The ground sampling
distance is not given, and many pictures are maps and curves that have none. Questions are put in upstream's words, to
the letter, unless `prompts: zoo` is set. `python -m data_modules.omniearth --check ROOT` says what is missing.
"""

import reprlib
import sys
from typing import Any

from data_modules.check import check_command
from data_modules.errors import DataError
from data_modules.kinds.benchmark_questions import OPTIONS, BenchmarkAlone, QuestionBenchmark, question_of
from data_modules.kinds.packed_pictures import PackedSet
from data_modules.kinds.questions import PerPicture
from zoo.batch import Question

LEVELS = ("category", "l2-category", "l3-category", "l4-category")


class OmniEarthBench(QuestionBenchmark):
    """OmniEarth-Bench as test, a user's questions as train and val. Classes are the sub-tasks of the benchmark's files.

    Arguments are those of `QuestionBenchmark`.
    """

    name = "OmniEarth-Bench (multiple choice)"
    parts = "OmniEarth-Bench_MCQ_part"
    fields = ("question", OPTIONS, "answer", *LEVELS)
    distributor = (
        "OmniEarth-Bench is distributed by initiacms: huggingface.co/datasets/initiacms/OmniEarth-Bench_MCQ_VLM "
        "(15 jsonl files)"
    )

    def benchmark(self) -> PackedSet:
        """The whole benchmark."""
        found = super().benchmark()
        self.classes = sorted({shot.question.kind for shot in found.shots if shot.question is not None})
        return found

    def ask(self, row: dict[str, Any], where: str) -> Question:
        """The question of a row.

        Raises:
            DataError: naming the field and what is wrong with it.
        """
        levels = [row[level] for level in LEVELS]
        if not all(isinstance(level, str) and level for level in levels):
            raise DataError(f"{where}: {', '.join(LEVELS)} = {reprlib.repr(levels)}; expected four names")
        kind = "/".join(levels)
        return question_of(row, where, kind=kind, group=levels[0], macro="kinds and groups", prompts=self.prompts)


if __name__ == "__main__":
    sys.exit(
        check_command(
            "data_modules.omniearth",
            lambda root: PerPicture(BenchmarkAlone(OmniEarthBench(root=root, train_root=root))),
        )
    )
