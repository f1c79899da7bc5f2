"""DamagedError, huge and foreign files are clear errors or read in little memory; readers share nothing."""

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import picture_files
import pytest
import rasterio
from picture_files import UTM, geotiff
from PIL import Image
from rasterio.shutil import copy
from rasterio.transform import Affine

from data_modules.errors import DataError
from data_modules.readers.raster import Header, header, read_picture

RGB = picture_files.picture(0, 3, 48)


def saved(suffix: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, suffix, **options)
    return file.getvalue()


def interlaced(image: np.ndarray) -> bytes:
    """A PNG in Adam7's seven passes, which Pillow reads but does not write."""
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = b"".join(
        b"\0" + row.tobytes() for top, left, down, across in passes for row in image[top::down, left::across]
    )
    head = struct.pack(">IIBBBBB", image.shape[1], image.shape[0], 8, 2, 0, 0, 1)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    packed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def test_interlaced_pngs_are_read() -> None:
    data = interlaced(RGB)
    assert (read_picture(data, "")[0] == RGB).all()
    small, _ = read_picture(data, "", max_side=12)
    assert np.abs(small - RGB.reshape(12, 4, 12, 4, 3).mean((1, 3))).max() <= 0.5


VRT = '<VRTDataset rasterXSize="1" rasterYSize="1"><VRTRasterBand dataType="Byte" band="1"/></VRTDataset>'
WHOLE = {
    "jpeg": saved("jpeg"),
    "png": saved("png"),
    "interlaced png": interlaced(RGB),
    "tiff": saved("tiff"),
    "lzw": saved("tiff", compression="tiff_lzw"),
    "webp": saved("webp"),
    "gif": saved("gif"),
    "bmp": saved("bmp"),
}
WRONG = {
    "empty": (b"", "is empty"),
    "text": (
        b"version https://git-lfs.github.com/spec/v1",
        r"is no picture: it starts with b'version https://'; expected",
    ),
    "recipe of GDAL's": (VRT.encode(), r"is a virtual raster \(VRT\), which only names other files"),
    "no WebP": (b"RIFF\0\0\0\0WAVE" + bytes(99), "cannot be read, so it is damaged"),
    **{
        f"{name} cut at {share}": (data[: int(len(data) * share)], "cannot be read, so it is damaged or cut short: .")
        for name, data in WHOLE.items()
        for share in (0.03, 0.5, 0.97)
    },
}


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("max_side", [None, 16])
def test_what_is_no_picture_or_a_damaged_one_is_a_clear_error(what: str, max_side: int | None, tmp_path: Path) -> None:
    data, message = WRONG[what]
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"^{path} {message}"):
        read_picture(path, str(path), max_side=max_side)
    with pytest.raises(DataError, match=rf"^question 7 {message}"):
        read_picture(data, "question 7", max_side=max_side)


def test_a_flipped_byte_of_a_png_is_found_by_its_checksum(tmp_path: Path) -> None:
    data = bytearray(WHOLE["png"])
    data[len(data) // 2] ^= 255
    for max_side in (None, 16):
        with pytest.raises(DataError, match="damaged"):
            read_picture(bytes(data), "a", max_side=max_side)


def test_a_missing_file_and_a_folder_are_named_with_their_place(tmp_path: Path) -> None:
    for call in (header, read_picture):
        with pytest.raises(DataError, match=r"^table, line 4: .*nothing\.png cannot be read: No such file"):
            call(tmp_path / "nothing.png", "table, line 4")
        with pytest.raises(DataError, match=rf"^{tmp_path} cannot be read: Is a directory"):
            call(tmp_path, str(tmp_path))


def huge_jpeg(path: Path, side: int) -> None:
    data = bytearray(WHOLE["jpeg"])
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">HH", side, side)
    path.write_bytes(data)


def huge_bmp(path: Path, side: int) -> None:
    data = bytearray(WHOLE["bmp"])
    data[18:26] = struct.pack("<ii", side, side)
    path.write_bytes(data)


def huge_tiff(path: Path, side: int) -> None:
    profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "tiled": True, "sparse_ok": True, "crs": UTM}
    with rasterio.open(path, "w", height=side, width=side, transform=Affine(0.5, 0, 5e5, 0, -0.5, 5e6), **profile):
        pass


LIMITS: list[tuple[Callable[[Path, int], None], int, str]] = [
    (huge_jpeg, 40_000, r"40000 x 40000 pixels; expected up to 1e\+09 in JPEG; cut it into tiles$"),
    (huge_tiff, 40_000, r"40000 x 40000 pixels; expected up to 1e\+09 in TIFF; cut it into tiles$"),
    (huge_bmp, 10_000, r"10000 x 10000 pixels; expected up to 8e\+07 in BMP; .* store it as TIFF, up to 1e\+09$"),
]


@pytest.mark.parametrize(("make", "side", "message"), LIMITS)
def test_too_many_pixels_are_refused_from_the_header(make: Callable, side: int, message: str, tmp_path: Path) -> None:
    make(tmp_path / "a", side)
    for call in (header, read_picture):
        with pytest.raises(DataError, match=message):
            call(tmp_path / "a", "a")


def test_a_picture_beyond_pillows_limit_is_read_and_the_limit_kept(tmp_path: Path) -> None:
    huge_tiff(tmp_path / "a.tif", 14_000)
    huge_jpeg(tmp_path / "a.jpg", 14_000)
    limit = Image.MAX_IMAGE_PIXELS
    image, notes = read_picture(tmp_path / "a.tif", "", max_side=50)
    assert image.shape == (50, 50, 3)
    assert notes == ["pictures of one colour throughout"]
    assert header(tmp_path / "a.tif", "") == Header(14_000, 14_000, 0.5)
    assert header(tmp_path / "a.jpg", "") == Header(14_000, 14_000)
    assert limit == Image.MAX_IMAGE_PIXELS
    assert limit is not None


def test_threads_read_the_same(tmp_path: Path) -> None:
    paths = [
        geotiff(tmp_path / f"{k}.tif", np.roll(RGB, k, 2).transpose(2, 0, 1), crs=UTM, pixel=1.0 + k) for k in range(4)
    ]
    Image.fromarray(RGB).save(tmp_path / "a.png")
    every = [*paths, tmp_path / "a.png"] * 20
    expected = {path: read_picture(path, "")[0] for path in set(every)}
    with ThreadPoolExecutor(8) as pool:
        pictures = list(pool.map(lambda path: read_picture(path, "")[0], every))
        headers = list(pool.map(lambda path: header(path, ""), every))
    for path, image, found in zip(every, pictures, headers, strict=True):
        assert (image == expected[path]).all()
        assert found.gsd == (None if path.suffix == ".png" else 1.0 + int(path.stem))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """12,000 x 12,000 pixels, 432 MB when decoded, as TIFF, PNG and JPEG."""
    folder = tmp_path_factory.mktemp("large")
    profile = {"driver": "GTiff", "height": 12_000, "width": 12_000, "count": 3, "dtype": "uint8", "tiled": True}
    with rasterio.open(folder / "a.tif", "w", compress="deflate", **profile) as file:
        for _, window in file.block_windows():
            rows = (np.arange(window.height) + window.row_off)[:, None] * 255 // 12_000
            columns = (np.arange(window.width) + window.col_off)[None] * 255 // 12_000
            file.write(
                np.stack(np.broadcast_arrays(rows, columns, rows * 0 + 7 + columns * 0)).astype(np.uint8), window=window
            )
    copy(folder / "a.tif", folder / "a.png", driver="PNG", zlevel=1)
    copy(folder / "a.tif", folder / "a.jpg", driver="JPEG", quality=90)
    return {suffix: folder / f"a.{suffix}" for suffix in ("tif", "png", "jpg")}


MEASURE = """
import sys
from pathlib import Path
from data_modules.readers.raster import read_picture
image, _ = read_picture(Path(sys.argv[1]), "", max_side=1000)
assert image.shape == (1000, 1000, 3)
expected = [[(y * 255 // 1000, x * 255 // 1000, 7) for x in range(0, 1000, 50)] for y in range(0, 1000, 50)]
assert abs(image[::50, ::50].astype(int) - expected).max() <= 3
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from Linux's /proc")
@pytest.mark.parametrize("suffix", ["tif", "png", "jpg"])
def test_a_huge_picture_is_shrunk_in_little_memory(suffix: str, large: dict[str, Path]) -> None:
    done = subprocess.run([sys.executable, "-c", MEASURE, large[suffix]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    peak = int(done.stdout) / 1024
    print(f"{suffix}: peak {peak:.0f} MB")
    assert peak < 300
