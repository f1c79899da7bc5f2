"""Any usual picture becomes uint8 RGB with a note on every loss, and GeoTIFFs tell their ground sampling distance."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import picture_files
import pytest
from picture_files import UTM, geotiff
from PIL import Image

from data_modules.errors import DataError
from data_modules.readers.picture_notes import BLACK, CMYK, FIRST_THREE, FURTHER, GREY
from data_modules.readers.raster import Header, header, read_picture
from zoo.errors import UserError

RGB = picture_files.picture(0, 3, 48)
BANDS = np.ascontiguousarray(RGB.transpose(2, 0, 1))
RAMP = np.arange(48 * 48, dtype=np.uint16).reshape(1, 48, 48)
STRETCHED = (
    "pictures of uint16 values, stretched to 8 bits between their percentiles 2 and 98 (stretch=LOW..HIGH shows all of "
    "them alike)"
)


def read(path: Path, max_side: int | None = None) -> tuple[np.ndarray, list[str]]:
    image, notes = read_picture(path, str(path), max_side=max_side)
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert image.flags.writeable, "torch warns of arrays that cannot be written to"
    return image, notes


def test_eurosats_13_bands_are_shown_as_its_authors_do(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 4000, (13, 64, 64)).astype(np.uint16)
    image, notes = read(geotiff(tmp_path / "a.tif", values, crs=UTM, pixel=10.0))
    # gdal_translate -scale 0 2750 1 255 -b 4 -b 3 -b 2
    expected = np.floor(1 + values[[3, 2, 1]].astype(float).clip(0, 2750) * 254 / 2750 + 0.5)
    assert (image.transpose(2, 0, 1) == expected).all()
    assert notes == ["pictures of 13 bands, taken for Sentinel-2: bands 4, 3, 2 up to 2750 are shown"]


def test_16_bits_are_stretched_between_percentiles(tmp_path: Path) -> None:
    image, notes = read(geotiff(tmp_path / "a.tif", np.concatenate([RAMP, RAMP * 9 + 700, RAMP[:, ::-1]])))
    assert notes == [STRETCHED]
    assert image.min() == 1
    assert image.max() == 255
    assert (image[..., 0] == image[..., 1]).all(), "each band has a range of its own"
    rows = image[..., 0].ravel().astype(int)
    assert (np.diff(rows) >= 0).all()
    assert (rows == 1).mean() == pytest.approx(0.02, abs=0.003)
    assert (rows == 255).mean() == pytest.approx(0.02, abs=0.003)


@pytest.mark.parametrize("kind", ["int16", "uint32", "int32", "float32", "float64"])
def test_other_numbers_are_stretched_as_well(kind: str, tmp_path: Path) -> None:
    values = (RAMP.astype(np.int64) * 7 - 3000 * (kind[0] != "u")).astype(kind)
    image, notes = read(geotiff(tmp_path / "a.tif", np.repeat(values, 3, axis=0)))
    expected, _ = read(geotiff(tmp_path / "b.tif", np.repeat(RAMP, 3, axis=0)))
    assert np.abs(image.astype(int) - expected).max() <= 1
    assert kind in notes[0]


def test_a_flat_band_and_one_with_few_bright_spots_are_no_trouble(tmp_path: Path) -> None:
    values = np.full((3, 48, 48), 700, np.uint16)
    values[1, 5, 5] = 900
    image, _ = read(geotiff(tmp_path / "a.tif", values))
    assert set(np.unique(image[..., 0])) == {1}
    assert image[5, 5, 1] == 255
    assert image[6, 6, 1] == 1


def test_what_is_no_number_is_black_and_counted(tmp_path: Path) -> None:
    values = np.repeat(RAMP.astype(np.float32), 3, axis=0)
    values[0, 3, 4], values[2, 7, 7] = np.nan, np.inf
    image, notes = read(geotiff(tmp_path / "a.tif", values))
    assert image[3, 4].tolist() == image[7, 7].tolist() == [0, 0, 0]
    assert (image.reshape(-1, 3).max(1) == 0).sum() == 2
    assert notes[1:] == [BLACK]


@pytest.mark.parametrize(("kind", "nodata"), [("uint8", 255), ("uint16", 65535), ("int16", -9999), ("float32", np.nan)])
def test_what_has_no_data_is_black_and_stretches_nothing(kind: str, nodata: float, tmp_path: Path) -> None:
    values = np.repeat((RAMP // 10).astype(kind), 3, axis=0)
    whole, _ = read(geotiff(tmp_path / "a.tif", values[:, 16:]))
    values[:, :16] = nodata
    image, notes = read(geotiff(tmp_path / "b.tif", values, nodata=nodata))
    assert image[:16].max() == 0
    assert (image[16:] == whole).all()
    assert notes[-1] == BLACK
    small, _ = read(tmp_path / "b.tif", 12)
    assert small[:4].max() == 0
    assert small[4:].min() > 0


def test_bands_are_chosen_by_their_marks_then_by_their_number(tmp_path: Path) -> None:
    further = np.concatenate([BANDS, BANDS[:1] // 2])
    four = geotiff(tmp_path / "four.tif", further, photometric="MINISBLACK")
    image, notes = read(four)
    assert (image == RGB).all()
    assert notes == [FIRST_THREE]
    six = geotiff(tmp_path / "six.tif", np.concatenate([BANDS[::-1], BANDS]), photometric="MINISBLACK")
    with pytest.raises(DataError, match=r"six\.tif: 6 bands of uint8, and it does not say which are red"):
        read(six)
    marks = "blue,green,red,undefined,undefined,undefined"
    rio = Path(sys.executable).with_name("rio")
    subprocess.run([rio, "edit-info", "--colorinterp", marks, six], check=True, capture_output=True)
    image, notes = read(six)
    assert (image == RGB).all()
    assert notes == [FURTHER]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["four.tif", "six.tif"]


def test_complex_numbers_are_no_picture(tmp_path: Path) -> None:
    path = geotiff(tmp_path / "radar.tif", np.ones((1, 8, 8), np.complex64))
    with pytest.raises(DataError, match=r"radar\.tif: values of type complex64; expected whole or real numbers"):
        read(path)


def opaque_half() -> Image.Image:
    picture = Image.fromarray(RGB).convert("RGBA")
    picture.putalpha(Image.fromarray(np.where(np.arange(48) < 24, 0, 255).astype(np.uint8)[None].repeat(48, 0)))
    return picture


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_transparent_parts_are_black_and_counted(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    opaque_half().save(path, **({"lossless": True} if suffix == "webp" else {}))
    image, notes = read(path)
    assert image[:, :24].max() == 0
    assert (image[:, 24:] == RGB[:, 24:]).all()
    assert notes == [BLACK]
    Image.fromarray(RGB).convert("RGBA").save(path, **({"lossless": True} if suffix == "webp" else {}))
    image, notes = read(path)
    assert (image == RGB).all()
    assert notes == [], "nothing is lost where all is opaque"


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_a_transparent_entry_of_a_palette_is_black(suffix: str, tmp_path: Path) -> None:
    picture = Image.fromarray(RGB // 64 * 64 + 20).quantize(16)
    entry = int(np.asarray(picture)[0, 0])
    picture.save(tmp_path / f"a.{suffix}", transparency=entry)
    image, notes = read(tmp_path / f"a.{suffix}")
    hidden = np.asarray(picture) == entry
    assert image[hidden].max() == 0
    assert (image[~hidden] == np.asarray(picture.convert("RGB"))[~hidden]).all()
    assert notes == [BLACK]


MODES = [
    ("L", "png", [GREY]),
    ("L", "tif", [GREY]),
    ("L", "bmp", [GREY]),
    ("LA", "png", [GREY]),
    ("1", "png", [GREY]),
    ("1", "tif", []),
    ("1", "bmp", []),
    ("P", "png", []),
    ("P", "tif", []),
    ("P", "gif", []),
    ("CMYK", "tif", [CMYK]),
]


@pytest.mark.parametrize(("mode", "suffix", "expected"), MODES)
def test_every_mode_is_shown_as_pillow_does(mode: str, suffix: str, expected: list[str], tmp_path: Path) -> None:
    picture = Image.fromarray(RGB).convert(mode)
    path = tmp_path / f"a.{suffix}"
    picture.save(path)
    image, notes = read(path)
    assert (image == np.asarray(picture.convert("RGB"))).all()
    assert notes == expected
    small, notes = read(path, 16)
    assert small.shape == (16, 16, 3)
    assert notes == expected


@pytest.mark.parametrize(("mode", "expected"), [("RGB", []), ("L", [GREY]), ("CMYK", [CMYK])])
def test_jpegs_are_decoded_as_pillow_does(mode: str, expected: list[str], tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(RGB).convert(mode).save(path)
    image, notes = read(path)
    with Image.open(path) as opened:
        assert (image == np.asarray(opened.convert("RGB"))).all()
    assert notes == expected


def test_16_bits_of_a_png_are_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(RAMP[0] * 20).save(tmp_path / "a.png")
    image, notes = read(tmp_path / "a.png")
    expected, _ = read(geotiff(tmp_path / "a.tif", RAMP))
    assert (image == expected).all()
    assert notes == [STRETCHED, GREY]


def test_of_several_pictures_the_first_is_read(tmp_path: Path) -> None:
    first, others = Image.fromarray(RGB), [Image.fromarray(RGB[::-1])]
    first.save(tmp_path / "a.tif", save_all=True, append_images=others)
    first.save(tmp_path / "a.webp", save_all=True, append_images=others, lossless=True)
    for name, note in (("a.tif", "files of several pages"), ("a.webp", "animations")):
        image, notes = read(tmp_path / name)
        assert (image == RGB).all()
        assert len(notes) == 1
        assert notes[0].startswith(note)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "bmp"])
def test_shrinking_averages_areas(suffix: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    # Noise within every area of 16 x 16 pixels, so that no single one stands for all.
    means = rng.integers(50, 200, (10, 20, 3))
    large = (np.kron(means, np.ones((16, 16, 1))) + rng.integers(-50, 51, (160, 320, 3))).astype(np.uint8)
    areas = large.reshape(10, 16, 20, 16, 3).mean((1, 3))
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(large).save(
        path, **{"jpg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}.get(suffix, {})
    )
    small, notes = read(path, 20)
    assert small.shape == (10, 20, 3)
    assert np.abs(small - areas).max() <= (3 if suffix == "jpg" else 1)
    assert notes == []
    assert read(path, 320)[0].shape == read(path, 1000)[0].shape == read(path)[0].shape == (160, 320, 3)
    assert header(path, "") == Header(160, 320)
    assert read(path, 7)[0].shape == (4, 7, 3)
    assert (read_picture(path.read_bytes(), "", max_side=20)[0] == small).all()


def test_only_the_file_itself_is_read_and_none_is_written(tmp_path: Path) -> None:
    placed = geotiff(tmp_path / "a.tif", BANDS, crs=UTM, pixel=3.0)
    unplaced = geotiff(tmp_path / "b.tif", BANDS, crs=UTM)

    def found() -> list[tuple[object, ...]]:
        return [
            (header(path, ""), *(read(path, side)[0].tobytes() for side in (None, 24))) for path in (placed, unplaced)
        ]

    before = found()
    for path in (placed, unplaced):
        path.with_suffix(".tfw").write_text("9\n0\n0\n-9\n500000\n5000000\n")
        geotiff(Path(f"{path}.ovr"), BANDS[:, ::-2, ::-2])
        Path(f"{path}.aux.xml").write_text(
            "<PAMDataset><GeoTransform>500000,7,0,5000000,0,-7</GeoTransform>"
            '<PAMRasterBand band="1"><NoDataValue>5</NoDataValue></PAMRasterBand></PAMDataset>'
        )
    held = sorted(tmp_path.iterdir())
    assert found() == before
    assert sorted(tmp_path.iterdir()) == held


def test_only_the_formats_of_rasterio_need_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rasterio", None)  # not installed
    for suffix in ("jpg", "bmp", "png"):
        Image.new("RGB", (4, 3), (200, 20, 20)).save(tmp_path / f"a.{suffix}")
    assert read(tmp_path / "a.jpg")[0].shape == read(tmp_path / "a.bmp")[0].shape == (3, 4, 3)
    with pytest.raises(UserError, match=r"a\.png: PNG needs rasterio, which is not installed: pip .*\[raster\]'"):
        read(tmp_path / "a.png")
