"""How a picture of any size becomes squares for an encoder, and how maps of these squares become one of the picture.

Three ways, one a recipe:

    {tile: 256, overlap: 64}   squares at native pixels; the last one of a row or column is moved inwards, so that every
                               pixel is covered; smaller pictures are padded below and on the right
    {letterbox: 352}           the whole picture, its longest side shrunk or enlarged to 352, padded to a square
    {squash: 352}              the whole picture, stretched to a square: only to compare with benchmarks that do so

A rectangle of the picture (`Place`) says where a square lies, whatever the way. Padding is black in pictures and
`IGNORE` in masks. Pictures are averaged by area where they are shrunk, and bilinear where they are enlarged; masks take
the nearest pixel. Predictions go back as logits, bilinear, and are averaged where tiles overlap; the argmax comes last.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from zoo.errors import SettingError

Way = Literal["tile", "letterbox", "squash"]

IGNORE = 255
"""Value of a mask where there is no label, or no picture."""

ROWS = 256
"""Rows of a band of a picture that is seen as a whole."""


class Place(NamedTuple):
    """A square's rectangle in its picture, in original pixels; it may reach over the borders."""

    y: int
    x: int
    h: int
    w: int

    def inside(self, height: int, width: int) -> "Place":
        """The part of it that lies in a picture of this size."""
        top, left = max(0, self.y), max(0, self.x)
        return Place(top, left, min(height, self.y + self.h) - top, min(width, self.x + self.w) - left)

    def condition(self, picture: int, number: int, height: int, width: int) -> Tensor:
        """The condition `place` of a `zoo.batch.Tile`, int64 [8].

        Args:
            picture: its index in the split.
            number: of the tiles of this picture.
            height: of the picture.
            width: of the picture.
        """
        return torch.tensor([picture, *self, number, height, width])


@dataclass(frozen=True)
class Frame:
    """One way from pictures to squares and back.

    Attributes:
        way: `tile`, `letterbox` or `squash`.
        side: S, of the squares in pixels.
        overlap: least pixels that neighbouring tiles share.

    Raises:
        SettingError: no side, or an overlap of more than half a tile.
    """

    way: Way
    side: int
    overlap: int = 0

    def __post_init__(self) -> None:
        if self.side < 1:
            raise SettingError(f"data.frame: {self.way} = {self.side}; expected pixels, 1 or more")
        most = self.side // 2 if self.way == "tile" else 0
        if not 0 <= self.overlap <= most:
            raise SettingError(
                f"data.frame: overlap = {self.overlap}; expected 0 to {most}"
                + (", half the tile" if most else f": {self.way} shows the whole picture")
            )

    @classmethod
    def parse(cls, setting: Mapping[str, int]) -> Self:
        """The frame that a recipe's `data.frame` names.

        Raises:
            SettingError: none or two ways, or an unknown key.
        """
        ways = [way for way in get_args(Way) if way in setting]
        if len(ways) != 1 or not set(setting) <= {*ways, "overlap"}:
            raise SettingError(
                f"data.frame: got {dict(setting)}; expected {{tile: 256, overlap: 64}}, {{letterbox: 352}} or "
                "{squash: 352}"
            )
        return cls(ways[0], setting[ways[0]], setting.get("overlap", 0))

    @property
    def key(self) -> str:
        """Part of a sample's key."""
        return f"{self.way} {self.side} {self.overlap}"

    def places(self, height: int, width: int) -> list[Place]:
        """Rectangles of the squares of a picture, row by row."""
        if self.way == "squash":
            return [Place(0, 0, height, width)]
        if self.way == "letterbox":
            return [Place(0, 0, max(height, width), max(height, width))]
        return [Place(y, x, self.side, self.side) for y in self._starts(height) for x in self._starts(width)]

    def _starts(self, length: int) -> list[int]:
        last = max(0, length - self.side)
        return [*range(0, last, self.side - self.overlap), last]

    def image(self, part: NDArray[np.uint8], place: Place) -> NDArray[np.uint8]:
        """A square of a picture, uint8 [S, S, 3]; black where there is none.

        Args:
            part: uint8 [h, w, 3], the pixels of `place.inside`.
            place: of the square.
        """
        height, width = self._seen(part.shape[:2], place)
        if (height, width) != part.shape[:2]:
            shrunk = height <= part.shape[0] and width <= part.shape[1]
            how = Image.Resampling.BOX if shrunk else Image.Resampling.BILINEAR
            part = np.asarray(Image.fromarray(part).resize((width, height), how))
        square = np.zeros((self.side, self.side, 3), np.uint8)
        square[:height, :width] = part
        return square

    def mask(self, part: NDArray[np.uint8], place: Place) -> NDArray[np.uint8]:
        """A square of a mask, uint8 [S, S]; `IGNORE` where there is no picture.

        Args:
            part: uint8 [h, w], the pixels of `place.inside`.
            place: of the square.
        """
        height, width = self._seen(part.shape, place)
        rows, columns = (
            ((np.arange(new) + 0.5) * old / new).astype(int)
            for old, new in zip(part.shape, (height, width), strict=True)
        )
        square = np.full((self.side, self.side), IGNORE, np.uint8)
        square[:height, :width] = part[rows[:, None], columns]
        return square

    def _seen(self, part: tuple[int, ...], place: Place) -> tuple[int, int]:
        """Height and width in the square of what is no padding."""
        return max(1, round(part[0] * self.side / place.h)), max(1, round(part[1] * self.side / place.w))

    def window(self, place: Place, height: int, width: int) -> Tensor:
        """Weights of a tile's pixels, float32 [S, S]: 1 in the middle, falling towards borders inside the picture.

        The outermost quarter of the overlap counts nothing, the half after it rises: weights of two neighbours that
        share `overlap` pixels sum to 1, and no pixel is taken from where a tile lacks its surroundings. At the border
        of the picture nothing falls.
        """
        rows, columns = (
            self._ramp(start > 0, start + self.side < length) for start, length in ((place.y, height), (place.x, width))
        )
        return rows[:, None] * columns

    def _ramp(self, before: bool, after: bool) -> Tensor:
        if not self.overlap:
            return torch.ones(self.side)
        from_border = torch.arange(self.side) + 0.5
        rise = ((from_border - self.overlap / 4) / (self.overlap / 2)).clamp(0, 1)
        one = torch.ones(self.side)
        return (rise if before else one) * (rise.flip(0) if after else one)

    def bands(self, maps: Iterable[tuple[Place, Tensor]], height: int, width: int) -> Iterator[tuple[int, Tensor]]:
        """The map of a picture in bands of full width, from above: (first row, float32 [K, rows, width]).

        No more than one row of tiles is held, so a picture of any height takes K x S x width floats.

        Args:
            maps: places in the order of `places`, and logits [K, S, S].
            height: of the picture.
            width: of the picture.

        Raises:
            ValueError: the maps are of other places.
        """
        return self._of_tiles(maps, height, width) if self.way == "tile" else self._of_whole(maps, height, width)

    def whole(self, maps: Iterable[tuple[Place, Tensor]], height: int, width: int) -> Tensor:
        """The map of a picture at once, float32 [K, height, width]; arguments as in `bands`."""
        return torch.cat([band for _, band in self.bands(maps, height, width)], dim=1)

    def _of_whole(self, maps: Iterable[tuple[Place, Tensor]], height: int, width: int) -> Iterator[tuple[int, Tensor]]:
        ((place, logits),) = maps
        tall, wide = self._seen((height, width), place)
        seen = logits[None, :, :tall, :wide].float()
        broad = functional.interpolate(seen, (tall, width), mode="bilinear", align_corners=False)[0]
        for first in range(0, height, ROWS):
            at = (torch.arange(first, min(height, first + ROWS)) + 0.5) * (tall / height) - 0.5
            at = at.clamp(0, tall - 1)
            low = at.long()
            high, share = (low + 1).clamp(max=tall - 1), (at - low)[:, None].to(broad)
            yield first, broad[:, low] * (1 - share) + broad[:, high] * share

    def _of_tiles(self, maps: Iterable[tuple[Place, Tensor]], height: int, width: int) -> Iterator[tuple[int, Tensor]]:
        top, total, weight = 0, torch.empty(0), torch.empty(0)
        expected = self.places(height, width)
        for wanted, (place, logits) in zip(expected, maps, strict=True):
            if place != wanted:
                raise ValueError(f"a map of {place}; expected {wanted}, one a tile from above and from the left")
            if not total.numel():
                total = torch.zeros(len(logits), self.side, width, device=logits.device)
                weight = torch.zeros_like(total[0])
            if done := place.y - top:
                yield top, total[:, :done] / weight[:done]
                total, weight = _moved(total, done), _moved(weight, done)
                top = place.y
            _, x, rows, columns = place.inside(height, width)
            share = self.window(place, height, width)[:rows, :columns].to(total)
            total[:, :rows, x : x + columns] += logits[:, :rows, :columns] * share
            weight[:rows, x : x + columns] += share
        rows = height - top
        yield top, total[:, :rows] / weight[:rows]


def _moved(rows: Tensor, done: int) -> Tensor:
    """[..., S, W] without its first rows, and with as many of zeros at the end."""
    return torch.cat([rows[..., done:, :], torch.zeros_like(rows[..., :done, :])], dim=-2)


def stitched(maps: Tensor, places: Tensor) -> Tensor:
    """Logits of all tiles of one picture as one map of it, float32 [K, H, W].

    Args:
        maps: [n, K, S, S].
        places: int64 [n, 8], their conditions `place`, which also tell the frame.

    Raises:
        ValueError: tiles are missing.
    """
    order = sorted(range(len(places)), key=lambda k: places[k, 1:3].tolist())
    rows = [[int(number) for number in places[k]] for k in order]
    number, height, width = rows[0][5:] if rows else (1, 0, 0)
    if len(rows) != number:
        raise ValueError(f"{len(rows)} tiles; expected {number}, all of the picture")
    frame = _frame_of([Place(*row[1:5]) for row in rows], maps.shape[-1], height, width)
    return frame.whole(((Place(*row[1:5]), maps[k]) for k, row in zip(order, rows, strict=True)), height, width)


def _frame_of(places: list[Place], side: int, height: int, width: int) -> Frame:
    if len(places) == 1 and places[0] == Place(0, 0, height, width):
        return Frame("squash", side)
    if len(places) == 1 and places[0].h == max(height, width):
        return Frame("letterbox", side)
    steps = [
        after - before
        for starts in ({place.y for place in places}, {place.x for place in places})
        for before, after in zip(sorted(starts), sorted(starts)[1:], strict=False)
    ]
    # The last step of a row is the shorter one, but where it is the only one: then any overlap up to it fits.
    return Frame("tile", side, min(side // 2, side - max(steps, default=side)))
