"""What data modules of pictures seen from above share: reading, the ground sampling distance, resampling, and probes.

The ground sampling distance (GSD) is the side of a pixel on the ground, in metres. It travels as the condition `gsd`,
for the pixels as they are given: where a picture is shrunk, its GSD grows. NaN says that nobody knows it.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from data_modules.base import DataModule
from data_modules.errors import DataError
from data_modules.probes import GSD, probes
from data_modules.raster import content_hash, header, read_picture
from zoo.batch import Picture, Question, SampleSet

PLAUSIBLE = (0.01, 1000.0)
"""Metres per pixel between a drone's and a weather satellite's."""


@dataclass(frozen=True)
class Shot:
    """One sample before it is read.

    Attributes:
        id: unique within its data set.
        sources: its pictures, as files or as encoded bytes.
        label: class index, where it is classified.
        gsd: metres per pixel of the files; None takes what a GeoTIFF says, and is unknown elsewhere.
        question: asked about it.
        factor: a view of the same place with a GSD so many times as large.
    """

    id: str
    sources: tuple[Path | bytes, ...]
    label: int | None = None
    gsd: float | None = None
    question: Question | None = None
    factor: float = 1.0


def view(shot: Shot, factor: float) -> Shot:
    """The same place with its ground sampling distance multiplied."""
    return shot if factor == 1 else replace(shot, id=f"{shot.id} x{factor:g}", factor=factor)


def require_factors(factors: Sequence[float], setting: str) -> tuple[float, ...]:
    """The factors themselves.

    Raises:
        DataError: none, one that is not above 0, or one that stands twice.
    """
    if not factors or not all(0 < factor < math.inf for factor in factors) or len(set(factors)) < len(factors):
        told = ", ".join(f"{factor:g}" for factor in factors)
        raise DataError(f"{setting}: factors {told or 'none'}; expected numbers above 0, each once (1 is no change)")
    return tuple(factors)


def plausible(gsd: float, where: str, bounds: tuple[float, float] = PLAUSIBLE) -> float:
    """The GSD itself.

    Raises:
        DataError: zero, negative, not finite, or outside of the bounds in metres; a slip of units is the usual cause.
    """
    if not math.isfinite(gsd) or not bounds[0] <= gsd <= bounds[1]:
        raise DataError(
            f"{where}: gsd = {gsd:g}; expected metres per pixel from {bounds[0]:g} to {bounds[1]:g} "
            "(centimetres or kilometres by mistake? leave it out where it is not known)"
        )
    return gsd


class PictureSet(SampleSet[Picture]):
    """One split of pictures.

    Args:
        shots: its samples.
        max_side: pictures with a longer side are shrunk to it while they are read; None keeps all pixels.
        bounds: of a plausible GSD, in metres.
        remarks: counts pictures that needed mending.
    """

    def __init__(
        self,
        shots: Sequence[Shot],
        *,
        max_side: int | None = None,
        bounds: tuple[float, float] = PLAUSIBLE,
        remarks: Counter[str] | None = None,
    ) -> None:
        self.shots, self.max_side, self.bounds = list(shots), max_side, bounds
        self.remarks: Counter[str] = Counter() if remarks is None else remarks
        self._gsd: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self.shots)

    def id(self, index: int) -> str:
        """Name of the sample."""
        return self.shots[index].id

    def where(self, index: int) -> str:
        """Place of the first picture, for messages."""
        source = self.shots[index].sources[0]
        return str(source) if isinstance(source, Path) else self.shots[index].id

    def key(self, index: int) -> str:
        """sha256 over the files and how they are read; questions about one picture share it."""
        shot = self.shots[index]
        digest = hashlib.sha256(f"picture 1 {self.max_side} {shot.factor}".encode())
        for source in shot.sources:
            digest.update(content_hash(source, shot.id).encode())
        return digest.hexdigest()

    def target(self, index: int) -> dict[str, Tensor]:
        """`label`: int64 [], where there is one."""
        label = self.shots[index].label
        return {} if label is None else {"label": torch.tensor(label)}

    def conditions(self, index: int) -> dict[str, Tensor]:
        """`gsd`: float32 [], metres per pixel as given, NaN where unknown."""
        if index not in self._gsd:
            self._gsd[index] = self._find_gsd(index)
        return {GSD: torch.tensor(self._gsd[index], dtype=torch.float32)}

    def _find_gsd(self, index: int) -> float:
        shot, where = self.shots[index], self.where(index)
        told = shot.gsd
        if told is not None and self.max_side is None:
            return plausible(told, where, self.bounds) * shot.factor
        found = header(shot.sources[0], where)
        told = found.gsd if told is None else told
        if told is None:
            return math.nan
        shrunk = 1.0 if self.max_side is None else max(1.0, max(found.height, found.width) / self.max_side)
        return plausible(told, where, self.bounds) * shrunk * shot.factor

    def question(self, index: int) -> Question | None:
        """What is asked."""
        return self.shots[index].question

    def __getitem__(self, index: int) -> Picture:
        shot, images = self.shots[index], []
        for source in shot.sources:
            image, notes = read_picture(source, self.where(index), max_side=self.max_side)
            self.remarks.update(notes)
            images.append(resample(image, shot.factor))
        return Picture(shot.id, tuple(images), self.target(index), self.conditions(index), shot.question)


def resample(image: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """The place at a GSD so many times as large, with as many pixels.

    Finer (factor < 1): the centre, enlarged. Coarser: the whole, shrunk, and mirrored at its borders to fill the rest.

    Args:
        image: uint8 [H, W, 3].
        factor: of the GSD.
    """
    if factor == 1:
        return image
    height, width = image.shape[:2]
    small = max(1, round(height * min(factor, 1 / factor))), max(1, round(width * min(factor, 1 / factor)))
    top, left = (height - small[0]) // 2, (width - small[1]) // 2
    if factor < 1:
        centre = image[top : top + small[0], left : left + small[1]]
        return np.array(Image.fromarray(centre).resize((width, height), Image.Resampling.BICUBIC))
    shrunk = np.asarray(Image.fromarray(image).resize((small[1], small[0]), Image.Resampling.BOX))
    margins = ((top, height - small[0] - top), (left, width - small[1] - left), (0, 0))
    return np.pad(shrunk, margins, mode="symmetric")


class PictureDataModule(DataModule):
    """Splits of pictures, each with the condition `gsd`.

    Args:
        max_side: pictures with a longer side are shrunk to it while they are read; null keeps all pixels.
        gsd_range: metres per pixel outside of which a GSD is taken for a slip of units.
        batch_size: pictures in a batch.
        num_workers: loader processes.
    """

    readable = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif")
    settings = ("gsd", "question", "choices")
    own_files = "data_modules.folder_pictures.PictureFolder"
    conditions = (GSD,)
    gsd_unit: str = "m"
    """Of the GSD, for pictures and tables: not every set knows more than ratios."""
    instruction: str = ""
    """How a model is asked to answer, where training asks in other words than the zoo's."""

    def __init__(
        self,
        *,
        max_side: Annotated[int, ">= 1"] | None = None,
        gsd_range: tuple[float, float] = PLAUSIBLE,
        batch_size: int = 8,
        num_workers: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers)
        self.max_side, self.bounds = max_side, (gsd_range[0], gsd_range[1])
        self.mended: Counter[str] = Counter()

    def pictures(self, shots: Sequence[Shot]) -> PictureSet:
        """A split of these samples."""
        return PictureSet(shots, max_side=self.max_side, bounds=self.bounds, remarks=self.mended)

    def probes(self, conditions: Collection[str]) -> dict[str, SampleSet[Picture]]:
        """Blank pictures, and a wrong or untold GSD, of the test split."""
        return probes(self.sets["test"], conditions)

    def report(self) -> dict[str, Any]:
        """Counts for the manifest, among them pictures that were mended."""
        self.remarks |= self.mended
        return super().report()

    def told(self, settings: dict[str, str]) -> tuple[float | None, Question | None]:
        """What `gsd=METRES`, `question="..."` and `choices="one|two|three"` say; taken out of the settings.

        Raises:
            DataError: a GSD that is no number, or choices that are none or without a question.
        """
        told, question, choices = (settings.pop(name, None) for name in ("gsd", "question", "choices"))
        try:
            gsd = None if told is None else float(told)
        except ValueError:
            raise DataError(f"gsd: expected metres per pixel, got {told!r}") from None
        options = tuple(word.strip() for word in choices.split("|")) if choices else ()
        if choices and question is None:
            raise DataError('choices without a question; expected question="..." beside them')
        if choices and not all(options):
            raise DataError(f"choices: expected words between bars, like 'field|forest|water', got {choices!r}")
        return gsd, None if question is None else Question(question, options, instruction=self.instruction)

    def require(self, settings: Mapping[str, str]) -> None:
        """Refuse a GSD that is no number or not plausible, and choices that are none."""
        super().require(settings)
        gsd, _ = self.told(dict(settings))
        if gsd is not None:
            plausible(gsd, "the command", self.bounds)

    def asked(self, settings: Mapping[str, str]) -> Question | None:
        """The question among these settings."""
        return self.told(dict(settings))[1]

    def read(self, path: Path, settings: dict[str, str]) -> tuple[Picture, list[str]]:
        """A picture as `told` of it; the GSD of a GeoTIFF is read from the file unless it is given.

        Raises:
            DataError: no picture, or a GSD that is none.
        """
        gsd, asked = self.told(settings)
        shots = [Shot(str(path), (path,), gsd=gsd, question=asked)]
        # Remarks of its own: those of the data set are of other pictures.
        samples = PictureSet(shots, max_side=self.max_side, bounds=self.bounds)
        picture = samples[0]
        known = not math.isnan(float(picture.conditions[GSD]))
        notes = [] if known else ["its ground sampling distance is not known (gsd=METRES tells it)"]
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
