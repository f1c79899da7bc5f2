"""Pictures of the synthetic aerial scenes: a ground cover, bright rectangles, and beside them things of known size.

What tells the scale lies on one side of a straight border and is given in metres (`synthetic_scene_cues`); the bright
rectangles lie on the other side and are given in pixels. Nothing but them is bright. The ground's grain follows the
scale a little in pictures with such cues, and not at all in others: then nothing but the rectangles depends on it.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_modules.synthetic.scene_cues import LAYOUTS, Colours, Layout, Plane, Rng, Site, box, street
from data_modules.synthetic.solids import nine_digits

SIDE = 112
"""Side of a picture in pixels."""

MARGIN = 2
"""Pixels between a bright rectangle and the edge of the picture."""

GAP = 3
"""Least pixels between bright rectangles, and between them and the border of what tells the scale."""

TRIES = 256
"""Arrangements drawn at once; the first that has room for everything is taken."""

ASPECT = (0.5, 0.62)
"""Width of a bright rectangle by its length: the same for all, for it must not tell what the rectangle is."""

SLACK = 16
"""Most pixels behind the border beyond the requested room."""

Ground = Literal["field", "forest", "water", "bare", "urban"]

BRIGHT = (250, 248, 242)

FIELDS = np.array(
    [[(70, 105, 45), (118, 146, 72)], [(104, 112, 50), (164, 152, 84)], [(98, 84, 52), (120, 136, 66)]], np.float32
)


@dataclass(frozen=True)
class Scene:
    """What a picture shows.

    Attributes:
        ground: its cover.
        gsd: metres per pixel.
        layout: what tells the scale; None draws nothing that does.
        marks: lengths of the bright rectangles in pixels.
        cars: on a street; None lets traffic be as it may.
    """

    ground: Ground
    gsd: float
    layout: Layout | None
    marks: tuple[float, ...] = ()
    cars: int | None = None

    @property
    def rounded(self) -> "Scene":
        """The scene with lengths rounded to nine digits, for cache keys."""
        return replace(self, gsd=nine_digits(self.gsd), marks=tuple(map(nine_digits, self.marks)))


class Poses(NamedTuple):
    """Where things lie, in pixels from the middle of the picture.

    Attributes:
        centre: of the rectangles, [M, 2] as (x, y).
        angle: of their long sides, [M] in radians.
        width: of their short sides, [M].
        normal: angle of the border's normal, in radians; the rectangles lie towards it.
        border: distance of the border along the normal.
    """

    centre: NDArray[np.float64]
    angle: NDArray[np.float64]
    width: NDArray[np.float64]
    normal: float
    border: float


def place(rng: Rng, lengths: tuple[float, ...], room: float | None) -> Poses:
    """Rectangles within the picture and apart from each other, and a border that leaves room beside them.

    Args:
        rng: what everything random is drawn from.
        lengths: of the rectangles in pixels.
        room: least depth in pixels behind the border, within the circle that fits into the picture; None asks for none.
    """
    count, half = len(lengths), SIDE / 2
    length = np.array(lengths)
    least = -math.inf if room is None else room
    while True:
        width = length * rng.uniform(*ASPECT, count)
        angle = rng.uniform(0, math.pi, (TRIES, count))
        normal = rng.uniform(0, 2 * math.pi, TRIES)
        cos, sin = np.abs(np.cos(angle)), np.abs(np.sin(angle))
        extent = np.stack([length * cos + width * sin, length * sin + width * cos], -1) / 2
        free = half - MARGIN - extent  # [TRIES, M, 2]
        centre = rng.uniform(-1, 1, free.shape) * free

        apart = np.linalg.norm(centre[:, :, None] - centre[:, None], axis=-1) + 4 * SIDE * np.eye(count)
        reach = np.hypot(length, width) / 2
        turned = angle - normal[:, None]
        towards = centre[..., 0] * np.cos(normal)[:, None] + centre[..., 1] * np.sin(normal)[:, None]
        near = towards - (length * np.abs(np.cos(turned)) + width * np.abs(np.sin(turned))) / 2
        most = np.minimum(near.min(1, initial=math.inf) - GAP + half, least + SLACK)
        fits = (free >= 0).all((1, 2)) & (apart >= reach[:, None] + reach + GAP).all((1, 2)) & (most >= least)
        if fits.any():
            first = int(fits.argmax())
            border = 0.0 if room is None else float(rng.uniform(room, most[first])) - half
            return Poses(centre[first], angle[first], width, float(normal[first]), border)


def _blobs(rng: Rng, height: float, width: float) -> Plane:
    """Smooth noise [SIDE, SIDE] about 0 with spots of such a height and width in pixels."""
    rows, columns = (math.ceil(SIDE / max(1.0, size)) + 1 for size in (height, width))
    coarse = Image.fromarray(rng.standard_normal((rows, columns), np.float32))
    return np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def _ground(rng: Rng, ground: Ground, grain: float, x: Plane, y: Plane) -> Colours:
    """Colours [SIDE, SIDE, 3] of a cover; `grain` stretches its texture."""
    wide, fine = _blobs(rng, 36, 36), _blobs(rng, 3 * grain, 3 * grain)
    turn = rng.uniform(0, math.pi)
    across = x * math.cos(turn) + y * math.sin(turn)
    match ground:
        case "field":
            dark, light = FIELDS[rng.integers(len(FIELDS))]
            stripes = np.sin(across * (2 * math.pi / (7 * grain)) + 0.4 * wide)
            tone, colour = 5 * wide + 4 * fine, dark + (0.5 + 0.5 * stripes)[..., None] * (light - dark)
        case "forest":
            crowns = np.tanh(_blobs(rng, 5 * grain, 5 * grain) + 0.4 * fine)
            tone, colour = 20 * crowns + 4 * wide, np.array((42, 72, 40), np.float32)
        case "water":
            ripples = np.sin(across * (2 * math.pi / (5 * grain)) + 2.5 * wide)
            tone, colour = 4 * wide + 3 * ripples + 2 * fine, np.array((34, 74, 116), np.float32)
        case "bare":
            patches = _blobs(rng, 9 * grain, 9 * grain)
            tone, colour = 6 * wide + 7 * patches + 4 * fine, np.array((156, 122, 88), np.float32)
        case "urban":
            tone, colour = 6 * wide + 4 * fine, np.array((122, 124, 124), np.float32)
    hue = rng.uniform(-8, 8, 3).astype(np.float32)
    covered: Colours = colour + tone[..., None] + hue
    return covered


def draw(rng: Rng, scene: Scene) -> NDArray[np.uint8]:
    """A picture of a scene: uint8 [SIDE, SIDE, 3] RGB."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32) - (SIDE - 1) / 2
    grain = rng.uniform(0.85, 1.4) * (scene.gsd**-0.3 if scene.layout else 1)
    canvas = _ground(rng, scene.ground, grain, x, y)

    room = max(9 / scene.gsd, 14.0) + 2 if scene.layout else None
    poses = place(rng, scene.marks, room)
    cos, sin = math.cos(poses.normal), math.sin(poses.normal)
    away = (poses.border - x * cos - y * sin) * scene.gsd
    along = (y * cos - x * sin) * scene.gsd + rng.uniform(0, 100)
    site = Site(canvas, along, away, scene.gsd)
    if scene.cars is not None:
        street(site, rng, scene.cars)
    elif scene.layout:
        LAYOUTS[scene.layout](site, rng)
    for length, width, centre, angle in zip(scene.marks, poses.width, poses.centre, poses.angle, strict=True):
        dx, dy, cos, sin = x - float(centre[0]), y - float(centre[1]), math.cos(angle), math.sin(angle)
        site.paint(box(dx * cos + dy * sin, dy * cos - dx * sin, length, float(width)), BRIGHT)

    light = rng.uniform(0.78, 1) * rng.uniform(0.95, 1.03, 3)
    noise = rng.standard_normal(canvas.shape, np.float32) * np.float32(rng.uniform(2, 6))
    return np.clip(canvas * light.astype(np.float32) + noise, 0, 255).astype(np.uint8)
