"""aiSFX: a convolutional encoder of sound effects (Ma and Lerch, ISMIR 2022), as four steps."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.backbones import weights
from zoo.backbones.base import Backbone
from zoo.backbones.draws import initialising
from zoo.backbones.fingerprint import fingerprint
from zoo.backbones.weights import WeightsError
from zoo.batch import Clip, tensor_of
from zoo.ops.fbank import fbank
from zoo.ops.resample_audio import resample

EMBEDDED = "pypi:aisfx==0.1.2!aisfx/models/checkpoint.pth"

SAMPLE_RATE = 44_100

MELS = 96

WIDTHS = (64, 128, 256, 512)


class ConvBlock(nn.Module):
    """Two 3 x 3 convolutions with batch norm and ReLU, and a 2 x 2 max-pool except in the last stage.

    Maps tokens to tokens: a frequency-major grid [N, F * W, C] with F known, so W follows from the length.
    """

    def __init__(self, width: int, out: int, *, bins: int, pool: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, out, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(out), nn.BatchNorm2d(out)
        self.bins, self.pool = bins, pool

    def forward(self, tokens: Tensor) -> Tensor:
        """[N, F * W, C] -> [N, F' * W', C']."""
        grid = tokens.transpose(1, 2).unflatten(2, (self.bins, -1))  # [N, C, F, W], channels last in memory
        grid = F.relu(_normed(self.conv1, self.bn1, grid))
        # A grid of one channel comes back channels first, for which the next convolution is half as fast.
        grid = grid.contiguous(memory_format=torch.channels_last)
        grid = _normed(self.conv2, self.bn2, grid)
        # Before the ReLU, which gives the same and then has a quarter of the values to pass.
        grid = F.relu(F.max_pool2d(grid, 2) if self.pool else grid)
        return grid.flatten(2).transpose(1, 2)


def _normed(conv: nn.Conv2d, norm: nn.BatchNorm2d, grid: Tensor) -> Tensor:
    """Convolution and batch norm, [N, C, F, W] -> [N, C', F, W]: one convolution where nothing stands between them.

    A frozen norm is a factor and a shift per channel, which the convolution takes into its weights: the norm's own pass
    over the grid costs as much as the convolution's arithmetic. A method that wraps or hooks either layer wants it
    called. The weights are folded at every call, a thousandth of the work, so that weights which change later
    (a merged update, a loaded state) cannot leave a stale copy behind.
    """
    plain = type(conv) is nn.Conv2d and type(norm) is nn.BatchNorm2d and not (norm.training or _hooked(conv, norm))
    if not plain or norm.running_mean is None or norm.running_var is None:
        out: Tensor = norm(conv(grid))
        return out
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    weight = conv.weight * factor[:, None, None, None]
    shift = norm.bias - norm.running_mean * factor
    return F.conv2d(grid, weight.contiguous(memory_format=torch.channels_last), shift, padding=conv.padding)


def _hooked(*layers: nn.Module) -> bool:
    return any(layer._forward_hooks or layer._forward_pre_hooks for layer in layers)


class AiSFX(Backbone):
    """Log-mel pictures of 96 bins through four convolution stages, 64 to 512 wide.

    Args:
        source: the embedded checkpoint, `file:PATH` of the same layout, or `random:SEED`.
    """

    stream = "audio"
    file_prefix = "embedding_net."

    def __init__(self, *, source: str = EMBEDDED) -> None:
        super().__init__()
        with initialising(source, "aiSFX"):
            widths = (1, *WIDTHS)
            self.net = nn.ModuleDict(
                {
                    f"conv_block{i + 1}": ConvBlock(widths[i], widths[i + 1], bins=MELS >> i, pool=i < 3)
                    for i in range(len(WIDTHS))
                }
            )
        if weights.parse(source).kind != "random":
            self._load(source)
        self.dims = (1, *WIDTHS)
        self.fingerprint = fingerprint(self.net, {"front_end": "aisfx", "peak": "clip"})
        self.freeze()

    def _load(self, source: str) -> None:
        loaded: Any = weights.load_state_dict(weights.resolve(source))
        # The published file is a tuple (state dict, training record).
        state = loaded[0] if isinstance(loaded, tuple) else loaded
        prefix = self.file_prefix
        kept = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(f"{prefix}conv_block")}
        missing, unexpected = self.net.load_state_dict(kept, strict=False)
        if missing or unexpected:
            raise WeightsError(f"{source}: missing {missing or 'nothing'}, left over {unexpected or 'nothing'}")

    def transform(self, clip: Clip) -> Tensor:
        """Windows to log-mel pictures [T, 96, frames]; the clip's peak is scaled to 1, silence stays silent."""
        audio = tensor_of(clip.audio)
        if clip.sample_rate != SAMPLE_RATE:
            audio = resample(audio, clip.sample_rate, SAMPLE_RATE)
        peak = audio.abs().max()
        audio = audio / peak if peak > 0 else audio
        return fbank(audio, SAMPLE_RATE, "aisfx").transpose(-1, -2)

    def embed(self, inputs: Tensor) -> Tensor:
        """[N, 96, frames] -> [N, 96 * frames, 1]."""
        return inputs.flatten(1)[..., None]

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """The four convolution stages."""
        return list(self.net.values())

    def finish(self, tokens: Tensor) -> Tensor:
        """Nothing follows the last stage."""
        return tokens

    def pool(self, tokens: Tensor) -> Tensor:
        """Mean over frequency, then maximum over time: [N, 12 * W, 512] -> [N, 512]."""
        grid: Tensor = tokens.unflatten(1, (MELS >> 3, -1))
        return grid.mean(1).amax(1)
