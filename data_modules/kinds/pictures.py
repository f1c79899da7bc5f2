"""What data modules of pictures seen from above share: a user's own file and what is told of it, and the splits."""

import hashlib
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from data_modules.base import DataModule
from data_modules.errors import DataError
from data_modules.kinds.picture_set import PLAUSIBLE, PictureSet, Shot, per_pixel, plausible
from data_modules.kinds.probes import GSD, probes
from data_modules.readers.formats import READABLE, REFUSED_SUFFIXES
from data_modules.readers.sensors import Look, parse
from zoo.batch import METRES, GroundScale, Picture, Question, SampleSet


@dataclass(frozen=True)
class Told:
    """What a user says of a picture.

    Attributes:
        gsd: in the unit of the data; None where it is not told.
        question: asked about it.
        look: which bands are shown, and which range of their values.
    """

    gsd: float | None
    question: Question | None
    look: Look


class PictureDataModule(DataModule):
    """Splits of pictures, each with the condition `gsd`.

    Args:
        max_side: pictures with a longer side are shrunk to it while they are read; null keeps all pixels.
        gsd_range: metres per pixel outside of which a GSD is taken for a slip of units.
        bands: which bands are shown, or of which sensor they are; null as the file says.
        stretch: values that become black and white; null as the sensor's, or by percentiles of each picture.
    """

    sample = Picture
    readable = READABLE
    refused = REFUSED_SUFFIXES
    settings: tuple[str, ...] = ("gsd", "question", "choices", "bands", "stretch")
    own_files = "data_modules.folder_pictures.PictureFolder"
    conditions: tuple[str, ...] = (GSD,)
    gsd_unit: str = "m"  # a literal, as it is read from the source
    """Of the GSD: not every set knows more than ratios."""
    side: int | None = None
    """Shorter side of the pictures that the GSD is told for, where all are alike: see `zoo.batch.GroundScale`."""
    instruction: str = ""
    """How a model is asked to answer, where training asks in other words than the zoo's."""

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
        """What the condition `gsd` is measured in."""
        return GroundScale(self.gsd_unit, self.side)

    def measured_in(self, ground: GroundScale) -> None:
        """Take GSDs as an adapter does, which may have learned of pictures in another unit or of another size."""
        self.gsd_unit, self.side = ground.unit, ground.side
        for samples in self.sets.values():
            if isinstance(samples, PictureSet):
                samples.unit = ground.unit

    def pictures(self, shots: Sequence[Shot]) -> PictureSet:
        """A split of these samples."""
        return self._set(shots, self.showing, self.mended)

    def _set(self, shots: Sequence[Shot], look: Look, remarks: Counter[str]) -> PictureSet:
        return PictureSet(
            shots, max_side=self.max_side, bounds=self.bounds, unit=self.gsd_unit, look=look, remarks=remarks
        )

    def probes(self, conditions: Collection[str]) -> dict[str, SampleSet[Picture]]:
        """Blank pictures, and a wrong or untold GSD, of the test split."""
        return probes(self.sets["test"], conditions)

    def report(self) -> dict[str, Any]:
        """Counts for the manifest, among them pictures that were mended."""
        self.remarks |= self.mended
        return super().report()

    def told(self, settings: dict[str, str]) -> Told:
        """What `gsd=`, `question="..."`, `choices="one|two|three"`, `bands=` and `stretch=` say; taken out of them.

        Raises:
            DataError: a GSD that is no number, choices that are none or without a question, or bands or a range that
                are none.
        """
        told, question, choices = (settings.pop(name, None) for name in ("gsd", "question", "choices"))
        look = parse(settings.pop("bands", None) or self.bands, settings.pop("stretch", None) or self.stretch)
        try:
            gsd = None if told is None else float(told)
        except ValueError:
            raise DataError(f"gsd: expected {per_pixel(self.gsd_unit)}, got {told!r}") from None
        options = tuple(word.strip() for word in choices.split("|")) if choices else ()
        if choices and question is None:
            raise DataError('choices without a question; expected question="..." beside them')
        if choices and not all(options):
            raise DataError(f"choices: expected words between bars, like 'field|forest|water', got {choices!r}")
        return Told(gsd, None if question is None else Question(question, options, instruction=self.instruction), look)

    def require(self, settings: Mapping[str, str]) -> None:
        """Refuse a GSD that is no number or not plausible, choices that are none, and bands or ranges that are none."""
        super().require(settings)
        told = self.told(dict(settings))
        if told.gsd is not None:
            plausible(told.gsd, "the command", self.bounds, self.gsd_unit)

    def asked(self, settings: Mapping[str, str]) -> Question | None:
        """The question among these settings."""
        return self.told(dict(settings)).question

    def read(self, path: Path, settings: dict[str, str]) -> tuple[Picture, list[str]]:
        """A picture as `told` of it; the GSD of a GeoTIFF is read from the file unless it is given.

        Raises:
            DataError: no picture, or a GSD that is none.
        """
        told = self.told(settings)
        # Remarks of its own: those of the data set are of other pictures.
        samples = self._set([Shot(str(path), (path,), gsd=told.gsd, question=told.question)], told.look, Counter())
        picture = samples[0]
        known = GSD not in self.conditions or not math.isnan(float(picture.conditions[GSD]))
        how = "METRES tells it" if self.gsd_unit == METRES else f"NUMBER tells it, {self.gsd_unit}"
        notes = [] if known else [f"its ground sampling distance is not known (gsd={how})"]
        return picture, [*samples.remarks, *notes]


def split(ids: Sequence[str], strata: Sequence[Any], shares: dict[str, float]) -> dict[str, list[int]]:
    """Rows by split: a share of every stratum, ranked by a hash of the id; what is left is `train`.

    Args:
        ids: names.
        strata: of each.
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
