"""One upright picture per segment out of a film's frames: the one that is on the screen at the segment's centre.

Frames are shown as a player shows them: each until the next one's timestamp (the next may be the nearer one, but has
not happened yet), turned and mirrored by the display matrix that phones write, and with pixels brought to squares by
the sample aspect ratio.
"""

from collections.abc import Sequence
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_modules.readers.media_streams import TICK

ASPECT = (0.125, 8.0)
"""A sample aspect ratio beyond is a mistake of the file: broadcast and film know 0.5 to 2."""

LARGEST = 64_000_000
"""Pixels of a picture; 8K has half of them."""

TURN = 0.02
"""Share of a matrix outside of its quarter turn below which that is all it does: one degree."""


class Pictures:
    """Collects the pictures of a window.

    Args:
        begin: of the window, in seconds.
        segments: T.
        segment_seconds: length of one.
        between: seconds between two pictures, where neither says for how long it is shown.

    Attributes:
        first: time of the first picture, of the window or before it; None as long as there is none.
    """

    def __init__(self, begin: float, segments: int, segment_seconds: float, between: float = 0.0) -> None:
        self.begin, self.segment_seconds, self.between = begin, segment_seconds, between
        self.centres = [begin + (k + 0.5) * segment_seconds for k in range(segments)]
        self.shown: list[av.VideoFrame | None] = [None] * segments
        self.times = [float("inf")] * segments
        self.first: float | None = None
        self.earliest, self.latest, self.end = float("inf"), float("-inf"), begin
        self.odd: list[str] = []
        self.matrices: dict[int, list[int] | None] = {}
        """Display matrices by their rotation in degrees."""

    def add(self, time: float | None, frame: av.VideoFrame) -> None:
        """Take a frame; one without a time follows the one before."""
        time = self.end if time is None else time
        self.first = time if self.first is None else self.first
        self.earliest, self.latest = min(self.earliest, time), max(self.latest, time)
        self.end = time + self._lasts(frame)
        for k, centre in enumerate(self.centres):
            # Before the first picture a player waits for it.
            since, now = self.times[k], centre + TICK
            if since < time <= now or time < since > now:
                self.shown[k], self.times[k] = frame, time

    def _lasts(self, frame: av.VideoFrame) -> float:
        """For how long, in seconds."""
        return float(frame.duration * frame.time_base) if frame.duration else self.between

    def pixels(self, frame_size: int | None, aspect: float) -> NDArray[np.uint8]:
        """uint8 [T, H, W, 3] as shown.

        Args:
            frame_size: shorter side in pixels; None keeps the file's.
            aspect: width of a stored pixel over its height.
        """
        if not ASPECT[0] <= aspect <= ASPECT[1]:
            self.odd.append(f"its pixels are said to be {aspect:g} times as wide as high: taken for squares")
            aspect = 1.0
        frames = [frame for frame in self.shown if frame is not None]
        size = _stored_size(frames[0], frame_size, aspect)
        if len({(frame.width, frame.height) for frame in frames}) > 1:
            self.odd.append("its pictures change their size: all are brought to that of the first")
        done: dict[int, NDArray[np.uint8]] = {}
        for frame in frames:
            if id(frame) not in done:
                done[id(frame)] = self._upright(frame, size)
        if len({picture.shape for picture in done.values()}) > 1:
            self.odd.append("its pictures turn from upright to lying: all are brought to the size of the first")
            shape = done[id(frames[0])].shape
            done = {k: np.asarray(Image.fromarray(p).resize((shape[1], shape[0]))) for k, p in done.items()}
        return np.stack([done[id(frame)] for frame in frames])

    def _upright(self, frame: av.VideoFrame, size: tuple[int, int]) -> NDArray[np.uint8]:
        small = frame.reformat(*size, format="rgb24")
        picture: NDArray[np.uint8] = small.to_ndarray()
        if small.rotation not in self.matrices:
            # A frame whose side data was read refers to itself, and waits for the garbage collector.
            data = small.side_data.get("DISPLAYMATRIX")
            self.matrices[small.rotation] = None if data is None else np.frombuffer(bytes(data), np.int32)[:9].tolist()
        if (matrix := self.matrices[small.rotation]) is None:
            return picture
        picture, exact = upright(picture, matrix)
        if not exact and (note := "turned by the nearest quarter turn, as its own is none") not in self.odd:
            self.odd.append(note)
        return picture

    def notes(self) -> list[str]:
        """Notes on imputed pictures and irregularities, after `pixels`."""
        half = self.segment_seconds / 2
        kinds = {"after the last picture: it is repeated": 0, "before the first picture: it is shown": 0}
        kinds["in a hole between pictures: the one before is shown"] = 0
        after, before, hole = kinds
        for centre, time, frame in zip(self.centres, self.times, self.shown, strict=True):
            if frame is None or (time < centre + half and time + self._lasts(frame) > centre - half):
                continue
            kind = before if time == self.earliest > centre else after if time == self.latest < centre else hole
            kinds[kind] += 1
        return [*(f"{number} segments {kind}" for kind, number in kinds.items() if number), *self.odd]


def upright(picture: NDArray[Any], matrix: Sequence[int]) -> tuple[NDArray[Any], bool]:
    """A stored picture [H, W, ...] as shown, and whether a quarter turn or mirror is all that the matrix does.

    Args:
        picture: as stored.
        matrix: a, b, u, c, d, v, x, y, w of ISO/IEC 14496-12: column p of row q is shown at (a p + c q, b p + d q).
    """
    a, b, _, c, d, *_ = matrix
    turned = abs(b) + abs(c) > abs(a) + abs(d)
    kept, rest = (abs(b) + abs(c), abs(a) + abs(d)) if turned else (abs(a) + abs(d), abs(b) + abs(c))
    across, down = (c, b) if turned else (a, d)
    picture = picture.swapaxes(0, 1) if turned else picture
    picture = picture[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1]
    return np.ascontiguousarray(picture), rest <= TURN * kept


def sized(image: NDArray[np.uint8], frame_size: int | None) -> NDArray[np.uint8]:
    """A picture whose shorter side has `frame_size` pixels."""
    scale = frame_size / min(image.shape[:2]) if frame_size else 1.0
    size = round(image.shape[1] * scale), round(image.shape[0] * scale)
    return image if scale == 1 else np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def _stored_size(frame: av.VideoFrame, frame_size: int | None, aspect: float) -> tuple[int, int]:
    """Width and height, before it is turned, that give square pixels and the wanted shorter side."""
    scale = frame_size / min(frame.width * aspect, frame.height) if frame_size else 1.0
    size = max(1, round(frame.width * aspect * scale)), max(1, round(frame.height * scale))
    if size[0] * size[1] > LARGEST:
        raise ValueError(f"its pictures of {frame.width} x {frame.height} would take {size[0]} x {size[1]} pixels")
    return size
