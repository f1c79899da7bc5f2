"""Base of the data modules of pictures with masks: squares of pictures, one sample each, with a class a pixel.

`zoo.ops.frame` says how a picture becomes squares. Nothing here knows how large a pixel is on the ground.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from data_modules.base import DataModule
from data_modules.errors import DataError
from data_modules.kinds.mask_files import MaskedPicture, PictureFile, slices
from data_modules.kinds.tiles import Count, Surface, TileSet
from data_modules.readers.formats import READABLE, REFUSED_SUFFIXES
from data_modules.readers.sensors import Rendering, parse
from zoo.batch import Tile
from zoo.ops.frame import Frame
from zoo.ops.prompts import BOX, POINTS, Prompts

TILES = {"tile": 256, "overlap": 64}


class MaskDataModule(DataModule):
    """Splits of squares of pictures, each with its mask.

    Args:
        frame: how pictures become squares, e.g. {tile: 256, overlap: 64} or {letterbox: 352}.
        window: values of more than 8 bits that become black and white in all pictures, e.g. [-160, 240] for soft
            tissue in CT; null stretches every picture, or volume, by its own percentiles.
        bands: bands to show, or the sensor they come from; null as the file says.
    """

    sample = Tile
    conditions: tuple[str, ...] = ("place",)
    readable = (*READABLE, ".nii", ".gz")
    refused = tuple(suffix for suffix in REFUSED_SUFFIXES if suffix != ".nii")
    settings: tuple[str, ...] = ("window", "bands", POINTS, BOX)
    own_files = "data_modules.folder_masks.MaskFolder"

    def __init__(
        self,
        *,
        frame: Mapping[str, int] = TILES,
        window: tuple[float, float] | None = None,
        bands: str | None = None,
    ) -> None:
        super().__init__()
        self.frame, self.window, self.bands = Frame.parse(frame), window, bands
        self.showing = _rendering(bands, window)
        self.mended: Counter[str] = Counter()

    def tiles(self, pictures: Sequence[MaskedPicture], told: Sequence[Mapping[str, Tensor]] | None = None) -> TileSet:
        """A split of these pictures, with conditions that each of them has beside its place."""
        return TileSet(pictures, self.frame, remarks=self.mended, told=told)

    def counts(self, split: str) -> list[Count]:
        """Pixels of every mask of a split; after `setup`."""
        samples = self.sets[split]
        if not isinstance(samples, TileSet):
            raise TypeError(f"split {split} of {self.name} is no set of tiles")
        return [samples.count(picture, len(self.classes)) for picture in range(len(samples.pictures))]

    def report(self) -> dict[str, Any]:
        """Counts for the manifest, including pictures that were repaired."""
        self.remarks |= self.mended
        return super().report()

    def rendering(self, settings: dict[str, str]) -> Rendering:
        """Parse and remove `window=LOW..HIGH` and `bands=`.

        Raises:
            DataError: no range, or unknown bands.
        """
        bands, window = settings.pop("bands", None) or self.bands, settings.pop("window", None)
        if window is None:
            return _rendering(bands, self.window)
        try:
            low, high = (float(end) for end in window.split(".."))
        except ValueError:
            raise DataError(f"window: got {window!r}; expected LOW..HIGH, like -160..240") from None
        return _rendering(bands, (low, high))

    def require(self, settings: Mapping[str, str]) -> None:
        """Refuse unknown bands, windows that are none, and prompts that are none."""
        super().require(settings)
        self.rendering(dict(settings))
        Prompts.parse(settings)

    def samples_in(self, path: Path, settings: Mapping[str, str]) -> list[Path]:
        """The picture, or FILE#0, FILE#1, ...: the slices of a volume."""
        try:
            number = len(slices(path))
        except DataError:
            return [path]  # reading it will tell, once
        return [Path(f"{path}#{k}") for k in range(number)] if number > 1 else [path]

    def read(self, path: Path, settings: dict[str, str]) -> tuple[Surface, list[str]]:
        """A whole picture, or the slice FILE#k of a volume, as the squares that it is predicted by.

        Raises:
            DataError: the file is no picture, or has fewer slices.
            SettingError: prompts lie outside of it.
        """
        stem, mark, digits = str(path).rpartition("#")
        numbered = bool(mark) and digits.isdecimal() and not path.is_file()
        file, k = (Path(stem), int(digits)) if numbered else (path, 0)
        every, rendering, prompts = slices(file), self.rendering(settings), Prompts.parse(settings)
        for name in (POINTS, BOX):
            settings.pop(name, None)
        if k >= len(every):
            raise DataError(f"{path}: the volume has {len(every)} slices, #0 the first")
        picture = PictureFile(str(path), file, None, rendering, every[k])
        squares = TileSet([picture], self.frame, prompts=prompts)
        squares.read_ahead()
        cut = len(every) > 1 and not numbered
        notes = [f"only the first of {len(every)} slices; {file.name}#1 is the next"] if cut else []
        given = {} if prompts is None else squares.conditions(0)
        surface = Surface(str(path), squares, every[k], len(every), conditions=given)
        # What other pictures call stretch is the window here.
        return surface, [*(note.replace("(stretch=", "(window=") for note in squares.remarks), *notes]


def _rendering(bands: str | None, window: tuple[float, float] | None) -> Rendering:
    return parse(bands, None if window is None else f"{window[0]}..{window[1]}")
