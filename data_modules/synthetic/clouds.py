"""A split of clouds that a generator draws, each by its own seed."""

import hashlib

import numpy as np

from data_modules.kinds.clouds import CloudSet
from data_modules.synthetic.solids import Rng

VERSION = 1
"""Of the random numbers, and part of every sample's key: raise it whenever the generator draws anything else."""

SPLITS = ("train", "val", "test")

RAW = 2048
"""Points of a raw cloud, unless more are requested."""


class GeneratedClouds(CloudSet):
    """One split of a generated set: a cloud is a function of generator version, seed, split and index.

    Subclasses implement `raw`.

    Args:
        split: its name; splits draw from disjoint streams of random numbers.
        size: clouds.
        classes: how many; they take turns, so that they are balanced.
        seed: of the whole set.
        count: points to give.
        unit: scale every cloud into the unit sphere.
    """

    generator: str
    """Name and version of what draws the clouds."""

    def __init__(self, split: str, size: int, *, classes: int, seed: int, count: int, unit: bool) -> None:
        ids = [f"synthetic-{split}-{index:05d}" for index in range(size)]
        super().__init__(ids, [index % classes for index in range(size)], count=count, unit=unit)
        self.split, self.seed = split, seed

    def key(self, index: int) -> str:
        """Everything a cloud depends on; nothing is drawn for it."""
        text = f"{self.generator}|{self.preparation.name}|{self.seed}|{self.split}|{index}"
        return hashlib.sha256(text.encode()).hexdigest()

    def rng(self, index: int) -> Rng:
        """The stream of random numbers of cloud `index`."""
        return np.random.default_rng([VERSION, self.seed, SPLITS.index(self.split), index])
