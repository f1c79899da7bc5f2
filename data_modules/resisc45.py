"""NWPU-RESISC45 (Cheng et al. 2017): 45 scenes, 700 pictures of 256 x 256 pixels each; from Google Earth.

Expected below ROOT, as published:

    NWPU-RESISC45/<class>/<class>_<nnn>.jpg
    resisc45-train.txt, resisc45-val.txt, resisc45-test.txt     splits 60 / 20 / 20

The ground sampling distance lies between 0.2 and 30 metres, but is not published picture by picture. Nobody knows it,
so the condition `gsd` is NaN throughout, and methods that use it fall back on what they do without.
The splits are those of arXiv:1911.06721. `python -m data_modules.resisc45 --check ROOT` says what is missing.
"""

import sys
from pathlib import Path

from data_modules.check import check_command
from data_modules.errors import DataError
from data_modules.kinds.listed_pictures import compared, listed_shots
from data_modules.kinds.picture_set import PictureRecord
from data_modules.kinds.pictures import PictureDataModule
from zoo.batch import Picture, SampleSet

FOLDER = "NWPU-RESISC45"

CLASSES = [
    "airplane", "airport", "baseball_diamond", "basketball_court", "beach", "bridge", "chaparral", "church",
    "circular_farmland", "cloud", "commercial_area", "dense_residential", "desert", "forest", "freeway", "golf_course",
    "ground_track_field", "harbor", "industrial_area", "intersection", "island", "lake", "meadow", "medium_residential",
    "mobile_home_park", "mountain", "overpass", "palace", "parking_lot", "railway", "railway_station",
    "rectangular_farmland", "river", "roundabout", "runway", "sea_ice", "ship", "snowberg", "sparse_residential",
    "stadium", "storage_tank", "tennis_court", "terrace", "thermal_power_station", "wetland",
]  # fmt: skip

PUBLISHED = {"train": 18_900, "val": 6_300, "test": 6_300}

DISTRIBUTOR = (
    "NWPU-RESISC45 is distributed by its authors (doi.org/10.1109/JPROC.2017.2675998), the lists of its splits by "
    "Google Research (storage.googleapis.com/remote_sensing_representations/resisc45-train.txt, ...); both by TorchGeo "
    "(huggingface.co/datasets/torchgeo/resisc45)"
)


class RESISC45(PictureDataModule):
    """45 scenes at ground sampling distances that are not known.

    Args:
        root: folder of the data set.
    """

    name = "NWPU-RESISC45"
    classes = CLASSES
    license = "CC BY-NC 4.0 as TorchGeo states it; its authors state none"
    side = 256

    def __init__(self, *, root: str) -> None:
        super().__init__()
        self.root = Path(root)

    def shots(self) -> dict[str, list[PictureRecord]]:
        """The published splits.

        Raises:
            DataError: naming the file and what is wrong with it.
        """
        folder = self.root / FOLDER
        if not folder.is_dir():
            raise DataError(
                f"{self.root} holds no NWPU-RESISC45: expected the folder {FOLDER}, and resisc45-train.txt, -val.txt, "
                f"-test.txt beside it. {DISTRIBUTOR}"
            )
        return listed_shots(folder, self.root / "resisc45", CLASSES, distributor=DISTRIBUTOR)

    def splits(self) -> dict[str, SampleSet[Picture]]:
        """The published splits."""
        return {split: self.pictures(shots) for split, shots in self.shots().items()}

    def check(self) -> list[str]:
        """Counts beside the published ones."""
        return compared(self.shots(), PUBLISHED, str(self.root / FOLDER))


if __name__ == "__main__":
    sys.exit(check_command("data_modules.resisc45", lambda root: RESISC45(root=root)))
