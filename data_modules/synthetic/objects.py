"""Pictures of the synthetic event set: twelve drawn objects with random colour, size and pose, before clutter."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Rng = np.random.Generator

Colour = tuple[int, int, int]

Pen = ImageDraw.ImageDraw

SIZE = 96
"""Side of the square that an object is drawn into before it is scaled, turned and pasted."""


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (max(0, min(255, int(c * factor))) for c in colour)
    return red, green, blue


def _bell(d: Pen, c: Colour) -> None:
    d.polygon([(48, 8), (62, 16), (68, 50), (84, 72), (12, 72), (28, 50), (34, 16)], fill=c)
    d.rectangle((12, 70, 84, 78), fill=_shade(c, 0.7))
    d.ellipse((40, 76, 56, 92), fill=_shade(c, 0.5))


def _clock(d: Pen, c: Colour) -> None:
    d.ellipse((6, 6, 90, 90), fill=_shade(c, 0.6))
    d.ellipse((14, 14, 82, 82), fill=(245, 245, 235))
    for hour in range(12):
        a = hour * math.pi / 6
        d.line(
            (48 + 28 * math.sin(a), 48 - 28 * math.cos(a), 48 + 33 * math.sin(a), 48 - 33 * math.cos(a)),
            fill=(20, 20, 20),
            width=3,
        )
    d.line((48, 48, 48, 24), fill=(20, 20, 20), width=4)
    d.line((48, 48, 64, 56), fill=(20, 20, 20), width=4)


def _dog(d: Pen, c: Colour) -> None:
    d.ellipse((20, 18, 76, 82), fill=c)
    d.ellipse((4, 14, 28, 62), fill=_shade(c, 0.6))
    d.ellipse((68, 14, 92, 62), fill=_shade(c, 0.6))
    d.ellipse((32, 50, 64, 86), fill=_shade(c, 1.3))
    d.ellipse((42, 52, 54, 62), fill=(15, 15, 15))
    for x in (34, 54):
        d.ellipse((x, 34, x + 8, 42), fill=(15, 15, 15))
    d.ellipse((43, 72, 53, 90), fill=(220, 90, 110))


def _baby(d: Pen, c: Colour) -> None:
    skin = (240, 200, 175)
    d.ellipse((14, 12, 82, 88), fill=skin)
    d.pieslice((14, 8, 82, 70), 180, 360, fill=c)
    for x in (30, 56):
        d.arc((x, 42, x + 12, 52), 180, 360, fill=(60, 40, 40), width=3)
    d.ellipse((38, 60, 58, 80), fill=(150, 40, 50))
    d.ellipse((22, 56, 32, 66), fill=(235, 160, 150))
    d.ellipse((64, 56, 74, 66), fill=(235, 160, 150))


def _race_car(d: Pen, c: Colour) -> None:
    d.polygon([(4, 62), (20, 48), (46, 44), (60, 34), (70, 44), (92, 54), (92, 64)], fill=c)
    d.rectangle((80, 30, 94, 38), fill=_shade(c, 0.6))
    d.line((86, 36, 86, 54), fill=_shade(c, 0.6), width=4)
    for x in (14, 66):
        d.ellipse((x, 54, x + 22, 76), fill=(20, 20, 20))
        d.ellipse((x + 7, 61, x + 15, 69), fill=(190, 190, 190))


def _chainsaw(d: Pen, c: Colour) -> None:
    d.rectangle((8, 38, 44, 72), fill=c)
    d.arc((2, 24, 40, 60), 150, 330, fill=(30, 30, 30), width=6)
    d.rounded_rectangle((42, 48, 92, 62), 6, fill=(170, 170, 175))
    for x in range(44, 92, 6):
        d.line((x, 46, x + 3, 42), fill=(60, 60, 60), width=3)
        d.line((x, 63, x + 3, 67), fill=(60, 60, 60), width=3)


def _motorcycle(d: Pen, c: Colour) -> None:
    for x in (4, 62):
        d.ellipse((x, 50, x + 30, 80), outline=(20, 20, 20), width=6)
    d.line((19, 65, 40, 44, 66, 44, 77, 65), fill=(60, 60, 60), width=5)
    d.polygon([(32, 46), (40, 34), (58, 36), (62, 46)], fill=c)
    d.rectangle((20, 36, 38, 42), fill=(25, 25, 25))
    d.line((66, 44, 72, 26, 82, 24), fill=(60, 60, 60), width=4)


def _helicopter(d: Pen, c: Colour) -> None:
    d.ellipse((8, 36, 58, 72), fill=c)
    d.pieslice((8, 36, 50, 72), 180, 270, fill=(170, 215, 240))
    d.polygon([(50, 46), (92, 42), (92, 48), (50, 58)], fill=_shade(c, 0.7))
    d.line((92, 32, 92, 56), fill=(40, 40, 40), width=3)
    d.line((2, 28, 68, 28), fill=(40, 40, 40), width=4)
    d.line((34, 28, 34, 38), fill=(40, 40, 40), width=4)
    d.line((12, 80, 58, 80), fill=(40, 40, 40), width=3)


def _violin(d: Pen, c: Colour) -> None:
    wood = _shade((150, 75, 30), 0.7 + c[0] / 400)
    d.ellipse((28, 50, 68, 92), fill=wood)
    d.ellipse((32, 34, 64, 62), fill=wood)
    d.rectangle((44, 2, 52, 50), fill=(40, 25, 15))
    d.line((48, 6, 48, 84), fill=(230, 220, 200), width=2)
    d.line((10, 84, 88, 40), fill=(90, 60, 30), width=3)


def _flute(d: Pen, c: Colour) -> None:
    silver = _shade((200, 205, 210), 0.8 + c[1] / 800)
    d.line((6, 84, 90, 12), fill=silver, width=10)
    for k in range(7):
        x, y = 34 + 7 * k, 60 - 6 * k
        d.ellipse((x - 4, y - 4, x + 4, y + 4), fill=(70, 70, 75))


def _rain(d: Pen, c: Colour) -> None:
    grey = _shade((150, 155, 165), 0.6 + c[2] / 500)
    for box in ((8, 28, 46, 58), (26, 12, 70, 56), (52, 26, 90, 58)):
        d.ellipse(box, fill=grey)
    for k in range(7):
        x = 14 + 11 * k
        d.line((x, 62, x - 6, 88 - (k % 3) * 6), fill=(80, 130, 220), width=3)


def _frying(d: Pen, c: Colour) -> None:
    d.line((64, 62, 94, 90), fill=(90, 55, 30), width=10)
    d.ellipse((4, 8, 76, 74), fill=(35, 35, 38))
    d.ellipse((12, 15, 68, 67), fill=(60, 60, 64))
    d.ellipse((20, 24, 58, 58), fill=(250, 248, 240))
    d.ellipse((32, 34, 48, 50), fill=(250, 190, 40))


PICTURES: dict[str, Callable[[Pen, Colour], None]] = {
    "church bell": _bell,
    "wall clock": _clock,
    "dog": _dog,
    "baby": _baby,
    "race car": _race_car,
    "chainsaw": _chainsaw,
    "motorcycle": _motorcycle,
    "helicopter": _helicopter,
    "violin": _violin,
    "flute": _flute,
    "rain cloud": _rain,
    "frying pan": _frying,
}


def sprite(rng: Rng, name: str, side: int) -> Image.Image:
    """An object of a class as an RGBA picture about `side` pixels wide, with random colour, mirror and tilt."""
    canvas = Image.new("RGBA", (SIZE, SIZE), (0, 0, 0, 0))
    red, green, blue = (int(v) for v in rng.integers(60, 230, 3))
    PICTURES[name](ImageDraw.Draw(canvas), (red, green, blue))
    if rng.random() < 0.5:
        canvas = canvas.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    canvas = canvas.rotate(rng.uniform(-20, 20), resample=Image.Resampling.BILINEAR)
    return canvas.resize((side, side), Image.Resampling.BILINEAR)


def backdrop(rng: Rng, size: int) -> Image.Image:
    """A scene without objects: a gradient, blurred blobs and clutter shapes."""
    corners = rng.integers(30, 220, (2, 2, 3)).astype(np.uint8)
    image = Image.fromarray(corners).resize((size, size), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(4, 12))):
        x, y, w, h = (
            rng.integers(0, size),
            rng.integers(0, size),
            rng.integers(6, size // 3),
            rng.integers(6, size // 3),
        )
        colour = tuple(int(v) for v in rng.integers(20, 235, 3))
        shape = [draw.rectangle, draw.ellipse][int(rng.integers(2))]
        shape((int(x), int(y), int(x + w), int(y + h)), fill=colour)
    return image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 3))))


def finish(rng: Rng, image: Image.Image, brightness: float) -> NDArray[np.uint8]:
    """Light and sensor noise: uint8 [S, S, 3]."""
    pixels: NDArray[np.float32] = np.asarray(image, dtype=np.float32) * brightness
    pixels += rng.normal(0, rng.uniform(2, 12), pixels.shape)
    return np.clip(pixels, 0, 255).astype(np.uint8)
