"""*Synthetic* shapes for self-supervised pre-training: primitives in random arrangements. No download, no labels.

Each cloud has one to six primitives of random kind, size and orientation: loose, attached at their faces, stacked,
mirrored, in rows and on legs, or in rings. No furniture is among them, so that what is learned here meets the classes
of `synthetic_scans` for the first time there. Four clouds in ten show only what one viewpoint sees of them.
"""

import math
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from data_modules.kinds.cloud_augmentation import Augmentation
from data_modules.kinds.clouds import CloudDataModule
from data_modules.synthetic.clouds import RAW, GeneratedClouds
from data_modules.synthetic.solids import (
    Part,
    Points,
    Rng,
    Solid,
    bowl,
    box,
    cone,
    corners,
    cylinder,
    ellipsoid,
    ring,
    scan,
    torus,
    turned,
    visible,
)
from zoo.batch import Cloud, SampleSet

VERSION = 1
"""Of the random numbers, and part of every sample's key: raise it whenever the generator draws anything else."""

REVISION = 1
"""Part of every key alone, raised where a few samples change: 54 of 4,256 clouds that were not the same everywhere."""

CLASSES = ["shape"]

MOST = 6
"""Primitives of a shape, copies not counted."""


def _solid(rng: Rng) -> Solid:
    a, b, c = np.exp(rng.uniform(math.log(0.08), math.log(0.8), 3)).tolist()
    match int(rng.integers(9)):
        case 0 | 1:
            return box(2 * a, 2 * b, 2 * c, open_top=rng.random() < 0.25)
        case 2:
            return box(2 * a, rng.uniform(0.02, 0.08), 2 * c)
        case 3 | 4:
            return cylinder(a, 2 * b, a * rng.choice([1, rng.uniform(0.3, 1)]), open_top=rng.random() < 0.25)
        case 5:
            return cone(a, 2 * b)
        case 6:
            return ellipsoid(a, b, c, power=rng.choice([2, rng.uniform(2, 6)]))
        case 7:
            return bowl(a, b, c, power=rng.uniform(2, 4))
        case _:
            # Half rings and whole ones are their own mirror images, as all other primitives are.
            return torus(max(a, b), rng.uniform(0.1, 0.5) * min(a, b), float(rng.choice([1, 2])) * math.pi)


def _piece(rng: Rng) -> Part:
    """A primitive at the origin: most often along the axes, else turned any way."""
    quarter = math.pi / 2
    x, y, z = rng.uniform(0, 4 * quarter, 3) if rng.random() < 0.2 else rng.integers(0, 4, 3) * quarter
    return Part(_solid(rng), turn=turned(x, y, z))


def _bounds(rng: Rng, parts: list[Part]) -> tuple[Points, Points]:
    """Lowest and highest coordinates, [3] each, as far as a few points of each part tell."""
    few = np.concatenate([part.solid.draw(rng, 64) @ (part.scale * part.turn.T) + part.at for part in parts])
    return few.min(0), few.max(0)


def _shifted(part: Part, at: Points) -> Part:
    x, y, z = (at + part.at).tolist()
    return Part(part.solid, (x, y, z), part.turn, part.scale)


def _attached(rng: Rng, base: list[Part], axis: int, side: int) -> Part:
    """A piece that touches the base at its low (0) or high (1) end along an axis: in the middle or anywhere."""
    piece = _piece(rng)
    (low, high), own = _bounds(rng, base), _bounds(rng, [piece])
    share = np.where(rng.random(3) < 0.6, 0.5, rng.random(3))
    at = low + share * (high - low) - (own[0] + own[1]) / 2
    at[axis] = (low, high)[side][axis] - own[1 - side][axis]
    return _shifted(piece, at)


def _loose(rng: Rng) -> list[Part]:
    count = int(rng.integers(1, MOST + 1))
    return [_shifted(_piece(rng), rng.uniform(-0.7, 0.7, 3) * (count > 1)) for _ in range(count)]


def _built(rng: Rng) -> list[Part]:
    """Each piece at a face of the one before."""
    parts = [_piece(rng)]
    for _ in range(int(rng.integers(1, MOST))):
        parts.append(_attached(rng, parts[-1:], int(rng.integers(3)), int(rng.integers(2))))
    return parts


def _stack(rng: Rng) -> list[Part]:
    parts = [_piece(rng)]
    for _ in range(int(rng.integers(1, MOST))):
        parts.append(_attached(rng, parts, 1, 1))
    return parts


def _mirrored(rng: Rng) -> list[Part]:
    """A piece in the middle, and others on both of its sides."""
    middle, parts = _piece(rng), list[Part]()
    for _ in range(int(rng.integers(1, MOST))):
        parts.append(_attached(rng, [middle, *parts[-1:]], int(rng.integers(3)), 1))
        parts[-1] = _shifted(parts[-1], np.array([rng.uniform(0, 0.4), 0, 0]))
    flip = np.diag([-1.0, 1, 1])
    return [middle, *parts, *(Part(p.solid, (-p.at[0], p.at[1], p.at[2]), flip @ p.turn @ flip) for p in parts)]


def _row(rng: Rng) -> list[Part]:
    """Equal pieces side by side, at times joined by a further one."""
    piece, axis, count = _piece(rng), int(rng.integers(3)), int(rng.integers(2, 6))
    low, high = _bounds(rng, [piece])
    pitch = np.eye(3)[axis] * (high - low) * rng.uniform(0.9, 2.2)
    parts = [_shifted(piece, k * pitch) for k in range(count)]
    for _ in range(int(rng.integers(0, 3))):
        parts.append(_attached(rng, parts, int(rng.integers(3)), int(rng.integers(2))))
    return parts


def _legged(rng: Rng) -> list[Part]:
    """Something on four equal legs or on a ring of them."""
    body = _piece(rng)
    low, high = _bounds(rng, [body])
    width, _, depth = (high - low) * rng.uniform(0.4, 0.95)
    leg = cylinder(rng.uniform(0.02, 0.1), height := rng.uniform(0.1, 0.9))
    y = float(low[1]) - height / 2
    legs = corners(leg, width, depth, y) if rng.random() < 0.6 else ring(leg, int(rng.integers(3, 7)), width / 2, y)
    parts = [body, *legs]
    for _ in range(int(rng.integers(0, 3))):
        parts.append(_attached(rng, [body], int(rng.integers(3)), 1))
    return parts


def _rosette(rng: Rng) -> list[Part]:
    """Equal pieces around an axis, and others on it."""
    parts = ring(_solid(rng), int(rng.integers(3, 7)), rng.uniform(0.3, 0.9), 0)
    for _ in range(int(rng.integers(0, 3))):
        parts.append(_attached(rng, parts, 1, int(rng.integers(2))))
    return parts


ARRANGEMENTS = [_loose, _built, _stack, _mirrored, _row, _legged, _rosette]


def shape(rng: Rng, count: int) -> Points:
    """A cloud [count, 3]: y is up in most; 40 % are seen from one side only."""
    parts = ARRANGEMENTS[int(rng.integers(len(ARRANGEMENTS)))](rng)
    tilt = rng.uniform(-math.pi, math.pi, 2) if rng.random() < 0.2 else np.zeros(2)
    occluded = rng.random() < 0.4
    points, _ = scan(rng, parts, (3 if occluded else 1) * count)
    points -= (points.min(0) + points.max(0)) / 2
    points = points / np.sqrt((points**2).sum(1).max()) * rng.uniform(0.85, 1.15, 3)
    points = points @ turned(tilt[0], rng.uniform(0, 2 * math.pi), tilt[1]).T
    if occluded:
        eye = rng.standard_normal(3)
        points = points[visible(points, 3 * eye / np.linalg.norm(eye))]
    # A shape seen on its edge may show fewer points than requested.
    drawn: Points = points[np.resize(rng.permutation(len(points)), count)]
    return drawn + rng.normal(0, rng.uniform(0, 0.008), drawn.shape)


class ShapeSet(GeneratedClouds):
    """One split of the shapes."""

    generator = f"synthetic_shapes {VERSION}.{REVISION}"

    def raw(self, index: int) -> NDArray[np.float32]:
        """Cloud `index` [RAW or more, 3]."""
        return shape(self.rng(index), max(RAW, self.preparation.points)).astype(np.float32)


class SyntheticShapes(CloudDataModule):
    """The synthetic shapes as a data module: one class, so that every label is 0.

    Args:
        train_clouds: size of the training split.
        val_clouds: size of the validation split.
        test_clouds: size of the test split.
        generator_seed: of the set itself; the recipe's `seed` changes only the training.
        points: of a cloud.
        augment: augmentations of training clouds, drawn again in every epoch.
    """

    name = "synthetic shapes"
    classes = CLASSES
    synthetic = True
    license = "none needed (generated)"
    own_files = "data_modules.folder_clouds.PlainCloudFolder"

    def __init__(
        self,
        *,
        train_clouds: Annotated[int, ">= 1"] = 4000,
        val_clouds: Annotated[int, ">= 1"] = 128,
        test_clouds: Annotated[int, ">= 1"] = 128,
        generator_seed: Annotated[int, ">= 0"] = 0,
        points: Annotated[int, ">= 1"] = 512,
        augment: tuple[Augmentation, ...] = (),
    ) -> None:
        super().__init__(points=points, augment=augment)
        self.sizes = {"train": train_clouds, "val": val_clouds, "test": test_clouds}
        self.generator_seed = generator_seed

    def splits(self) -> dict[str, SampleSet[Cloud]]:
        """Three disjoint streams of clouds."""
        return {
            split: ShapeSet(split, size, classes=1, seed=self.generator_seed, count=self.count(split), unit=self.unit)
            for split, size in self.sizes.items()
        }
