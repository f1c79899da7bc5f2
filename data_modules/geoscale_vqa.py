"""Your own multiple-choice questions with a ground sampling distance, in the role of ScaleEarth's GeoScale-VQA.

GeoScale-VQA (arXiv 2605.07562; 1.5 million questions, each with the ground sampling distance of its picture) is not
released, and its field names, splits and kinds of questions are not published. The schema here is ours, so that anyone
can bring questions of their own; a number measured on those is none on GeoScale-VQA. Expected below ROOT:

    train.jsonl, val.jsonl, test.jsonl     one object a line, see data_modules/kinds/questions.py
    questions.jsonl                        or this alone: split 80 / 10 / 10 by picture, so that none is in two splits
    pictures/...                           wherever the lines say

    {"image": "pictures/a.tif", "question": "What is this?", "choices": ["field", "forest"], "answer": "B",
     "gsd": 0.5, "source": "PatternNet", "kind": "land use"}

`python -m data_modules.geoscale_vqa --check ROOT` says what is missing.
"""

import sys
from pathlib import Path
from typing import Annotated

from data_modules.check import check_command
from data_modules.kinds.picture_set import PLAUSIBLE
from data_modules.kinds.pictures import PictureDataModule
from data_modules.kinds.questions import Asked, PerPicture, counted, own_questions
from zoo.batch import Picture, SampleSet

SPLITS = ("train", "val", "test")


class GeoScaleVQA(PictureDataModule):
    """Multiple-choice questions of a user. Classes are the sub-tasks that the files name.

    Pictures that stand in two splits of the user's own are counted in the manifest; to know them by their contents,
    every file is read once at the start.

    Args:
        root: folder of your questions and their pictures.
        max_side: pictures with a longer side are shrunk to it while they are read; null keeps all pixels.
        gsd_range: metres per pixel outside of which a ground sampling distance is taken for a slip of units.
    """

    name = "own questions (GeoScale-VQA schema)"
    license = "of the user's own"
    own_files = "data_modules.folder_pictures.QuestionFolder"

    def __init__(
        self,
        *,
        root: str,
        max_side: Annotated[int, ">= 1"] | None = None,
        gsd_range: tuple[float, float] = PLAUSIBLE,
    ) -> None:
        super().__init__(max_side=max_side, gsd_range=gsd_range)
        self.root = Path(root)

    def questions(self) -> dict[str, list[Asked]]:
        """By split.

        Raises:
            DataError: naming files and lines, and what is wrong with them.
        """
        found = own_questions(self.root, SPLITS, self.bounds)
        self.classes = sorted({row.question.kind for part in found.values() for row in part})
        return found

    def splits(self) -> dict[str, SampleSet[Picture]]:
        """The user's splits, or one file's questions split by picture."""
        found = self.questions()
        for pair, number in in_both(found).items():
            self.remarks[f"pictures in both {pair}"] = number
        return {split: self.pictures([row.shot for row in part]) for split, part in found.items()}

    def check(self) -> list[str]:
        """Counts by split, and pictures in two splits."""
        found = self.questions()
        lines = []
        for split, part in found.items():
            pictures = {picture for row in part for picture in row.pictures()}
            known = sorted(row.shot.gsd for row in part if row.shot.gsd is not None)
            gsd = f"{known[0]:g} to {known[-1]:g} m" if known else "never given"
            lines += [
                f"{split}: {len(part)} questions about {len(pictures)} pictures; "
                f"ground sampling distance {gsd}, {len(part) - len(known)} without",
                f"{split}, kinds: {counted([row.question.kind for row in part])}",
                f"{split}, sources: {counted([row.source for row in part])}",
            ]
        return [*lines, *(f"pictures in both {pair}: {number}" for pair, number in in_both(found).items())]


def in_both(found: dict[str, list[Asked]]) -> dict[str, int]:
    """Number of pictures by the two splits they are in, where there are any."""
    seen = {split: {p for row in part for p in row.pictures()} for split, part in found.items()}
    names = list(seen)
    pairs = {f"{a} and {b}": len(seen[a] & seen[b]) for k, a in enumerate(names) for b in names[k + 1 :]}
    return {pair: number for pair, number in pairs.items() if number}


if __name__ == "__main__":
    sys.exit(check_command("data_modules.geoscale_vqa", lambda root: PerPicture(GeoScaleVQA(root=root))))
