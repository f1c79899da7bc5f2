"""SAM 2 (Ravi et al. 2024, arXiv 2408.00714) on pictures: Hiera (Ryali et al. 2023, arXiv 2306.00989), its pyramid of
features, prompt encoder and mask decoder, through transformers, or from the authors' checkpoints
(`sam2.1_hiera_tiny.pt` and the like), whose tensors are the same.

What it remembers of a video's earlier frames is left out. Maps are those of the pyramid: strides 4 and 8 are one
convolution of their stage, and stride 16 has the coarsest added to it.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.backbones import sam_names, weights
from zoo.backbones.base import Level
from zoo.backbones.fingerprint import fingerprint
from zoo.backbones.hf_weights import load
from zoo.backbones.maps import square_map
from zoo.backbones.sam_prompts import OnGrid, Promptable, sized, whole
from zoo.backbones.square import IMAGENET_MEAN, IMAGENET_STD, square
from zoo.backbones.weights import WeightsError
from zoo.batch import Framed, tensor_of
from zoo.errors import SettingError

Size = Literal["nano", "tiny", "small", "base-plus", "large"]

SIZES: dict[str, dict[str, Any]] = {
    "nano": {"width": 16, "heads": 1, "depths": (1, 2, 2, 1), "across": (4,), "windows": (8, 4, 6, 3), "decoder": 32},
    "tiny": {"width": 96, "heads": 1, "depths": (1, 2, 7, 2), "across": (5, 7, 9)},
    "small": {"width": 96, "heads": 1, "depths": (1, 2, 11, 2), "across": (7, 10, 13)},
    "base-plus": {"width": 112, "heads": 2, "depths": (2, 3, 16, 3), "across": (12, 16, 20), "background": 14},
    "large": {"width": 144, "heads": 2, "depths": (2, 6, 36, 4), "across": (23, 33, 43), "windows": (8, 4, 16, 8)},
}
"""The published four, and one for tests; `across` are the blocks that attend across windows."""

COARSEST = 32


class SAM2(Promptable):
    """SAM 2's image model: blocks are Hiera's; towers `image` and `mask`.

    Pooled features are the mean of the last stage's tokens.

    Args:
        source: `hf:facebook/sam2.1-hiera-tiny`, `file:PATH` to a checkpoint in the authors' names or ours, or to a
            folder in transformers' layout, or `random:SEED`.
        size: of a `random:` model, `tiny` by default; real weights bring their own.
        image_size: side of the square input, a multiple of 32; it was trained at 1024.

    Raises:
        SettingError: a side that cuts cells.
        WeightsError: the weights cannot be had or do not fit, or `size` was given for real ones.
    """

    def __init__(self, *, source: str, size: Size | None = None, image_size: Annotated[int, ">= 32"] = 1024) -> None:
        super().__init__()
        whole(image_size, COARSEST)
        self.net: Any = _net(source, size)
        self.net.prompt_encoder.shared_embedding = self.net.shared_image_embedding  # transformers draws it twice
        self.image_size = image_size
        hiera, neck = self.net.vision_encoder.backbone, self.net.vision_encoder.neck
        self.dims = (hiera.patch_embed.projection.out_channels, *(block.dim_out for block in hiera.blocks))
        ends, width = [end + 1 for end in hiera.stage_ends], neck.convs[0].out_channels
        self.levels = tuple(Level(4 * 2**stage, width, after) for stage, after in enumerate(ends))
        settings = {"image_size": image_size, "mean": IMAGENET_MEAN, "std": IMAGENET_STD}
        self.fingerprint = fingerprint(self.net, settings)
        sized(self.net, image_size, self.levels[2].stride)
        self.freeze()

    def transform(self, clip: Framed) -> Tensor:
        """Frames to [T, 3, S, S]: shorter side resized to S (bilinear, antialiased), centre crop, normalised by
        ImageNet's mean and deviation; SAM 2's own resizes both sides to S."""
        frames = tensor_of(clip.frames).permute(0, 3, 1, 2).float() / 255
        return square(frames, self.image_size, IMAGENET_MEAN, IMAGENET_STD)

    def embed(self, inputs: Tensor) -> Tensor:
        """[N, 3, S, S] -> [N, (S / 4)^2, D]."""
        hiera = self.net.vision_encoder.backbone
        grid: Tensor = hiera.patch_embed(inputs)
        out: Tensor = grid + hiera._get_pos_embed(grid.shape[1:3])
        return out.flatten(1, 2)

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """transformers' blocks, the first of a later stage halving the side."""
        side, found = self.image_size // 4, []
        for block in self.net.vision_encoder.backbone.blocks:
            found.append(OnGrid(block, side))
            side //= 2 if block.query_stride else 1
        return found

    @property
    def asked(self) -> tuple[int, ...]:
        """All: the coarsest is added to the one that the decoder reads, beside the finer ones."""
        return tuple(level.after for level in self.levels)

    def maps(self, taps: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Ends of stages {after: [N, L, D]} -> maps of the pyramid {after: [N, 256, S, S]}.

        Raises:
            SettingError: a map without the coarser one that is added to it.
        """
        neck = self.net.vision_encoder.neck
        found: dict[int, Tensor] = {}
        last = len(self.levels) - 1
        for stage in range(last, -1, -1):
            after = self.levels[stage].after
            if after not in taps:
                continue
            found[after] = neck.convs[last - stage](square_map(taps[after]))
            if stage in neck.fpn_top_down_levels and stage < last:
                coarser = self.levels[stage + 1].after
                if coarser not in found:
                    raise SettingError(f"SAM2: the map after block {after} needs the one after block {coarser} as well")
                found[after] = found[after] + F.interpolate(found[coarser], scale_factor=2, mode="nearest")
        return {level.after: found[level.after] for level in self.levels if level.after in found}

    def embedding(self, maps: Mapping[int, Tensor]) -> list[Tensor]:
        """The map of stride 16, marked as that of no video, and the finer two made thinner."""
        decoder = self.net.mask_decoder
        finest, finer, image = (maps[level.after] for level in self.levels[:3])
        return [image + self.net.no_memory_embedding.view(-1, 1, 1), decoder.conv_s0(finest), decoder.conv_s1(finer)]

    def decode(
        self,
        embedded: Sequence[Tensor],
        points: Tensor | None,
        labels: Tensor | None,
        boxes: Tensor | None,
        several: bool,
    ) -> tuple[Tensor, Tensor]:
        """As `Promptable.decode`; without prompts there is one that is no point, as its authors have it."""
        if points is None and boxes is None:
            points = embedded[0].new_zeros(len(embedded[0]), 1, 1, 2)
            labels = torch.full(points.shape[:3], -1, device=points.device)
        return super().decode(embedded, points, labels, boxes, several)


def _net(source: str, size: Size | None) -> Any:
    """transformers' SAM 2.

    Raises:
        WeightsError: the weights cannot be had or do not fit, or `size` was given for real ones.
    """
    from transformers import Sam2Config, Sam2Model

    parsed = weights.parse(source)
    if parsed.kind == "random":
        return load(source, Sam2Model, Sam2Config, _config(**SIZES[size or "tiny"]))
    if size:
        raise WeightsError(f"{source}: size belongs to random: sources; real weights bring their own")
    if parsed.kind == "hf" or weights.resolve(source).is_dir():
        return load(source, Sam2Model, Sam2Config, None)
    state = sam_names.read(source, sam_names.SAM2)
    net = Sam2Model(Sam2Config(**_config(**SIZES[_size_of(state, source)])))
    weights.fill(net, state, source)
    return net


def _size_of(state: Mapping[str, Tensor], source: str) -> str:
    """The published size that tensors are of: heads and windows leave no trace in them.

    Raises:
        WeightsError: of none.
    """
    trunk = "vision_encoder.backbone"
    depth = len({name.split(".")[3] for name in state if name.startswith(f"{trunk}.blocks.")})
    first = state.get(f"{trunk}.patch_embed.projection.weight")
    width = 0 if first is None else len(first)
    for name, sizes in SIZES.items():
        if (sizes["width"], sum(sizes["depths"])) == (width, depth):
            return name
    raise WeightsError(f"{source} is no published SAM 2: Hiera of {depth} blocks, {width} wide at first")


def _config(
    *,
    width: int,
    heads: int,
    depths: Sequence[int],
    across: Sequence[int],
    windows: Sequence[int] = (8, 4, 14, 7),
    background: int = 7,
    decoder: int = 256,
) -> dict[str, Any]:
    """Settings of transformers' `Sam2Config`."""
    widths = [width * 2**stage for stage in range(4)]
    return {
        "vision_config": {
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "hidden_size": width,
                "num_attention_heads": heads,
                "blocks_per_stage": list(depths),
                "embed_dim_per_stage": widths,
                "num_attention_heads_per_stage": [heads * 2**stage for stage in range(4)],
                "window_size_per_stage": list(windows),
                "window_positional_embedding_background_size": [background, background],
                "global_attention_blocks": list(across),
            },
            "backbone_channel_list": widths[::-1],
            "fpn_hidden_size": decoder,
        },
        "prompt_encoder_config": {"hidden_size": decoder},
        "mask_decoder_config": {
            "hidden_size": decoder,
            "mlp_dim": 8 * decoder,
            "iou_head_hidden_dim": decoder,
        },
    }
