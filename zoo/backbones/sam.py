"""SAM's plain vision transformers (Kirillov et al. 2023, arXiv 2304.02643) with its prompt encoder and mask decoder,
through transformers, or from its authors' checkpoints (`sam_vit_b_01ec64.pth` and the like).

At another side than 1024, learned positions are resampled (bilinear) as in SAMed (arXiv 2304.13785), and transformers
resamples the relative ones of its global attention at each call.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from zoo.backbones import sam_names, weights
from zoo.backbones.base import Level
from zoo.backbones.fingerprint import fingerprint
from zoo.backbones.hf_weights import load
from zoo.backbones.maps import quarters
from zoo.backbones.sam_prompts import Neck, OnGrid, Promptable, as_published, sized, whole
from zoo.backbones.square import IMAGENET_MEAN, IMAGENET_STD, square
from zoo.backbones.weights import WeightsError
from zoo.batch import Framed, tensor_of

Size = Literal["nano", "base", "large", "huge"]

SIZES: dict[str, dict[str, Any]] = {
    "nano": {"width": 32, "depth": 4, "heads": 2, "across": (1, 3), "window": 3, "decoder": 32},
    "base": {"width": 768, "depth": 12, "heads": 12, "across": (2, 5, 8, 11)},
    "large": {"width": 1024, "depth": 24, "heads": 16, "across": (5, 11, 17, 23)},
    "huge": {"width": 1280, "depth": 32, "heads": 16, "across": (7, 15, 23, 31)},
}
"""The published three, and one for tests; `across` are the blocks that attend across windows."""


class SAM(Promptable):
    """SAM ViT, stride 16: blocks are the encoder's, then its neck; towers `image` and `mask`.

    Pooled features are the mean of the neck's map.

    Args:
        source: `hf:facebook/sam-vit-base`, `file:PATH` to a checkpoint in the authors' names or ours, or to a folder in
            transformers' layout, or `random:SEED`.
        size: of a `random:` model, `base` by default; real weights bring their own.
        image_size: side of the square input, a multiple of 16; it was trained at 1024.

    Raises:
        SettingError: a side that cuts patches.
        WeightsError: the weights cannot be had or do not fit, or `size` was given for real ones.
    """

    behind = 1

    def __init__(self, *, source: str, size: Size | None = None, image_size: Annotated[int, ">= 32"] = 1024) -> None:
        super().__init__()
        self.net: Any = _net(source, size, image_size)
        as_published(self.net)
        encoder = self.net.vision_encoder
        self.patch = int(encoder.patch_embed.projection.kernel_size[0])
        whole(image_size, self.patch)
        self.image_size = image_size
        width, neck = encoder.patch_embed.projection.out_channels, encoder.neck.conv2.out_channels
        depth = len(encoder.layers)
        self.dims = (*(width,) * (depth + 1), neck)
        self.levels = (*quarters(self.patch, width, depth)[:-1], Level(self.patch, neck, depth + 1))
        settings = {"image_size": image_size, "mean": IMAGENET_MEAN, "std": IMAGENET_STD}
        self.fingerprint = fingerprint(self.net, settings)  # with positions as they are stored
        _resize(encoder, image_size, image_size // self.patch)
        sized(self.net, image_size, self.patch)
        self.freeze()

    def transform(self, clip: Framed) -> Tensor:
        """Frames to [T, 3, S, S]: shorter side resized to S (bilinear, antialiased), centre crop, normalised by
        ImageNet's mean and deviation; SAM's own resizes the longer side, and pads."""
        frames = tensor_of(clip.frames).permute(0, 3, 1, 2).float() / 255
        return square(frames, self.image_size, IMAGENET_MEAN, IMAGENET_STD)

    def embed(self, inputs: Tensor) -> Tensor:
        """[N, 3, S, S] -> [N, (S / 16)^2, D]."""
        encoder = self.net.vision_encoder
        out: Tensor = encoder.patch_embed(inputs) + encoder.pos_embed
        return out.flatten(1, 2)

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """transformers' layers, and the neck."""
        encoder, side = self.net.vision_encoder, self.image_size // self.patch
        return [*(OnGrid(layer, side) for layer in encoder.layers), Neck(encoder.neck, side)]


def _net(source: str, size: Size | None, image_size: int) -> Any:
    """transformers' SAM, random ones at this side, real ones at their own.

    Raises:
        WeightsError: the weights cannot be had or do not fit, or `size` was given for real ones.
    """
    from transformers import SamConfig, SamModel

    parsed = weights.parse(source)
    if parsed.kind == "random":
        return load(source, SamModel, SamConfig, _config(image_size, **SIZES[size or "base"]))
    if size:
        raise WeightsError(f"{source}: size belongs to random: sources; real weights bring their own")
    if parsed.kind == "hf" or weights.resolve(source).is_dir():
        return load(source, SamModel, SamConfig, None)
    state = sam_names.read(source, sam_names.SAM)
    try:
        net = SamModel(SamConfig(**_sizes(state)))
    except KeyError as error:
        raise WeightsError(f"{source} is no SAM: it lacks {error.args[0]}") from error
    weights.fill(net, state, source)
    return net


def _config(
    image_size: int,
    *,
    width: int,
    depth: int,
    heads: int,
    across: Sequence[int],
    window: int = 14,
    patch: int = 16,
    decoder: int = 256,
) -> dict[str, Any]:
    """Settings of transformers' `SamConfig`."""
    return {
        "vision_config": {
            "image_size": image_size,
            "patch_size": patch,
            "hidden_size": width,
            "num_hidden_layers": depth,
            "num_attention_heads": heads,
            "global_attn_indexes": list(across),
            "window_size": window,
            "output_channels": decoder,
            "num_pos_feats": decoder // 2,
            "initializer_range": 0.02,
        },
        "prompt_encoder_config": {"image_size": image_size, "patch_size": patch, "hidden_size": decoder},
        "mask_decoder_config": {
            "hidden_size": decoder,
            "mlp_dim": 8 * decoder,
            "iou_head_hidden_dim": decoder,
        },
    }


def _sizes(state: dict[str, Tensor]) -> dict[str, Any]:
    """Settings of `SamConfig` that tensors have, which the table of relative positions tells nearly alone.

    Raises:
        KeyError: of a tensor that is not there.
    """
    encoder = "vision_encoder"
    patch, side = state[f"{encoder}.patch_embed.projection.weight"].shape[-1], state[f"{encoder}.pos_embed"].shape[1]
    depth = len({name.split(".")[2] for name in state if name.startswith(f"{encoder}.layers.")})
    tables = [state[f"{encoder}.layers.{i}.attn.rel_pos_h"] for i in range(depth)]
    across = [i for i, table in enumerate(tables) if len(table) == 2 * side - 1]
    windows = [(len(table) + 1) // 2 for i, table in enumerate(tables) if i not in across]
    width = state[f"{encoder}.pos_embed"].shape[-1]
    return _config(
        side * patch,
        width=width,
        depth=depth,
        heads=width // tables[0].shape[1],
        across=across,
        window=windows[0] if windows else 14,
        patch=patch,
        decoder=state[f"{encoder}.neck.conv1.weight"].shape[0],
    )


def _resize(encoder: Any, image_size: int, side: int) -> None:
    """Make an encoder take another size of pictures."""
    encoder.patch_embed.image_size = (image_size, image_size)
    stored = encoder.pos_embed
    if stored.shape[1] != side:
        grid = F.interpolate(stored.detach().permute(0, 3, 1, 2), (side, side), mode="bilinear", align_corners=False)
        encoder.pos_embed = nn.Parameter(grid.permute(0, 2, 3, 1).contiguous())
