"""Kvasir-SEG (Jha et al. 2020): polyps in 1,000 pictures of colonoscopies, 332 x 487 to 1920 x 1072 pixels.

Expected below ROOT, by `protocol`:

    pranet   TrainDataset/image/*.png, TrainDataset/mask/*.png       1,450: 900 of Kvasir-SEG, 550 of CVC-ClinicDB
             TestDataset/Kvasir/images/*.png, .../masks/*.png        100 of Kvasir-SEG
             (the split of PraNet, arXiv 2006.11392; also TrainDataset/images and TrainDataset/masks)
    hash     images/*.jpg, masks/*.jpg, or both below Kvasir-SEG     as its authors distribute it

Masks have the names of their pictures, whatever the ending. As distributed they are JPEG, or made of it, so that their
borders are grey: every mask is cut at half, 128 and more of 255 being polyp.

PraNet publishes no validation split: a tenth of the training pictures of Kvasir-SEG, by a hash of the file's name, is
taken to select on. Frames of CVC-ClinicDB, whose names are numbers, all train: neighbours of one video would lie in
both. `hash` is our split of Kvasir-SEG alone, 80 / 10 / 10 by the same hash, and compares with nobody's.
`python -m data_modules.kvasir --check ROOT` says what is missing.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from data_modules.check import check_command
from data_modules.errors import DataError
from data_modules.kinds.mask_files import MaskFile, PictureFile
from data_modules.kinds.masks import MaskDataModule
from data_modules.kinds.pictures import split
from data_modules.readers.formats import READABLE
from data_modules.readers.lines import FEW
from data_modules.readers.masks import Legend
from zoo.batch import SampleSet, Tile

CLASSES = ["background", "polyp"]

HALF = 128
"""Grey value of masks from which on a pixel is polyp."""

TRAIN = (("TrainDataset/image", "TrainDataset/mask"), ("TrainDataset/images", "TrainDataset/masks"))

TEST = (("TestDataset/Kvasir/images", "TestDataset/Kvasir/masks"),)

WHOLE = (("images", "masks"), ("Kvasir-SEG/images", "Kvasir-SEG/masks"))

PUBLISHED = {"pranet": {"train and val": 1450, "test": 100}, "hash": {"train, val and test": 1000}}
"""Pictures by protocol."""

DISTRIBUTOR = (
    "Kvasir-SEG is distributed by its authors (datasets.simula.no/kvasir-seg), the folders TrainDataset and "
    "TestDataset by the authors of PraNet (github.com/DengPingFan/PraNet)"
)


class Kvasir(MaskDataModule):
    """Polyps.

    Args:
        root: folder of the data set.
        protocol: PraNet's split, which trains on CVC-ClinicDB as well, or a split of Kvasir-SEG alone by a hash, which
            is ours.
        frame: how pictures become squares.
    """

    name = "Kvasir-SEG"
    classes = CLASSES
    license = "Kvasir-SEG: research and education, with its citation; CVC-ClinicDB: its authors'"

    def __init__(
        self,
        *,
        root: str,
        protocol: Literal["pranet", "hash"] = "pranet",
        frame: Mapping[str, int] = {"letterbox": 352},
    ) -> None:
        super().__init__(frame=frame)
        self.root, self.protocol = Path(root), protocol
        if protocol == "hash":
            self.name = "Kvasir-SEG (split by a hash)"

    def splits(self) -> dict[str, SampleSet[Tile]]:
        """The pictures of every split, as `protocol` says.

        Raises:
            DataError: folders are missing, or pictures without a mask, or masks without a picture.
        """
        if self.protocol == "pranet":
            train, test = self._pictures(TRAIN), self._pictures(TEST)
            rows = _ranked([picture for picture in train if not picture.path.stem.isdigit()], {"val": 0.1})
            found = {"val": rows["val"], "test": test}
            held = {picture.id for picture in rows["val"]}
            found["train"] = [picture for picture in train if picture.id not in held]
        else:
            found = _ranked(self._pictures(WHOLE), {"test": 0.1, "val": 0.1})
        return {name: self.tiles(found[name]) for name in ("train", "val", "test")}

    def _pictures(self, places: tuple[tuple[str, str], ...]) -> list[PictureFile]:
        """Pictures with masks of the first pair of folders that there is."""
        for images, masks in places:
            if (self.root / images).is_dir():
                return _paired(self.root / images, self.root / masks)
        other = "hash" if self.protocol == "pranet" else "pranet"
        raise DataError(
            f"{self.root} holds no Kvasir-SEG of data.protocol={self.protocol}: expected the folders "
            f"{' and '.join(places[0])} (data.protocol={other} reads another layout). {DISTRIBUTOR}"
        )

    def check(self) -> list[str]:
        """Counts beside the published ones, and shares of the classes."""
        self.setup()
        lines = []
        for names, number in PUBLISHED[self.protocol].items():
            parts = names.replace(" and ", ", ").split(", ")
            found = sum(len(self.counts(part)) for part in parts)
            lines.append(f"{names}: {found} pictures, " + ("as" if found == number else f"{number} are") + " published")
        for part in self.sets:
            counts = self.counts(part)
            polyps = sum(int(count.pixels[1]) for count in counts)
            pixels = sum(int(count.pixels.sum()) for count in counts)
            lines.append(f"{part}: {len(counts)} pictures; polyp {polyps / pixels:.1%} of the pixels")
        return lines


def _paired(images: Path, masks: Path) -> list[PictureFile]:
    """Pictures of a folder with the masks of the same names.

    Raises:
        DataError: the folder of masks is missing, or one of a pair is.
    """
    pictures, drawn = _by_stem(images), _by_stem(masks)
    for have, lack, where in ((pictures, drawn, masks), (drawn, pictures, images)):
        if missing := sorted(set(have) - set(lack)):
            raise DataError(
                f"{where}: nothing for {', '.join(missing[:FEW])}, {len(missing)} of {len(have)} in all; expected a "
                "file of the same name as in the folder beside it, whatever its ending"
            )
    legend = Legend(threshold=HALF)
    return [
        PictureFile(name, path, MaskFile(drawn[name], tuple(CLASSES), legend))
        for name, path in sorted(pictures.items())
    ]


def _by_stem(folder: Path) -> dict[str, Path]:
    """Pictures of a folder by their names without ending.

    Raises:
        DataError: no folder, no picture, or two of one name.
    """
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in READABLE)
    if not files:
        raise DataError(f"{folder} holds no pictures. {DISTRIBUTOR}")
    found: dict[str, Path] = {}
    for path in files:
        if path.stem in found:
            raise DataError(f"{path}: {found[path.stem].name} has the same name; expected one of them")
        found[path.stem] = path
    return found


def _ranked(pictures: list[PictureFile], shares: dict[str, float]) -> dict[str, list[PictureFile]]:
    """Shares of the pictures by a hash of their names without ending, and `train`, the rest."""
    rows = split([picture.path.stem for picture in pictures], [0] * len(pictures), shares)
    return {name: [pictures[row] for row in own] for name, own in rows.items()}


if __name__ == "__main__":
    sys.exit(
        check_command("data_modules.kvasir", lambda root, **more: Kvasir(root=root, **more), settings=("protocol",))
    )
