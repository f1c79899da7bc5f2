"""Resampling of sound by band-limited interpolation, as `torchaudio.functional.resample` does it by default.

Smith, "Digital Audio Resampling" (https://ccrma.stanford.edu/~jos/resample/): a sample of the new signal is the sum of
the old ones under a sinc at its own place, which also cuts off what the lower of the two rates cannot hold. The sinc is
windowed by a squared cosine after six zero crossings and rolled off at 99 % of that rate's Nyquist frequency. Rates in
the ratio p : q repeat q filters every p samples, which is one strided convolution. (Tables of positions:
`resample_table.py`.)
"""

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

ZEROS, ROLLOFF = 6, 0.99


def resample(waveform: Tensor, rate: int, wanted: int) -> Tensor:
    """Waveforms [..., S] at `rate` Hz to [..., ceil(S * wanted / rate)] at `wanted` Hz, of the same dtype and device.

    Equal to torchaudio 2.11 bit for bit, but for the length of sounds above 2**24 samples, which is rounded there.

    Raises:
        ValueError: a rate that is no positive integer.
    """
    if min(rate, wanted) < 1 or rate != int(rate) or wanted != int(wanted):
        raise ValueError(f"sampling rates are positive integers in Hz, got {rate} and {wanted}")
    if rate == wanted:
        return waveform
    divisor = math.gcd(rate, wanted)
    old, new = rate // divisor, wanted // divisor
    filters, width = _filters(old, new, waveform.dtype)
    rows = F.pad(waveform.reshape(-1, waveform.shape[-1]), (width, width + old))
    out = F.conv1d(rows[:, None], filters.to(waveform.device), stride=old)  # [N, new, S / old]
    length = -(-new * waveform.shape[-1] // old)
    return out.transpose(1, 2).flatten(1)[:, :length].reshape(*waveform.shape[:-1], length)


@lru_cache(maxsize=4)  # of coprime rates a bank can have 50 MB
@torch.inference_mode(False)  # what is kept serves callers of both modes
def _filters(old: int, new: int, dtype: torch.dtype) -> tuple[Tensor, int]:
    """One filter for each of `new` places between `old` samples, [new, 1, 2 * width + old], and that width."""
    cutoff = min(old, new) * ROLLOFF
    width = math.ceil(ZEROS * old / cutoff)
    samples = torch.arange(-width, width + old, dtype=dtype)[None, None] / old
    places = torch.arange(0, -new, -1, dtype=dtype)[:, None, None] / new
    t = ((places + samples) * cutoff).clamp(-ZEROS, ZEROS)  # in zero crossings of the sinc
    window = torch.cos(t * math.pi / ZEROS / 2) ** 2
    t = t * math.pi
    sinc = torch.where(t == 0, 1.0, t.sin() / t)
    return sinc * (window * (cutoff / old)), width
