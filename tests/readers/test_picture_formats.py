"""JPEG 2000 and AVIF are read; what is not read is refused by name with what to do, in a folder as well as alone."""

from pathlib import Path

import numpy as np
import picture_files
import pytest
import rasterio
from picture_files import UTM, geotiff
from PIL import Image

from data_modules.errors import DataError
from data_modules.readers.raster import Header, header, read_picture

RGB = picture_files.picture(0, 3, 48)


def jpeg2000(path: Path, values: np.ndarray, **profile: object) -> Path:
    """Lossless."""
    count, height, width = values.shape
    described = {"driver": "JP2OpenJPEG", "count": count, "height": height, "width": width, "dtype": values.dtype}
    with rasterio.open(path, "w", **described, QUALITY=100, REVERSIBLE="YES", **profile) as file:
        file.write(values)
    return path


def test_jpeg_2000_is_read_with_its_ground_sampling_distance(tmp_path: Path) -> None:
    grid = rasterio.transform.from_origin(500_000, 5_000_000, 10.0, 10.0)
    path = jpeg2000(tmp_path / "T32_TCI.jp2", RGB.transpose(2, 0, 1), crs=UTM, transform=grid)
    image, notes = read_picture(path, "")
    assert (image == RGB).all()
    assert notes == []
    assert header(path, "") == Header(48, 48, 10.0)
    assert read_picture(path, "", max_side=12)[0].shape == (12, 12, 3)
    assert (read_picture(path.read_bytes(), "")[0] == RGB).all()
    for suffix in ("jp2", "j2k"):  # in its box, and the stream alone
        Image.fromarray(RGB).save(tmp_path / f"pillow.{suffix}", irreversible=False)
        assert (read_picture(tmp_path / f"pillow.{suffix}", "")[0] == RGB).all()


def test_one_band_of_a_sentinel_2_product_is_grey_and_its_stretch_said(tmp_path: Path) -> None:
    band = np.random.default_rng(0).integers(0, 4000, (1, 64, 64)).astype(np.uint16)
    image, notes = read_picture(jpeg2000(tmp_path / "T32_B04.jp2", band, NBITS=15), "")
    assert (image[..., 0] == image[..., 2]).all()
    assert len(notes) == 2
    assert notes[0].startswith("pictures of uint16 values, stretched")


def test_no_sidecar_of_a_jpeg_2000_counts(tmp_path: Path) -> None:
    path = jpeg2000(tmp_path / "a.jp2", RGB.transpose(2, 0, 1), crs=UTM)
    for leftover in tmp_path.glob("*.xml"):
        leftover.unlink()
    before = header(path, "")
    (tmp_path / "a.j2w").write_text("9\n0\n0\n-9\n500000\n5000000\n")
    Path(f"{path}.aux.xml").write_text("<PAMDataset><GeoTransform>5,7,0,5,0,-7</GeoTransform></PAMDataset>")
    assert header(path, "") == before


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_jpeg_2000_that_is_cut_short_is_damaged(share: float, tmp_path: Path) -> None:
    data = jpeg2000(tmp_path / "a.jp2", RGB.transpose(2, 0, 1)).read_bytes()
    with pytest.raises(DataError, match="damaged or cut short"):
        read_picture(data[: int(share * len(data))], "a")


def test_avif_is_read_as_pillow_does(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.avif", quality=90)
    with Image.open(tmp_path / "a.avif") as opened:
        right = np.asarray(opened.convert("RGB"))
    image, notes = read_picture(tmp_path / "a.avif", "")
    assert (image == right).all()
    assert notes == []
    assert header(tmp_path / "a.avif", "") == Header(48, 48)


def test_avif_without_its_decoder_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.avif")
    monkeypatch.setattr("PIL.features.check", lambda name: False)
    with pytest.raises(DataError, match=r"is AVIF, which this Pillow was built without; pip install -U pillow"):
        read_picture(tmp_path / "a.avif", "a")


def vrt(path: Path) -> bytes:
    source = geotiff(path / "source.tif", RGB.transpose(2, 0, 1), crs=UTM, pixel=1.0)
    with rasterio.open(source) as opened, rasterio.vrt.WarpedVRT(opened) as warped:
        rasterio.shutil.copy(warped, path / "made.vrt", driver="VRT")
    return (path / "made.vrt").read_bytes()


FOREIGN = {
    "xml.vrt": (b'<?xml version="1.0"?>\n<VRTDataset rasterXSize="1">', "is a virtual raster"),
    "a.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "is HEIC, which is not read; export it as PNG"),
    "a.jxl": (b"\xff\x0a\0\0", "is JPEG XL; export"),
    "a.img": (b"EHFA_HEADER_TAG\0", "is Erdas Imagine; write it as GeoTIFF, e.g. rio convert"),
    "a.nc": (b"\x89HDF\r\n\x1a\n", "is HDF5 or netCDF; write"),
    "scan.dcm": (bytes(128) + b"DICM" + bytes(99), "is DICOM; export its slices as PNG or TIFF, 16 bits where values"),
    "scan.nii": (b"\x5c\x01" + bytes(342) + b"n+1\0" + bytes(99), "is NIfTI; export its slices"),
    "S2A.zip": (b"PK\x03\x04", r"is a zip archive; unpack it .* IMG_DATA/\*\.jp2"),
}


def test_a_virtual_raster_is_refused_as_it_only_names_other_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is a virtual raster \(VRT\), which only names other files; write it as Geo"):
        read_picture(vrt(tmp_path), "a")


def test_jpeg_2000_without_its_driver_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = jpeg2000(tmp_path / "a.jp2", RGB.transpose(2, 0, 1))
    monkeypatch.setattr(rasterio.Env, "drivers", lambda self: {"GTiff": "GeoTIFF"})
    with pytest.raises(DataError, match=r"a\.jp2: this GDAL was built without JP2OpenJPEG; pip install --force-rein"):
        read_picture(path, str(path))


@pytest.mark.parametrize("name", FOREIGN)
def test_other_formats_are_refused_by_name_with_what_to_do(name: str, tmp_path: Path) -> None:
    content, message = FOREIGN[name]
    (tmp_path / name).write_bytes(content)
    for call in (header, read_picture):
        with pytest.raises(DataError, match=rf"^{tmp_path / name} {message}"):
            call(tmp_path / name, str(tmp_path / name))
