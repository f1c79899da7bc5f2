"""Surfaces that clouds are drawn from: primitives sampled evenly by area, placed as parts, and seen from a viewpoint.

Every primitive is centred at the origin of a canonical frame in which y points up; round ones turn about y. A part may
scale its primitive by one factor only, as a factor per axis would thin the points out on some sides: proportions are
the primitives' own sizes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Rng = np.random.Generator

Points = NDArray[np.float64]

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Solid:
    """A primitive.

    Attributes:
        area: of its surface.
        draw: (rng, M) -> points [M, 3], even by area.
    """

    area: float
    draw: Callable[[Rng, int], Points]


@dataclass(frozen=True)
class Part:
    """A primitive with its place: a point p goes to `turn @ (scale * p) + at`.

    Attributes:
        solid: the primitive.
        at: where its centre goes.
        turn: rotation matrix [3, 3].
        scale: factor of all three axes.
    """

    solid: Solid
    at: tuple[float, float, float] = (0.0, 0.0, 0.0)
    turn: Points = field(default_factory=lambda: np.eye(3))
    scale: float = 1.0


def turned(x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Points:
    """Rotation matrix [3, 3] about x, then z, then y, each by an angle in radians."""
    (cx, cy, cz), (sx, sy, sz) = (map(f, (x, y, z)) for f in (math.cos, math.sin))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    matrix: Points = about_y @ about_z @ about_x
    return matrix


def box(width: float, height: float, depth: float, *, open_top: bool = False) -> Solid:
    """Six faces, or five without the top, along x, y and z."""
    size: Points = np.array([width, height, depth])
    faces = np.repeat([height * depth, width * depth, width * height], 2)
    if open_top:
        faces[3] = 0
    borders = np.cumsum(faces) / faces.sum()

    def draw(rng: Rng, count: int) -> Points:
        points: Points = rng.random((count, 3)) - 0.5
        face = np.minimum(np.searchsorted(borders, rng.random(count), side="right"), 5)
        points[np.arange(count), face // 2] = face % 2 - 0.5
        return points * size

    return Solid(float(faces.sum()), draw)


def plate(width: float, depth: float) -> Solid:
    """A rectangle without thickness, facing up."""
    size: Points = np.array([width, 0, depth])

    def draw(rng: Rng, count: int) -> Points:
        return (rng.random((count, 3)) - 0.5) * size

    return Solid(width * depth, draw)


def nine_digits(value: float) -> float:
    """The value to nine digits: the last ones of powers, exp and log differ between processors."""
    return float(f"{value:.9g}")


def lathe(*profile: tuple[float, float]) -> Solid:
    """A polyline of (radius, height) turned about y, without further caps; a radius of 0 closes it."""
    radius, height = np.array(profile).T
    inner, outer = radius[:-1], radius[1:]
    areas = math.pi * (inner + outer) * np.hypot(outer - inner, np.diff(height))
    borders = np.cumsum(areas) / areas.sum()
    rise = np.diff(height)

    def draw(rng: Rng, count: int) -> Points:
        ring = np.minimum(np.searchsorted(borders, rng.random(count), side="right"), len(areas) - 1)
        # A strip's area grows with its radius. This form of the inverse holds for cylinders as well; 1 - random is
        # never 0, where a cone's tip would be 0 / 0.
        share, a, b = 1 - rng.random(count), inner[ring], outer[ring]
        along = (a + b) * share / (a + np.sqrt(a**2 + (b**2 - a**2) * share))
        angle, r = rng.random(count) * 2 * math.pi, a + (b - a) * along
        return np.stack([r * np.cos(angle), height[ring] + rise[ring] * along, r * np.sin(angle)], 1)

    return Solid(float(areas.sum()), draw)


def cylinder(radius: float, height: float, top: float | None = None, *, open_top: bool = False) -> Solid:
    """With both caps, or without the upper one; `top` is the upper radius where it differs."""
    half, upper = height / 2, radius if top is None else top
    return lathe((0, -half), (radius, -half), (upper, half), *([] if open_top else [(0.0, half)]))


def cone(radius: float, height: float) -> Solid:
    """With its base, tip up."""
    return lathe((0, -height / 2), (radius, -height / 2), (0, height / 2))


def ellipsoid(a: float, b: float, c: float, *, power: float = 2.0) -> Solid:
    """All points with |x/a|^power + |y/b|^power + |z/c|^power = 1: the higher the power, the closer to a box."""
    return _round(a, b, c, power, half=False)


def bowl(a: float, b: float, c: float, *, power: float = 2.0) -> Solid:
    """The lower half of an ellipsoid, open at y = 0 and without thickness."""
    return _round(a, b, c, power, half=True)


_STEPS = np.arange(256) + 0.5

_LATITUDE, _LONGITUDE = 1 - 2 * _STEPS / 256, _STEPS * math.pi * (1 + math.sqrt(5))

_SPREAD: Points = np.stack(
    [np.sqrt(1 - _LATITUDE**2) * np.cos(_LONGITUDE), _LATITUDE, np.sqrt(1 - _LATITUDE**2) * np.sin(_LONGITUDE)], 1
)
"""Directions [256, 3] spread evenly, for the area of a surface that has no formula."""


def _round(a: float, b: float, c: float, power: float, *, half: bool) -> Solid:
    size = np.array([a, b, c])
    sides = np.array([b * c, a * c, a * b])

    def stretch(rays: Points) -> tuple[Points, Points]:
        """Points of the unit surface [M, 3] along rays, and how much area [M] of the stretched one a ray stands for."""
        powers = np.abs(rays) ** (power - 1)
        reach: Points = np.einsum("mi,mi->m", powers, np.abs(rays)) ** (-1 / power)
        # The surface F(x) = 1 has, per solid angle, the area reach^3 |grad F|, as F is homogeneous of degree one.
        weights = reach ** (2 + power) * np.sqrt(np.einsum("mi,i->m", powers**2, sides**2))
        return rays * reach[:, None], weights

    spread = stretch(_SPREAD)[1]
    # A few directions miss the peak of the weights, by less than this factor at the proportions in use.
    peak = 1.1 * float(spread.max())
    accepted = float(spread.mean()) / peak

    def draw(rng: Rng, count: int) -> Points:
        found: list[Points] = []
        missing = count
        while missing > 0:
            rays = rng.standard_normal((int(1.1 * missing / accepted) + 8, 3))
            rays /= np.sqrt(np.einsum("mi,mi->m", rays, rays))[:, None]
            unit, weights = stretch(rays)
            kept = unit[weights > rng.random(len(rays)) * peak][:missing]
            found.append(kept)
            missing -= len(kept)
        points = np.concatenate(found) * size if found else np.empty((0, 3))
        if half:
            points[:, 1] = -np.abs(points[:, 1])
        return points

    # Of two equal parts the last bit of their areas would decide which of them has more points.
    area = nine_digits(4 * math.pi * float(spread.mean()))
    return Solid(area / 2 if half else area, draw)


def torus(ring: float, tube: float, sweep: float = 2 * math.pi) -> Solid:
    """A tube bent to a ring about y, from the x axis by `sweep` radians towards z; arcs have no caps."""

    def draw(rng: Rng, count: int) -> Points:
        around = rng.random(2 * count + 32) * 2 * math.pi
        # The outside of the bend is longer than the inside; at least half of the angles are kept.
        around = around[rng.random(len(around)) * (ring + tube) < ring + tube * np.cos(around)]
        around, angle = np.resize(around, count), rng.random(count) * sweep
        r = ring + tube * np.cos(around)
        return np.stack([r * np.cos(angle), tube * np.sin(around), r * np.sin(angle)], 1)

    return Solid(2 * math.pi * tube * ring * sweep, draw)


def moved(part: Part, *, turn: Points, at: tuple[float, float, float] = (0.0, 0.0, 0.0), scale: float = 1.0) -> Part:
    """The part scaled and turned about the origin, then shifted."""
    x, y, z = (scale * (turn @ part.at) + at).tolist()
    return Part(part.solid, (x, y, z), turn @ part.turn, scale * part.scale)


def block(x: float, y: float, z: float, width: float, height: float, depth: float) -> Part:
    """A box standing on height y."""
    return Part(box(width, height, depth), (x, y + height / 2, z))


def post(x: float, y: float, z: float, radius: float, height: float, top: float | None = None) -> Part:
    """A cylinder standing on height y."""
    return Part(cylinder(radius, height, top), (x, y + height / 2, z))


def corners(solid: Solid, width: float, depth: float, y: float) -> list[Part]:
    """Four copies, their centres at height y in the corners of a rectangle."""
    return [Part(solid, (x * width / 2, y, z * depth / 2)) for x in (-1, 1) for z in (-1, 1)]


def ring(solid: Solid, count: int, radius: float, y: float) -> list[Part]:
    """Copies around the y axis with their x axes outwards, their centres at height y."""
    turns = [turned(y=2 * math.pi * k / count) for k in range(count)]
    return [Part(solid, (turn[0, 0] * radius, y, turn[2, 0] * radius), turn) for turn in turns]


def rim(width: float, depth: float, y: float, border: float, height: float) -> list[Part]:
    """A rectangular frame around an opening of width x depth, its underside on height y."""
    x, z = (width + border) / 2, (depth + border) / 2
    beside = [block(side, y, 0, border, height, depth) for side in (-x, x)]
    return beside + [block(0, y, side, width + 2 * border, height, border) for side in (-z, z)]


def scan(rng: Rng, parts: Sequence[Part], count: int) -> tuple[Points, Indices]:
    """Points [count, 3] of the parts' surfaces, even by area, and the part of each [count]; part after part."""
    areas = np.array([part.solid.area * part.scale**2 for part in parts])
    shares = rng.multinomial(count, areas / areas.sum())
    points: list[Points] = [
        part.solid.draw(rng, share) @ (part.scale * part.turn.T) + part.at
        for part, share in zip(parts, shares.tolist(), strict=True)
        if share
    ]
    return np.concatenate(points), np.repeat(np.arange(len(parts)), shares)


def visible(points: Points, eye: Points, *, pixel: float = 0.036, slack: float = 0.18) -> NDArray[np.bool_]:
    """Which points [M] of a cloud [M, 3] a depth camera would see.

    Args:
        points: the cloud; not beside or behind the camera.
        eye: where the camera is [3]; it looks at the middle of the cloud.
        pixel: width of a pixel, as a tangent. Wider than the points' spacing, else what lies behind shows through.
        slack: how far behind the nearest point of a pixel a point still counts as the same surface.
    """
    rays = points - eye
    depth = np.sqrt(np.einsum("mi,mi->m", rays, rays))
    ahead = rays.mean(0)
    aside = np.cross(ahead, np.eye(3)[np.abs(ahead).argmin()])
    frame = np.stack([ahead, aside, np.cross(ahead, aside)])
    frame /= np.sqrt((frame**2).sum(1, keepdims=True))
    along, right, top = frame @ rays.T
    column, row = (np.floor(side / along / pixel).astype(np.int64) for side in (right, top))
    column, row = column - column.min(), row - row.min()
    pixels = column * (row.max() + 1) + row
    nearest = np.full(int(pixels.max()) + 1, np.inf)
    np.minimum.at(nearest, pixels, depth)
    seen: NDArray[np.bool_] = depth <= nearest[pixels] + slack
    return seen
