"""Names of tensors in the checkpoints of SAM, SAM 2 and LiteMedSAM as their authors store them, and in transformers.

The three share prompt encoder, mask decoder and most of their names. What transformers holds in other shapes (the point
embeddings of SAM 2) or twice (the random frequencies of positions, which pixels and prompts share) is made to fit.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from zoo.backbones import weights
from zoo.backbones.weights import WeightsError

log = logging.getLogger(__name__)

Renames = Sequence[tuple[str, str]]

SHARED: Renames = (
    (r"^image_encoder\.", "vision_encoder."),
    (r"\.pe_layer\.positional_encoding_gaussian_matrix$", ".shared_embedding.positional_embedding"),
    (r"\.mask_downscaling\.0\.", ".mask_embed.conv1."),
    (r"\.mask_downscaling\.1\.", ".mask_embed.layer_norm1."),
    (r"\.mask_downscaling\.3\.", ".mask_embed.conv2."),
    (r"\.mask_downscaling\.4\.", ".mask_embed.layer_norm2."),
    (r"\.mask_downscaling\.6\.", ".mask_embed.conv3."),
    (r"\.output_upscaling\.0\.", ".upscale_conv1."),
    (r"\.output_upscaling\.1\.", ".upscale_layer_norm."),
    (r"\.output_upscaling\.3\.", ".upscale_conv2."),
    (r"(mlps\.\d|_head)\.layers\.0\.", r"\1.proj_in."),
    (r"(mlps\.\d|_head)\.layers\.1\.", r"\1.layers.0."),
    (r"(mlps\.\d|_head)\.layers\.2\.", r"\1.proj_out."),
    (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
)

FIRST: Renames = (
    *SHARED,
    (r"\.point_embeddings\.", ".point_embed."),
    (r"\.neck\.0\.", ".neck.conv1."),
    (r"\.neck\.1\.", ".neck.layer_norm1."),
    (r"\.neck\.2\.", ".neck.conv2."),
    (r"\.neck\.3\.", ".neck.layer_norm2."),
    (r"^(mask_decoder\..*)\.norm(\d)\.", r"\1.layer_norm\2."),
)
"""SAM's, without its encoder's blocks."""

SAM: Renames = (
    *FIRST,
    (r"^vision_encoder\.patch_embed\.proj\.", "vision_encoder.patch_embed.projection."),
    (r"^vision_encoder\.blocks\.(\d+)\.norm(\d)\.", r"vision_encoder.layers.\1.layer_norm\2."),
    (r"^vision_encoder\.blocks\.", "vision_encoder.layers."),
)

SAM2: Renames = (
    *SHARED,
    (r"^sam_(prompt_encoder|mask_decoder)\.", r"\1."),
    (r"^no_mem_embed$", "no_memory_embedding"),
    (r"^vision_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"\.neck\.convs\.(\d)\.conv\.", r".neck.convs.\1."),
    (r"\.patch_embed\.proj\.", ".patch_embed.projection."),
    (r"\.norm(\d)\.", r".layer_norm\1."),
    (r"\.mlp\.layers\.0\.", ".mlp.proj_in."),
    (r"\.mlp\.layers\.1\.", ".mlp.proj_out."),
    (r"\.out_proj\.", ".o_proj."),
)

LITE: Renames = (
    *FIRST,
    (r"\.c\.", ".conv."),
    (r"\.patch_embed\.seq\.0\.", ".patch_embed.conv1."),
    (r"\.patch_embed\.seq\.2\.", ".patch_embed.conv2."),
    (r"\.layers\.0\.downsample\.", ".stages.1.downsample."),  # timm has it at the head of the stage behind it
    (r"\.layers\.1\.downsample\.", ".stages.2.downsample."),
    (r"\.layers\.2\.downsample\.", ".stages.3.downsample."),
    (r"^vision_encoder\.layers\.", "vision_encoder.stages."),
)

MEMORY = re.compile(
    r"(memory_attention|memory_encoder|mask_downsample|obj_ptr_proj|obj_ptr_tpos_proj)\.|"
    r"(maskmem_tpos_enc|no_mem_pos_enc|no_obj_ptr|no_obj_embed_spatial)$"
)
"""What SAM 2 remembers of a video's earlier frames."""

PIXELS = "shared_image_embedding.positional_embedding"

PROMPTS = "prompt_encoder.shared_embedding.positional_embedding"
"""The same frequencies, under the two names that transformers has for them."""


def renamed(state: Mapping[str, Tensor], renames: Renames) -> dict[str, Tensor]:
    """Tensors by transformers' names.

    Args:
        state: of a published checkpoint.
        renames: patterns and what takes their place, one after the other.
    """
    found = {}
    for name, tensor in state.items():
        for pattern, new in renames:
            name = re.sub(pattern, new, name)
        found[name] = tensor
    if PROMPTS in found:
        found.setdefault(PIXELS, found[PROMPTS])
    points = [found.pop(name) for k in range(4) if (name := f"prompt_encoder.point_embeddings.{k}.weight") in found]
    return found | ({"prompt_encoder.point_embed.weight": torch.cat(points)} if points else {})


def read(source: str, renames: Renames) -> dict[str, Tensor]:
    """Tensors of a published file, or of one in transformers' names, without those of SAM 2's memory.

    Raises:
        WeightsError: the file cannot be read, or holds no tensors by name.
    """
    loaded: Any = weights.load_state_dict(weights.resolve(source))
    loaded = loaded.get("model", loaded) if isinstance(loaded, Mapping) else loaded
    if not isinstance(loaded, Mapping) or not all(isinstance(tensor, Tensor) for tensor in loaded.values()):
        raise WeightsError(f"{source}: expected tensors by name, as SAM's authors store them")
    memory = [name for name in loaded if MEMORY.match(name)]
    if memory:
        log.warning("%s: %d tensors of its memory of videos are left out; pictures do without", source, len(memory))
    kept = {name: tensor for name, tensor in loaded.items() if name not in memory}
    published = any(name.startswith("image_encoder.") for name in kept)
    return renamed(kept, renames) if published else kept
