"""Fifteen kinds of furniture, as lists of parts with random proportions and random optional parts.

Metres, y up, standing at y = 0 and facing z. The kinds are those of ScanObjectNN, in its order. They meet at their
margins on purpose: a plain cabinet is a box, a desk without drawers a table, an armchair a small sofa.
"""

import math
from collections.abc import Callable

import numpy as np

from data_modules.synthetic.solids import (
    Part,
    Rng,
    block,
    bowl,
    box,
    corners,
    cylinder,
    ellipsoid,
    moved,
    post,
    rim,
    ring,
    torus,
    turned,
)

BOTH = (-1, 1)
"""Left and right, or back and front."""

UPRIGHT = turned(x=-math.pi / 2)
"""Stands a ring on its edge; of an arc, the middle up."""


def _some(rng: Rng, chance: float, *parts: Part) -> list[Part]:
    """All of the parts with the given chance, else none."""
    return list(parts) if rng.random() < chance else []


def _legs(rng: Rng, width: float, depth: float, height: float) -> list[Part]:
    thick, inset = rng.uniform(0.02, 0.05), rng.uniform(0.02, 0.06)
    leg = box(thick, height, thick) if rng.random() < 0.5 else cylinder(0.6 * thick, height)
    return corners(leg, width - 2 * inset - thick, depth - 2 * inset - thick, height / 2)


def _pedestal(rng: Rng, height: float, reach: float) -> list[Part]:
    """A column on a disc or on a star of feet."""
    column, foot = post(0, 0, 0, rng.uniform(0.025, 0.05), height), box(reach, 0.035, 0.05)
    star = ring(foot, int(rng.integers(4, 6)), reach / 2, 0.04)
    return [column, *(_some(rng, 0.4, post(0, 0, 0, reach, 0.03)) or star)]


def _fronts(rng: Rng, x: float, y: float, z: float, width: float, height: float, columns: int, rows: int) -> list[Part]:
    """Doors or drawers on a face at depth z, with seams between them, each with a knob or a bar."""
    length, proud = float(rng.choice([0.03, 0.12])), rng.uniform(0.01, 0.03)
    w, h, parts = width / columns, height / rows, []
    upright = h > 1.3 * w
    handle = (0.025, length, 0.04) if upright else (length, 0.025, 0.04)
    for k in range(columns * rows):
        across, middle = x + w * (k % columns + 0.5) - width / 2, y + h * (k // columns + 0.5)
        parts.append(Part(box(w - 0.025, h - 0.025, proud), (across, middle, z + proud / 2)))
        aside = 0.36 * w * (-1) ** (k % columns) if upright else 0
        parts.append(Part(box(*handle), (across + aside, middle, z + proud + 0.02)))
    return parts


def _bag(rng: Rng) -> list[Part]:
    width, height, depth = rng.uniform(0.28, 0.55), rng.uniform(0.25, 0.48), rng.uniform(0.12, 0.28)
    body = ellipsoid(width / 2, height / 2, depth / 2, power=rng.uniform(2.4, 5))
    loop = torus(rng.uniform(0.2, 0.32) * width, rng.uniform(0.008, 0.015), math.pi)
    two = [Part(loop, (0, 0.93 * height, s * 0.2 * depth), turned(x=0.2 * s - math.pi / 2)) for s in BOTH]
    one = _some(rng, 0.75, Part(loop, (0, 0.97 * height, 0), UPRIGHT))
    pocket = Part(ellipsoid(0.36 * width, 0.25 * height, 0.2 * depth, power=4), (0, 0.32 * height, 0.48 * depth))
    return [Part(body, (0, height / 2, 0)), *(_some(rng, 0.6, *two) or one), *_some(rng, 0.5, pocket)]


def _bin(rng: Rng) -> list[Part]:
    width, height, ajar = rng.uniform(0.25, 0.45), rng.uniform(0.3, 0.75), rng.uniform(0, 0.5)
    top, depth = width / 2, width * rng.uniform(0.6, 1.1)
    if rng.random() < 0.6:
        body = cylinder(top * rng.uniform(0.65, 1), height, top, open_top=True)
        dome = Part(bowl(top, 0.6 * top, top), (0, height, 0), turned(x=math.pi))
        lid = _some(rng, 0.2, post(0, height, 0, top, 0.03)) or _some(rng, 0.25, dome)
        return [Part(body, (0, height / 2, 0)), Part(torus(top, 0.012), (0, height, 0)), *lid]
    body = box(width, height, depth, open_top=True)
    at = (0, height + 0.02 + math.sin(ajar) * depth / 2, 0)
    lid = _some(rng, 0.35, Part(box(width, 0.02, depth), at, turned(x=-ajar)))
    return [Part(body, (0, height / 2, 0)), *rim(width, depth, height - 0.03, 0.015, 0.03), *lid]


def _box(rng: Rng) -> list[Part]:
    width, height, depth = rng.uniform(0.25, 0.7), rng.uniform(0.15, 0.7), rng.uniform(0.2, 0.5)
    lid, parts = rng.uniform(0.04, 0.1), [Part(box(width, height, depth, open_top=True), (0, height / 2, 0))]
    if rng.random() < 0.45:
        cover = block(0, height - lid, 0, width + 0.02, lid, depth + 0.02)
        return [block(0, 0, 0, width, height, depth), *_some(rng, 0.4, cover)]
    for k in range(4):
        across, reach = (width, depth) if k % 2 == 0 else (depth, width)
        flap, tilt, around = min(across, reach) / 2, rng.uniform(-1.2, 1.5), turned(y=k * math.pi / 2)
        out, rise = (reach + flap * math.sin(tilt)) / 2, flap * math.cos(tilt) / 2
        at = (around[0, 2] * out, height + rise, around[2, 2] * out)
        parts += _some(rng, 0.75, Part(box(across, flap, 0.006), at, around @ turned(x=tilt)))
    return parts


def _cabinet(rng: Rng) -> list[Part]:
    width, height, depth = rng.uniform(0.5, 1.3), rng.uniform(0.6, 1.9), rng.uniform(0.35, 0.6)
    feet = float(rng.choice([0, rng.uniform(0.06, 0.18)]))
    columns, rows = int(rng.integers(1, 4 if width > 0.8 else 3)), int(rng.choice([1, 1, 2, 3, 4]))
    parts = [block(0, feet, 0, width, height, depth), *(_legs(rng, width, depth, feet) if feet else [])]
    parts += _some(rng, 0.9, *_fronts(rng, 0, feet, depth / 2, width, height, columns, rows))
    return parts + _some(rng, 0.4, block(0, feet + height, 0.01, width + 0.06, 0.03, depth + 0.06))


def _chair(rng: Rng) -> list[Part]:
    width, depth, seat = rng.uniform(0.4, 0.52), rng.uniform(0.4, 0.5), rng.uniform(0.4, 0.5)
    thick, tall, lean = rng.uniform(0.03, 0.1), rng.uniform(0.35, 0.65), rng.uniform(0, 0.25)
    top, turn = seat + thick, turned(x=-lean)

    def back(x: float, rise: float, width: float, height: float, thick: float) -> Part:
        """A piece of the back, its middle `rise` above the seat along the lean."""
        at = (x, top + rise * math.cos(lean), 0.02 - depth / 2 - rise * math.sin(lean))
        return Part(box(width, height, thick), at, turn)

    parts = [block(0, seat, 0, width, thick, depth)]
    parts += _legs(rng, width, depth, seat) if rng.random() < 0.65 else _pedestal(rng, seat, 0.28)
    if rng.random() < 0.55:
        gap = rng.uniform(0, 0.15)
        parts.append(back(0, (tall + gap) / 2, 0.95 * width, tall - gap, rng.uniform(0.02, 0.07)))
    else:
        shares = np.linspace(0, 1, int(rng.integers(3, 7)))[1:-1].tolist()
        level = _some(rng, 0.5, *[back(0, tall * share, width, 0.05, 0.02) for share in shares])
        parts += level or [back(width * (share - 0.5), tall / 2, 0.03, tall, 0.02) for share in shares]
        parts += [back(s * (width / 2 - 0.02), tall / 2, 0.035, tall, 0.035) for s in BOTH]
        parts.append(back(0, tall - 0.03, width, 0.06, 0.03))
    rise, deep, x = rng.uniform(0.18, 0.26), float(rng.choice([0.04, 0.04, 0.2])), width / 2 + 0.02
    arms = [block(s * x, top + rise, 0, 0.05, 0.03, 0.85 * depth) for s in BOTH]
    return parts + _some(rng, 0.4, *arms, *[block(s * x, top, 0.3 * depth, 0.03, rise, deep) for s in BOTH])


def _top(rng: Rng) -> tuple[float, float, float, float]:
    """Width, depth, height and thickness of a desk's top, which many tables share."""
    return rng.uniform(1.0, 1.7), rng.uniform(0.5, 0.8), rng.uniform(0.66, 0.78), rng.uniform(0.02, 0.05)


def _desk(rng: Rng) -> list[Part]:
    width, depth, height, thick = _top(rng)
    drawers, deep, drop = rng.uniform(0.3, 0.45), 0.9 * depth, rng.uniform(0.2, 0.6)
    lift = height - rng.uniform(0.3, 0.55) if rng.random() < 0.25 else 0.02
    left, right = rng.choice(["drawers", "panel"], p=[0.88, 0.12]), rng.choice(["drawers", "panel", "legs"])
    parts = [block(0, height, 0, width, thick, depth)]
    for side, kind in ((-1, left), (1, right if left == "drawers" else left)):
        if kind == "drawers":
            x = side * (width - drawers) / 2 * 0.98
            parts.append(block(x, lift, 0, drawers, height - lift, deep))
            parts += _fronts(rng, x, lift, deep / 2, drawers, height - lift, 1, int(rng.integers(2, 5)))
        if kind == "panel":
            parts.append(block(side * (width / 2 - 0.04), 0, 0, 0.03, height, deep))
        if kind == "legs" or lift > 0.1:
            parts += [leg for leg in _legs(rng, width, depth, height) if leg.at[0] * side > 0]
    return parts + _some(rng, 0.5, block(0, height - drop, -0.4 * depth, 0.95 * width, drop, 0.02))


def _display(rng: Rng) -> list[Part]:
    width, thick, lift = rng.uniform(0.4, 1.2), rng.uniform(0.025, 0.07), rng.uniform(0.05, 0.16)
    height, base, stand = width * rng.uniform(0.52, 0.68), rng.uniform(0.18, 0.3) * width, rng.random()
    parts = [Part(box(width, height, thick), (0, lift + height / 2, 0), turned(x=rng.uniform(-0.15, 0.05)))]
    parts += _some(rng, 0.3, Part(box(width / 2, height / 2, 0.06), (0, lift + height / 2, -0.03 - thick / 2)))
    if stand < 0.6:
        parts.append(block(0, 0, -thick, 0.12 * width, lift + 0.4 * height, 0.03))
        parts.append(post(0, 0, 0, base, 0.02) if stand < 0.25 else block(0, 0, 0, 2.2 * base, 0.02, 1.3 * base))
    elif stand < 0.85:
        parts += [block(s * 0.35 * width, 0, 0, 0.03, 0.02, 0.22) for s in BOTH]
        parts += [block(s * 0.35 * width, 0, 0, 0.03, lift, 0.03) for s in BOTH]
    return parts


def _door(rng: Rng) -> list[Part]:
    width, height, thick = rng.uniform(0.7, 1.0), rng.uniform(1.9, 2.15), rng.uniform(0.03, 0.05)
    rows, jamb, turn = int(rng.integers(2, 4)), rng.uniform(0.05, 0.1), turned(y=max(0.0, rng.uniform(-2.4, 1.3)))
    panel = box(0.65 * width, 0.75 * height / rows, thick + 0.03)
    panels = [Part(panel, (width / 2, height * (k + 0.5) / rows, 0)) for k in range(rows)]
    leaf = [block(width / 2, 0, 0, width, height, thick), *_some(rng, 0.4, *panels)]
    leaf += [block(0.92 * width, 1, s * thick, 0.12, 0.03, 0.04) for s in BOTH]
    frame = [block(x, 0, 0, jamb, height, 0.12) for x in (-jamb / 2, width + jamb / 2)]
    frame.append(block(width / 2, height, 0, width + 2 * jamb, jamb, 0.12))
    # The leaf swings about its hinge at x = 0.
    return [moved(part, turn=turn) for part in leaf] + _some(rng, 0.7, *frame)


def _shelf(rng: Rng) -> list[Part]:
    width, height, depth = rng.uniform(0.6, 1.3), rng.uniform(0.8, 2.0), rng.uniform(0.25, 0.42)
    boards = int(rng.integers(3, 7))
    pitch = (height - 0.1) / (boards - 1)
    parts = [block(0, 0.04 + pitch * k, 0, width, 0.025, depth) for k in range(boards)]
    sides = _some(rng, 0.75, *[block(s * width / 2, 0, 0, 0.025, height, depth) for s in BOTH])
    parts += sides or _legs(rng, width, depth, height)
    for k in range(boards - 1):
        books, tall = width * rng.uniform(0.2, 0.7), pitch * rng.uniform(0.5, 0.85)
        x = rng.uniform(-0.5, 0.5) * (width - books)
        parts += _some(rng, 0.45, block(x, 0.05 + pitch * k, -0.05, books, tall, 0.6 * depth))
    return parts + _some(rng, 0.5, block(0, 0, -depth / 2, width, height, 0.01))


def _table(rng: Rng) -> list[Part]:
    width, depth, height, thick = _top(rng)
    if rng.random() < 0.35:
        width, height = rng.uniform(0.6, 1.2), rng.uniform(0.35, 0.6)
    parts = [block(0, height, 0, width, thick, depth)]
    if rng.random() < 0.35:
        width = depth = rng.uniform(0.5, 0.85)
        parts = [post(0, height, 0, 0.7 * width, thick)]
    if rng.random() < 0.3:
        return parts + _pedestal(rng, height, 0.35 * depth)
    if rng.random() < 0.15:
        return parts + [block(s * width * 0.4, 0, 0, 0.05, height, 0.8 * depth) for s in BOTH]
    parts += _some(rng, 0.4, *[block(0, height - 0.1, s * 0.42 * depth, 0.9 * width, 0.1, 0.02) for s in BOTH])
    parts += _some(rng, 0.15, block(0, 0.3 * height, 0, 0.9 * width, 0.02, 0.85 * depth))
    return parts + _legs(rng, width, depth, height)


def _bed(rng: Rng) -> list[Part]:
    width, length, thick = rng.uniform(0.9, 1.9), rng.uniform(1.9, 2.1), rng.uniform(0.15, 0.3)
    base, feet, tall = rng.uniform(0.2, 0.4), float(rng.choice([0, rng.uniform(0.08, 0.18)])), rng.uniform(0.2, 0.65)
    top, end = base + thick, length / 2
    soft = ellipsoid(width / 2, thick / 2, end, power=8) if rng.random() < 0.5 else box(width, thick, length)
    pillow, turn = ellipsoid(0.32, 0.08, 0.2, power=3), turned(x=-rng.uniform(0, 0.5))
    places = [s * width / 4 for s in BOTH] if width > 1.3 else [0.0]
    parts = [block(0, feet, 0, width, base - feet, length), Part(soft, (0, base + thick / 2, 0), scale=0.97)]
    parts += _legs(rng, width, length, feet) if feet else []
    parts += _some(rng, 0.85, block(0, 0, -end - 0.03, width + 0.06, top + tall, 0.05))
    parts += _some(rng, 0.35, block(0, 0, end + 0.03, width + 0.06, top + 0.55 * tall - 0.2, 0.05))
    return parts + _some(rng, 0.75, *[Part(pillow, (x, top + 0.06, 0.25 - end), turn) for x in places])


def _pillow(rng: Rng) -> list[Part]:
    width, depth, thick = rng.uniform(0.35, 0.65), rng.uniform(0.3, 0.45), rng.uniform(0.1, 0.2)
    lean = float(rng.choice([0, rng.uniform(0.5, 1.4)]))
    body = ellipsoid(width / 2, thick / 2, depth / 2, power=rng.uniform(2.2, 3.6))
    middle = (thick * math.cos(lean) + depth * math.sin(lean)) / 2
    other = Part(body, (0.1 * width, middle + 0.6 * thick, thick / 4), turned(x=lean, y=0.3))
    return [Part(body, (0, middle, 0), turned(x=lean)), *_some(rng, 0.15, other)]


def _sink(rng: Rng) -> list[Part]:
    width, depth, border = rng.uniform(0.35, 0.6), rng.uniform(0.3, 0.42), rng.uniform(0.05, 0.14)
    deep, stand = rng.uniform(0.12, 0.2), str(rng.choice(["none", "column", "cabinet"], p=[0.45, 0.33, 0.22]))
    height = 0.28 if stand == "none" else rng.uniform(0.73, 0.88)
    round_one = Part(bowl(width / 2, deep, depth / 2, power=rng.uniform(2, 5)), (0, height, 0))
    square_one = Part(box(width, deep, depth, open_top=True), (0, height - deep / 2, 0))
    parts = [*rim(width, depth, height - 0.03, border, 0.03), *(_some(rng, 0.6, round_one) or [square_one])]
    if stand == "column":
        parts.append(post(0, 0, 0, rng.uniform(0.09, 0.13), height - deep, rng.uniform(0.06, 0.1)))
    if stand == "cabinet":
        parts += [block(s * (width / 2 + border), 0, 0, 0.02, height, depth + border) for s in BOTH]
        parts += _fronts(rng, 0, 0, depth / 2, width + 2 * border, height, 2, 1)
    z, rise, reach = -(depth + border) / 2, rng.uniform(0.08, 0.25), rng.uniform(0.05, 0.09)
    spout = Part(torus(reach, 0.013, math.pi), (0, height + rise, z + reach), turned(x=-math.pi / 2, y=math.pi / 2))
    parts += _some(rng, 0.9, post(0, height, z, 0.015, rise), spout)
    return parts + _some(rng, 0.5, *[post(s * 0.09, height, z, 0.02, 0.05) for s in BOTH])


def _sofa(rng: Rng) -> list[Part]:
    seats, room, depth = int(rng.choice([1, 2, 3], p=[0.25, 0.4, 0.35])), rng.uniform(0.55, 0.7), rng.uniform(0.75, 1.0)
    seat, tall, thick, lift = (rng.uniform(*span) for span in ((0.32, 0.45), (0.4, 0.6), (0.15, 0.25), (0.03, 0.12)))
    width, arm, top = seats * room, rng.uniform(0.1, 0.22), seat + rng.uniform(0.12, 0.25)
    x, turn, place = (width + arm) / 2, turned(x=-rng.uniform(0, 0.2)), (0, seat + tall / 2 - 0.05, (thick - depth) / 2)
    rolls = _some(rng, 0.3, *[Part(cylinder(0.65 * arm, depth), (s * x, top, 0), UPRIGHT) for s in BOTH])
    cushion = ellipsoid(room / 2, 0.07, (depth - thick) / 2, power=6)
    cushions = [Part(cushion, ((k + 0.5) * room - width / 2, seat + 0.04, thick / 2)) for k in range(seats)]
    parts = [block(0, lift, 0, width, seat - lift, depth), Part(box(width, tall, thick), place, turn)]
    parts += _some(rng, 0.85, *[block(s * x, lift, 0, arm, top - lift, depth) for s in BOTH], *rolls)
    parts += _some(rng, 0.7, *cushions) + _some(rng, 0.5, *_legs(rng, width, depth, lift))
    long = block(width / 2 - 0.3, lift, depth / 2 + 0.3, 0.6, seat - lift, 0.6)
    return parts + _some(rng, 0.2 if seats > 1 else 0, long)


def _toilet(rng: Rng) -> list[Part]:
    seat, half, long = rng.uniform(0.36, 0.44), rng.uniform(0.17, 0.21), rng.uniform(0.21, 0.27)
    tank, wide, deep = rng.uniform(0.3, 0.4), rng.uniform(0.36, 0.46), rng.uniform(0.15, 0.2)
    z, lid = -long - deep / 2, ellipsoid(half, 0.02, long, power=2.3)
    parts = [Part(bowl(half, rng.uniform(0.2, 0.3), long, power=2.3), (0, seat, 0))]
    parts.append(Part(torus((half + long) / 2 - 0.03, 0.025), (0, seat + 0.01, 0.01)))
    raised, closed = Part(lid, (0, seat + long, -long), turned(x=0.15 - math.pi / 2)), Part(lid, (0, seat + 0.03, 0))
    parts += _some(rng, 0.5, raised) or _some(rng, 0.7, closed)
    foot = post(0, 0, -0.06, rng.uniform(0.11, 0.15), seat - 0.08, rng.uniform(0.09, 0.12))
    cistern = (
        block(0, seat - 0.05, z, wide, tank, deep),
        block(0, seat - 0.05 + tank, z, wide + 0.03, 0.03, deep + 0.03),
    )
    return parts + _some(rng, 0.85, foot, *cistern)


_BUILDERS = [_bag, _bin, _box, _cabinet, _chair, _desk, _display, _door, _shelf, _table]

_BUILDERS += [_bed, _pillow, _sink, _sofa, _toilet]

FURNITURE: dict[str, Callable[[Rng], list[Part]]] = {build.__name__[1:]: build for build in _BUILDERS}
"""Builder of each kind, in the order of the labels."""
