"""Pictures of drawn cells that no grey value gives away, and their masks.

Cells and their surroundings have the same mean grey and the same spread: cells are finely grained, the surroundings
coarsely. The two kinds of cells have one texture and one area, and differ in shape: round ones are up to 1.2 times as
long as wide, spindles 3 to 4 times. Light falls unevenly. What is no cell and still striking are stains (dark or
bright, smooth) and fibres (finely grained as cells are, but thin).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

ROUND, SPINDLE = 1, 2

FINE, COARSE = 0.8, 2.6
"""Standard deviation in pixels of the blur that makes each grain out of white noise."""

SPREAD = 26.0
"""Standard deviation of either grain in grey values."""

LIGHT = 45.0
"""Grey values between the lightest and the darkest side of a picture, at most."""

AREA = (260.0, 520.0)
"""Pixels of a cell in a picture of 128 x 128; of larger ones as many, so that there are more cells."""

APART = 2.0
"""Least pixels between cells."""

TRIES = 40
"""Places tried for each cell."""

Rng = np.random.Generator


def draw(rng: Rng, side: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A picture, uint8 [side, side, 3], and its mask, uint8 [side, side]: 0, `ROUND` or `SPINDLE`.

    Args:
        rng: source of all that is random.
        side: of the picture in pixels.
    """
    mask = _cells(rng, side)
    grained = mask > 0
    for _ in range(round(3 * side / 128)):
        grained |= _fibre(rng, side)
    grey = np.where(grained, _grain(rng, side, FINE), _grain(rng, side, COARSE))
    for _ in range(round(4 * (side / 128) ** 2)):
        centre, radius = rng.uniform(0, side, 2), rng.uniform(5, 12)
        grey = grey + rng.choice([-1, 1]) * rng.uniform(25, 50) * _stain(side, centre, radius)
    rows, columns = np.mgrid[:side, :side] / side - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    light = rng.uniform(0.4, 1) * LIGHT * (np.cos(angle) * rows + np.sin(angle) * columns)
    shown = (128 + grey + light + rng.normal(0, 4, (side, side))).clip(0, 255).astype(np.uint8)
    return np.repeat(shown[..., None], 3, axis=2), mask


def _grain(rng: Rng, side: int, blur: float) -> NDArray[np.float64]:
    """Noise of mean 0 and standard deviation `SPREAD`, [side, side]."""
    noise: NDArray[np.float64] = gaussian_filter(rng.normal(size=(side, side)), blur, mode="wrap")
    noise -= noise.mean()
    noise *= SPREAD / noise.std()
    return noise


def _cells(rng: Rng, side: int) -> NDArray[np.uint8]:
    mask = np.zeros((side, side), np.uint8)
    free = np.ones((side, side), bool)
    for _ in range(round(rng.uniform(8, 13) * (side / 128) ** 2)):
        kind = int(rng.integers(ROUND, SPINDLE + 1))
        for _ in range(TRIES):
            centre, angle = rng.uniform(0, side, 2), rng.uniform(0, np.pi)
            stretch = rng.uniform(1, 1.2) if kind == ROUND else rng.uniform(3, 4)
            wide = float(np.sqrt(rng.uniform(*AREA) / (np.pi * stretch)))
            if not free[tuple(centre.astype(int))]:
                continue
            around = _ellipse(side, centre, angle, wide * stretch + APART, wide + APART)
            if free[around].all():
                mask[_ellipse(side, centre, angle, wide * stretch, wide)] = kind
                free[around] = False
                break
    return mask


def _ellipse(side: int, centre: NDArray[np.float64], angle: float, long: float, wide: float) -> NDArray[np.bool_]:
    """Pixels of an ellipse of these half-axes."""
    y, x = np.mgrid[:side, :side] + 0.5 - centre[:, None, None]
    along, across = np.cos(angle) * y + np.sin(angle) * x, np.cos(angle) * x - np.sin(angle) * y
    inside: NDArray[np.bool_] = (along / long) ** 2 + (across / wide) ** 2 <= 1
    return inside


def _fibre(rng: Rng, side: int) -> NDArray[np.bool_]:
    """A straight line through the picture, two to three pixels wide."""
    centre, angle = rng.uniform(0, side, 2), rng.uniform(0, np.pi)
    return _ellipse(side, centre, angle, 10 * side, rng.uniform(1, 1.5))


def _stain(side: int, centre: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    y, x = np.mgrid[:side, :side] + 0.5 - centre[:, None, None]
    shape: NDArray[np.float64] = np.exp(-(y**2 + x**2) / (2 * radius**2))
    return shape
