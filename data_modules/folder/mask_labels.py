"""What the masks of a user's folder hold, and which classes that makes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data_modules.errors import DataError
from data_modules.kinds.mask_files import MaskFile, PictureFile, require_same_size
from data_modules.kinds.tiles import LARGE
from data_modules.readers import volumes
from data_modules.readers.mask_shapes import BACKGROUND, Drawing
from data_modules.readers.masks import MOST_CLASSES, Colour, Legend, Stored, read_stored, require_same_grid
from data_modules.readers.raster import orientation_of, reading
from data_modules.readers.sensors import Rendering
from zoo.errors import SettingError
from zoo.ops.frame import IGNORE

OBJECT = "object"

BINARY = (0, 255)

TWO = "masks of 0 and 255, in which 255 is read as class 1 (data.values says otherwise)"

MOST_FOUND = 64
"""Classes that are taken over from the numbers in masks; more are numbers of objects rather."""


@dataclass(frozen=True)
class Named:
    """What the settings say of masks.

    Attributes:
        values: class name by number.
        colours: colour by class name.
        ignore: number of pixels without a label.
        classes: in label order; None as values, colours, shapes or numbers give them.
        shapes: class names of drawn shapes, background first.
    """

    values: Mapping[int, str] | None
    colours: Mapping[str, Sequence[int]]
    ignore: int | None
    classes: tuple[str, ...] | None
    shapes: tuple[str, ...] = ()

    def require(self) -> None:
        """Values and colours are not given at once, and name classes.

        Raises:
            SettingError: they are, or do not.
        """
        if self.values is not None and self.colours:
            raise SettingError("data.values and data.colours: expected one of them")
        if self.values is not None and self.ignore is not None and self.ignore in self.values:
            raise SettingError(f"data.ignore = {self.ignore} is {self.values[self.ignore]!r} in data.values")
        strange = [name for name, rgb in self.colours.items() if len(rgb) != 3 or not all(0 <= v <= 255 for v in rgb)]
        if strange or len({tuple(rgb) for rgb in self.colours.values()}) < len(self.colours):
            raise SettingError(
                f"data.colours: {dict(self.colours)}; expected three numbers 0 to 255 a class, no two alike"
            )
        named = [*(self.values or {}).values(), *self.colours]
        if self.classes is not None and (unknown := sorted(set(named) - set(self.classes))):
            raise SettingError(f"data.values or data.colours: {', '.join(unknown)} not in data.classes")

    def with_shapes(self, names: Sequence[str]) -> "Named":
        """With the names of drawn shapes, each once."""
        return replace(self, shapes=tuple(dict.fromkeys(names)))

    @property
    def names(self) -> list[str]:
        """Class names that settings or shapes give."""
        return list(self.classes or dict.fromkeys([*(self.values or {}).values(), *self.colours, *self.shapes]))

    @property
    def palette(self) -> Legend:
        """For reading files: which colours are classes."""
        return self._legend(self.names)

    def _legend(self, classes: Sequence[str]) -> Legend:
        values = None if self.values is None else {n: classes.index(name) for n, name in self.values.items()}
        colours: dict[Colour, int] = {
            (int(rgb[0]), int(rgb[1]), int(rgb[2])): classes.index(name) for name, rgb in self.colours.items()
        }
        return Legend(values, colours, self.ignore)

    def resolve(self, numbers: Mapping[int, Sequence[str]], where: str) -> tuple[list[str], Legend, str]:
        """Classes, what numbers mean, and a note.

        Args:
            numbers: all that stand in the masks, and the files that have each.
            where: folder of the data, for messages.

        Raises:
            DataError: the numbers make no classes, or fewer than two.
        """
        found = sorted(set(numbers) - {self.ignore})
        names = self.names
        note = ""
        legend = self._legend(names)
        if self.values is None and not self.colours and not self.shapes:
            if 255 in found and set(found) <= set(BINARY) and len(names) in (0, 2):
                names, note = names or [BACKGROUND, OBJECT], TWO
                legend = replace(legend, values={0: 0, 255: 1})
            elif not names:
                names = self._by_number({number: numbers[number] for number in found}, where)
        if len(names) < 2:
            raise DataError(
                f"{where}: one class alone ({', '.join(names) or 'none'}): there is nothing to tell apart; is "
                "data.ignore or data.values right?"
            )
        if len(names) > MOST_CLASSES or len(set(names)) < len(names):
            raise DataError(f"{where}: {len(names)} classes; expected up to {MOST_CLASSES}, no two alike")
        return names, legend, note

    def _by_number(self, found: Mapping[int, Sequence[str]], where: str) -> list[str]:
        if not found:
            raise DataError(f"{where}: no labelled pixel in any mask; is data.ignore = {self.ignore} right?")
        if list(found) != list(range(len(found))) or len(found) > MOST_FOUND:
            shown = ", ".join(str(number) for number in list(found)[:10]) + ", ..." * (len(found) > 10)
            rarest = min(found, key=lambda number: len(found[number]))
            hint = f"data.ignore={IGNORE} if {IGNORE} is no label, " if IGNORE in found and self.ignore is None else ""
            raise DataError(
                f"{where}: masks hold the numbers {shown} ({rarest} in {len(found[rarest])} files, e.g. "
                f"{found[rarest][0]}); expected 0, 1, ... K - 1 with none left out, K up to {MOST_FOUND}. {hint}"
                "data.values={NUMBER: CLASS} says what they mean, data.classes how many they are"
            )
        return [BACKGROUND, OBJECT] if len(found) == 2 else [f"class {number}" for number in found]


@dataclass(frozen=True)
class Contents:
    """What a mask holds.

    Attributes:
        numbers: pixels by stored number, or by class index of colours; of shapes by class name.
        drawn: pixels by class name, of shapes.
        held: orientation of the picture, 1 to 8.
        notes: plural sentences.
    """

    numbers: Mapping[int, int]
    drawn: Mapping[str, int]
    held: int
    notes: tuple[str, ...]

    def require(self, mask: MaskFile, classes: int) -> None:
        """Every number is a class.

        Raises:
            DataError: one is not, naming where; or a shape has an unknown class.
        """
        if mask.drawing is not None:
            mask.read()
            return
        legend = Legend() if mask.legend.colours else mask.legend
        if any(legend.index(number, classes) < 0 for number in self.numbers):
            for z in range(volumes.shape(mask.path)[0]) if volumes.is_volume(mask.path) else [None]:
                replace(mask, slice=z, held=1).read()

    def count(self, legend: Legend, classes: Sequence[str], *, drawn: bool) -> np.ndarray:
        """Pixels of every class, int64 [K]."""
        counts = np.zeros(len(classes), np.int64)
        meaning = Legend() if legend.colours else legend
        pairs = (
            [(classes.index(name), n) for name, n in self.drawn.items()]
            if drawn
            else [(meaning.index(number, len(classes)), n) for number, n in self.numbers.items()]
        )
        for index, pixels in pairs:
            if 0 <= index < len(classes):
                counts[index] += pixels
        return counts


def inspected(
    picture: Path, mask: Path, named: Named, drawing: Drawing | None, orientation: str | None, rendering: Rendering
) -> Contents:
    """What a mask holds, once it is known to lie on its picture.

    Raises:
        DataError: one of them cannot be read, they do not lie on each other, or the picture is held turned and nobody
            says whether its mask is.
    """
    if volumes.is_volume(picture) != volumes.is_volume(mask):
        raise DataError(f"{mask}: a volume has a volume as its mask, and a picture has none; got {picture.name}")
    if volumes.is_volume(picture):
        volumes.require_same_space(picture, mask)
        PictureFile("", picture, None, rendering, 0).image()
        return _contents(Stored(volumes.read_volume(mask, whole=True).slices), 1)
    shot = PictureFile("", picture, None, rendering)
    size = shot.size()
    with reading(picture, str(picture)) as (kind, _):
        held = orientation_of(picture, kind)
    if drawing is None:
        stored = read_stored(mask, named.palette)
        found = stored.values.shape
    else:
        stored, found = None, (drawing.height, drawing.width)
    if held != 1 and orientation is None:
        sides = size if held <= 4 else size[::-1]
        raise DataError(
            f"{picture} is held turned (EXIF orientation {held}): {sides[1]} x {sides[0]} pixels stored, {size[1]} x "
            f"{size[0]} displayed, and its mask has {found[1]} x {found[0]}. Say data.orientation=apply if masks were "
            "drawn on pictures as displayed, or data.orientation=stored if on their stored pixels"
        )
    require_same_size(picture, size if orientation != "stored" or held <= 4 else size[::-1], mask, found)
    if stored is None and drawing is not None:
        labels = drawing.classes(named.shapes)
        drawn = np.bincount(labels.ravel(), minlength=IGNORE + 1)
        names = {name: int(drawn[k]) for k, name in enumerate(named.shapes) if drawn[k]}
        return Contents({}, names, held, ())
    require_same_grid(picture, mask)
    if size[0] * size[1] <= LARGE or shot.part((0, 0, 1, 1)) is None:
        shot.image()
    return _contents(stored, held)


def _contents(stored: Stored | None, held: int) -> Contents:
    if stored is None:
        raise ValueError("no mask")
    values = stored.values if stored.unlabelled is None else stored.values[~stored.unlabelled]
    if values.dtype == np.uint8:
        counts = np.bincount(values.ravel(), minlength=256)
        numbers = {int(number): int(counts[number]) for number in np.flatnonzero(counts)}
    else:
        numbers = dict(zip(*(found.tolist() for found in np.unique(values, return_counts=True)), strict=True))
    return Contents(numbers, {}, held, stored.notes)
