"""One track of sound out of pieces with timestamps: placed, mixed to mono, resampled and cut into segments.

Two channels are averaged. Surround sound becomes the mean of the stereo that ITU-R BS.775 makes of it: a plain mean of
six channels would leave of speech, which is in the centre alone, a sixth.

Every piece lies where its timestamp says. Timestamps are rounded (Matroska counts milliseconds), so that pieces within
`JITTER` of where the one before ended follow it without a seam; what is farther off is a hole, which is silent.
"""

import math

import av
import numpy as np
import torch
from numpy.typing import NDArray

from data_modules.readers.media_streams import MediaError
from zoo.ops.resample_audio import resample

JITTER = 0.04
"""Seconds: the length of a picture at 25 a second."""

FASTEST = 1_000_000
"""Samples a second; what is recorded stays below."""

COPRIME = 5_000_000
"""Products of two rates over their common divisors above which a filter bank of that size is not built."""

CANCELLED = 0.02
"""Share of the channels' power below which their mix has lost the sound: 1/C at least if only one of C sounds."""

HALF = math.sqrt(0.5)

SHARES = {
    **dict.fromkeys(("FL", "FR"), 0.5), "FC": HALF, "BC": 0.5,
    **dict.fromkeys(("BL", "BR", "SL", "SR"), HALF / 2),
}  # fmt: skip
"""Weight of a surround channel in the mono mix; other channels, such as bass effects (LFE), have weight 0."""


class Sound:
    """Collects the pieces of a window.

    Args:
        begin: of the window, in seconds.
        seconds: its length.

    Attributes:
        first: time of the first piece, of the window or before it; None as long as there is none.
    """

    def __init__(self, begin: float, seconds: float) -> None:
        self.begin, self.seconds = begin, seconds
        self.first: float | None = None
        self.rate = 0
        self.track = np.zeros(0, np.float32)
        self.cursor = 0
        """Expected start of the next piece, in samples from the window's start."""
        self.inside = False
        self.holes: list[tuple[float, float]] = []
        self.back: list[float] = []
        self.power = [0.0, 0.0]
        """Energy of the channels' mean, and the mean of the channels' energies."""

    def add(self, time: float | None, frame: av.AudioFrame) -> None:
        """Place a frame; one without a time follows the one before."""
        channels, shares = _channels(frame)
        if self.first is None:
            self.rate = frame.sample_rate
            if not 0 < self.rate <= FASTEST:
                raise ValueError(f"its sound has {self.rate} samples a second")
            self.track = np.zeros(round(self.seconds * self.rate), np.float32)
            self.first = self.begin if time is None else time
            self.cursor = self._place(self.first)
        piece: NDArray[np.float32] = shares @ channels
        if frame.sample_rate != self.rate:
            piece = _resampled(piece, frame.sample_rate, self.rate)
        at = self.cursor if time is None else self._place(time)
        if abs(at - self.cursor) <= JITTER * self.rate:
            at = self.cursor
        elif at < self.cursor:
            if self.cursor > 0 and at < len(self.track):
                self.back.append(self.begin + at / self.rate)
            piece, at = piece[self.cursor - at :], self.cursor
        elif at > 0 and self.cursor < len(self.track):
            hole = max(0, self.cursor), min(at, len(self.track))
            self.holes.append((self.begin + hole[0] / self.rate, self.begin + hole[1] / self.rate))
        self.cursor = at + len(piece)
        heard = piece[max(0, -at) : max(0, len(self.track) - at)]
        if len(heard):
            self.inside = True
            self.track[max(0, at) : max(0, at) + len(heard)] = heard
            self.power[0] += float(np.vdot(piece, piece))
            self.power[1] += float(np.vdot(channels, channels)) / len(channels)

    def _place(self, time: float) -> int:
        return round((time - self.begin) * self.rate)

    def windows(self, segments: int, sample_rate: int) -> NDArray[np.float32]:
        """float32 [T, S] mono in [-1, 1]; silence where there are no pieces.

        Raises:
            MediaError: samples that are no finite numbers; without the file's name.
        """
        if bad := int((~np.isfinite(self.track)).sum()):
            raise MediaError(f"{bad} samples of its sound are NaN or infinite")
        wave = self.track if self.rate in (0, sample_rate) else _resampled(self.track, self.rate, sample_rate)
        size = round(self.seconds / segments * sample_rate)
        out = np.zeros(segments * size, np.float32)
        out[: len(wave)] = wave[: len(out)].clip(-1, 1)  # decoders and mixes go beyond
        return out.reshape(segments, size)

    def notes(self) -> list[str]:
        """Notes on padded sound and irregularities, after all pieces were added."""
        if not self.inside:
            return ["no sound in these seconds: silence"]
        found = []
        if self.first is not None and (late := self.first - self.begin) > JITTER:
            found.append(f"sound begins {late:.2f} s late: silence before")
        if self.holes:
            lost = sum(end - start for start, end in self.holes)
            where = f"from {self.holes[0][0]:.2f} to {self.holes[0][1]:.2f} s"
            more = f" and {len(self.holes) - 1} more, {lost:.2f} s in all" if len(self.holes) > 1 else ""
            found.append(f"the sound has a hole {where}{more}: silence there")
        if self.back:
            found.append(f"timestamps of the sound go back to {self.back[0]:.2f} s: what they repeat is left out")
        if self.cancelled:
            found.append("the channels of its sound cancel each other (opposite phase): their mix is all but silent")
        elif not self.track.any():
            found.append("its sound is pure silence")
        if (early := (len(self.track) - self.cursor) / self.rate) >= 0.005:
            found.append(f"sound ends {early:.2f} s early: padded with silence")
        return found

    @property
    def cancelled(self) -> bool:
        """Whether averaging the channels has taken the sound away."""
        return self.power[0] < CANCELLED * self.power[1]


def _resampled(wave: NDArray[np.float32], rate: int, wanted: int) -> NDArray[np.float32]:
    out: NDArray[np.float32]
    divisor = math.gcd(rate, wanted)
    if (rate // divisor) * (wanted // divisor) <= COPRIME:
        out = resample(torch.from_numpy(wave), rate, wanted).numpy()
        return out
    resampler = av.AudioResampler(format="flt", layout="mono", rate=wanted)
    frame = av.AudioFrame.from_ndarray(wave[None], format="flt", layout="mono")
    frame.sample_rate = rate
    pieces = [piece.to_ndarray()[0] for piece in (*resampler.resample(frame), *resampler.resample(None))]
    out = np.concatenate(pieces)
    return out


def _channels(frame: av.AudioFrame) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A sound frame of any sample format to float32 [C, n], and each channel's share in the mix [C]."""
    raw = frame.to_ndarray()
    if not frame.format.is_planar:
        raw = raw.reshape(-1, frame.layout.nb_channels).T
    if raw.dtype == np.uint8:
        scaled = raw.astype(np.float32) / 128 - 1
    elif np.issubdtype(raw.dtype, np.integer):
        scaled = raw.astype(np.float32) / np.float32(-float(np.iinfo(raw.dtype).min))
    else:
        scaled = raw.astype(np.float32, copy=False)
    shares = np.array([SHARES.get(channel.name, 0.0) for channel in frame.layout.channels], np.float32)
    if len(scaled) < 3 or not {"FL", "FR"} <= {channel.name for channel in frame.layout.channels}:
        shares = np.full(len(scaled), 1 / len(scaled), np.float32)
    return scaled[shares > 0], shares[shares > 0]
