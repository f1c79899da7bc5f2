"""Made-up tiny copies of the true layouts of picture benchmarks, and writers of odd pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_modules import eurosat as eurosat_module
from data_modules import resisc45 as resisc45_module
from data_modules import rsscn7 as rsscn7_module
from data_modules.base import DataModule

UTM = "EPSG:32632"
UTM_PLACE = (500_000, 5_000_000)
"""Where a pixel of UTM is as long as it says."""


def picture(seed: int, label: int, side: int = 32) -> np.ndarray:
    """uint8 [side, side, 3]: noise over a colour of the class."""
    rng = np.random.default_rng([seed, label])
    colour = np.array([(40 + 37 * label) % 200, (90 + 71 * label) % 200, (150 + 53 * label) % 200])
    return (colour + rng.integers(0, 40, (side, side, 3))).astype(np.uint8)


def save(path: Path, image: np.ndarray) -> None:
    """A picture whose format is that of its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def geotiff(
    path: Path,
    values: np.ndarray,
    *,
    crs: Any = None,
    pixel: float | None = None,
    at: Sequence[float] = UTM_PLACE,
    **profile: Any,
) -> Path:
    """A GeoTIFF of values [bands, H, W]; north is up and pixels are square unless `transform` says otherwise."""
    import rasterio  # which a GPU machine may lack, whose tests write none
    from rasterio.transform import from_origin

    path.parent.mkdir(parents=True, exist_ok=True)
    if pixel is not None:
        profile["transform"] = from_origin(*at, pixel, pixel)
    count, height, width = values.shape
    described = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": values.dtype, "crs": crs}
    with rasterio.open(path, "w", **described, **profile) as file:
        file.write(values)
    return path


def rsscn7(root: Path, *, each: int = 6, plain: bool = False) -> Path:
    """RSSCN7: the first pictures of every class at every scale; folders without their letters where `plain`."""
    for folder, label in rsscn7_module.FOLDERS.items():
        for scale in range(4):
            for number in range(100 * scale + 1, 100 * scale + 1 + each):
                path = root / (label if plain else folder) / f"{folder[0]}{number:03d}.jpg"
                save(path, picture(number, rsscn7_module.CLASSES.index(label)))
    return root


def sentinel2(seed: int, label: int, side: int = 64) -> np.ndarray:
    """uint16 [13, side, side]: like Sentinel-2's, darker in some classes than in others."""
    rng = np.random.default_rng([seed, label])
    return (500 + 150 * label + rng.integers(0, 400, (13, side, side))).astype(np.uint16)


def split_lists(
    root: Path, prefix: str, classes: Sequence[str], each: dict[str, int], digits: int = 1
) -> list[tuple[str, int]]:
    """The lists of a benchmark's splits; the names listed and their labels."""
    root.mkdir(parents=True, exist_ok=True)
    number, every = 1, []
    for split, count in each.items():
        rows = [
            (f"{name}_{n:0{digits}d}.jpg", k) for k, name in enumerate(classes) for n in range(number, number + count)
        ]
        (root / f"{prefix}-{split}.txt").write_text("".join(f"{name}\n" for name, _ in rows))
        number, every = number + count, every + rows
    return every


def eurosat(root: Path, *, folder: str = "EuroSAT_RGB", each: int = 4) -> Path:
    """EuroSAT: so many pictures of every class in every split, below a folder of either version."""
    for name, label in split_lists(
        root, "eurosat", eurosat_module.CLASSES, dict.fromkeys(("train", "val", "test"), each)
    ):
        path, seed = root / folder / eurosat_module.CLASSES[label] / name, int(name.partition("_")[2][:-4])
        if folder in eurosat_module.FOLDERS["ms"]:
            geotiff(path.with_suffix(".tif"), sentinel2(seed, label), crs=UTM, pixel=10.0)
        else:
            save(path, picture(seed, label, 64))
    return root


def resisc45(root: Path) -> Path:
    """NWPU-RESISC45: of every class two pictures to train on, one to select on and one to test on."""
    each = {"train": 2, "val": 1, "test": 1}
    for name, label in split_lists(root, "resisc45", resisc45_module.CLASSES, each, digits=3):
        save(root / "NWPU-RESISC45" / resisc45_module.CLASSES[label] / name, picture(int(name[-7:-4]), label))
    return root


def ids(data: DataModule, split: str) -> list[str]:
    return [data.sets[split].id(index) for index in range(len(data.sets[split]))]


def gsds(data: DataModule, split: str) -> list[float]:
    return [float(data.sets[split].conditions(index)["gsd"]) for index in range(len(data.sets[split]))]
