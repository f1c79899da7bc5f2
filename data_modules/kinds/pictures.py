"""Base of the data modules of overhead pictures: a user's own file with its settings, and splits by a hash."""

import hashlib
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from torch import Tensor

from data_modules.base import DataModule
from data_modules.errors import DataError
from data_modules.kinds.picture_probes import GSD, probes
from data_modules.kinds.picture_set import PLAUSIBLE, PictureRecord, PictureSet, per_pixel, plausible
from data_modules.readers.formats import READABLE, REFUSED_SUFFIXES
from data_modules.readers.sensors import Rendering, parse
from zoo.batch import METRES, GroundScale, Marks, Picture, Question, SampleSet


@dataclass(frozen=True)
class Provided:
    """Settings that a user provides with a picture.

    Attributes:
        gsd: ground sampling distance in the unit of the data, or None.
        question: about the picture, or None.
        rendering: bands to show and the range of their values.
    """

    gsd: float | None
    question: Question | None
    rendering: Rendering


class PictureDataModule(DataModule):
    """Splits of pictures, each with the condition `gsd`.

    Args:
        max_side: pictures with a longer side are shrunk to it while they are read; null keeps all pixels.
        gsd_range: smallest and largest plausible GSD in metres per pixel; values outside raise an error.
        bands: bands to show, or the sensor they come from; null as the file says.
        stretch: values that become black and white; null takes the sensor's, or percentiles of each picture.
    """

    sample = Picture
    readable = READABLE
    refused = REFUSED_SUFFIXES
    settings: tuple[str, ...] = ("gsd", "question", "choices", "bands", "stretch")
    own_files = "data_modules.folder_pictures.PictureFolder"
    conditions: tuple[str, ...] = (GSD,)
    gsd_unit: str = "m"  # a literal, as it is read from the source
    """Unit of the GSD: some data sets know only ratios."""
    side: int | None = None
    """Shorter side in pixels of the pictures that a GSD refers to, if all are alike: see `zoo.batch.GroundScale`."""
    gsd_used: bool = True
    """Whether the adapter that they are read for takes a GSD; that of one which does not may stay unknown."""
    instruction: str = ""
    """Instruction after the question, if training uses another one than the zoo's."""
    marks: Marks = "A."

    def __init__(
        self,
        *,
        max_side: Annotated[int, ">= 1"] | None = None,
        gsd_range: tuple[float, float] = PLAUSIBLE,
        bands: str | None = None,
        stretch: str | None = None,
    ) -> None:
        super().__init__()
        self.max_side, self.bounds = max_side, (gsd_range[0], gsd_range[1])
        self.bands, self.stretch, self.showing = bands, stretch, parse(bands, stretch)
        self.mended: Counter[str] = Counter()

    @property
    def ground(self) -> GroundScale:
        """Unit and reference size of the condition `gsd`."""
        return GroundScale(self.gsd_unit, self.side)

    def measured_in(self, ground: GroundScale) -> None:
        """Use the unit and size of an adapter, which may have been trained on pictures of other ones."""
        self.gsd_unit, self.side, self.gsd_used = ground.unit, ground.side, ground.used
        for samples in self.sets.values():
            if isinstance(samples, PictureSet):
                samples.unit = ground.unit

    def pictures(self, shots: Sequence[PictureRecord], candidates: Tensor | None = None) -> PictureSet:
        """A split of these samples, decided between some classes alone where `candidates`, bool [K], says so."""
        return self._set(shots, self.showing, self.mended, candidates)

    def _set(
        self,
        shots: Sequence[PictureRecord],
        rendering: Rendering,
        remarks: Counter[str],
        candidates: Tensor | None = None,
    ) -> PictureSet:
        return PictureSet(
            shots,
            max_side=self.max_side,
            bounds=self.bounds,
            unit=self.gsd_unit,
            rendering=rendering,
            remarks=remarks,
            candidates=candidates,
        )

    def probes(self, conditions: Collection[str]) -> dict[str, SampleSet[Picture]]:
        """Interventions on the test split: blank pictures, and a wrong or withheld GSD."""
        return probes(self.sets["test"], conditions)

    def report(self) -> dict[str, Any]:
        """Counts for the manifest, including pictures that were repaired."""
        self.remarks |= self.mended
        return super().report()

    def provided(self, settings: dict[str, str]) -> Provided:
        """Parse and remove `gsd=`, `question="..."`, `choices="one|two|three"`, `bands=` and `stretch=`.

        Raises:
            DataError: a GSD that is no number, empty choices or choices without a question, unknown bands or range.
        """
        gsd_text, question, choices = (settings.pop(name, None) for name in ("gsd", "question", "choices"))
        rendering = parse(settings.pop("bands", None) or self.bands, settings.pop("stretch", None) or self.stretch)
        try:
            gsd = None if gsd_text is None else float(gsd_text)
        except ValueError:
            raise DataError(f"gsd: expected {per_pixel(self.gsd_unit)}, got {gsd_text!r}") from None
        options = tuple(word.strip() for word in choices.split("|")) if choices else ()
        if choices and question is None:
            raise DataError('choices without a question; expected question="..." beside them')
        if choices and not all(options):
            raise DataError(f"choices: expected words between bars, like 'field|forest|water', got {choices!r}")
        return Provided(
            gsd,
            None if question is None else Question(question, options, instruction=self.instruction, marks=self.marks),
            rendering,
        )

    def require(self, settings: Mapping[str, str]) -> None:
        """Refuse a GSD that is no number or not plausible, empty choices, and unknown bands or ranges."""
        super().require(settings)
        provided = self.provided(dict(settings))
        if provided.gsd is not None:
            plausible(provided.gsd, "the command", self.bounds, self.gsd_unit)

    def question_from(self, settings: Mapping[str, str]) -> Question | None:
        """The question among these settings."""
        return self.provided(dict(settings)).question

    def read(self, path: Path, settings: dict[str, str]) -> tuple[Picture, list[str]]:
        """A picture with the `provided` settings; the GSD of a GeoTIFF is read from the file unless it is provided.

        Raises:
            DataError: the file is no picture, or its GSD is not usable.
        """
        provided = self.provided(settings)
        # Separate remarks: those of the data set are about other pictures.
        samples = self._set(
            [PictureRecord(str(path), (path,), gsd=provided.gsd, question=provided.question)],
            provided.rendering,
            Counter(),
        )
        picture = samples[0]
        known = GSD not in self.conditions or not self.gsd_used or not math.isnan(float(picture.conditions[GSD]))
        how = "METRES tells it" if self.gsd_unit == METRES else f"NUMBER tells it, {self.gsd_unit}"
        notes = [] if known else [f"its ground sampling distance is not known (gsd={how})"]
        return picture, [*samples.remarks, *notes]


def split(ids: Sequence[str], strata: Sequence[Any], shares: dict[str, float]) -> dict[str, list[int]]:
    """Rows by split, stratified and ranked by a hash of the id; the rest is `train`.

    Args:
        ids: name of each row.
        strata: stratum of each row.
        shares: of `test`, `val`, ... in every stratum, rounded.
    """
    members: dict[Any, list[int]] = {}
    for row, stratum in enumerate(strata):
        members.setdefault(stratum, []).append(row)
    found: dict[str, list[int]] = {"train": [], **{name: [] for name in shares}}
    for rows in members.values():
        left = sorted(rows, key=lambda row: hashlib.sha256(ids[row].encode()).hexdigest())
        for name, share in shares.items():
            number = round(share * len(rows))
            found[name] += left[:number]
            left = left[number:]
        found["train"] += left
    return {name: sorted(rows) for name, rows in found.items()}
