"""Prompts for one object of a picture: clicks and a box, as a user gives them and as a square of the picture has them.

Outside, a pixel is named by its column and row in the picture. Inside a batch, places are shares of the square's side,
of the pixel's centre, so that they mean the same at whatever side an encoder sees the square.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from zoo.errors import SettingError
from zoo.ops.frame import Frame, Place

POINTS, BOX = "points", "box"
"""Settings of a prediction."""

LABELS = "point_labels"
"""Conditions of a batch are this one and those two."""

EXPECTED = {
    POINTS: "x,y,1 for a pixel of the object and x,y,0 for one beside it, like 120,80,1|40,60,0",
    BOX: "x0,y0,x1,y1",
}


@dataclass(frozen=True)
class Prompts:
    """What says which object is meant, in pixels of the picture.

    Attributes:
        points: x, y, and 1 on the object or 0 off it.
        box: first and last column and row of the object, x0, y0, x1, y1.
    """

    points: tuple[tuple[float, float, int], ...] = ()
    box: tuple[float, float, float, float] | None = None

    @classmethod
    def parse(cls, settings: Mapping[str, str]) -> Self | None:
        """Those of `points=` and `box=`; None without.

        Raises:
            SettingError: they are no prompts.
        """
        points = tuple(_point(part) for part in settings[POINTS].split("|")) if POINTS in settings else ()
        if points and BOX not in settings and not any(on for *_, on in points):
            raise SettingError(f"points={settings[POINTS]}: no point is on the object; expected {EXPECTED[POINTS]}")
        box = None
        if BOX in settings:
            left, top, right, bottom = _numbers(BOX, settings[BOX], 4)
            if left >= right or top >= bottom:
                raise SettingError(f"box={settings[BOX]}: expected x0 < x1 and y0 < y1, in pixels from the top left")
            box = left, top, right, bottom
        return cls(points, box) if points or box else None

    def place(self, frame: Frame, height: int, width: int) -> Place:
        """The square of a picture that shows them: the whole of it, or a tile with them in its middle.

        Raises:
            SettingError: they lie outside of the picture, or too far apart for a tile.
        """
        corners = [] if self.box is None else [self.box[:2], self.box[2:]]
        places = [(x, y) for x, y, _ in self.points] + [(float(x), float(y)) for x, y in corners]
        if outside := [(x, y) for x, y in places if not (0 <= x < width and 0 <= y < height)]:
            x, y = outside[0]
            raise SettingError(f"the prompt {x:g},{y:g} lies outside of the picture, {width} x {height} pixels")
        if frame.way != "tile":
            return frame.places(height, width)[0]
        starts = []
        for values, length in zip(zip(*places, strict=True), (width, height), strict=True):
            first, last = math.floor(min(values)), math.ceil(max(values))
            if last - first >= frame.side:
                raise SettingError(
                    f"the prompts are {last - first + 1} pixels apart; the adapter sees squares of {frame.side}: "
                    "shrink the picture"
                )
            start = min(max((first + last + 1 - frame.side) // 2, last + 1 - frame.side), first)
            starts.append(min(max(0, start), max(0, length - frame.side)))
        return Place(starts[1], starts[0], frame.side, frame.side)

    def conditions(self, place: Place) -> dict[str, Tensor]:
        """Of one object in a square: `points` float32 [1, P, 2] with `point_labels` int64 [1, P], `box` float32 [1, 4];
        shares of its side."""
        found: dict[str, Tensor] = {}
        if self.points:
            within = [((x + 0.5 - place.x) / place.w, (y + 0.5 - place.y) / place.h) for x, y, _ in self.points]
            found |= {POINTS: torch.tensor([within]), LABELS: torch.tensor([[on for *_, on in self.points]])}
        if self.box is not None:
            left, top, right, bottom = (value + 0.5 for value in self.box)
            across, along = ((left - place.x, right - place.x), (top - place.y, bottom - place.y))
            values = (across[0] / place.w, along[0] / place.h, across[1] / place.w, along[1] / place.h)
            found[BOX] = torch.tensor([values])
        return found


def _point(text: str) -> tuple[float, float, int]:
    x, y, on = _numbers(POINTS, text, 3)
    if on not in (0, 1):
        raise SettingError(f"points={text}: {on:g} is no mark; expected {EXPECTED[POINTS]}")
    return x, y, int(on)


def _numbers(name: str, text: str, count: int) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) != count or not all(map(math.isfinite, found)):
        raise SettingError(f"{name}={text}: expected {EXPECTED[name]}")
    return found
