"""A user's own pictures with masks, a class a pixel: microscopy, CT slices, photographs, maps.

    DIR/images/x.tif and DIR/masks/x.png        see `data_modules.folder.pairs`; also inside train, val, test
    DIR/manifest.csv                            path,mask[,split,group], paths relative to DIR

Pictures are any that the zoo reads, or NIfTI volumes, whose slices are pictures and stay in one split. Masks are PNG,
TIFF, BMP, GIF or NIfTI with class numbers, coloured ones with `data.colours`, labelme's JSON, or one file of COCO.
Numbers are class indices 0 to K - 1, unless `data.values` says what they mean; 0 and 255 alone are background and
object, with a note. `python -m data_modules.folder_masks --check DIR` tells all mistakes at once, and per class how
many pixels and files there are; settings may follow, e.g. `"data.values={0: membrane, 255: cell}"`.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from data_modules.check import check_command
from data_modules.errors import DataError
from data_modules.folder import mask_labels
from data_modules.folder.mask_labels import Contents, inspected
from data_modules.folder.own_files import Folder, OwnFiles
from data_modules.folder.pairs import Suffixes, paired
from data_modules.folder.rows import MANIFESTS, Columns, FileEntry, repeated_files
from data_modules.kinds.mask_files import MaskFile, PictureFile, slices
from data_modules.kinds.masks import TILES, MaskDataModule
from data_modules.kinds.tiles import TileSet
from data_modules.readers import masks, volumes
from data_modules.readers.lines import FEW, ErrorCollector
from data_modules.readers.mask_shapes import BACKGROUND, Drawing, coco, is_coco, labelme, load
from data_modules.readers.masks import Legend
from zoo.batch import SampleSet, Tile

SUFFIXES = (*masks.READABLE, *volumes.SUFFIXES, ".json", ".jpg", ".jpeg", ".webp", ".jp2", ".avif")
"""Of masks, those that are refused among them."""


class MaskFolder(OwnFiles, MaskDataModule):
    """Pictures with masks.

    Args:
        root: folder of the files.
        manifest: CSV or JSON lines, relative to the root; by default manifest.csv or manifest.jsonl if one exists,
            else the folders images and masks.
        classes: names of classes in label order; by default as values, colours or shapes name them, else by number.
        values: what numbers in masks mean, e.g. {0: background, 255: cell}; null takes them as class indices.
        colours: what colours in masks mean, e.g. {cell: [255, 0, 0]}; null if masks have none.
        ignore: number of pixels without a label.
        orientation: for pictures that a camera held turned (EXIF): apply if masks were drawn on the picture as it is
            displayed, stored if on its pixels as they are stored; null refuses such pictures.
        frame: how pictures become squares, e.g. {tile: 256, overlap: 64} or {letterbox: 352}.
        window: values of more than 8 bits that become black and white in all pictures, e.g. [-160, 240]; null stretches
            every picture, or volume, by its own percentiles.
        bands: bands to show, or the sensor they come from; null as the file says.
        splits: a run's splits.json to follow.
        val_share: of the groups, to select on.
        test_share: of the groups, to measure.
        group_by: regular expression; files in whose path it finds the same (its first bracket, where it has one) stay
            together, e.g. "patient[0-9]+".
        on_bad: a file that cannot be used is an error, or is left out (counted in the manifest).
    """

    columns = Columns("pictures with masks", ("mask",), files=("mask",))
    small = "pool"

    def __init__(
        self,
        *,
        root: str,
        manifest: str | None = None,
        classes: tuple[str, ...] | None = None,
        values: dict[int, str] | None = None,
        colours: dict[str, tuple[int, int, int]] | None = None,
        ignore: Annotated[int, ">= 0"] | None = None,
        orientation: Literal["apply", "stored"] | None = None,
        frame: Mapping[str, int] = TILES,
        window: tuple[float, float] | None = None,
        bands: str | None = None,
        splits: str | None = None,
        val_share: Annotated[float, ">= 0", "<= 1"] = 0.2,
        test_share: Annotated[float, ">= 0", "<= 1"] = 0.2,
        group_by: str | None = None,
        on_bad: Literal["error", "skip"] = "error",
    ) -> None:
        super().__init__(frame=frame, window=window, bands=bands)
        self.folder = Folder(root, manifest, splits, val_share, test_share, group_by, on_bad)
        self.orientation = orientation
        self.classes = list(classes or ())
        self.named = mask_labels.Named(values, colours or {}, ignore, classes)
        self.named.require()
        self.legend = Legend()
        self.drawings: dict[str, Drawing] = {}
        self.contents: dict[str, Contents] = {}

    def entries(self) -> list[FileEntry]:
        """Pairs, or the lines of a manifest."""
        errors = ErrorCollector()
        found = self._entries(errors)
        errors.raise_all()
        return found

    def _entries(self, errors: ErrorCollector) -> list[FileEntry]:
        if self.folder.manifest is not None or any((self.folder.path / name).is_file() for name in MANIFESTS):
            return super().entries()
        return paired(self.folder.path, Suffixes(self.readable, self.refused, SUFFIXES), errors, self.remarks)

    def mask_path(self, entry: FileEntry) -> Path:
        """File of the mask."""
        return self.folder.path / entry.rows[0].values["mask"]

    def label(self, entry: FileEntry) -> str:
        """None: splits are not stratified."""
        return ""

    def parse_labels(self, entries: Sequence[FileEntry], errors: ErrorCollector) -> None:
        """Find every mask, and read those that are drawn; a picture has one row."""
        errors.messages += repeated_files(entries)
        files: dict[Path, tuple[dict[str, Drawing], list[str]]] = {}
        names: dict[str, None] = {}
        for entry in entries:
            path = self.mask_path(entry)
            with errors.catch():
                if not path.is_file() or path.suffix.lower() not in SUFFIXES:
                    expected = f"expected a file that ends in {', '.join(SUFFIXES[: SUFFIXES.index('.jpg')])}"
                    raise DataError(f"{entry.rows[0].where}: {path} is no mask; {expected}")
                if path.suffix.lower() == ".json":
                    if path not in files and is_coco(load(path)):
                        files[path] = coco(path)
                    drawing, known = _drawing(entry, files[path]) if path in files else (labelme(path), None)
                    self.drawings[entry.name] = drawing
                    names |= dict.fromkeys(known or sorted({shape.name for shape in drawing.shapes if shape.name}))
        self.named = self.named.with_shapes([BACKGROUND, *sorted(names)] if self.drawings else [])

    def inspect(self, entry: FileEntry) -> list[str]:
        """Warnings of a mask; what numbers it holds is kept for `parse_contents`.

        Raises:
            DataError: picture or mask cannot be read, they do not lie on each other, or the picture is held turned and
                nobody says whether its mask is.
        """
        path, drawing = self.mask_path(entry), self.drawings.get(entry.name)
        contents = inspected(entry.path, path, self.named, drawing, self.orientation, self.showing)
        self.contents[entry.name] = contents
        return list(contents.notes)

    def parse_contents(self, entries: Sequence[FileEntry], errors: ErrorCollector) -> None:
        """Classes by the numbers in all masks; collect masks with other numbers."""
        numbers: dict[int, list[str]] = {}
        for entry in entries:
            for number in self.contents[entry.name].numbers:
                numbers.setdefault(number, []).append(self.mask_path(entry).name)
        with errors.catch():
            self.classes, self.legend, note = self.named.resolve(numbers, str(self.folder.path))
            if note:
                self.remarks[note] = len(entries)
            for entry in entries:
                with errors.catch():
                    self.contents[entry.name].require(self._mask(entry, None), len(self.classes))
        if errors.messages:
            return
        counted = {entry.name: self.pixels(entry) for entry in entries}
        if not any(pixels.any() for pixels in counted.values()):
            errors.messages.append(f"{self.folder.path}: no labelled pixel in any mask; is data.ignore right?")
        for reason, names in self._poor(counted).items():
            self.remarks[reason] = len(names)

    def pixels(self, entry: FileEntry) -> np.ndarray:
        """Pixels of every class in a mask, int64 [K]."""
        return self.contents[entry.name].count(self.legend, self.classes, drawn=entry.name in self.drawings)

    def _poor(self, counted: Mapping[str, np.ndarray]) -> dict[str, list[str]]:
        empty = [name for name, pixels in counted.items() if pixels.any() and not pixels[1:].any()]
        bare = [name for name, pixels in counted.items() if not pixels.any()]
        found = {f"masks of {self.classes[0]} alone": empty, "masks without a labelled pixel": bare}
        return {reason: names for reason, names in found.items() if names}

    def _mask(self, entry: FileEntry, z: int | None) -> MaskFile:
        held = self.contents[entry.name].held if self.orientation == "stored" else 1
        drawing = self.drawings.get(entry.name)
        return MaskFile(self.mask_path(entry), tuple(self.classes), self.legend, drawing, z, held)

    def samples(self, split: str, entries: Sequence[FileEntry]) -> TileSet:
        """Squares of the pictures of one split, of all slices of volumes."""
        return self.tiles(
            [
                PictureFile(
                    entry.name if z is None else f"{entry.name}[{z}]", entry.path, self._mask(entry, z), self.showing, z
                )
                for entry in entries
                for z in slices(entry.path)
            ]
        )

    def splits(self) -> dict[str, SampleSet[Tile]]:
        """As `OwnFiles.splits`; counts classes that no training mask has."""
        found = super().splits()
        train = [name for name, split in self.plan["files"].items() if split == "train"]
        table = [self.contents[name].count(self.legend, self.classes, drawn=name in self.drawings) for name in train]
        if missing := int((np.sum(table, axis=0) == 0).sum()) if table else 0:
            self.remarks["classes without a pixel in the training masks"] = missing
        return found

    def mistakes(self) -> list[str]:
        """All that is wrong with the folder: pairs, files, sizes and values."""
        errors, usable = ErrorCollector(), []
        entries = self._entries(errors)
        self.parse_labels(entries, errors)
        for entry in entries:
            with errors.catch():
                self.inspect(entry)
                usable.append(entry)
        if usable:
            self.parse_contents(usable, errors)
        self.remarks, self.drawings, self.contents = {}, {}, {}
        return errors.messages

    def check(self) -> list[str]:
        """Counts by split and by class.

        Raises:
            DataError: all mistakes.
        """
        if not self.sets and (found := self.mistakes()):
            raise DataError("\n  ".join([f"{len(found)} mistakes:", *found] if len(found) > 1 else found))
        lines = super().check()
        entries = self.entries()
        counted = {entry.name: self.pixels(entry) for entry in entries if entry.name in self.contents}
        table = np.stack(list(counted.values()))
        total = max(1, int(table.sum()))
        lines += [
            f"{name}: {int(column.sum()):,} pixels ({column.sum() / total:.2%} of the labelled), "
            f"in {int((column > 0).sum())} of {len(table)} files"
            for name, column in zip(self.classes, table.T, strict=True)
        ]
        poor = self._poor(counted)
        return [*lines, *(f"{why}: {', '.join(n[:FEW])}{', ...' * (len(n) > FEW)}" for why, n in poor.items())]


def _drawing(entry: FileEntry, file: tuple[dict[str, Drawing], list[str]]) -> tuple[Drawing, list[str]]:
    """The shapes of a picture in a file of COCO.

    Raises:
        DataError: it names no such picture.
    """
    drawings, names = file
    short = entry.name.partition("images/")[2] or entry.name
    for name in (entry.name, short, entry.path.name):
        if name in drawings:
            return drawings[name], names
    where = next(iter(drawings.values())).where if drawings else entry.rows[0].values["mask"]
    raise DataError(f"{where}: no picture is called {entry.name} there")


if __name__ == "__main__":
    sys.exit(
        check_command(
            "data_modules.folder_masks",
            lambda root, **settings: MaskFolder(root=root, **settings),
            settings=(
                *("classes", "values", "colours", "ignore", "orientation", "frame", "window", "bands"),
                *("group_by", "val_share", "test_share", "manifest", "on_bad"),
            ),
        )
    )
