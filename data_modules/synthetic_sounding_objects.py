"""A *synthetic* set for audio-visual segmentation, drawn on the fly from a seed: which of two objects makes the sound?

Five seconds with a picture and a sound each. Two objects of two classes are in every picture, in halves of it that are
dealt by chance; in every second one of them sounds, or a class that is not in the picture, or nothing at all. The mask
is that of the sounding object, and is empty where what sounds is off screen. Nothing in the pictures tells who sounds:
both objects have the same chance in every second, so that an answer by eye alone is right half of the time at most.
Objects, sounds and rooms are those of `data_modules.synthetic_events`. The set shows a method at work and catches
broken code. It says nothing about real sounds and pictures.
"""

import hashlib
import itertools
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_modules.kinds.clips import ClipDataModule
from data_modules.synthetic.objects import backdrop, finish, sprite
from data_modules.synthetic.sounds import RATE, SOUNDS, room, voice
from zoo.batch import Clip, SampleSet

VERSION = 1
"""Part of every sample's key: raise it whenever the generator draws anything else."""

CLASSES = list(SOUNDS)

SEGMENTS = 5

SPLITS = ("train", "val", "test")

ON_SCREEN = 0.8
"""Share of the stretches in which an object of the picture sounds."""

SILENT = 0.5
"""Share of the other stretches without any sound; in the rest a class sounds that is not in the picture."""

WARM_UP = 1.5
"""Seconds of a voice that are passed over: what is struck now and then may start with a pause."""

OPAQUE = 128
"""Alpha from which on a pixel belongs to its object."""


class Stretch(NamedTuple):
    """Seconds `start` to `end`, end exclusive, in which a class sounds; none where `label` is None."""

    label: int | None
    start: int
    end: int


@dataclass(frozen=True)
class Script:
    """What happens in a clip.

    Attributes:
        seen: the classes of the two objects.
        heard: stretches that divide the clip.
    """

    seen: tuple[int, int]
    heard: tuple[Stretch, ...]

    def sounding(self) -> list[int | None]:
        """By second, which of the two objects sounds, 0 or 1; None where neither does."""
        found: list[int | None] = []
        for label, start, end in self.heard:
            found += [self.seen.index(label) if label in self.seen else None] * (end - start)
        return found


class SoundingClips(SampleSet[Clip]):
    """One split of the set.

    Args:
        split: its name; splits draw from disjoint streams of random numbers.
        size: clips.
        seed: of the whole set.
        image_size: side of the pictures in pixels.
    """

    def __init__(self, split: str, size: int, *, seed: int, image_size: int) -> None:
        self.split, self.size, self.seed, self.image_size = split, size, seed, image_size

    def __len__(self) -> int:
        return self.size

    def id(self, index: int) -> str:
        """`sounding-<split>-<index>`."""
        return f"sounding-{self.split}-{index:05d}"

    def key(self, index: int) -> str:
        """Generator version, seed, split, index and picture size."""
        text = f"synthetic_sounding_objects|{VERSION}|{self.seed}|{self.split}|{index}|{self.image_size}"
        return hashlib.sha256(text.encode()).hexdigest()

    def _stream(self, index: int, part: int) -> tuple[int, ...]:
        return VERSION, self.seed, SPLITS.index(self.split), index, part

    def script(self, index: int) -> Script:
        """What is seen and heard in clip `index`; the first object's classes take turns, so that they are balanced."""
        rng = np.random.default_rng(self._stream(index, 0))
        first = index % len(CLASSES)
        others = [int(label) for label in rng.permutation([c for c in range(len(CLASSES)) if c != first])]
        seen, absent = (first, others[0]), others[1]
        cuts = sorted(int(cut) for cut in rng.choice(range(1, SEGMENTS), int(rng.integers(1, 3)), replace=False))
        edges, heard, before = [0, *cuts, SEGMENTS], [], -1
        for start, end in itertools.pairwise(edges):
            if rng.random() < ON_SCREEN:
                # Neighbouring stretches differ; the first is either's with the same chance.
                choices = [label for label in seen if label != before]
                label: int | None = choices[int(rng.integers(len(choices)))]
            else:
                label = None if rng.random() < SILENT else absent
            heard.append(Stretch(label, start, end))
            before = -1 if label is None else label
        return Script(seen, tuple(heard))

    def target(self, index: int) -> dict[str, Tensor]:
        """`masks`: uint8 [5, S, S], 1 on the sounding object."""
        script = self.script(index)
        _, shapes = _drawn(self._stream(index, 1), script.seen, self.image_size)
        masks = np.zeros((SEGMENTS, self.image_size, self.image_size), np.uint8)
        for t, sounding in enumerate(script.sounding()):
            if sounding is not None:
                masks[t] = shapes[t, sounding]
        return {"masks": torch.from_numpy(masks)}

    def __getitem__(self, index: int) -> Clip:
        script = self.script(index)
        frames, _ = _drawn(self._stream(index, 1), script.seen, self.image_size)
        return Clip(
            id=self.id(index),
            frames=frames,
            audio=_sound(script, np.random.default_rng(self._stream(index, 2))).reshape(SEGMENTS, RATE),
            sample_rate=RATE,
            target=self.target(index),
        )


def _sound(script: Script, rng: np.random.Generator) -> NDArray[np.float32]:
    """The whole clip's, [5 * RATE]."""
    track = np.zeros(SEGMENTS * RATE, dtype=np.float32)
    for label, start, end in script.heard:
        if label is None:
            continue
        wave = voice(rng, CLASSES[label], end - start + WARM_UP)[-(end - start) * RATE :] * rng.uniform(0.6, 1.4)
        fade = np.minimum(1, np.minimum(np.arange(len(wave)), np.arange(len(wave))[::-1]) / (0.03 * RATE))
        track[start * RATE : end * RATE] += (wave * fade).astype(np.float32)
    return room(rng, track)


@lru_cache(maxsize=4)
def _drawn(stream: tuple[int, ...], seen: tuple[int, int], size: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Pictures uint8 [5, S, S, 3], and where each of the two objects is, [5, 2, S, S]."""
    rng = np.random.default_rng(stream)
    scene, brightness = backdrop(rng, size), rng.uniform(0.7, 1.2)
    across, half = bool(rng.integers(2)), size // 2
    corners = [(0, 0), (half, 0) if across else (0, half)]
    actors = []
    for label, corner in zip(seen, [corners[k] for k in rng.permutation(2)], strict=True):
        side = int(half * rng.uniform(0.6, 0.95))
        room_left = np.array([half if across else size, size if across else half]) - side
        start, end = rng.uniform(0, room_left), rng.uniform(0, room_left)
        actors.append((sprite(rng, CLASSES[label], side), np.array(corner) + start, (end - start) * 0.3))
    frames, places = [], np.zeros((SEGMENTS, 2, size, size), dtype=bool)
    for t in range(SEGMENTS):
        frame = scene.copy()
        for k, (picture, place, way) in enumerate(actors):
            x, y = (int(at) for at in place + way * t / (SEGMENTS - 1))
            frame.paste(picture, (x, y), picture)
            alpha = np.asarray(picture)[..., 3]
            places[t, k, y : y + alpha.shape[0], x : x + alpha.shape[1]] = alpha >= OPAQUE
        frames.append(finish(rng, frame, brightness * (1 + 0.1 * np.sin(t))))
    return np.stack(frames), places


class SyntheticSoundingObjects(ClipDataModule):
    """The synthetic set as a data module.

    Args:
        train_clips: size of the training split.
        val_clips: size of the validation split.
        test_clips: size of the test split.
        generator_seed: of the set itself; the recipe's `seed` changes only the training.
        image_size: side of the pictures in pixels.
    """

    name = "synthetic sounding objects"
    classes = CLASSES
    segments, segment_seconds, sample_rate = SEGMENTS, 1.0, RATE
    synthetic = True
    license = "none needed (generated)"
    own_files = "data_modules.folder_sounding_objects.SoundingFolder"

    def __init__(
        self,
        *,
        train_clips: Annotated[int, ">= 1"] = 300,
        val_clips: Annotated[int, ">= 1"] = 72,
        test_clips: Annotated[int, ">= 1"] = 144,
        generator_seed: Annotated[int, ">= 0"] = 0,
        image_size: Annotated[int, ">= 32"] = 112,
    ) -> None:
        super().__init__()
        self.sizes = {"train": train_clips, "val": val_clips, "test": test_clips}
        self.generator_seed, self.image_size = generator_seed, image_size

    def splits(self) -> dict[str, SampleSet[Clip]]:
        """Three disjoint streams of clips."""
        return {
            split: SoundingClips(split, size, seed=self.generator_seed, image_size=self.image_size)
            for split, size in self.sizes.items()
        }
