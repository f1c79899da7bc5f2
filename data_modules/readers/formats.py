"""Formats of pictures by their first bytes: those that are read, and those that are refused by name, with what to do.

Suffixes of both count as pictures in a folder, so that none of them is passed over in silence.
"""

from typing import Literal

from PIL import features

from data_modules.errors import DataError

Kind = Literal["JPEG", "PNG", "TIFF", "JPEG 2000", "WebP", "AVIF", "GIF", "BMP"]

SIGNATURES: dict[bytes, Kind] = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"RIFF": "WebP",
    b"GIF8": "GIF",
    b"BM": "BMP",
}

READABLE = (
    *(".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif"),
    *(".jp2", ".j2k", ".jpx", ".avif"),
)

REFUSED_SUFFIXES = (
    *(".vrt", ".heic", ".heif", ".jxl", ".psd", ".img", ".ntf", ".nitf", ".nc", ".hdf", ".grib", ".fits", ".svg"),
    *(".ecw", ".sid", ".dcm", ".nii"),
)
"""Suffixes of pictures that are refused."""

CONVERT = "write it as GeoTIFF, e.g. rio convert FILE FILE.tif"

EXPORT = "export it as PNG, JPEG or TIFF"

REFUSED: tuple[tuple[bytes, str], ...] = (
    (b"<VRTDataset", f"a virtual raster (VRT), which only names other files; {CONVERT}, or name those files"),
    (b"\xff\x0a", f"JPEG XL; {EXPORT}"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", f"JPEG XL; {EXPORT}"),
    (b"8BPS", f"a Photoshop file; {EXPORT}"),
    (b"EHFA_HEADER_TAG", f"Erdas Imagine; {CONVERT}"),
    (b"NITF", f"NITF; {CONVERT}"),
    (b"CDF", f"netCDF; {CONVERT} of the variable that is the picture"),
    (b"\x89HDF\r\n\x1a\n", f"HDF5 or netCDF; {CONVERT} of the variable that is the picture"),
    (b"\x0e\x03\x13\x01", f"HDF4; {CONVERT} of the data set that is the picture"),
    (b"GRIB", f"GRIB; {CONVERT}"),
    (b"SIMPLE  =", f"FITS; {CONVERT}"),
    (b"<svg", f"a drawing (SVG), which has no pixels; {EXPORT}"),
    (b"PK\x03\x04", "a zip archive; unpack it and name the pictures inside (of a Sentinel-2 product: IMG_DATA/*.jp2)"),
)

MEDICAL = ((128, b"DICM", "DICOM"), (344, b"n+1\0", "NIfTI"), (344, b"ni1\0", "NIfTI"))
"""Offset of the magic number of volumes."""

BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF"}
"""Brands of ISO base media files: the four bytes after `ftyp`."""

START = 512
"""Bytes that tell the format."""


def kind_of(start: bytes, name: str) -> Kind:
    """The format of a file that starts so.

    Args:
        start: its first bytes, `START` of them where there are so many.
        name: for messages.

    Raises:
        DataError: no picture, or one of a format that is not read; with what to do.
    """
    if start[4:8] == b"ftyp" and (brand := _brand(start)):
        if brand == "AVIF":
            if features.check("avif"):
                return "AVIF"
            raise DataError(f"{name} is AVIF, which this Pillow was built without; pip install -U pillow, or {EXPORT}")
        raise DataError(f"{name} is {brand}, which is not read; {EXPORT}")
    for signature, kind in SIGNATURES.items():
        if start.startswith(signature):
            return kind
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"<?xml"):
        text = text.partition(b"?>")[2].lstrip()
    for signature, what in REFUSED:
        if text.startswith(signature):
            raise DataError(f"{name} is {what}")
    for at, mark, what in MEDICAL:
        if start[at : at + len(mark)] == mark:
            raise DataError(f"{name} is {what}; export its slices as PNG or TIFF, 16 bits where values matter")
    known = ", ".join(dict.fromkeys(SIGNATURES.values()))
    raise DataError(f"{name} is no picture: it starts with {start[:16]!r}; expected {known} or AVIF")


def _brand(start: bytes) -> str | None:
    """By the main brand; HEIF's general one may hold AVIF, as the compatible ones say."""
    length = min(int.from_bytes(start[:4]), len(start))
    brands = [start[at : at + 4] for at in (8, *range(16, length - 3, 4))]
    return next((BRANDS[brand] for brand in (b"avif", b"avis", *brands) if brand in brands and brand in BRANDS), None)
