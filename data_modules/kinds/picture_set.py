"""A split of overhead pictures, each with its ground sampling distance (GSD), and views of it at other ones.

The GSD is the side of a pixel on the ground, in metres, or in a relative unit. It becomes the condition `gsd`, for the
pixels that encoders see: shrinking a picture enlarges its GSD. NaN means unknown.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from data_modules.errors import DataError
from data_modules.kinds.picture_probes import GSD
from data_modules.readers.raster import Header, content_hash, header, read_picture, size_as_read
from data_modules.readers.sensors import AS_IT_IS, Rendering
from zoo.batch import METRES, Origin, Picture, Question, SampleSet

PLAUSIBLE = (0.01, 1000.0)
"""Metres per pixel between a drone's and a weather satellite's."""


@dataclass(frozen=True)
class PictureRecord:
    """One sample before it is read.

    Attributes:
        id: unique within its data set.
        sources: its pictures, as files or as encoded bytes.
        label: class index, where it is classified.
        gsd: of the files' pixels; None takes that of a GeoTIFF, and is unknown for other formats.
        question: about the picture, or None.
        factor: a view of the same place with a GSD so many times as large.
    """

    id: str
    sources: tuple[Path | bytes, ...]
    label: int | None = None
    gsd: float | None = None
    question: Question | None = None
    factor: float = 1.0


def view(shot: PictureRecord, factor: float) -> PictureRecord:
    """The same place with its ground sampling distance multiplied."""
    return shot if factor == 1 else replace(shot, id=f"{shot.id} x{factor:g}", factor=factor)


def require_factors(factors: Sequence[float], setting: str) -> tuple[float, ...]:
    """The factors themselves.

    Raises:
        DataError: none, one that is not above 0, or one that stands twice.
    """
    if not factors or not all(0 < factor < math.inf for factor in factors) or len(set(factors)) < len(factors):
        listed = ", ".join(f"{factor:g}" for factor in factors)
        raise DataError(f"{setting}: factors {listed or 'none'}; expected numbers above 0, each once (1 is no change)")
    return tuple(factors)


def plausible(gsd: float, where: str, bounds: tuple[float, float] = PLAUSIBLE, unit: str = METRES) -> float:
    """The GSD itself.

    Raises:
        DataError: zero, negative, not finite, or outside of the bounds; a slip of units is the usual cause.
    """
    if not math.isfinite(gsd) or not bounds[0] <= gsd <= bounds[1]:
        slip = "centimetres or kilometres by mistake? " if unit == METRES else ""
        raise DataError(
            f"{where}: gsd = {gsd:g}; expected {per_pixel(unit)} from {bounds[0]:g} to {bounds[1]:g} "
            f"({slip}leave it out where it is not known)"
        )
    return gsd


def per_pixel(unit: str) -> str:
    """The unit of a GSD in words."""
    return "metres per pixel" if unit == METRES else f"a relative number ({unit})"


class PictureSet(SampleSet[Picture]):
    """One split of pictures.

    Args:
        shots: its samples.
        max_side: pictures with a longer side are shrunk to it while they are read; None keeps all pixels.
        bounds: of a plausible GSD, in its unit.
        unit: of the GSD; where it is not metres, what a GeoTIFF says is left out.
        rendering: which bands are shown, and which range of their values.
        remarks: counts pictures that needed mending.
        candidates: bool [K], the classes between which these pictures are to be decided; None where that is all.
    """

    def __init__(
        self,
        shots: Sequence[PictureRecord],
        *,
        max_side: int | None = None,
        bounds: tuple[float, float] = PLAUSIBLE,
        unit: str = METRES,
        rendering: Rendering = AS_IT_IS,
        remarks: Counter[str] | None = None,
        candidates: Tensor | None = None,
    ) -> None:
        self.shots, self.max_side, self.bounds, self.unit, self.rendering = (
            list(shots),
            max_side,
            bounds,
            unit,
            rendering,
        )
        self.remarks: Counter[str] = Counter() if remarks is None else remarks
        self.candidates = candidates
        self._headers: dict[int, Header] = {}

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
        digest = hashlib.sha256(f"picture 1 {self.max_side} {shot.factor}{self.rendering.key}".encode())
        for source in shot.sources:
            digest.update(content_hash(source, shot.id).encode())
        return digest.hexdigest()

    def target(self, index: int) -> dict[str, Tensor]:
        """`label`: int64 [], where there is one."""
        label = self.shots[index].label
        return {} if label is None else {"label": torch.tensor(label)}

    def header(self, index: int) -> Header:
        """Header of the first picture's file, read once."""
        if index not in self._headers:
            self._headers[index] = header(self.shots[index].sources[0], self.where(index))
        return self._headers[index]

    def picture_size(self, index: int) -> tuple[int, int] | None:
        """Height and width of the first picture as it is read."""
        found = self.header(index)
        return size_as_read(found.height, found.width, self.max_side)

    def conditions(self, index: int) -> dict[str, Tensor]:
        """`gsd`: float32 [], of the pixels as given, NaN where unknown; `candidates`: bool [K], if there are some."""
        return self._conditions(self.gsd(index)[0])

    def _conditions(self, gsd: float) -> dict[str, Tensor]:
        between = {} if self.candidates is None else {"candidates": self.candidates}
        return {GSD: torch.tensor(gsd, dtype=torch.float32), **between}

    def gsd(self, index: int) -> tuple[float, Origin]:
        """The ground sampling distance of the pixels as given, NaN where unknown, and who says it."""
        shot, where = self.shots[index], self.where(index)
        if shot.gsd is not None and self.max_side is None:
            return plausible(shot.gsd, where, self.bounds, self.unit) * shot.factor, "told"
        found = self.header(index)
        gsd: float | None = shot.gsd
        origin: Origin = "told"
        if gsd is None and self.unit == METRES:
            gsd, origin = found.gsd, "file"
        if gsd is None:
            return math.nan, "told"
        shrunk = 1.0 if self.max_side is None else max(1.0, max(found.height, found.width) / self.max_side)
        return plausible(gsd, where, self.bounds, self.unit) * shrunk * shot.factor, origin

    def question(self, index: int) -> Question | None:
        """The question about a picture."""
        return self.shots[index].question

    def __getitem__(self, index: int) -> Picture:
        shot, images = self.shots[index], []
        for source in shot.sources:
            image, notes = read_picture(source, self.where(index), max_side=self.max_side, rendering=self.rendering)
            self.remarks.update(notes)
            images.append(resample(image, shot.factor))
        gsd, origin = self.gsd(index)
        if self.unit != METRES and shot.gsd is None and self.header(index).gsd is not None:
            self.remarks[f"pictures whose file says metres a pixel, left out where the scale is {self.unit}"] += 1
        return Picture(shot.id, tuple(images), self.target(index), self._conditions(gsd), shot.question, origin)


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
