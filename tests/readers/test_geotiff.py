"""A GeoTIFF tells its ground sampling distance, in metres on the ground, whatever its coordinate system."""

import math
from pathlib import Path

import picture_files
import pytest
from picture_files import UTM, UTM_PLACE, geotiff
from rasterio.transform import Affine
from rasterio.warp import transform

from data_modules.readers.raster import Header, header, read_picture

RGB = picture_files.picture(0, 3, 48)
BANDS = RGB.transpose(2, 0, 1)


def turned(degrees: float, width: float, height: float) -> Affine:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return Affine(cos * width, sin * height, UTM_PLACE[0], sin * width, -cos * height, UTM_PLACE[1])


def grid_of(crs: str, pixel: float, latitude: float) -> dict:
    """A grid of square pixels whose centre has this latitude."""
    x, y = (value[0] for value in transform("EPSG:4326", crs, [9.0], [latitude]))
    return {"crs": crs, "pixel": pixel, "at": (x - 24 * pixel, y + 24 * pixel)}


GRIDS = {
    "metres": ({"crs": UTM, "pixel": 10.0}, 10.0, ""),
    "US survey feet": ({"crs": "EPSG:2263", "pixel": 0.5, "at": (980_000, 200_000)}, 0.5 * 1200 / 3937, ""),
    "turned": ({"crs": UTM, "transform": turned(30, 2.0, 2.0)}, 2.0, ""),
    "turned by a right angle": ({"crs": UTM, "transform": turned(90, 3.0, 3.0)}, 3.0, ""),
    "turned upside down": ({"crs": UTM, "transform": turned(0, 2.0, -2.0)}, 2.0, ""),
    "nearly square": ({"crs": UTM, "transform": turned(20, 2.0, 2.08)}, math.sqrt(2.0 * 2.08), ""),
    "not square": ({"crs": UTM, "transform": turned(20, 2.0, 2.2)}, math.sqrt(4.4), "not square"),
    "degrees at the equator": (grid_of("EPSG:4326", 1e-5, 0.0), 1.1095, ""),
    "degrees at 60 north": (grid_of("EPSG:4326", 1e-5, 60.0), math.sqrt(1.11412 * 0.55800), "not square"),
    "grads": (grid_of("EPSG:4807", 1e-5, 1.0), 0.9 * 1.1095, ""),
    "Web Mercator at the equator": (grid_of("EPSG:3857", 4.0, 0.0), 4.0, ""),
    "Web Mercator at 60 north": (grid_of("EPSG:3857", 4.0, 60.0), 2.0 * 1.0017, "stretches lengths"),
    "a place outside of its projection": ({"crs": UTM, "pixel": 5.0, "at": (1e9, 1e9)}, 5.0, ""),
    "the Moon": ({"crs": "IAU_2015:30110", "pixel": 5.0}, 5.0, ""),
    "no coordinate system": ({"pixel": 10.0}, None, "no coordinate system"),
    "a coordinate system on no map": ({"crs": 'LOCAL_CS["x",UNIT["metre",1]]', "pixel": 10.0}, None, "no coordinate"),
    "no grid": ({"crs": UTM}, None, ""),
    "neither": ({}, None, ""),
}


@pytest.mark.parametrize("what", GRIDS)
def test_a_geotiff_tells_its_ground_sampling_distance(what: str, tmp_path: Path) -> None:
    grid, gsd, note = GRIDS[what]
    path = geotiff(tmp_path / "a.tif", BANDS, **grid)
    found = header(path, str(path))
    assert (found.height, found.width) == (48, 48)
    assert found.gsd == (None if gsd is None else pytest.approx(gsd, rel=1e-3))
    image, notes = read_picture(path, str(path))
    assert (image == RGB).all()
    assert [note in said for said in notes] == ([True] if note else [])
    assert header(path.read_bytes(), "bytes") == found


def test_degrees_become_the_metres_of_another_projection(tmp_path: Path) -> None:
    for latitude in (5.0, 38.0, 61.0):
        path = geotiff(tmp_path / f"{latitude}.tif", BANDS, **grid_of("EPSG:4326", 1e-4, latitude))
        x, y = transform("EPSG:4326", UTM, [9.0, 9.0001, 9.0], [latitude, latitude, latitude + 1e-4])
        sides = [math.hypot(x[k] - x[0], y[k] - y[0]) / 0.9996 for k in (1, 2)]
        assert header(path, "").gsd == pytest.approx(math.sqrt(sides[0] * sides[1]), rel=1e-5)


def test_a_name_does_not_matter_but_the_first_bytes(tmp_path: Path) -> None:
    geotiff(tmp_path / "a.tif", BANDS, crs=UTM, pixel=3.0).rename(tmp_path / "GTIFF_DIR:1:b #?! ä.jpg")
    path = tmp_path / "GTIFF_DIR:1:b #?! ä.jpg"
    assert (read_picture(path, "")[0] == RGB).all()
    assert header(path, "") == Header(48, 48, 3.0)
