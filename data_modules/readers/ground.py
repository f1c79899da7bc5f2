"""The ground sampling distance of a file that lies on a map: the side of a pixel on the ground in metres."""

import math
from typing import Any

import numpy as np
from rasterio.transform import from_gcps
from rasterio.warp import transform

from data_modules.readers.bands import ERRORS

LEAST_POINTS = 3
"""Ground control points that a grid takes."""

SQUARE = 1.05
"""Ratio of lengths up to which they count as equal."""

RADIUS, ECCENTRICITY2 = 6_378_137.0, 0.00669437999014
"""WGS 84 ellipsoid: equatorial radius in metres, and eccentricity squared."""


def ground(raster: Any) -> tuple[float | None, list[str]]:
    """Metres per pixel at the centre, None where the file does not tell, and notes.

    The geometric mean of the lengths of the two sides of a pixel, whichever way the grid is turned. Degrees become
    metres at the latitude of the centre. In a projected coordinate system its own unit counts, but where the projection
    stretches lengths by more than 5 % (Web Mercator does by 1 / cos(latitude)) those on the ground do. Where the
    file has ground control points alone, the grid that fits them best counts.
    """
    grid, crs = raster.transform, raster.crs
    notes: list[str] = []
    if grid.is_identity:
        points, crs = raster.gcps
        if len(points) < LEAST_POINTS:
            return None, []
        grid, notes = from_gcps(points), ["pictures placed by ground control points, whose best grid is measured"]
    if crs is None or not (crs.is_geographic or crs.is_projected):
        return None, [
            *notes,
            "pictures with a map grid but no coordinate system, whose ground sampling distance is not known",
        ]
    across, down = raster.width / 2, raster.height / 2
    centre = grid.c + grid.a * across + grid.b * down, grid.f + grid.d * across + grid.e * down
    sides = [(grid.a, grid.d), (grid.b, grid.e)]
    unit = crs.units_factor[1]
    if crs.is_geographic:
        lengths = [_metres(x * unit, y * unit, centre[1] * unit) for x, y in sides]
    else:
        lengths = [math.hypot(x, y) * unit for x, y in sides]
        true = _true(crs, centre, sides)
        if true and not all(_alike(*pair) for pair in zip(lengths, true, strict=True)):
            lengths = true
            notes.append("pictures in a map projection that stretches lengths, whose pixels are measured on the ground")
    if not _alike(*lengths):
        notes.append("pictures whose pixels are not square, of which the geometric mean of the sides is taken")
    return math.sqrt(lengths[0] * lengths[1]), notes


def _alike(one: float, other: float) -> bool:
    return max(one, other) <= SQUARE * min(one, other)


def _metres(east: float, north: float, latitude: float) -> float:
    """Length of a small step on the ellipsoid; all in radians."""
    flat = 1 - ECCENTRICITY2 * math.sin(latitude) ** 2
    across = RADIUS / math.sqrt(flat) * math.cos(latitude)
    along = RADIUS * (1 - ECCENTRICITY2) / flat**1.5
    return math.hypot(east * across, north * along)


def _true(crs: Any, centre: tuple[float, float], sides: list[tuple[float, float]]) -> list[float]:
    """Metres on the ground of steps from the centre in a projected coordinate system; None if it cannot be computed."""
    points = [centre, *((centre[0] + x, centre[1] + y) for x, y in sides)]
    try:
        longitudes, latitudes = transform(crs, "EPSG:4326", [x for x, _ in points], [y for _, y in points])
    except ERRORS:  # a place outside of the projection, or another planet
        return []
    east, north = np.radians(longitudes), np.radians(latitudes)
    if not np.isfinite([east, north]).all():
        return []
    return [_metres(e - east[0], n - north[0], north[0]) for e, n in zip(east[1:], north[1:], strict=True)]
