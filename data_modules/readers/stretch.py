"""Values of a raster's bands as 8 bits: by the file's scale and offset, a sensor's range, or percentiles."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_modules.errors import DataError
from data_modules.readers.sensors import PERCENTILE, Range, Rendering, Sensor

REFLECTANCE = 2.0
"""Real numbers up to this one are reflectances; larger ones are stored numbers."""

PERCENTILES = (2.0, 98.0)

SAMPLED = 1000
"""Largest number of rows and columns that percentiles are computed from."""


def physical(values: NDArray[Any], raster: Any, bands: list[int]) -> tuple[NDArray[Any], bool]:
    """Values with the file's scale and offset applied, and whether the file has any."""
    scales, offsets = ([float(factors[band - 1]) for band in bands] for factors in (raster.scales, raster.offsets))
    if set(scales) == {1.0} and set(offsets) == {0.0}:
        return values, False
    shape = (-1, 1, 1)
    return values.astype(np.float64) * np.reshape(scales, shape) + np.reshape(offsets, shape), True


def stretched(
    physical_values: tuple[NDArray[Any], bool],
    valid: NDArray[np.bool_],
    sensor: Sensor | None,
    rendering: Rendering,
    kind: np.dtype[Any],
    name: str,
) -> tuple[NDArray[np.uint8], list[str]]:
    """uint8 [1 or 3, H, W], stretched from the rendering's range, else the sensor's, else each band's percentiles.

    Args:
        physical_values: what `physical` returns.
        valid: bool [H, W], pixels that hold data.
        sensor: of the bands, if it is known.
        rendering: the requested range, if any.
        kind: data type of the stored values.
        name: of the file, for messages.

    Raises:
        DataError: radar that is no backscatter.
    """
    values, scaled = physical_values
    notes: list[str] = []
    ranges: tuple[Range, ...] = rendering.stretch if isinstance(rendering.stretch, tuple) else ()
    if sensor and sensor.radar:
        values = _decibels(values, valid, kind, scaled, name)
        ranges = ranges or sensor.shown
    elif sensor and sensor.shown and not rendering.stretch:
        stored = not scaled and (kind.kind != "f" or bool((values[:, valid] > REFLECTANCE).any()))
        undone = (sensor.offset, sensor.scale) if stored else (0.0, 1.0)
        ranges = tuple(((low - undone[0]) / undone[1], (high - undone[0]) / undone[1]) for low, high in sensor.shown)
    if rendering.stretch == PERCENTILE or not ranges:
        ranges = tuple(_percentiles(band, valid) for band in values)
        if rendering.stretch != PERCENTILE:
            notes.append(
                f"pictures of {kind} values, stretched to 8 bits between their percentiles 2 and 98 (stretch=LOW..HIGH "
                "shows all of them alike)"
            )
    elif len(ranges) < len(values):
        ranges = ranges[:1] * len(values)
    return np.stack([_scaled(band, *ends) for band, ends in zip(values, ranges, strict=False)]), notes


def _decibels(
    values: NDArray[Any], valid: NDArray[np.bool_], kind: np.dtype[Any], scaled: bool, name: str
) -> NDArray[np.float64]:
    """VV, VH and VV - VH in decibels, [3, H, W], from decibels or linear power.

    Raises:
        DataError: whole numbers, whose calibration is unknown.
    """
    if kind.kind != "f" and not scaled:
        raise DataError(
            f"{name}: radar as {kind}, which is not calibrated; expected backscatter in decibels or linear power "
            "(real numbers), or bands=1,2,1 stretch=percentile to see it as it is"
        )
    decibels = values.astype(np.float64)
    if not (decibels[:2, valid] < 0).any():
        with np.errstate(divide="ignore"):
            decibels = 10 * np.log10(decibels)
    return np.stack([decibels[0], decibels[1], np.nan_to_num(decibels[0] - decibels[1])])


def _percentiles(band: NDArray[Any], valid: NDArray[np.bool_]) -> tuple[float, float]:
    """The range that a band is stretched from; its extremes if the percentiles coincide."""
    step = max(1, max(band.shape) // SAMPLED)
    sample = band[::step, ::step][valid[::step, ::step]]
    if not sample.size:
        return 0.0, 1.0
    low, high = (float(np.percentile(sample, percentile)) for percentile in PERCENTILES)
    return (low, high) if low < high else (float(sample.min()), float(sample.max()))


def _scaled(band: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """low..high as 1..255; values outside are clipped, and NaN becomes 0."""
    share = (band.astype(np.result_type(band, np.float32)) - low) / ((high - low) or 1.0)
    scaled: NDArray[np.uint8] = np.nan_to_num(np.rint(1 + 254 * share.clip(0, 1)), nan=0).astype(np.uint8)
    return scaled
