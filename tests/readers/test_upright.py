"""A picture that a camera held otherwise is turned, as Pillow's own function for it does, and says so."""

import io
from pathlib import Path

import numpy as np
import picture_files
import pytest
from picture_files import UTM, geotiff
from PIL import Image, ImageOps, TiffImagePlugin

from data_modules.readers.raster import Header, content_hash, header, read_picture
from data_modules.readers.upright import TURNED, of_tiff

TALL = picture_files.picture(0, 3, 48)[:24]
SAVED = {
    "jpg": {"quality": 100, "subsampling": 0},
    "png": {},
    "webp": {"lossless": True},
    "avif": {"quality": 100},
    "tif": {},
}


def held(path: Path, orientation: int, **options: object) -> Path:
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(TALL).save(path, exif=exif, **options)
    return path


@pytest.mark.parametrize("suffix", SAVED)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_said(suffix: str, orientation: int, tmp_path: Path) -> None:
    path = held(tmp_path / f"a.{suffix}", orientation, **SAVED[suffix])
    with Image.open(path) as opened:
        right = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    image, notes = read_picture(path, "")
    assert image.shape == right.shape == ((48, 24, 3) if orientation > 4 else (24, 48, 3))
    assert (image == right).all()
    assert image.flags.writeable
    assert notes == ([] if orientation == 1 else [TURNED])
    assert header(path, "") == Header(*right.shape[:2])
    assert (read_picture(path.read_bytes(), "")[0] == right).all()
    small, _ = read_picture(path, "", max_side=24)
    assert small.shape == ((24, 12, 3) if orientation > 4 else (12, 24, 3))


@pytest.mark.parametrize("big", [False, True])
def test_a_tiff_is_asked_whatever_its_bands_and_size(big: bool, tmp_path: Path) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[274] = 8
    Image.fromarray(TALL).save(tmp_path / "a.tif", tiffinfo=tags, big_tiff=big)
    assert of_tiff(tmp_path / "a.tif") == 8
    assert read_picture(tmp_path / "a.tif", "")[0].shape == (48, 24, 3)


def test_a_map_lies_as_its_grid_says(tmp_path: Path) -> None:
    path = geotiff(tmp_path / "a.tif", TALL.transpose(2, 0, 1), crs=UTM, pixel=2.0)
    data = bytearray(path.read_bytes())
    with Image.open(path) as opened:  # PlanarConfiguration of one strip means nothing: make an orientation of it
        assert opened.tag_v2[284] == 1
    at = data.index((284).to_bytes(2, "little") + (3).to_bytes(2, "little"))
    data[at : at + 2], data[at + 8 : at + 10] = (274).to_bytes(2, "little"), (6).to_bytes(2, "little")
    assert of_tiff(bytes(data)) == 6
    assert header(bytes(data), "") == Header(24, 48, 2.0)
    assert read_picture(bytes(data), "")[0].shape == (24, 48, 3)


def test_the_key_of_a_turned_picture_is_another_than_before_it_was_turned_and_others_are_as_they_were(
    tmp_path: Path,
) -> None:
    import hashlib

    for orientation, mark in ((1, ""), (6, " upright")):
        path = held(tmp_path / f"{orientation}.jpg", orientation)
        plain = hashlib.sha256(path.read_bytes()).hexdigest()
        assert content_hash(path, "") == content_hash(path.read_bytes(), "") == plain + mark


def test_an_orientation_that_is_none_is_no_reason_not_to_read_a_picture(tmp_path: Path) -> None:
    for orientation in (0, 9, 4000):
        path = held(tmp_path / "a.jpg", orientation)
        assert read_picture(path, "")[0].shape == (24, 48, 3)
    file = io.BytesIO()
    Image.fromarray(TALL).save(file, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    image, notes = read_picture(file.getvalue(), "")
    assert image.shape == (24, 48, 3)
    assert notes == []
