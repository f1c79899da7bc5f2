"""A user's own overhead pictures, for classification or for questions.

For classification: class folders, or a manifest with the columns `path,label` and optionally `gsd`, the ground
sampling distance in metres per pixel. For questions: a manifest with one line per question:

    path,question,choices,answer,gsd,kind
    a.tif,What is this?,field|forest|water,forest,,land use
    a.tif,How many roofs are there?,1|2|3 or more,2,0.5,count

The answer is the text of a choice, or its letter; `kind` is a sub-task, whose accuracy is also reported on its own.
Open questions have no `choices`. If `gsd` is empty, a GeoTIFF's own is used, else `data.gsd`, else it is unknown.
`python -m data_modules.folder_pictures --check DIR` says what is in a folder of classes.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from statistics import median_high
from typing import Annotated, Any, Literal

from data_modules.check import check_command
from data_modules.errors import DataError
from data_modules.folder.own_files import Folder, OwnFiles, number, require_classes
from data_modules.folder.rows import Columns, FileEntry, repeated_files
from data_modules.kinds.picture_set import PLAUSIBLE, PictureRecord, plausible
from data_modules.kinds.pictures import PictureDataModule
from data_modules.kinds.questions import LETTERS, SEVERAL
from data_modules.readers.lines import ErrorCollector
from data_modules.readers.manifest import ManifestRow
from data_modules.readers.raster import header, read_picture
from zoo.batch import METRES, Picture, Question, SampleSet

KIND = "question"
"""Sub-task of questions that name none."""


class PictureFolder(OwnFiles, PictureDataModule):
    """Pictures with one class each.

    Args:
        root: folder of the files.
        manifest: CSV or JSON lines, relative to the root; by default manifest.csv or manifest.jsonl if one exists,
            else class folders.
        classes: names of classes (of questions: of their kinds) in label order; by default those found, sorted.
        gsd: metres per pixel of pictures without one in the manifest or GeoTIFF; null if it is unknown.
        gsd_unit: unit of all ground sampling distances; any other text than m names a relative scale, for which metres
            in files are ignored.
        side: shorter side in pixels that ground sampling distances refer to, for an encoder that resizes all pictures
            to one square; null takes the median of the training pictures.
        max_side: pictures with a longer side are shrunk to it while they are read; null keeps all pixels.
        gsd_range: smallest and largest plausible metres per pixel; values outside raise an error.
        bands: a sensor (sentinel-2-l2a, naip, ...), or the bands to show as red, green and blue, e.g. "3,2,1"; null as
            in the files.
        stretch: values that become black and white in all pictures, e.g. "0..3000", or percentile; null as the sensor
            has it, or by percentiles of each picture.
        instruction: how to answer questions, in place of the zoo's own words.
        splits: a run's splits.json to follow.
        val_share: of every class's groups, to select on.
        test_share: of every class's groups, to measure.
        group_by: regular expression; files in whose path it finds the same (its first bracket, where it has one) stay
            together, e.g. "tile[0-9]+".
        on_bad: a file that cannot be used is an error, or is left out (counted in the manifest).
    """

    own_files = "data_modules.folder_pictures.PictureFolder"
    columns = Columns("pictures", ("label",), ("gsd",))

    def __init__(
        self,
        *,
        root: str,
        manifest: str | None = None,
        classes: tuple[str, ...] | None = None,
        gsd: Annotated[float, "> 0"] | None = None,
        gsd_unit: str = METRES,
        side: Annotated[int, ">= 1"] | None = None,
        max_side: Annotated[int, ">= 1"] | None = None,
        gsd_range: tuple[float, float] = PLAUSIBLE,
        bands: str | None = None,
        stretch: str | None = None,
        instruction: str = "",
        splits: str | None = None,
        val_share: Annotated[float, ">= 0", "<= 1"] = 0.2,
        test_share: Annotated[float, ">= 0", "<= 1"] = 0.2,
        group_by: str | None = None,
        on_bad: Literal["error", "skip"] = "error",
    ) -> None:
        super().__init__(
            max_side=max_side,
            gsd_range=gsd_range,
            bands=bands,
            stretch=stretch,
        )
        self.gsd_unit, self.side = gsd_unit, side
        self.folder = Folder(root, manifest, splits, val_share, test_share, group_by, on_bad)
        self.wanted, self.classes = classes, list(classes or ())
        self.gsd, self.instruction = gsd, instruction
        if gsd is not None:
            plausible(gsd, "data.gsd", self.bounds, gsd_unit)
        self.shots: dict[str, list[PictureRecord]] = {}

    def parse_labels(self, entries: Sequence[FileEntry], errors: ErrorCollector) -> None:
        """Parse class names and ground sampling distances; a picture has one row."""
        errors.messages += repeated_files(entries)
        self.classes = require_classes(
            [self.label(entry) for entry in entries], self.wanted, errors, where=self.folder.path, least=2
        )
        for entry in entries:
            with errors.catch():
                label = self.classes.index(self.label(entry)) if self.label(entry) in self.classes else None
                self.shots[entry.name] = [PictureRecord(entry.name, (entry.path,), label, self.gsd_of(entry.rows[0]))]

    def label(self, entry: FileEntry) -> str:
        """The class."""
        return entry.rows[0].values["label"]

    def gsd_of(self, row: ManifestRow) -> float | None:
        """The ground sampling distance in a row, or None.

        Raises:
            DataError: no number, or not plausible.
        """
        text = row.values.get("gsd", "")
        return plausible(number(text, "gsd", row.where), row.where, self.bounds, self.gsd_unit) if text else None

    def inspect(self, entry: FileEntry) -> list[str]:
        """No warnings; repairs are counted when pictures are read.

        Raises:
            DataError: no picture, or a GeoTIFF whose ground sampling distance is not plausible.
        """
        found = header(entry.path, str(entry.path))
        read_picture(entry.path, str(entry.path), max_side=self.max_side, rendering=self.showing)
        untold = [shot for shot in self.shots[entry.name] if shot.gsd is None]
        if untold and found.gsd is not None and self.gsd_unit == METRES:
            plausible(found.gsd, str(entry.path), self.bounds)
        elif untold and self.gsd is not None:
            known = [shot for shot in self.shots[entry.name] if shot.gsd is not None]
            self.shots[entry.name] = [*known, *(replace(shot, gsd=self.gsd) for shot in untold)]
        return []

    def samples(self, split: str, entries: Sequence[FileEntry]) -> SampleSet[Picture]:
        """Pictures or questions of one split; the training split sets the reference side of the GSD."""
        found = self.pictures([shot for entry in entries for shot in self.shots[entry.name]])
        if split == "train" and self.side is None:
            sides = [min(size) for index in range(len(found)) if (size := found.picture_size(index))]
            self.side = median_high(sides) if sides else None
        return found

    def resolved_settings(self) -> dict[str, Any]:
        """The classes, and the side."""
        return {**super().resolved_settings(), "side": self.side}


class QuestionFolder(PictureFolder):
    """Questions with choices. Classes are their kinds."""

    own_files = "data_modules.folder_pictures.QuestionFolder"
    columns = Columns("questions about pictures", ("question", "answer", "choices"), ("gsd", "kind"))
    small, one_label = "pool", False

    def parse_labels(self, entries: Sequence[FileEntry], errors: ErrorCollector) -> None:
        """Parse questions, ground sampling distances and kinds."""
        for entry in entries:
            self.shots[entry.name] = shots = []
            for place, row in enumerate(entry.rows, 1):
                with errors.catch():
                    question = self.question(row)
                    shots.append(
                        PictureRecord(f"{entry.name}#{place}", (entry.path,), gsd=self.gsd_of(row), question=question)
                    )
        kinds = [row.values.get("kind") or KIND for entry in entries for row in entry.rows]
        self.classes = require_classes(kinds, self.wanted, errors, where=self.folder.path, least=1)

    def question(self, row: ManifestRow) -> Question:
        """The question of a row.

        Raises:
            DataError: the choices are malformed, or the answer is not among them.
        """
        words = row.values
        choices = tuple(choice.strip() for choice in words["choices"].split("|"))
        if not 2 <= len(choices) <= len(LETTERS) or not all(choices) or len(set(choices)) < len(choices):
            raise DataError(
                f"{row.where}: choices {words['choices']!r}; expected 2 to {len(LETTERS)} different texts with bars "
                "between them, like field|forest|water"
            )
        answers = [answer.strip() for answer in words["answer"].split("|")]
        letters = LETTERS[: len(choices)]
        right = {letters[choices.index(a)] if a in choices else a for a in answers}
        if not right <= set(letters):
            raise DataError(f"{row.where}: answer {words['answer']!r} is none of the choices {', '.join(choices)}")
        instruction = self.instruction or (SEVERAL if len(right) > 1 else "")
        kind = words.get("kind") or KIND
        return Question(words["question"], choices, " ".join(sorted(right)), kind, instruction=instruction)

    def label(self, entry: FileEntry) -> str:
        """The most frequent kind of question about a picture."""
        kinds = Counter(row.values.get("kind") or KIND for row in entry.rows)
        return min(kinds, key=lambda kind: (-kinds[kind], kind))


class OpenQuestionFolder(QuestionFolder):
    """Questions without choices, with short answers in words."""

    own_files = "data_modules.folder_pictures.OpenQuestionFolder"
    columns = Columns("questions about pictures", ("question", "answer"), ("gsd", "kind"))

    def question(self, row: ManifestRow) -> Question:
        """The question of a row."""
        words = row.values
        return Question(words["question"], (), words["answer"], words.get("kind") or KIND, instruction=self.instruction)


if __name__ == "__main__":
    sys.exit(check_command("data_modules.folder_pictures", lambda root: PictureFolder(root=root)))
