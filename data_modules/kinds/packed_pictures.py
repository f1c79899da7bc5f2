"""A split of pictures that lie packed in one file: see `data_modules.readers.packed`."""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from data_modules.kinds.picture_set import PLAUSIBLE, PictureRecord, PictureSet
from data_modules.readers.packed import Packed
from zoo.batch import Origin, Picture


class PackedSet(PictureSet):
    """A split of pictures that are read out of larger files one at a time. Nobody knows their GSD.

    Args:
        shots: samples without sources.
        packed: where their pictures lie.
        max_side: pictures with a longer side are shrunk to it while they are read; None keeps all pixels.
        bounds: of a plausible GSD, in metres.
        remarks: counts pictures that needed mending.
    """

    def __init__(
        self,
        shots: Sequence[PictureRecord],
        packed: Sequence[Packed],
        *,
        max_side: int | None = None,
        bounds: tuple[float, float] = PLAUSIBLE,
        remarks: Counter[str] | None = None,
    ) -> None:
        super().__init__(shots, max_side=max_side, bounds=bounds, remarks=remarks)
        self.packed = list(packed)

    def where(self, index: int) -> str:
        """File and line, for messages."""
        return self.packed[index].where

    def key(self, index: int) -> str:
        """sha256 over the pictures and how they are read; questions about one picture share it."""
        text = f"packed 1 {self.max_side} {' '.join(self.packed[index].hashes)}"
        return hashlib.sha256(text.encode()).hexdigest()

    def picture_size(self, index: int) -> tuple[int, int] | None:
        """Not known before it is decoded; nor is the GSD, which it would be needed for."""
        return None

    def gsd(self, index: int) -> tuple[float, Origin]:
        """Nobody tells it."""
        return math.nan, "told"

    def __getitem__(self, index: int) -> Picture:
        packed = self.packed[index]
        whole = replace(self.shots[index], sources=packed.place.read())
        one = PackedSet([whole], [packed], max_side=self.max_side, bounds=self.bounds, remarks=self.remarks)
        return super(PackedSet, one).__getitem__(0)
