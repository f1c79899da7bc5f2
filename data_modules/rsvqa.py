"""RSVQA (Lobry et al., TGRS 2020): open questions about Sentinel-2 tiles (LR) and aerial pictures (HR).

Expected below ROOT, as the authors distribute it on Zenodo (records 6344334 and 6344367):

    lr    LR_split_{train,val,test}_{questions,answers,images}.json, Images_LR/<id>.tif (Images_LR.zip)
    hr    USGS_split_{train,val,test,test_phili}_{questions,answers,images}.json, Data/<id>.tif (Images.tar)

Split files hold whole entries for what is in the split and `{"id", "active": false}` for the rest. Copies whose entries
are bare flags throughout are read as well; their words are then in all_questions.json and all_answers.json (lr), or
USGSquestions.json and USGSanswers.json (hr). Without the lists of images, those of the questions count.

Answers are the free text of the files: numbers, areas like "64m2", yes and no, rural and urban. The ground sampling
distance is given: 10 m and 0.15 m. `python -m data_modules.rsvqa --check ROOT` says what is missing.
"""

import json
import sys
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from data_modules.check import check_command
from data_modules.errors import DataError
from data_modules.kinds.picture_set import PLAUSIBLE, PictureRecord, PictureSet
from data_modules.kinds.pictures import PictureDataModule
from data_modules.kinds.questions import PerPicture, counted
from data_modules.readers.lines import ErrorCollector
from zoo.batch import Picture, Question, SampleSet

Variant = Literal["lr", "hr"]

PREFIX = {"lr": "LR", "hr": "USGS"}

WHOLE = {"lr": "all_{}.json", "hr": "USGS{}.json"}

FOLDERS = {"lr": ("Images_LR", "Images_LR/Images_LR", "data"), "hr": ("Data", "Images/Data")}
"""Where pictures are looked for; the first is where the archive puts them."""

METRES = {"lr": 10.0, "hr": 0.15}

KINDS = {"lr": ["comp", "count", "presence", "rural_urban"], "hr": ["area", "comp", "count", "presence"]}

DISTRIBUTOR = {
    "lr": "RSVQA-LR is distributed by its authors: zenodo.org/records/6344334",
    "hr": "RSVQA-HR is distributed by its authors: zenodo.org/records/6344367",
}

Entry = dict[str, Any]


def entries(path: Path, key: str, distributor: str) -> list[Entry]:
    """The entries below `key` of a JSON file.

    Raises:
        DataError: the file is missing or is something else.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist. {distributor}")
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path}: no JSON, so it is damaged or cut short: {error}") from None
    rows = content.get(key) if isinstance(content, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) and isinstance(row.get("id"), int) for row in rows):
        raise DataError(f'{path}: expected {{"{key}": [{{"id": 0, "active": true, ...}}, ...]}}')
    return rows


class RSVQA(PictureDataModule):
    """The official splits. Classes are the question types.

    Args:
        root: folder of the data set.
        variant: low or high resolution.
        test_set: 1, or 2 for the pictures of Philadelphia (hr only).
        max_side: pictures with a longer side are shrunk to it while they are read; null keeps all pixels.
        gsd_range: metres per pixel outside of which a ground sampling distance is taken for a slip of units.
    """

    license = "CC BY 4.0"
    own_files = "data_modules.folder_pictures.OpenQuestionFolder"

    def __init__(
        self,
        *,
        root: str,
        variant: Literal["lr", "hr"],
        test_set: Literal[1, 2] = 1,
        max_side: Annotated[int, ">= 1"] | None = None,
        gsd_range: tuple[float, float] = PLAUSIBLE,
    ) -> None:
        super().__init__(max_side=max_side, gsd_range=gsd_range)
        if test_set == 2 and variant == "lr":
            raise DataError("test_set: 2 is of variant hr; lr has one test set")
        self.root, self.variant, self.test_set = Path(root), variant, test_set
        self.classes = KINDS[variant]
        self.name = f"RSVQA-{variant.upper()}" + (" (test set 2)" if test_set == 2 else "")

    def path(self, split: str, what: str) -> Path:
        """File of the `questions`, `answers` or `images` of a split."""
        name = "test_phili" if split == "test" and self.test_set == 2 else split
        return self.root / f"{PREFIX[self.variant]}_split_{name}_{what}.json"

    def active(self, split: str, what: str, word: str) -> dict[int, Entry]:
        """Active questions or answers of a split by id, whole ones.

        Args:
            split: of the three.
            what: `questions` or `answers`.
            word: a key that whole entries have.
        """
        rows = {row["id"]: row for row in entries(self.path(split, what), what, self.distributor) if row.get("active")}
        bare = [number for number, row in rows.items() if word not in row]
        if not bare:
            return rows
        path = self.root / WHOLE[self.variant].format(what)
        whole = {row["id"]: row for row in entries(path, what, self.distributor)}
        errors = ErrorCollector()
        for number in bare:
            if word not in whole.get(number, {}):
                errors.messages.append(f"{path}: no {word} with id {number}, which {self.path(split, what)} refers to")
        errors.raise_all(self.distributor)
        return rows | {number: whole[number] for number in bare}

    @property
    def distributor(self) -> str:
        """Who distributes the files."""
        return DISTRIBUTOR[self.variant]

    def shots(self, split: str) -> list[PictureRecord]:
        """Questions of a split in the order of their ids.

        Raises:
            DataError: naming files and entries, and what is wrong with them.
        """
        questions, answers = self.active(split, "questions", "question"), self.active(split, "answers", "answer")
        images = self.path(split, "images")
        listed = {e["id"] for e in entries(images, "images", "") if e.get("active")} if images.is_file() else None
        folder = next((f for f in FOLDERS[self.variant] if (self.root / f).is_dir()), FOLDERS[self.variant][0])
        there = cache(Path.is_file)
        errors, found, unlisted = ErrorCollector(), [], 0
        for number, row in sorted(questions.items()):
            image, kind = row.get("img_id"), row.get("type")
            if listed is not None and image not in listed:
                unlisted += 1
                continue
            with errors.catch():
                where = f"{self.path(split, 'questions')}, question {number}"
                if kind not in self.classes:
                    raise DataError(f"{where}: type {kind!r} is none of {', '.join(self.classes)}")
                right = [answers[key] for key in row.get("answers_ids") or () if key in answers]
                if not right:
                    raise DataError(f"{where}: none of its answers {row.get('answers_ids')} is active")
                picture = self.root / folder / f"{image}.tif"
                if not there(picture):
                    raise DataError(f"{where}: picture {picture} does not exist")
                question = Question(str(row["question"]), answer=str(right[0]["answer"]), kind=kind)
                found.append(PictureRecord(str(number), (picture,), gsd=METRES[self.variant], question=question))
        errors.raise_all(self.distributor)
        if unlisted:
            self.remarks[f"{split} questions left out, as their picture is not active in {images.name}"] = unlisted
        return found

    def splits(self) -> dict[str, SampleSet[Picture]]:
        """Train, val and the chosen test set."""
        return {split: self.pictures(self.shots(split)) for split in ("train", "val", "test")}

    def check(self) -> list[str]:
        """Counts by split and type."""
        return [described(self.name, split, self.pictures(self.shots(split))) for split in ("train", "val", "test")]


def described(name: str, split: str, samples: PictureSet) -> str:
    """Questions and pictures of a split."""
    kinds = [shot.question.kind for shot in samples.shots if shot.question is not None]
    pictures = {source for shot in samples.shots for source in shot.sources}
    return f"{name}, {split}: {len(samples)} questions about {len(pictures)} pictures ({counted(kinds)})"


class EveryVariant:
    """The variants and test sets that lie below a root, for `--check`."""

    def __init__(self, root: str) -> None:
        every = [RSVQA(root=root, variant=variant) for variant in get_args(Variant)]
        every.append(RSVQA(root=root, variant="hr", test_set=2))
        self.found = [data for data in every if data.path("test", "questions").is_file()]
        if not self.found:
            looked = ", ".join(str(data.path("test", "questions")) for data in every)
            raise DataError(f"no variant below {root}: looked for {looked}. {'. '.join(DISTRIBUTOR.values())}")

    def check(self) -> list[str]:
        """Counts of every variant."""
        return [line for data in self.found for line in data.check()]

    def splits(self) -> dict[str, SampleSet[Picture]]:
        """Splits of every variant."""
        return {f"{data.name} {split}": part for data in self.found for split, part in data.splits().items()}


if __name__ == "__main__":
    sys.exit(check_command("data_modules.rsvqa", lambda root: PerPicture(EveryVariant(root))))
