"""What tells the scale in the synthetic aerial scenes: lanes, bays, cars, roofs and boats, with sizes in metres.

Everything is drawn by coverage: a pixel takes the share of a box that lies in it, so that edges are smooth at any angle
and lines thinner than a pixel fade as a camera's would. Nothing here is as bright as the rectangles in the questions.
"""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

CELLS = 97
"""Things of a row that differ before they repeat."""

CAR = (4.5, 2.0)
"""Metres."""

Rng = np.random.Generator

Plane = NDArray[np.float32]

Colours = NDArray[np.float32]

Layout = Literal["street", "suburb", "parking", "runway", "marina"]

ASPHALT = (84, 84, 88)

GLASS = np.array((30, 34, 40), np.float32)

PAINT = np.array((172, 172, 165), np.float32)

PAINTWORK = np.array([(200, 35, 30), (35, 75, 190), (205, 165, 35), (170, 174, 178), (24, 24, 28)], np.float32)

ROOFS = np.array([(150, 66, 48), (122, 58, 46), (96, 92, 92), (140, 92, 62)], np.float32)

HULLS = np.array([(176, 150, 110), (165, 45, 40), (150, 155, 160), (190, 150, 60)], np.float32)


def box(u: Plane, v: Plane, length: float | Plane, width: float) -> Plane:
    """Share of each pixel within a box about the origin; coordinates and sizes in pixels."""
    along = np.clip((length + 1) / 2 - np.abs(u), 0, np.minimum(1, length))
    across = np.clip((width + 1) / 2 - np.abs(v), 0, min(1, width))
    return (along * across).astype(np.float32, copy=False)


class Site:
    """A picture being drawn, with coordinates in metres along (u) and away from (v) the border.

    Args:
        canvas: float32 [SIDE, SIDE, 3], drawn on.
        u: [SIDE, SIDE], in metres.
        v: [SIDE, SIDE], in metres.
        gsd: metres per pixel.
    """

    def __init__(self, canvas: Colours, u: Plane, v: Plane, gsd: float) -> None:
        self.canvas, self.u, self.v, self.gsd = canvas, u, v, gsd

    def paint(self, cover: Plane, colour: Colours | tuple[int, int, int]) -> None:
        """Lay a colour [3] over the picture."""
        self.canvas += cover[..., None] * (np.asarray(colour, np.float32) - self.canvas)

    def band(self, low: float, high: float, colour: Colours | tuple[int, int, int]) -> None:
        """A strip between two depths in metres."""
        at = (self.v - (low + high) / 2) / self.gsd
        self.paint(box(np.zeros_like(at), at, 1, (high - low) / self.gsd), colour)

    def row(
        self,
        depth: float,
        size: tuple[float, float],
        pitch: float,
        colours: Colours,
        *,
        present: NDArray[np.bool_] | None = None,
        shift: NDArray[np.float32] | None = None,
        pointed: float = 0.0,
    ) -> None:
        """Boxes along the border, one in every `pitch` metres.

        Args:
            depth: of their middles.
            size: along and away from the border; with the shifts less than the pitch.
            pitch: between their middles.
            colours: [CELLS, 3] or [3].
            present: [CELLS]; which of them are there.
            shift: [CELLS]; of their middles along the border.
            pointed: share of the width that is missing at the far end.
        """
        near = np.abs(self.v - depth) < size[1] / 2 + self.gsd  # most pixels are not, and need no work
        u, away = self.u[near], self.v[near] - depth
        floor = np.floor(u / pitch)
        local, cell = u - (floor + 0.5) * pitch, floor.astype(np.int64) % CELLS
        if shift is not None:
            local = local - shift[cell]
        length: float | Plane = size[0] / self.gsd
        if pointed:
            length = length * (1 - pointed * np.clip(2 * away / size[1], 0, 1) ** 2).astype(np.float32)
        cover = box(local / self.gsd, away / self.gsd, length, size[1] / self.gsd)
        if present is not None:
            cover = cover * present[cell]
        under = self.canvas[near]
        self.canvas[near] = under + cover[:, None] * ((colours[cell] if colours.ndim == 2 else colours) - under)


def _various(rng: Rng, palette: Colours) -> Colours:
    """Colours [CELLS, 3] of a palette, each a little lighter or darker."""
    drawn = palette[rng.integers(len(palette), size=CELLS)] * rng.uniform(0.85, 1.08, (CELLS, 1))
    return drawn.astype(np.float32)


def _car(site: Site, rng: Rng, depth: float) -> None:
    """A single car in a lane, where it is in full view."""
    edge = math.ceil(CAR[0] / site.gsd / 2) + 2
    inner = np.s_[edge:-edge, edge:-edge]
    lane = np.abs(site.v[inner] - depth) < 0.7 * site.gsd
    at = float(rng.choice(site.u[inner][lane]))
    paintwork = PAINTWORK[rng.integers(len(PAINTWORK) - 1)]  # not the one as dark as the road
    local, across = (site.u - at) / site.gsd, (site.v - depth) / site.gsd
    site.paint(box(local, across, CAR[0] / site.gsd, CAR[1] / site.gsd), paintwork)
    site.paint(box(local - 0.5 / site.gsd, across, 0.9 / site.gsd, 1.6 / site.gsd), GLASS)


def street(site: Site, rng: Rng, cars: int | None = None) -> None:
    """Two lanes, seven metres together, with marks, and so many cars or traffic as it may be."""
    site.band(1, 8, ASPHALT)
    for depth in (1.35, 7.65):
        site.band(depth - 0.15, depth + 0.15, PAINT)
    site.row(4.5, (3, 0.35), 6, PAINT)
    if cars is not None:
        for _ in range(cars):
            _car(site, rng, float(rng.choice([2.75, 6.25])))
        return
    for depth in (2.75, 6.25):
        there, shift = rng.random(CELLS) < 0.6, rng.uniform(-1.8, 1.8, CELLS).astype(np.float32)
        site.row(depth, CAR, 9, _various(rng, PAINTWORK), present=there, shift=shift)
        site.row(depth, (0.9, 1.6), 9, GLASS, present=there, shift=shift + np.float32(0.5))


def _suburb(site: Site, rng: Rng) -> None:
    """A street, and gabled roofs of 12 m by 9 m along it."""
    street(site, rng)
    for depth in (16, 40):
        there, shift = rng.random(CELLS) < 0.8, rng.uniform(-2, 2, CELLS).astype(np.float32)
        colours = _various(rng, ROOFS)
        site.row(depth, (12, 9), 18, colours, present=there, shift=shift)
        site.row(depth + 2.25, (12, 4.5), 18, 0.65 * colours, present=there, shift=shift)


def _parking(site: Site, rng: Rng) -> None:
    """Bays of 2.6 m by 5 m at both sides of lanes, most of them taken."""
    cars = Site(site.canvas, site.u + 1.3, site.v, site.gsd)
    for start in (1, 18):
        site.band(start, start + 16.5, ASPHALT)
        for depth in (start + 2.75, start + 13.75):
            site.row(depth, (0.2, 5), 2.6, PAINT)
            there = rng.random(CELLS) < 0.65
            cars.row(depth, (2.0, 4.5), 2.6, _various(rng, PAINTWORK), present=there)
            cars.row(depth + 0.5, (1.6, 0.9), 2.6, GLASS, present=there)


def _runway(site: Site, rng: Rng) -> None:
    """A runway of 45 m with its centre line and, where it is in view, a threshold of bars."""
    site.band(2, 47, (66, 66, 70))
    for depth in (3.5, 45.5):
        site.band(depth - 0.45, depth + 0.45, PAINT)
    site.row(24.5, (30, 0.9), 50, PAINT)
    bars = Site(site.canvas, site.v, site.u - rng.uniform(site.u.min(), site.u.max()), site.gsd)
    inside = np.zeros(CELLS, np.bool_)
    inside[[1, 2, 3, 5, 6, 7]] = True
    bars.row(0, (2.8, 20), 5, PAINT, present=inside)


def _marina(site: Site, rng: Rng) -> None:
    """Boats of 8 m by 2.8 m at both sides of a pier."""
    site.band(9.5, 12, (118, 100, 80))
    for depth in (5, 16.5):
        shift = rng.uniform(-0.5, 0.5, CELLS).astype(np.float32)
        there = rng.random(CELLS) < 0.75
        site.row(depth, (2.8, 8), 4.4, _various(rng, HULLS), present=there, shift=shift, pointed=0.9)
        site.row(depth - 1, (1.5, 2.5), 4.4, np.array((50, 55, 62), np.float32), present=there, shift=shift)


LAYOUTS: dict[Layout, Callable[[Site, Rng], None]] = {
    "street": street,
    "suburb": _suburb,
    "parking": _parking,
    "runway": _runway,
    "marina": _marina,
}
