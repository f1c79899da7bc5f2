"""YAMNet: a MobileNet (Howard et al., 2017) of AudioSet's 521 sounds (Gemmeke et al., ICASSP 2017), in plain PyTorch.

The published TensorFlow Lite file has weights of 8 bits, which are multiplied out; between the layers this model keeps
numbers as they are, where the file's runtime rounds them to 8 bits as well. Batch norm is folded into the convolutions
there. Its classes have names, so that its scores are a sound in words.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.backbones import tflite, weights
from zoo.backbones.base import Backbone
from zoo.backbones.draws import initialising
from zoo.backbones.fingerprint import fingerprint
from zoo.backbones.origins import YAMNET
from zoo.backbones.weights import WeightsError
from zoo.batch import Clip, tensor_of
from zoo.ops.fbank import FRAME, KALDI_RATE, YAMNET_HOP, YAMNET_MELS, fbank
from zoo.ops.resample_audio import resample

FRAMES, STEP = 96, 48
"""Frames of a patch (0.96 s), and from one patch to the next."""

SAMPLES = FRAME + (FRAMES - 1) * YAMNET_HOP
"""Of a patch at 16 kHz."""

WIDTHS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)

STRIDES = (2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)

CLASSES = 521


class Block(nn.Module):
    """A first convolution, or a depthwise one and one of single places, each with ReLU6.

    Maps tokens to tokens: patches of a time-major grid [N, P * height * width, C], so P follows from the length.
    """

    def __init__(self, width: int, out: int, *, stride: int, grid: tuple[int, int], first: bool) -> None:
        super().__init__()
        self.stride, self.grid = stride, grid
        between = out if first else width
        self.conv = nn.Conv2d(width, between, 3, stride, groups=1 if first else width)
        self.pointwise = None if first else nn.Conv2d(width, out, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """[N, P * H * W, C] -> [N, P * H' * W', C']."""
        height, width = self.grid
        grid = tokens.unflatten(1, (-1, height * width)).flatten(0, 1).transpose(1, 2).unflatten(2, (height, width))
        across, down = (_padding(side, self.stride) for side in (width, height))
        grid = F.relu6(self.conv(F.pad(grid, (*across, *down))))
        if self.pointwise is not None:
            grid = F.relu6(self.pointwise(grid))
        # Not len(tokens), which an export would take for a constant.
        out: Tensor = grid.flatten(2).transpose(1, 2).unflatten(0, (tokens.shape[0], -1)).flatten(1, 2)
        return out


def _padding(side: int, stride: int) -> tuple[int, int]:
    """Zeros before and behind a side for a 3-wide kernel, as TensorFlow's SAME has them: the odd one behind."""
    every = max(0, (-(-side // stride) - 1) * stride + 3 - side)
    return every // 2, every - every // 2


class YAMNet(Backbone):
    """Log-mel patches of 0.96 s, half overlapping, through fourteen blocks, 32 to 1024 wide.

    Args:
        source: the published TensorFlow Lite file, by its address or as `file:PATH`; or `random:SEED`.

    Raises:
        WeightsError: the weights cannot be had, or are of another model.
    """

    stream = "audio"

    def __init__(self, *, source: str = YAMNET) -> None:
        super().__init__()
        self.grids = [(FRAMES, YAMNET_MELS)]
        for stride in STRIDES:
            height, width = self.grids[-1]
            self.grids.append((-(-height // stride), -(-width // stride)))
        with initialising(source, "YAMNet"):
            widths = (1, *WIDTHS)
            self.net = nn.ModuleDict(
                {
                    "blocks": nn.ModuleList(
                        Block(widths[i], widths[i + 1], stride=STRIDES[i], grid=self.grids[i], first=i == 0)
                        for i in range(len(WIDTHS))
                    ),
                    "classifier": nn.Linear(WIDTHS[-1], CLASSES),
                }
            )
        if weights.parse(source).kind == "random":
            self.vocabulary = tuple(f"sound {number}" for number in range(CLASSES))
        else:
            path = weights.resolve(source)
            weights.fill(self.net, _state(path, self.net), source)
            self.vocabulary = tuple(tflite.lines(path))
            if len(self.vocabulary) != CLASSES:
                raise WeightsError(f"{source}: {len(self.vocabulary)} class names, expected {CLASSES}")
        self.dims = (1, *WIDTHS)
        self.fingerprint = fingerprint(self.net, {"front_end": "yamnet", "vocabulary": self.vocabulary})
        self.freeze()

    def transform(self, clip: Clip) -> Tensor:
        """Windows to log-mel patches [T, P, 96, 64]; what a last patch lacks of its 0.975 s is silent."""
        audio = tensor_of(clip.audio)
        if clip.sample_rate != KALDI_RATE:
            audio = resample(audio, clip.sample_rate, KALDI_RATE)
        if (lacking := SAMPLES - audio.shape[-1]) > 0:
            audio = F.pad(audio, (0, lacking))
        return fbank(audio, KALDI_RATE, "yamnet").unfold(1, FRAMES, STEP).transpose(-1, -2).contiguous()

    def embed(self, inputs: Tensor) -> Tensor:
        """[N, P, 96, 64] -> [N, P * 96 * 64, 1]."""
        return inputs.flatten(1)[..., None]

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """The fourteen convolution blocks."""
        return list(cast(nn.ModuleList, self.net["blocks"]))

    def finish(self, tokens: Tensor) -> Tensor:
        """Nothing follows the last block."""
        return tokens

    def pool(self, tokens: Tensor) -> Tensor:
        """Mean over places and patches: [N, P * 6, 1024] -> [N, 1024]."""
        return tokens.mean(1)

    def scores(self, pooled: Tensor) -> Tensor:
        """The classifier's scores, each sound by itself: [..., 1024] -> [..., 521]."""
        return torch.sigmoid(self.net["classifier"](pooled))


def _state(path: Path, net: nn.Module) -> dict[str, Tensor]:
    """The file's layers by this model's names: they stand in the same order.

    Raises:
        WeightsError: it is no such file, or of another model.
    """
    stored = tflite.layers(path)[1:]  # the first is the mel filters
    names = [name.removesuffix(".weight") for name in net.state_dict() if name.endswith(".weight")]
    if len(stored) != len(names):
        raise WeightsError(f"{path} has {len(stored)} layers after its filters; expected {len(names)}")
    state: dict[str, Tensor] = {}
    for name, (operator, weight, bias) in zip(names, stored, strict=True):
        axes = {tflite.CONVOLUTION: (0, 3, 1, 2), tflite.DEPTHWISE: (3, 0, 1, 2), tflite.LINEAR: (0, 1)}[operator]
        state |= {
            f"{name}.weight": torch.from_numpy(weight.transpose(axes).copy()),
            f"{name}.bias": torch.from_numpy(bias),
        }
    return state
