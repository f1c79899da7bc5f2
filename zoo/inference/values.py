"""Values in memory as files: an array, a tensor or a picture is written without loss, and read as a user's file is.

So there is one way from an input to a backbone. What a file needs (bands, an up axis, windows of a film) a value needs
as well, by the same settings, and what is refused in a file is refused in a value.
"""

import sys
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_modules.errors import DataError
from data_modules.readers.raster import MOST_WHOLE

PICTURE = "a picture: [H, W], [H, W, C] or [C, H, W], uint8, or float from 0 to 1"

KEYS = ("frames", "fps", "audio", "sample_rate")
"""Of a clip in memory."""

MOST_CHANNELS = 4
"""Of a picture whose bands are colours and transparency."""

Values = NDArray[Any]


def describe(value: Any) -> str:
    """A value in a few words, for messages."""
    shape = getattr(value, "shape", None)
    kind = type(value).__name__
    return kind if shape is None else f"{kind} of shape {list(shape)} and {value.dtype}"


def write(value: Any, kind: str, stem: Path, *, ranged: bool = False) -> Path:
    """Write a value to a file that `read` of a data module takes.

    Args:
        value: pictures: a PIL picture, or an array or tensor [H, W], [H, W, C] or [C, H, W], uint8, or float from 0 to
            1; other numbers are read as a TIFF's. Clouds: [N, >= 3]. Clips: a mapping of `frames` uint8 [F, H, W, 3],
            `fps`, `audio` [S] or [C, S] in [-1, 1] and `sample_rate`; without one of the two where the adapter's
            settings allow it.
        kind: of samples: "pictures", "masks" (pictures whose mask is asked for), "clouds" or "clips".
        stem: path of the file, without suffix.
        ranged: whether the user says which values of a picture are black and white.

    Raises:
        DataError: it cannot be such a sample.
    """
    if kind in ("pictures", "masks"):
        return _picture(value, stem, ranged)
    writers: dict[str, Callable[[Any, Path], Path]] = {"clouds": _cloud, "clips": _clip}
    if kind not in writers:
        raise DataError(f"{stem.name}: samples of kind {kind!r} are read from files alone")
    return writers[kind](value, stem)


def _array(value: Any, stem: Path, expected: str) -> Values:
    """An array or tensor as numpy."""
    torch = sys.modules["torch"]
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "uif":
        raise DataError(f"{stem.name} is {describe(value)}; expected {expected}")
    return value


# --- clouds -----------------------------------------------------------------------------------------------------------


def _cloud(value: Any, stem: Path) -> Path:
    points = _array(value, stem, "a cloud: numbers [N, >= 3]")
    if points.ndim != 2:
        raise DataError(f"{stem.name} is {describe(value)}; expected one cloud [N, >= 3], or a list of clouds")
    path = stem.with_suffix(".npy")
    np.save(path, points, allow_pickle=False)
    return path


# --- pictures ---------------------------------------------------------------------------------------------------------


def _picture(value: Any, stem: Path, ranged: bool) -> Path:
    pillow = sys.modules.get("PIL.Image")
    if pillow is not None and isinstance(value, pillow.Image):
        if value.mode == "RGB" and not value.getexif():
            return _picture(np.asarray(value), stem, ranged)
        # A palette, transparency, 16 bits and the camera's orientation are kept; CMYK is what PNG has not.
        path = stem.with_suffix(".tif" if value.mode in ("CMYK", "F", "I") else ".png")
        value.save(path, **({"exif": exif} if (exif := value.getexif()) and path.suffix == ".png" else {}))
        return path
    bands = _bands_first(_array(value, stem, PICTURE), stem)
    if bands.dtype.kind == "f" and len(bands) <= MOST_CHANNELS and not ranged:
        bands = _from_floats(bands, stem)
    elif bands.dtype.itemsize == 8 or bands.dtype.kind == "i":
        bands = _narrowed(bands, stem)
    plain = bands.dtype == np.uint8 and len(bands) == 3 and bands[0].size <= MOST_WHOLE
    path = stem.with_suffix(".bmp" if plain else ".tif")
    (_write_bmp if plain else _write_tiff)(bands, path)
    return path


def _from_floats(bands: Values, stem: Path) -> Values:
    """uint8 of floats from 0 to 1, or of whole numbers up to 255. What others stand for (a normalised picture, a
    reflectance) cannot be told from the numbers, and a guess would be a wrong answer without a word."""
    low, high = bands.min(), bands.max()
    if low >= 0 and high <= 1:
        scaled: Values = np.rint(bands * 255).astype(np.uint8)
        return scaled
    if low >= 0 and high <= 255 and (bands == np.rint(bands)).all():
        return bands.astype(np.uint8)
    raise DataError(
        f"{stem.name} has values from {low:.3g} to {high:.3g}; expected {PICTURE}. Give it as it was before it was "
        "normalised, for the adapter prepares it, or say stretch=LOW..HIGH"
    )


def _bands_first(array: Values, stem: Path) -> Values:
    """[C, H, W] of a picture in any of the usual layouts."""
    if array.ndim == 2:
        return array[None]
    if array.ndim == 3 and array.size:
        first, last = array.shape[0], array.shape[2]
        if last <= MOST_CHANNELS or (last < first and last < array.shape[1]):
            return np.ascontiguousarray(np.moveaxis(array, 2, 0))
        if first <= MOST_CHANNELS or (first < last and first < array.shape[1]):
            return array
    several = ", or a list of pictures" if array.ndim == 4 else ""
    raise DataError(f"{stem.name} is {describe(array)}; expected {PICTURE}{several}")


def _narrowed(bands: Values, stem: Path) -> Values:
    """Numbers of 64 bits, and signed ones, in the smallest type that a TIFF of pictures has."""
    if bands.dtype.kind == "f":
        return bands.astype(np.float32)
    low, high = int(bands.min()), int(bands.max())
    if low < 0 or high > np.iinfo(np.uint16).max:
        raise DataError(f"{stem.name} has values from {low} to {high}; expected 0 to 255, or 0 to 65535")
    return bands.astype(np.uint8 if high <= np.iinfo(np.uint8).max else np.uint16)


def _write_bmp(bands: Values, path: Path) -> None:
    """Red, green and blue, which Pillow alone reads."""
    from PIL import Image

    Image.fromarray(np.ascontiguousarray(np.moveaxis(bands, 0, 2))).save(path)


def _write_tiff(bands: Values, path: Path) -> None:
    import warnings

    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    count, height, width = bands.shape
    # GDAL would take any third band for blue.
    colours = "RGB" if count in (3, 4) and bands.dtype == np.uint8 else "MINISBLACK"
    settings = {"height": height, "width": width, "count": count, "dtype": bands.dtype, "photometric": colours}
    with (
        warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning),
        rasterio.open(path, "w", driver="GTiff", **settings) as file,
    ):
        file.write(bands)


# --- clips ------------------------------------------------------------------------------------------------------------


def _clip(value: Any, stem: Path) -> Path:
    if not isinstance(value, Mapping) or set(value) - set(KEYS) or not {"frames", "audio"} & set(value):
        found = describe(value) if not isinstance(value, Mapping) else f"a mapping of {', '.join(map(str, value))}"
        raise DataError(f"{stem.name} is {found}; expected a clip: a mapping of {', '.join(KEYS)}")
    for stream, rate in (("frames", "fps"), ("audio", "sample_rate")):
        if stream in value and not (isinstance(value.get(rate), int | float | Fraction) and value[rate] > 0):
            raise DataError(f"{stem.name}: beside {stream} expected {rate}, a number above 0, got {value.get(rate)!r}")
    frames = _frames(value["frames"], stem) if "frames" in value else None
    audio = _audio(value["audio"], stem) if "audio" in value else None
    path = stem.with_suffix(".nut")
    _write_clip(path, frames, value.get("fps"), audio, value.get("sample_rate"))
    return path


def _frames(value: Any, stem: Path) -> Values:
    frames = _array(value, stem, "frames uint8 [F, H, W, 3]")
    if frames.ndim == 4 and frames.shape[-1] != 3 and frames.shape[1] == 3:
        frames = frames.transpose(0, 2, 3, 1)
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not frames.size:
        raise DataError(f"{stem.name}: frames are {describe(value)}; expected uint8 [F, H, W, 3]")
    return frames


def _audio(value: Any, stem: Path) -> Values:
    """float32 [C, S]."""
    audio = np.atleast_2d(_array(value, stem, "audio [S] or [C, S]"))
    if audio.ndim != 2 or not audio.size or audio.shape[0] > 2 or audio.dtype.kind != "f":
        raise DataError(f"{stem.name}: audio is {describe(value)}; expected floats [S], [1, S] or [2, S] in [-1, 1]")
    return audio.astype(np.float32)


def _write_clip(path: Path, frames: Values | None, fps: Any, audio: Values | None, sample_rate: Any) -> None:
    """Pictures and sound as they are, without a codec."""
    import av

    with av.open(path, "w") as file:
        if frames is not None:
            film = file.add_stream("rawvideo", rate=Fraction(fps).limit_denominator(1001))
            film.height, film.width, film.pix_fmt = *frames.shape[1:3], "rgb24"
        if audio is not None:
            sound = file.add_stream(
                "pcm_f32le", rate=round(sample_rate), layout="mono" if len(audio) == 1 else "stereo"
            )
        if frames is not None:
            for picture in frames:
                file.mux(film.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
            file.mux(film.encode(None))
        if audio is not None:
            packed = np.ascontiguousarray(audio.T).reshape(1, -1)
            piece = av.AudioFrame.from_ndarray(packed, format="flt", layout="mono" if len(audio) == 1 else "stereo")
            piece.sample_rate = round(sample_rate)
            file.mux(sound.encode(piece))
            file.mux(sound.encode(None))
