"""Bands and value ranges of common sensors, and the settings `bands=` and `stretch=`.

    bands=sentinel-2-l2a   the sensor's red, green and blue, by the names of the file's bands or by their number, shown
                           in one range of reflectance for all pictures
    bands=4,3,2            three bands by number, counted from 1; one band is grey
    bands=B04,B03,B02      three by the names that the file gives them
    stretch=0..3000        values that become 1 and 255, the same for all pictures; three ranges with commas between
    stretch=percentile     percentiles 2 and 98 of each band of each picture

Stored numbers become values by the scale and offset that the file gives its bands. Where it gives none, a sensor's own
hold for whole numbers, and for real ones that are too large to be reflectances. Sentinel-2 files of baseline 04.00 and
later (2022) are stored 1000 higher; one that does not say so in its offset is shown lighter, unless
`stretch=1000..3750` is given.

Ranges: 0 to 0.275 of reflectance for Sentinel-2, as the authors of EuroSAT made its RGB version, 0 to 0.3 for the
others. Sentinel-1 is shown as VV, VH and their ratio in decibels.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from data_modules.errors import DataError

Range = tuple[float, float]

PERCENTILE = "percentile"


@dataclass(frozen=True)
class Sensor:
    """One product of a sensor.

    Attributes:
        layouts: names of the bands of usual files, in their order.
        colours: names of the bands shown as red, green and blue.
        shown: ranges of the values that are shown, one for all three or one each; none shows 8 bits as they are.
        scale: of stored whole numbers.
        offset: of stored whole numbers: value = scale * stored + offset.
        nodata: stored number that means no data, where the file names none.
        radar: whether values are backscatter and not light.
    """

    layouts: tuple[tuple[str, ...], ...]
    colours: tuple[str, str, str]
    shown: tuple[Range, ...] = ((0.0, 0.3),)
    scale: float = 1e-4
    offset: float = 0.0
    nodata: float | None = 0.0
    radar: bool = False


def _numbered(prefix: str, *numbers: int | str) -> tuple[str, ...]:
    return tuple(f"{prefix}{number}" for number in numbers)


_L2A = _numbered("B", "01", "02", "03", "04", "05", "06", "07", "08", "8A", "09", "11", "12")

_L1C = (*_L2A[:10], "B10", *_L2A[10:])

_TEN = _numbered("B", "02", "03", "04", "05", "06", "07", "08", "8A", "11", "12")

_FOUR = _numbered("B", "02", "03", "04", "08")

_SIX = _numbered("B", "02", "03", "04", "8A", "11", "12")

_RGB = ("B04", "B03", "B02")

_NAMED = ("red", "green", "blue")

SENTINEL2 = ((0.0, 0.275),)

SENSORS = {
    "sentinel-2-l1c": Sensor((_L1C, _TEN, _SIX, _FOUR), _RGB, SENTINEL2),
    "sentinel-2-l2a": Sensor((_L2A, _TEN, _SIX, _FOUR), _RGB, SENTINEL2),
    "landsat-8-l1": Sensor((_numbered("B", *range(1, 12)),), ("B4", "B3", "B2"), scale=2e-5, offset=-0.1),
    "landsat-8-l2": Sensor(
        (_numbered("SR_B", *range(1, 8)), _numbered("SR_B", *range(2, 8))),
        ("SR_B4", "SR_B3", "SR_B2"),
        scale=2.75e-5,
        offset=-0.2,
    ),
    # Six: as Prithvi takes them, from either satellite.
    "hls": Sensor(
        (
            _numbered("B", "02", "03", "04", "05", "06", "07"),
            _numbered("B", "01", "02", "03", "04", "05", "06", "07", "09", "10", "11"),
            _L1C,
        ),
        _RGB,
        nodata=-9999.0,
    ),
    "naip": Sensor((("red", "green", "blue", "nir"), _NAMED), _NAMED, (), nodata=None),
    "planetscope": Sensor(
        (
            ("blue", "green", "red", "nir"),
            ("coastal_blue", "blue", "green_i", "green", "yellow", "red", "rededge", "nir"),
        ),
        _NAMED,
    ),
    "sentinel-1": Sensor(
        (("VV", "VH"), ("VV", "VH", "angle")),
        ("VV", "VH", "VV"),
        ((-25.0, 0.0), (-30.0, -5.0), (0.0, 15.0)),
        radar=True,
    ),
}

SENSORS |= {name.replace("-8-", "-9-"): SENSORS[name] for name in ("landsat-8-l1", "landsat-8-l2")}


@dataclass(frozen=True)
class Rendering:
    """Which bands of a picture to show, and in which range of values.

    Attributes:
        bands: one or three, by number from 1 or by name in the file; empty if a sensor is named.
        sensor: name of one of `SENSORS`.
        stretch: `percentile`, or one or three ranges; None takes the sensor's own, else leaves 8 bits as they are and
            stretches others by percentiles, with a note.
    """

    bands: tuple[int | str, ...] = ()
    sensor: str = ""
    stretch: tuple[Range, ...] | str | None = None

    @property
    def key(self) -> str:
        """Part of a picture's cache key; empty for the default."""
        return "" if self == AS_IT_IS else f" {self.bands} {self.sensor} {self.stretch}"


AS_IT_IS = Rendering()


def parse(bands: str | None, stretch: str | None) -> Rendering:
    """The rendering that `bands=` and `stretch=` ask for.

    Raises:
        DataError: a value has none of the forms above.
    """
    words = [word.strip() for word in (bands or "").split(",")] if bands else []
    sensor = words[0].lower() if len(words) == 1 and words[0].lower() in SENSORS else ""
    chosen = () if sensor else tuple(int(word) if word.isdecimal() else word for word in words)
    if bands is not None and not sensor and (len(chosen) not in (1, 3) or not all(chosen)):
        raise DataError(f"bands: got {bands!r}; expected {FORMS}")
    if len(chosen) == 1 and not sensor and get_close_matches(words[0].lower(), SENSORS):
        raise DataError(f"bands: no sensor is called {bands!r}; expected {FORMS}")
    return Rendering(chosen, sensor, None if stretch is None else _ranges(stretch))


FORMS = f"one of {', '.join(SENSORS)}, or one or three bands by number or name, like 3,2,1"


def _ranges(stretch: str) -> tuple[Range, ...] | str:
    if stretch.strip() == PERCENTILE:
        return PERCENTILE
    try:
        pairs = [[float(end) for end in part.split("..")] for part in stretch.split(",")]
    except ValueError:
        pairs = []
    fits = [len(pair) == 2 and all(map(math.isfinite, pair)) and pair[0] < pair[1] for pair in pairs]
    if len(pairs) not in (1, 3) or not all(fits):
        raise DataError(f"stretch: got {stretch!r}; expected LOW..HIGH, three of them with commas, or {PERCENTILE}")
    return tuple((low, high) for low, high in pairs)


def by_name(wanted: Sequence[str], names: Sequence[str | None]) -> list[int]:
    """Numbers, from 1, of the bands that are called so; empty where one is missing or stands twice."""
    plain = [_plain(name) for name in names]
    sought = [_plain(name) for name in wanted]
    return [plain.index(name) + 1 for name in sought] if all(plain.count(name) == 1 for name in sought) else []


def of_sensor(name: str, count: int, names: Sequence[str | None], where: str) -> list[int]:
    """Numbers of the three bands that a sensor's file shows, by their names, else by how many there are.

    Args:
        name: of the sensor.
        count: of the bands, without transparency.
        names: that the file gives them, None where it gives none.
        where: of the file, for messages.

    Raises:
        DataError: neither fits.
    """
    sensor = SENSORS[name]
    if found := by_name(sensor.colours, names):
        return found
    if layout := next((layout for layout in sensor.layouts if len(layout) == count), None):
        return [layout.index(colour) + 1 for colour in sensor.colours]
    usual = " or ".join(str(len(layout)) for layout in sensor.layouts)
    raise DataError(
        f"{where}: {count} bands, none called {', '.join(dict.fromkeys(sensor.colours))}; {name} has {usual}. "
        "bands=RED,GREEN,BLUE names them by their numbers"
    )


def by_words(names: Sequence[str | None]) -> list[int]:
    """Numbers of red, green and blue by the file's own names, where these leave no doubt; else empty.

    Words, or `B04`, which is red in Sentinel-2 and HLS. `B4` is red in Landsat 8 and near infrared in Landsat 7.
    """
    return by_name(_NAMED, names) or by_name(_RGB, names)


def like(count: int) -> list[str]:
    """Names of the sensors that have files of so many bands."""
    return [name for name, sensor in SENSORS.items() if any(len(layout) == count for layout in sensor.layouts)]


def _plain(name: str | None) -> str:
    return re.sub(r"[^a-z0-9]", "", (name or "").lower())
