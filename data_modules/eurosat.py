"""EuroSAT (Helber et al. 2019): ten land uses seen by Sentinel-2, 27,000 pictures of 64 x 64 pixels of 10 metres.

Expected below ROOT, as published, one of the two versions or both:

    EuroSAT_RGB/<Class>/<Class>_<n>.jpg   or   2750/<Class>/...                                             version rgb
    EuroSAT_MS/<Class>/<Class>_<n>.tif    or   ds/images/remote_sensing/otherDatasets/sentinel_2/tif/...    version ms
    eurosat-train.txt, eurosat-val.txt, eurosat-test.txt                                 splits 60 / 20 / 20 for either

The 13 bands of `ms` are shown as `rgb` was made of them (bands 4, 3, 2 from 0..2750), but without JPEG's losses.
The splits are those of arXiv:1911.06721. `python -m data_modules.eurosat --check ROOT` says what is missing.
"""

import sys
from pathlib import Path
from typing import Literal

from data_modules.check import check_command
from data_modules.errors import DataError
from data_modules.kinds.listed_pictures import SPLITS, compared, listed_shots
from data_modules.kinds.picture_set import PictureRecord, require_factors, view
from data_modules.kinds.pictures import PictureDataModule
from zoo.batch import Picture, SampleSet

Version = Literal["rgb", "ms"]

FOLDERS: dict[Version, tuple[str, ...]] = {
    "rgb": ("EuroSAT_RGB", "2750"),
    "ms": ("EuroSAT_MS", "ds/images/remote_sensing/otherDatasets/sentinel_2/tif"),
}

SUFFIXES: dict[Version, str] = {"rgb": ".jpg", "ms": ".tif"}

CLASSES = [
    "AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial", "Pasture", "PermanentCrop", "Residential",
    "River", "SeaLake",
]  # fmt: skip

METRES = 10.0

PUBLISHED = {"train": 16_200, "val": 5_400, "test": 5_400}

DISTRIBUTOR = (
    "EuroSAT is distributed by its authors (github.com/phelber/EuroSAT: EuroSAT_RGB.zip, EuroSAT_MS.zip), the lists of "
    "its splits by Google Research (storage.googleapis.com/remote_sensing_representations/eurosat-train.txt, ...); "
    "both by TorchGeo (huggingface.co/datasets/torchgeo/eurosat)"
)


class EuroSAT(PictureDataModule):
    """Ten land uses at 10 metres per pixel, and at other ground sampling distances made of them.

    A factor shows a picture as `data_modules.kinds.picture_set.resample` does: as many pixels, the ground sampling
    distance that many times as large, and the given one is scaled with it. Accuracy by scale is measured by testing
    once per factor, `test_resample=[1]`, `[2]`, `[4]`, `[8]`: these are the resolutions (100, 50, 25, 12.5 %) at which
    Scale-MAE (arXiv:2212.14532) tests, whose pictures however shrink with them. With `[1, 2, 4, 8]` every test picture
    is shown four times, and the ground sampling distance can be exchanged in a circle.

    Args:
        root: folder of the data set.
        version: the three colours as JPEG, or the same of the 13 bands.
        resample: every training picture is also shown with its ground sampling distance multiplied by these factors.
        test_resample: every test picture is shown with it multiplied by these factors only; 1 is the picture itself.
    """

    name = "EuroSAT"
    classes = CLASSES
    license = "MIT"
    side = 64

    def __init__(
        self,
        *,
        root: str,
        version: Literal["rgb", "ms"] = "rgb",
        resample: tuple[float, ...] = (),
        test_resample: tuple[float, ...] = (1.0,),
    ) -> None:
        super().__init__()
        self.root, self.version = Path(root), version
        self.name = f"EuroSAT ({version})"
        self.factors = {
            "train": require_factors((1.0, *resample), "resample"),
            "val": (1.0,),
            "test": require_factors(test_resample, "test_resample"),
        }

    def folder(self) -> Path | None:
        """Folder that holds the ten class folders of this version."""
        return next((self.root / name for name in FOLDERS[self.version] if (self.root / name).is_dir()), None)

    def shots(self) -> dict[str, list[PictureRecord]]:
        """The published splits.

        Raises:
            DataError: naming the file and what is wrong with it.
        """
        folder = self.folder()
        if folder is None:
            raise DataError(
                f"{self.root} holds no EuroSAT of version {self.version}: expected the folder "
                f"{' or '.join(FOLDERS[self.version])}, and eurosat-train.txt, -val.txt, -test.txt beside it. "
                f"{DISTRIBUTOR}"
            )
        return listed_shots(
            folder,
            self.root / "eurosat",
            CLASSES,
            distributor=DISTRIBUTOR,
            suffix=SUFFIXES[self.version],
            gsd=METRES,
        )

    def splits(self) -> dict[str, SampleSet[Picture]]:
        """The published splits, each at its factors."""
        found = self.shots()
        return {
            split: self.pictures([view(shot, factor) for factor in self.factors[split] for shot in found[split]])
            for split in SPLITS
        }

    def check(self) -> list[str]:
        """Counts beside the published ones."""
        return compared(self.shots(), PUBLISHED, str(self.folder()))


class EveryVersion:
    """The versions that lie below a root, for `--check`."""

    def __init__(self, root: str) -> None:
        every = [EuroSAT(root=root, version=version) for version in FOLDERS]
        self.found = [data for data in every if data.folder()] or every[:1]

    def check(self) -> list[str]:
        """Counts of every version."""
        return [line for data in self.found for line in data.check()]

    def splits(self) -> dict[str, SampleSet[Picture]]:
        """Splits of every version."""
        return {f"{data.version} {split}": part for data in self.found for split, part in data.splits().items()}


if __name__ == "__main__":
    sys.exit(check_command("data_modules.eurosat", EveryVersion))
