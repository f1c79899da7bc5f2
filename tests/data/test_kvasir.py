"""Kvasir-SEG in both of its layouts: pairs by name, grey borders cut at half, ClinicDB's frames never select."""

from pathlib import Path

import numpy as np
import pytest
from mask_files import blob, picture, save

from data_modules.errors import DataError
from data_modules.kvasir import Kvasir

FRAME = {"letterbox": 60}


def pair(images: Path, masks: Path, name: str, ending: str, seed: int) -> None:
    """A picture, and its mask in grey with a border of 100 outside and 150 inside."""
    mask = blob(seed=seed)
    grey = np.where(mask == 1, 255, 0).astype(np.uint8)
    rows, columns = np.nonzero(mask)
    grey[rows.min() : rows.max() + 1, columns.min()] = 150
    grey[rows.min() : rows.max() + 1, columns.min() - 1] = 100
    save(images / f"{name}{ending}", picture(mask, seed))
    save(masks / f"{name}{ending}", grey)


def write(folder: Path, image: str = "image", mask: str = "mask") -> Path:
    """PraNet's folders: 20 pictures of Kvasir and 10 frames of ClinicDB train, 4 of Kvasir are measured."""
    train, test = folder / "TrainDataset", folder / "TestDataset" / "Kvasir"
    for seed, name in enumerate([*(f"cju{n:02d}" for n in range(20)), *map(str, range(1, 11))]):
        pair(train / image, train / mask, name, ".png", seed)
    for seed in range(4):
        pair(test / "images", test / "masks", f"cjv{seed:02d}", ".png", seed)
    return folder


def plain(folder: Path) -> Path:
    """Kvasir-SEG as its authors distribute it: JPEG, masks as well."""
    for seed in range(20):
        pair(folder / "images", folder / "masks", f"cju{seed:02d}", ".jpg", seed)
    return folder


def ready(root: Path, **settings: object) -> Kvasir:
    data = Kvasir(root=str(root), frame=FRAME, **settings)  # type: ignore[arg-type]
    data.setup()
    return data


def names(data: Kvasir, split: str) -> set[str]:
    return {picture.path.stem for picture in data.sets[split].pictures}


@pytest.mark.parametrize("folders", [("image", "mask"), ("images", "masks")])
def test_clinicdb_trains_and_never_selects(tmp_path: Path, folders: tuple[str, str]) -> None:
    data = ready(write(tmp_path, *folders))
    train, val, test = (names(data, split) for split in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (28, 2, 4)
    assert {str(n) for n in range(1, 11)} <= train
    assert not train & val
    assert all(name.startswith("cju") for name in val)
    assert all(name.startswith("cjv") for name in test)


def test_grey_borders_are_cut_at_half_and_the_polyp_is_positive(tmp_path: Path) -> None:
    data = ready(write(tmp_path))
    samples = data.sets["test"]
    for seed in range(4):
        assert (samples.labels(seed) == blob(seed=seed)).all()
    assert data.classes == ["background", "polyp"]
    assert (samples[0].target["mask"][:40].numpy() == blob()).all()


def test_a_split_by_a_hash_of_names_reads_jpeg_masks(tmp_path: Path) -> None:
    data = ready(plain(tmp_path / "Kvasir-SEG").parent, protocol="hash")
    parts = [names(data, split) for split in ("train", "val", "test")]
    assert [len(part) for part in parts] == [16, 2, 2]
    assert len(set.union(*parts)) == 20
    found, wanted = data.sets["test"].labels(0), blob(seed=int(data.sets["test"].pictures[0].path.stem[3:]))
    assert set(np.unique(found)) == {0, 1}
    assert (found != wanted).mean() < 0.01  # of 2,400 pixels, along the border of a JPEG
    assert "hash" in data.name


def test_the_other_layout_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no Kvasir-SEG of data\.protocol=pranet.*data\.protocol=hash reads another"):
        ready(plain(tmp_path))


def test_pictures_without_masks_and_masks_without_pictures_are_told(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "TrainDataset" / "mask" / "cju03.png").unlink()
    with pytest.raises(DataError, match=r"mask: nothing for cju03, 1 of 30 in all"):
        ready(tmp_path)
    (tmp_path / "TrainDataset" / "image" / "cju03.png").unlink()
    (tmp_path / "TrainDataset" / "image" / "7.png").unlink()
    with pytest.raises(DataError, match=r"image: nothing for 7, 1 of 29 in all"):
        ready(tmp_path)


def test_a_mask_of_0_and_1_is_not_read_as_empty(tmp_path: Path) -> None:
    write(tmp_path)
    save(tmp_path / "TestDataset" / "Kvasir" / "masks" / "cjv00.png", blob())
    with pytest.raises(DataError, match=r"cjv00\.png: its lightest pixel has 1, below the threshold of 128"):
        ready(tmp_path).sets["test"].labels(0)


def test_check_compares_with_what_is_published(tmp_path: Path) -> None:
    lines = ready(write(tmp_path)).check()
    assert lines[:2] == ["train and val: 30 pictures, 1450 are published", "test: 4 pictures, 100 are published"]
    assert lines[4].startswith("test: 4 pictures; polyp 2.2% of the pixels")
