"""Files of common sensors are shown in their true colours and in one range; what cannot be known is asked for."""

from pathlib import Path

import numpy as np
import pytest
from picture_files import UTM, geotiff
from PIL import Image
from rasterio.control import GroundControlPoint

from data_modules.errors import DataError
from data_modules.readers.picture_notes import BLACK, FIRST_THREE, RADAR
from data_modules.readers.raster import header, read_picture
from data_modules.readers.sensors import SENSORS, Rendering, parse

SIDE = 16


def stack(count: int, kind: str, colours: dict[int, float], other: float) -> np.ndarray:
    """[count, SIDE, SIDE] of bands that hold one value each, of `other` where none is told."""
    values = np.full((count, SIDE, SIDE), other, dtype=kind)
    for band, value in colours.items():
        values[band - 1] = value
    return values


def shown(path: Path, **told: str) -> tuple[list[int], list[str]]:
    """Colour of the first pixel, and notes."""
    image, notes = read_picture(path, str(path), rendering=parse(told.get("bands"), told.get("stretch")))
    return image[0, 0].tolist(), [note for note in notes if note != "pictures of one colour throughout"]


def grey(value: float, low: float, high: float) -> int:
    """Of the published definition: low..high as 1..255."""
    return round(1 + 254 * min(1.0, max(0.0, (value - low) / (high - low))))


# Number of bands, type, the numbers of red, green and blue as the products' own documents list them, and what the
# stored numbers 0.2, 0.1 and 0.05 of reflectance are.
FILES = {
    "L1C, 13 bands": ("sentinel-2-l1c", 13, "uint16", (4, 3, 2), lambda r: 10_000 * r, 0.275),
    "L1C, float": ("sentinel-2-l1c", 13, "float32", (4, 3, 2), lambda r: r, 0.275),
    "L1C, float of stored": ("sentinel-2-l1c", 13, "float32", (4, 3, 2), lambda r: 10_000 * r, 0.275),
    "L2A, 12 bands": ("sentinel-2-l2a", 12, "uint16", (4, 3, 2), lambda r: 10_000 * r, 0.275),
    "L2A, int16": ("sentinel-2-l2a", 12, "int16", (4, 3, 2), lambda r: 10_000 * r, 0.275),
    "L2A, the four of 10 m": ("sentinel-2-l2a", 4, "uint16", (3, 2, 1), lambda r: 10_000 * r, 0.275),
    "L2A, the ten of BigEarthNet": ("sentinel-2-l2a", 10, "uint16", (3, 2, 1), lambda r: 10_000 * r, 0.275),
    "Landsat 8, surface": ("landsat-8-l2", 7, "uint16", (4, 3, 2), lambda r: (r + 0.2) / 2.75e-5, 0.3),
    "Landsat 9, top of atmosphere": ("landsat-9-l1", 11, "uint16", (4, 3, 2), lambda r: (r + 0.1) / 2e-5, 0.3),
    "HLS, the six of Prithvi": ("hls", 6, "int16", (3, 2, 1), lambda r: 10_000 * r, 0.3),
    "PlanetScope, 4": ("planetscope", 4, "uint16", (3, 2, 1), lambda r: 10_000 * r, 0.3),
    "PlanetScope, 8": ("planetscope", 8, "uint16", (6, 4, 2), lambda r: 10_000 * r, 0.3),
}


@pytest.mark.parametrize("what", FILES)
def test_a_sensors_colours_are_found_by_the_number_of_bands_and_shown_in_its_range(what: str, tmp_path: Path) -> None:
    sensor, count, kind, rgb, stored, most = FILES[what]
    values = stack(count, kind, dict(zip(rgb, map(stored, (0.2, 0.1, 0.05)), strict=True)), other=stored(0.4))
    path = geotiff(tmp_path / "a.tif", values, crs=UTM, pixel=10.0, photometric="MINISBLACK")
    colour, notes = shown(path, bands=sensor)
    assert colour == pytest.approx([grey(r, 0, most) for r in (0.2, 0.1, 0.05)], abs=1)
    assert notes == []


def test_two_tiles_of_a_scene_have_the_same_greys(tmp_path: Path) -> None:
    """A percentile stretch of each would show dark water and bright sand alike."""
    ramp = np.arange(SIDE * SIDE).reshape(SIDE, SIDE).astype(np.uint16)
    for name, start in (("water", 200), ("sand", 2000)):
        geotiff(tmp_path / f"{name}.tif", np.stack([ramp + start] * 4), photometric="MINISBLACK")
    for told in ({"bands": "sentinel-2-l2a"}, {"bands": "3,2,1", "stretch": "0..3000"}):
        rendering = parse(told.get("bands"), told.get("stretch"))
        water, sand = (read_picture(tmp_path / f"{name}.tif", "", rendering=rendering)[0] for name in ("water", "sand"))
        assert water.max() < sand.min()


def test_naip_is_red_first_and_its_8_bits_stay(tmp_path: Path) -> None:
    path = geotiff(tmp_path / "a.tif", stack(4, "uint8", {1: 200, 2: 100, 3: 50}, 9), photometric="MINISBLACK")
    assert shown(path, bands="naip") == ([200, 100, 50], [])
    assert shown(path) == ([200, 100, 50], [FIRST_THREE])
    assert shown(path, bands="planetscope") == ([50, 100, 200], [])


@pytest.mark.parametrize(("vv", "vh"), [(-10.0, -17.0), (10**-1.0, 10**-1.7)])
def test_radar_of_two_bands_is_shown_as_vv_vh_and_their_ratio(vv: float, vh: float, tmp_path: Path) -> None:
    values = np.stack([np.full((SIDE, SIDE), vv), np.full((SIDE, SIDE), vh)]).astype(np.float32)
    path = geotiff(tmp_path / "a.tif", values)
    colour, notes = shown(path, bands="sentinel-1")
    assert colour == pytest.approx([grey(-10, -25, 0), grey(-17, -30, -5), grey(7, 0, 15)], abs=1)
    assert notes == [RADAR]
    with pytest.raises(
        DataError, match=r"/a\.tif: 2 bands of float32, .*say bands=sentinel-1 if it is one, or bands=RED"
    ):
        shown(path)
    counts = geotiff(tmp_path / "b.tif", np.full((2, SIDE, SIDE), 300, np.uint16))
    with pytest.raises(DataError, match=r"radar as uint16, which is not calibrated; .* bands=1,2,1 stretch=percentile"):
        shown(counts, bands="sentinel-1")
    assert shown(counts, bands="1,2,1", stretch="0..600")[0] == [128, 128, 128]


def test_what_does_not_say_which_bands_are_colours_is_asked_for(tmp_path: Path) -> None:
    hints = {
        4: "say bands=sentinel-2-l1c or bands=sentinel-2-l2a or bands=naip or bands=planetscope if it is one, or bands",
        7: "bands=landsat-8-l2 or bands=landsat-9-l2 if",
        5: "say bands=RED,GREEN,BLUE by their numbers, like bands=3,2,1",
        12: "bands=sentinel-2-l2a if",
    }
    for count, hint in hints.items():
        path = geotiff(tmp_path / f"{count}.tif", stack(count, "uint16", {}, 500), photometric="MINISBLACK")
        with pytest.raises(
            DataError, match=rf"/{count}\.tif: {count} bands of uint16, and it does not say which are .*{hint}"
        ):
            shown(path)
        assert shown(path, bands="3,2,1", stretch="0..1000")[0] == [128, 128, 128]


def described(path: Path, values: np.ndarray, names: list[str], **further: object) -> Path:
    import rasterio

    geotiff(path, values, photometric="MINISBLACK", **further)
    with rasterio.open(path, "r+") as file:
        file.descriptions = names
    return path


@pytest.mark.parametrize(
    "names", [["nir", "Red", "GREEN", "blue"], ["B08", "B04", "B03", "B02"], ["B8A", "b04", "b03", "b02"]]
)
def test_names_of_bands_go_before_their_number(names: list[str], tmp_path: Path) -> None:
    values = stack(4, "uint16", {2: 2000, 3: 1000, 4: 500}, 4000)
    path = described(tmp_path / "a.tif", values, names)
    for told in ({"stretch": "0..3000"}, {"bands": "sentinel-2-l2a", "stretch": "0..3000"}):
        if names[0] == "nir" and "bands" in told:
            continue
        assert shown(path, **told)[0] == [grey(r, 0, 3000) for r in (2000, 1000, 500)]
    assert shown(path, bands=",".join(names[1:]), stretch="0..3000")[0] == [grey(r, 0, 3000) for r in (2000, 1000, 500)]


def test_b4_is_not_taken_for_red_as_it_is_near_infrared_in_landsat_7(tmp_path: Path) -> None:
    path = described(tmp_path / "a.tif", stack(4, "uint16", {}, 500), ["B1", "B2", "B3", "B4"])
    with pytest.raises(DataError, match="does not say which are red, green and blue"):
        shown(path)


def test_scale_and_offset_of_the_file_are_honoured(tmp_path: Path) -> None:
    import rasterio

    path = geotiff(tmp_path / "a.tif", stack(4, "uint16", {3: 3000, 2: 2000, 1: 1500}, 9000), photometric="MINISBLACK")
    with rasterio.open(path, "r+") as file:  # Sentinel-2 from baseline 04.00 on
        file.scales, file.offsets = [1e-4] * 4, [-0.1] * 4
    for told in ({"bands": "sentinel-2-l2a"}, {"bands": "3,2,1", "stretch": "0..0.275"}):
        assert shown(path, **told)[0] == [grey(r, 0, 0.275) for r in (0.2, 0.1, 0.05)]


def test_percentiles_of_a_picture_are_taken_by_request_or_with_a_note(tmp_path: Path) -> None:
    ramp = np.arange(SIDE * SIDE).reshape(1, SIDE, SIDE).astype(np.uint16)
    path = geotiff(tmp_path / "a.tif", np.repeat(ramp, 3, 0))
    silent, notes = read_picture(path, "")
    assert len(notes) == 1
    asked, notes = read_picture(path, "", rendering=parse(None, "percentile"))
    assert (asked == silent).all()
    assert notes == []
    fixed, notes = read_picture(path, "", rendering=parse(None, "0..510"))
    assert fixed.max() == 128
    assert notes == []
    each, _ = read_picture(path, "", rendering=parse(None, "0..510,0..255,0..1020"))
    assert each.max((0, 1)).tolist() == [128, 255, 64]
    Image.fromarray(ramp[0]).save(tmp_path / "a.png")  # 16 bits
    assert read_picture(tmp_path / "a.png", "", rendering=parse(None, "0..510"))[0].max() == 128
    eight = geotiff(tmp_path / "b.tif", np.repeat(ramp, 3, 0).astype(np.uint8))
    assert read_picture(eight, "", rendering=parse(None, "0..51"))[0].max() == 255


def test_the_same_tissue_of_two_slices_is_the_same_grey_whatever_else_is_in_them(tmp_path: Path) -> None:
    """40 Hounsfield units are 40 beside an implant of 3000 as well; percentiles of each slice say 255 and 67."""
    greys = []
    for name, most in (("plain", 60), ("implant", 3000)):
        values = np.full((1, SIDE, SIDE), -1000, np.int16)
        values[:, 4:12, 4:12], values[:, 12:, 12:] = 40, most
        path = geotiff(tmp_path / f"{name}.tif", values)
        greys.append(read_picture(path, "", rendering=parse(None, "-160..240"))[0][6, 6].tolist())
    assert greys[0] == greys[1] == [grey(40, -160, 240)] * 3


NOTHING = {
    "nodata": {"values": np.full((3, 8, 8), -9999, np.float32), "nodata": -9999},
    "no number": {"values": np.full((3, 8, 8), np.nan, np.float32)},
    "8 bits of nodata": {"values": np.full((3, 8, 8), 255, np.uint8), "nodata": 255},
    "zeros of 16 bits": {"values": np.zeros((3, 8, 8), np.uint16)},
    "13 bands of zeros": {"values": np.zeros((13, 8, 8), np.uint16)},
}


@pytest.mark.parametrize("what", NOTHING)
@pytest.mark.parametrize("max_side", [None, 4])
def test_a_tile_without_data_is_an_error(what: str, max_side: int | None, tmp_path: Path) -> None:
    path = geotiff(tmp_path / "a.tif", **NOTHING[what])
    with pytest.raises(DataError, match=r"^tile 7: no pixel holds data: all are .*; leave it out$"):
        read_picture(path.read_bytes(), "tile 7", max_side=max_side)


def test_the_nodata_of_a_sensor_is_known_where_the_file_names_none(tmp_path: Path) -> None:
    values = stack(6, "int16", {}, -9999)
    path = geotiff(tmp_path / "a.tif", values)
    with pytest.raises(DataError, match="no pixel holds data"):
        shown(path, bands="hls")
    values[:, 4:] = 500
    image, notes = read_picture(geotiff(tmp_path / "b.tif", values), "", rendering=parse("hls", None))
    assert image[:4].max() == 0
    assert image[4:].min() > 0
    assert BLACK in notes


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"bands": "1,2"}, "bands: got '1,2'; expected one of sentinel-2-l1c, .* one or three bands by number or name"),
        ({"bands": "0,1,2"}, "bands: got '0,1,2'"),
        ({"bands": ""}, "bands: got ''"),
        ({"bands": "sentinel2"}, "bands: no sensor is called 'sentinel2'; expected one of sentinel-2-l1c"),
        ({"bands": "landsat-7"}, "bands: no sensor is called"),
        ({"stretch": "0-3000"}, r"stretch: got '0-3000'; expected LOW..HIGH, three of them with commas, or percentile"),
        ({"stretch": "5..5"}, "stretch: got"),
        ({"stretch": "0..nan"}, "stretch: got"),
        ({"stretch": "0..1,0..2"}, "stretch: got"),
    ],
)
def test_what_is_told_wrong_is_a_clear_error(told: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse(told.get("bands"), told.get("stretch"))


def test_bands_that_the_file_lacks_are_named(tmp_path: Path) -> None:
    path = geotiff(tmp_path / "a.tif", stack(4, "uint16", {}, 5), photometric="MINISBLACK")
    with pytest.raises(
        DataError, match=r"/a\.tif: bands=7,2,1; expected numbers from 1 to 4, of its bands without names"
    ):
        shown(path, bands="7,2,1")
    with pytest.raises(DataError, match=r"/a\.tif: 4 bands, none called SR_B4, SR_B3, SR_B2; landsat-8-l2 has 7 or 6"):
        shown(path, bands="landsat-8-l2")


def test_every_sensor_shows_three_of_its_own_bands() -> None:
    for sensor in SENSORS.values():
        assert all(set(sensor.colours) <= set(layout) for layout in sensor.layouts)
    assert Rendering().key == ""
    assert parse("naip", None).key != parse("hls", None).key != ""


def test_ground_control_points_tell_the_ground_sampling_distance(tmp_path: Path) -> None:
    corners = [(0, 0), (0, SIDE), (SIDE, 0), (SIDE, SIDE)]
    points = [GroundControlPoint(row, col, 500_000 + 10 * col, 5_000_000 - 10 * row) for row, col in corners]
    path = geotiff(tmp_path / "a.tif", stack(3, "uint8", {1: 9}, 5), crs=UTM, gcps=points)
    assert header(path, "").gsd == pytest.approx(10, rel=1e-6)
    assert read_picture(path, "")[1] == ["pictures placed by ground control points, whose best grid is measured"]
