"""The types that travel from a data module to a pairing: a decoded sample, then a collated `Batch`.

A sample is a `Clip`, a `Cloud`, a `Picture` or a `Tile`, as plain numpy. Its class names its `kind`:
`zoo/report/kinds/KIND.py` draws it, and `zoo/demos/KIND.py` shows it. The frozen backbones' own transforms turn it into
one tensor per stream, and those are stacked. Nothing here knows a data set or a model.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor


def tensor_of(array: np.ndarray) -> Tensor:
    """An array's values as a tensor, which shares them where they may be written to: Pillow's arrays may not."""
    return torch.from_numpy(array if array.flags.writeable else array.copy())


@dataclass(frozen=True)
class Clip:
    """One decoded audio-visual sample cut into T segments.

    Attributes:
        id: unique within its data set; the prefix cache and every report use it.
        frames: uint8 [T, H, W, 3] RGB, one picture per segment (taken at the segment's centre).
        audio: float32 [T, S] mono in [-1, 1], one window per segment, cut exactly at the segment borders.
        sample_rate: of `audio`, in Hz.
        target: label tensors by name, e.g. `{"segments": int64 [T]}`; what a task reads is in the task's docstring.
        start: of the first segment, in seconds from the beginning of the file.
    """

    kind: ClassVar[str] = "clips"
    id: str
    frames: np.ndarray
    audio: np.ndarray
    sample_rate: int
    target: dict[str, Tensor]
    start: float = 0.0

    @property
    def end(self) -> float:
        """End of the last segment, in seconds from the beginning of the file."""
        return self.start + self.audio.size / self.sample_rate


@dataclass(frozen=True)
class Cloud:
    """One point cloud: a sample of a single segment (T = 1).

    Attributes:
        id: unique within its data set; the prefix cache and every report use it.
        points: float [N, 3].
        target: label tensors by name, e.g. `{"label": int64 []}` or `{"parts": int64 [N]}`.
        conditions: side inputs of the task beside the points, e.g. `{"category": int64 []}`.
        prepared: how the points were prepared (`Preparation.name`); empty for points as a sensor or a file gives them,
            which a pairing prepares before it answers.
    """

    kind: ClassVar[str] = "clouds"
    id: str
    points: np.ndarray
    target: dict[str, Tensor]
    conditions: dict[str, Tensor] = field(default_factory=dict)
    prepared: str = ""


Marks = Literal["A.", "(A)"]

Macro = Literal["", "kinds", "kinds and groups"]


class Question(NamedTuple):
    """A question about a picture.

    Attributes:
        text: the question alone, without its choices.
        choices: the words of A, B, C, ...; none makes the question an open one.
        answer: the right letter, several in order with a space between ("A C") where more than one is right; the words
            themselves for an open question; empty if it is unknown.
        kind: the sub-task, one of the data module's `classes`.
        group: of sub-tasks (a sphere, a level), where a benchmark averages over those.
        instruction: how to answer, in the benchmark's own words; empty for the zoo's.
        marks: how the letters before the choices are written.
        gold: the right answer as the benchmark's file writes it, which its script compares character by character;
            empty where there is no such script.
        macro: what that script averages for its "macro": accuracies of sub-tasks, or those and their groups' together;
            empty where it has none.
    """

    text: str
    choices: tuple[str, ...] = ()
    answer: str = ""
    kind: str = ""
    group: str = ""
    instruction: str = ""
    marks: Marks = "A."
    gold: str = ""
    macro: Macro = ""


METRES = "m"

Origin = Literal["told", "file"]


@dataclass(frozen=True)
class GroundScale:
    """Unit and reference size of an adapter's condition `gsd`.

    An encoder that resizes every picture to one square sees other pixels than the file has. A GSD given for the
    file's pixels means the same to the adapter only for files of one size, so the condition is the GSD that a picture
    would have, had it as many pixels as those of the training: GSD x shorter side / `side`.

    Attributes:
        unit: of a pixel's side: metres, or words that say what it is relative to.
        side: shorter side in pixels of the training's pictures; None if unknown, and GSDs are used unchanged.
        used: whether the adapter takes a GSD at all.
    """

    unit: str = METRES
    side: int | None = None
    used: bool = True


@dataclass(frozen=True)
class Picture:
    """One or more pictures of a place, and a question about them: a sample of a single segment (T = 1).

    Attributes:
        id: unique within its data set; the prefix cache and every report use it.
        images: uint8 [H, W, 3] RGB each; encoders take the first, vision-language models all.
        target: label tensors by name, e.g. `{"label": int64 []}`.
        conditions: side inputs, e.g. `{"gsd": float32 []}`, the ground sampling distance of the pixels of the images as
            given here, NaN where it is not known.
        question: where there is one.
        origin: source of the ground sampling distance: "told" by the user or data set, or the picture's "file".
    """

    kind: ClassVar[str] = "pictures"
    id: str
    images: tuple[np.ndarray, ...]
    target: dict[str, Tensor] = field(default_factory=dict)
    conditions: dict[str, Tensor] = field(default_factory=dict)
    question: Question | None = None
    origin: Origin = "told"

    @property
    def frames(self) -> np.ndarray:
        """The first image as a clip of one frame: uint8 [1, H, W, 3]."""
        return self.images[0][None]


@dataclass(frozen=True)
class Tile:
    """A square of a picture with one label a pixel: a sample of a single segment (T = 1).

    Attributes:
        id: `PICTURE#k`, unique within its data set; the prefix cache and every report use it.
        image: uint8 [S, S, 3] RGB.
        target: `{"mask": uint8 [S, S]}`, class indices and `zoo.ops.frame.IGNORE`; empty where the mask is not known.
        conditions: `{"place": int64 [8]}`: index of the picture in its split; y, x, h, w of the tile's rectangle in the
            picture, in original pixels (it may reach over the border, where the tile is padded); number of tiles of the
            picture; height and width of the picture. Slices of volumes have `group`, `volume` and `spacing` as well
            (`data_modules.kinds.volume_slices`).
    """

    kind: ClassVar[str] = "masks"
    id: str
    image: np.ndarray
    target: dict[str, Tensor] = field(default_factory=dict)
    conditions: dict[str, Tensor] = field(default_factory=dict)

    @property
    def frames(self) -> np.ndarray:
        """The tile as a clip of one frame: uint8 [1, S, S, 3]."""
        return self.image[None]


class Framed(Protocol):
    """A sample that a vision encoder can look at: a clip, a picture or a tile."""

    @property
    def frames(self) -> np.ndarray:
        """uint8 [T, H, W, 3] RGB."""
        ...


Sample = TypeVar("Sample", covariant=True)


class SampleSet(Protocol[Sample]):
    """A map-style data set. `key` names a sample without decoding it, so that a cache can be looked up first."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def id(self, index: int) -> str:
        """Name of sample `index`, the `id` of what is decoded."""
        ...

    def key(self, index: int) -> str:
        """Content identity of sample `index`: changes when its media, or the way they are cut, change."""
        ...

    def target(self, index: int) -> dict[str, Tensor]:
        """Labels of sample `index`, without decoding its media."""
        ...

    def conditions(self, index: int) -> dict[str, Tensor]:
        """Side inputs of sample `index`; most sets have none."""
        return {}

    def picture_size(self, index: int) -> tuple[int, int] | None:
        """Height and width of a picture as it is given, without decoding it; None of other samples."""
        return None

    def together(self, index: int) -> Sequence[int]:
        """Samples without which sample `index` cannot be measured, itself among them: the squares of one picture."""
        return [index]

    def question(self, index: int) -> Question | None:
        """The question about sample `index`, without decoding its media; None for most sets."""
        return None


@dataclass
class Batch:
    """A collated batch of B samples of T segments each; a point cloud is one segment.

    Attributes:
        ids: B sample ids.
        inputs: transformed tensors by stream, [B, T, ...], or what the stream's backbone collates where samples differ
            in shape; empty when every sample came from the prefix cache.
        prefix: cached tokens by stream, [B, T, L, D]; empty when `inputs` is filled.
        keys: B cache keys, or empty when the samples must not be cached.
        origins: what computed the cached tokens, each once, in the words of `zoo.prefix.origin`.
        target: label tensors by name, [B, ...].
        conditions: named side inputs (an object's category, the ground sampling distance), [B, ...].
        questions: one a sample, or empty.
        write: tokens that a language model shall write for every sample; 0 asks for the likelihood of the answers.
        unlike: how far from training an adapter finds every sample, [B], above 1 where it is foreign; None where it
            cannot tell (`zoo.ops.familiarity`).
        read: hidden states of questions and right answers after the first `read_blocks` blocks of the language model,
            float32 [B, L, D], padded with zeros on the left; None where it is to read them from the start.
        read_blocks: see `read`.
    """

    ids: list[str]
    inputs: dict[str, Any]
    target: dict[str, Tensor]
    prefix: dict[str, Tensor] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    origins: list[str] = field(default_factory=list)
    conditions: dict[str, Tensor] = field(default_factory=dict)
    questions: list[Question] = field(default_factory=list)
    write: int = 0
    unlike: Tensor | None = None
    read: Tensor | None = None
    read_blocks: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str) -> Self:
        """The batch with all its tensors on a device."""
        return replace(self, **{each.name: _moved(getattr(self, each.name), device) for each in fields(self)})


def _moved(value: Any, device: torch.device | str) -> Any:
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=torch.device(device).type == "cuda")
    return {name: _moved(one, device) for name, one in value.items()} if isinstance(value, dict) else value


def stack(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Stack a list of per-sample dictionaries of equal keys and shapes into one dictionary of [B, ...] tensors."""
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]} if rows else {}
