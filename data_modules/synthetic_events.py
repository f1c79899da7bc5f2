"""A *synthetic* audio-visual event set in the shape of AVE, made on the fly from a seed. No download, no licence.

Ten one-second segments; twelve classes. A class sounds and its object is in the picture, each over an interval of its
own; the event is where the two overlap, and only there, as AVE defines an audio-visual event. Other classes sound
off-screen and other objects stand silent, so that neither stream alone can tell which class is the event, or when.
It shows a method at work and catches broken code. It says nothing about real sounds and pictures.

Classes may be kept from training and validation (`unseen`), as events and as distractors: train and val are then played
by the other classes alone, and test by the unseen ones alone, between which its events are decided.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_modules.kinds.clips import ClipDataModule
from data_modules.kinds.held_back import HeldBack
from data_modules.synthetic.objects import backdrop, finish, sprite
from data_modules.synthetic.sounds import RATE, SOUNDS, room, voice
from zoo.batch import Clip, SampleSet

VERSION = 1
"""Part of every sample's key: raise it whenever the generator draws anything else."""

CLASSES = list(SOUNDS)

SEGMENTS = 10

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Script:
    """What happens in a clip: per class index, the half-open intervals of segments it is heard and seen in."""

    heard: dict[int, tuple[int, int]]
    seen: dict[int, tuple[int, int]]

    def segments(self) -> list[int]:
        """Class of each segment: the one both heard and seen, else background (`len(CLASSES)`)."""
        return [
            next(
                (c for c in self.heard if c in self.seen and _in(t, self.heard[c]) and _in(t, self.seen[c])),
                len(CLASSES),
            )
            for t in range(SEGMENTS)
        ]


class SyntheticClips(SampleSet[Clip]):
    """One split of the set.

    Args:
        split: its name; splits draw from disjoint streams of random numbers.
        size: clips.
        seed: of the whole set.
        image_size: side of the pictures in pixels.
        cast: labels of the classes that play in it, three or more; None is all of them.
    """

    def __init__(self, split: str, size: int, *, seed: int, image_size: int, cast: Sequence[int] | None = None) -> None:
        self.split, self.size, self.seed, self.image_size = split, size, seed, image_size
        self.cast = list(range(len(CLASSES))) if cast is None else sorted(cast)

    def __len__(self) -> int:
        return self.size

    def id(self, index: int) -> str:
        """`synthetic-<split>-<index>`."""
        return f"synthetic-{self.split}-{index:05d}"

    def key(self, index: int) -> str:
        """Generator version, seed, split, index and picture size; and the cast, where it is not every class."""
        text = f"synthetic_events|{VERSION}|{self.seed}|{self.split}|{index}|{self.image_size}"
        if self._few:
            text += f"|{self.cast}"
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def _few(self) -> bool:
        """Whether some classes do not play."""
        return len(self.cast) < len(CLASSES)

    def conditions(self, index: int) -> dict[str, Tensor]:
        """`candidates`: bool [K], the cast, between which clips are decided; none where that is every class."""
        if not self._few:
            return {}
        return {"candidates": torch.tensor([label in self.cast for label in range(len(CLASSES))])}

    def _rng(self, index: int, part: int) -> np.random.Generator:
        return np.random.default_rng([VERSION, self.seed, SPLITS.index(self.split), index, part])

    def script(self, index: int) -> Script:
        """What is heard and seen in clip `index`; classes take turns, so that they are balanced."""
        rng = self._rng(index, 0)
        event = self.cast[index % len(self.cast)]
        sound, thing = _others(rng, event, self.cast)
        while True:
            heard, seen = _interval(rng, 3), _interval(rng, 3)
            if min(heard[1], seen[1]) - max(heard[0], seen[0]) >= 2:
                break
        script = Script({event: heard}, {event: seen})
        if rng.random() < 0.75:
            script.heard[sound] = _interval(rng, 2)
        if rng.random() < 0.75:
            script.seen[thing] = _interval(rng, 2)
        return script

    def target(self, index: int) -> dict[str, Tensor]:
        """`segments`: int64 [10]."""
        return {"segments": torch.tensor(self.script(index).segments())}

    def __getitem__(self, index: int) -> Clip:
        script = self.script(index)
        return Clip(
            id=self.id(index),
            frames=self._pictures(script, self._rng(index, 1)),
            audio=self._sound(script, self._rng(index, 2)).reshape(SEGMENTS, RATE),
            sample_rate=RATE,
            target=self.target(index),
        )

    def _sound(self, script: Script, rng: np.random.Generator) -> NDArray[np.float32]:
        track = np.zeros(SEGMENTS * RATE, dtype=np.float32)
        for c, (start, end) in script.heard.items():
            wave = voice(rng, CLASSES[c], end - start) * rng.uniform(0.6, 1.4)
            fade = np.minimum(1, np.minimum(np.arange(len(wave)), np.arange(len(wave))[::-1]) / (0.03 * RATE))
            track[start * RATE : end * RATE] += (wave * fade).astype(np.float32)
        return room(rng, track)

    def _pictures(self, script: Script, rng: np.random.Generator) -> NDArray[np.uint8]:
        size = self.image_size
        scene, brightness = backdrop(rng, size), rng.uniform(0.7, 1.2)
        actors = []
        for c, interval in script.seen.items():
            side = int(size * rng.uniform(0.3, 0.55))
            place, speed = rng.uniform(0, size - side, 2), rng.uniform(-0.05, 0.05, 2) * size
            actors.append((interval, sprite(rng, CLASSES[c], side), place, speed, side))
        frames = []
        for t in range(SEGMENTS):
            frame = scene.copy()
            for interval, picture, place, speed, side in actors:
                if _in(t, interval):
                    x, y = np.clip(place + speed * (t - interval[0]), -0.2 * side, size - 0.8 * side)
                    frame.paste(picture, (int(x), int(y)), picture)
            frames.append(finish(rng, frame, brightness * (1 + 0.1 * np.sin(t))))
        return np.stack(frames)


def _in(t: int, interval: tuple[int, int]) -> bool:
    return interval[0] <= t < interval[1]


def _interval(rng: np.random.Generator, shortest: int) -> tuple[int, int]:
    length = int(rng.integers(shortest, SEGMENTS))
    start = int(rng.integers(0, SEGMENTS - length + 1))
    return start, start + length


def _others(rng: np.random.Generator, event: int, cast: Sequence[int]) -> tuple[int, int]:
    """Two further classes: one to sound off-screen, one to stand silent."""
    first, second = rng.permutation([c for c in cast if c != event])[:2]
    return int(first), int(second)


class SyntheticEvents(ClipDataModule):
    """The synthetic set as a data module.

    Args:
        train_clips: size of the training split.
        val_clips: size of the validation split.
        test_clips: size of the test split.
        generator_seed: of the set itself; the recipe's `seed` changes only the training.
        image_size: side of the pictures in pixels.
        unseen: classes that neither train nor val has; they alone play in test then, and are decided between.
        unseen_drawn: so many of them, drawn, in the place of names.
        draw: which classes are drawn; null draws by the run's seed.

    Raises:
        SettingError: an unknown class, fewer than three on either side, or unseen classes both named and drawn.
    """

    name = "synthetic audio-visual events"
    classes = CLASSES
    segments, segment_seconds, sample_rate = SEGMENTS, 1.0, RATE
    synthetic = True
    license = "none needed (generated)"
    conditions = ("candidates",)

    def __init__(
        self,
        *,
        train_clips: Annotated[int, ">= 1"] = 360,
        val_clips: Annotated[int, ">= 1"] = 96,
        test_clips: Annotated[int, ">= 1"] = 204,
        generator_seed: Annotated[int, ">= 0"] = 0,
        image_size: Annotated[int, ">= 32"] = 112,
        unseen: tuple[str, ...] = (),
        unseen_drawn: Annotated[int, ">= 3", "<= 9"] | None = None,
        draw: Annotated[int, ">= 0"] | None = None,
    ) -> None:
        super().__init__()
        self.held_back = HeldBack(CLASSES, tuple(unseen), unseen_drawn, draw=draw, least=3)
        self.sizes = {"train": train_clips, "val": val_clips, "test": test_clips}
        self.generator_seed, self.image_size = generator_seed, image_size

    def splits(self) -> dict[str, SampleSet[Clip]]:
        """Three disjoint streams of clips; with unseen classes, these play in test, and the others elsewhere."""
        away = self.held_back.away(self.seed)
        seen = [label for label in range(len(CLASSES)) if label not in away]
        return {
            split: SyntheticClips(
                split,
                size,
                seed=self.generator_seed,
                image_size=self.image_size,
                cast=away if away and split == "test" else seen,
            )
            for split, size in self.sizes.items()
        }
