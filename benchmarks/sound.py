"""`python benchmarks/sound.py [output=FILE.json]`: resampling and mel frames beside torchaudio, whose bits they give.

Ten seconds of noise on one thread, both in turn in one process; ratios are ours / torchaudio's, least of the rounds. It
needs the extra `torchaudio`, and with it torch 2.11.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torchaudio
from measuring import Record, timed
from torch import Tensor

from zoo.command_line import parse_arguments
from zoo.ops.fbank import KALDI_RATE, fbank
from zoo.ops.resample_audio import resample

RATES = ((44_100, 16_000), (48_000, 44_100), (16_000, 44_100))
SECONDS = 10


def kaldi(wave: Tensor) -> Tensor:
    """The filter bank of AST as its authors call it, [frames, 128]."""
    frames: Tensor = torchaudio.compliance.kaldi.fbank(
        wave - wave.mean(),
        sample_frequency=KALDI_RATE,
        num_mel_bins=128,
        htk_compat=True,
        window_type="hanning",
        use_energy=False,
        dither=0.0,
    )
    return (frames + 4.2677393) / (2 * 4.5689974)


def main(argv: list[str] | None = None) -> int:
    """Time both, and say whether they give the same bits."""
    arguments, _ = parse_arguments(argv, __doc__ or "", optional=("output",))
    torch.set_num_threads(1)
    record = Record(Path(arguments.get("output", "sound.json")), torch=torch.__version__)
    work: dict[str, tuple[Callable[[], Tensor], Callable[[], Tensor]]] = {}
    for rate, wanted in RATES:
        wave = torch.randn(1, SECONDS * rate, generator=torch.Generator().manual_seed(0))
        work[f"resample {rate} to {wanted} Hz"] = (
            lambda wave=wave, rate=rate, wanted=wanted: resample(wave, rate, wanted),  # type: ignore[misc]
            lambda wave=wave, rate=rate, wanted=wanted: torchaudio.functional.resample(wave, rate, wanted),  # type: ignore[misc]
        )
    speech = torch.randn(1, SECONDS * KALDI_RATE, generator=torch.Generator().manual_seed(0)) / 10
    work["Kaldi filter bank"] = (lambda: fbank(speech, KALDI_RATE, "ast")[0], lambda: kaldi(speech))
    for name, (ours, theirs) in work.items():
        pair = timed(ours)["least_ms"], timed(theirs)["least_ms"]
        same = torch.equal(ours(), theirs())
        record.add(what=name, ours_ms=pair[0], torchaudio_ms=pair[1], ratio=round(pair[0] / pair[1], 2), same_bits=same)
    return 0


if __name__ == "__main__":
    sys.exit(main())
