"""A *synthetic* set of scanned furniture in the shape of ScanObjectNN, made on the fly from a seed. No download.

Fifteen classes of procedural furniture, y up. Each cloud is turned about y, loses what one or two viewpoints do not
see and now and then a corner, is denser on one side than on the other, has the noise of a sensor, and brings along
pieces of floor, wall and neighbours: 5 to 25 % of the points. Some classes meet at their margins, so that neither a
trivial nor a perfect classifier exists. It shows a method at work and catches broken code. It says nothing about
real scans.
"""

import math
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from data_modules.kinds.cloud_augmentation import Augmentation
from data_modules.kinds.clouds import CloudDataModule
from data_modules.synthetic.clouds import RAW, VERSION, GeneratedClouds
from data_modules.synthetic.furniture import FURNITURE
from data_modules.synthetic.solids import Part, Points, Rng, box, cylinder, ellipsoid, plate, scan, turned, visible
from zoo.batch import Cloud, SampleSet

REVISION = 1
"""Part of every key alone, raised where a few samples change: 33 of 1,275 clouds that were not the same everywhere."""

CLASSES = list(FURNITURE)


def _pick(rng: Rng, points: Points, count: int, slope: float) -> Points:
    """Points [count, 3] of [M, 3] without replacement, denser towards a random side; repeated where M < count."""
    density = np.exp(points @ rng.normal(0, slope, 3))
    order = np.argsort(rng.standard_exponential(len(points)) / density)
    return points[np.resize(order, count)]


def _surroundings(rng: Rng, extent: Points, *, wall: bool) -> list[Part]:
    """Floor, wall and neighbours of an object [-x to x, 0 to y, -z to z] of half or full extents (x, y, z)."""
    x, y, z = extent
    parts = []
    if rng.random() < 0.75 or not wall:
        parts.append(Part(plate(2.6 * x, 2.6 * z), (0, -0.01, 0)))
    if wall:
        parts.append(Part(plate(2.6 * x, 1.2 * y), (0, 0.6 * y, -z - rng.uniform(0.01, 0.1)), turned(x=math.pi / 2)))
    for _ in range(int(rng.integers(3))):
        size = rng.uniform(0.1, 0.35, 3)
        kind = [box(*2 * size), ellipsoid(*size), cylinder(size[0], 2 * size[1])][int(rng.integers(3))]
        side = int(rng.choice([-1, 1]))
        # A neighbour stands beside the object or before it, on the same floor, so close that a crop takes some of it.
        if rng.random() < 0.6:
            at = (side * (x + 0.6 * size[0]), size[1], rng.uniform(-z, z))
        else:
            at = (rng.uniform(-x, x), size[1], z + 0.6 * size[2])
        parts.append(Part(kind, at, turned(y=rng.uniform(0, math.pi))))
    return parts


def simulate_scan(rng: Rng, parts: list[Part], count: int) -> Points:
    """A cloud [count, 3] of an object as a depth camera in a room would give it.

    Args:
        rng: what everything random is drawn from.
        parts: the object, y up and facing z.
        count: points.
    """
    share = rng.uniform(0.05, 0.25)
    thing, _ = scan(rng, parts, 3 * count)
    low, high = thing.min(0), thing.max(0)
    extent = (high - low) * [0.5, 1, 0.5]
    radius = float(np.linalg.norm(high - low)) / 2
    thing = (thing - [(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2]) / radius
    extent /= radius

    wall = rng.random() < 0.4
    around, _ = scan(rng, _surroundings(rng, extent, wall=wall), int(count * (0.3 + 3 * share)))
    crop = extent * rng.uniform(1.05, 1.3)
    around = around[(np.abs(around[:, [0, 2]]) < crop[[0, 2]] + 0.12).all(1) & (around[:, 1] < crop[1])]
    scene = np.concatenate([thing, around])

    # Nothing is seen through a wall.
    first = rng.uniform(-1.2, 1.2) if wall else rng.uniform(-math.pi, math.pi)
    seen = np.zeros(len(scene), dtype=np.bool_)
    for azimuth in [first, first + rng.uniform(-1.2, 1.2)][: int(rng.integers(1, 3))]:
        elevation, distance = rng.uniform(0.1, 0.8), rng.uniform(2.5, 4)
        ray = [math.sin(azimuth) * math.cos(elevation), math.sin(elevation), math.cos(azimuth) * math.cos(elevation)]
        seen |= visible(scene, distance * np.array(ray) + [0, extent[1] / 2, 0])
    if rng.random() < 0.35:
        along = scene @ rng.standard_normal(3)
        seen &= along < np.quantile(along[seen], rng.uniform(0.75, 0.92))

    body, rest = thing[seen[: len(thing)]], around[seen[len(thing) :]]
    if len(rest) < 0.05 * count:
        # A room's scan has seen the surroundings from other places, too.
        rest = around
    stray, slope = round(share * count), rng.uniform(0, 1.2)
    points = np.concatenate([_pick(rng, body, count - stray, slope), _pick(rng, rest, stray, slope)])
    points += rng.normal(0, rng.uniform(0.004, 0.018), points.shape)
    return rng.permutation(points) @ turned(y=rng.uniform(0, 2 * math.pi)).T


class ScanSet(GeneratedClouds):
    """One split of the furniture scans."""

    generator = f"synthetic_scans {VERSION}.{REVISION}"

    def raw(self, index: int) -> NDArray[np.float32]:
        """Cloud `index` [RAW or more, 3]."""
        rng = self.rng(index)
        parts = FURNITURE[CLASSES[self.labels[index]]](rng)
        return simulate_scan(rng, parts, max(RAW, self.preparation.points)).astype(np.float32)


class SyntheticScans(CloudDataModule):
    """The synthetic scans as a data module.

    Args:
        train_clouds: size of the training split.
        val_clouds: size of the validation split.
        test_clouds: size of the test split.
        generator_seed: of the set itself; the recipe's `seed` changes only the training.
        points: of a cloud.
        augment: augmentations of training clouds, drawn again in every epoch.
    """

    name = "synthetic furniture scans"
    classes = CLASSES
    synthetic = True
    license = "none needed (generated)"

    def __init__(
        self,
        *,
        train_clouds: Annotated[int, ">= 1"] = 600,
        val_clouds: Annotated[int, ">= 1"] = 225,
        test_clouds: Annotated[int, ">= 1"] = 450,
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
            split: ScanSet(
                split,
                size,
                classes=len(CLASSES),
                seed=self.generator_seed,
                count=self.count(split),
                unit=self.unit,
            )
            for split, size in self.sizes.items()
        }
