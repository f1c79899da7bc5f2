"""The three SAMs, small and with weights that leave nothing zero, and their tensors by their authors' names."""

from collections.abc import Callable, Mapping
from functools import cache

import torch
from torch import Tensor

from zoo.backbones.lite_medsam import LiteMedSAM
from zoo.backbones.sam import SAM
from zoo.backbones.sam2 import SAM2
from zoo.backbones.sam_prompts import Promptable

SIDE = 64

CLASSES = {"lite_medsam": LiteMedSAM, "sam": SAM, "sam2": SAM2}

MAKERS: dict[str, Callable[[], Promptable]] = {
    "lite_medsam": lambda: LiteMedSAM(source="random:0", image_size=SIDE),
    "sam": lambda: SAM(source="random:0", size="nano", image_size=SIDE),
    "sam2": lambda: SAM2(source="random:0", size="nano", image_size=SIDE),
}


@torch.no_grad()
def made(name: str) -> Promptable:
    """A new one, whose weights, those that are drawn as zero among them, were all moved."""
    model, generator = MAKERS[name](), torch.Generator().manual_seed(0)
    scale = 0.02 if name == "lite_medsam" else 0.1  # it is wide
    for key, tensor in model.net.state_dict().items():
        if key.endswith("running_var"):
            tensor.add_(torch.rand(tensor.shape, generator=generator))
        elif tensor.is_floating_point():
            tensor.add_(scale * torch.randn(tensor.shape, generator=generator))
    return model


kept = cache(made)
"""One for all tests that do not change it."""


def pictures(count: int = 2) -> Tensor:
    """Noise [count, 3, SIDE, SIDE]."""
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def mapped(model: Promptable, inputs: Tensor) -> dict[int, Tensor]:
    """All maps of transformed pictures."""
    tokens, taps = model.embed(inputs), {}
    for after, block in enumerate(model.blocks, 1):
        tokens = block(tokens)
        taps[after] = tokens
    return model.maps({level.after: taps[level.after] for level in model.levels})


# --- their authors' names ---------------------------------------------------------------------------------------------

DECODER = {
    "upscale_conv1": "output_upscaling.0",
    "upscale_layer_norm": "output_upscaling.1",
    "upscale_conv2": "output_upscaling.3",
    "mask_embed.conv1": "mask_downscaling.0",
    "mask_embed.layer_norm1": "mask_downscaling.1",
    "mask_embed.conv2": "mask_downscaling.3",
    "mask_embed.layer_norm2": "mask_downscaling.4",
    "mask_embed.conv3": "mask_downscaling.6",
    "shared_embedding.positional_embedding": "pe_layer.positional_encoding_gaussian_matrix",
    ".layer_norm": ".norm",
}

NECK = {"neck.conv1": "neck.0", "neck.layer_norm1": "neck.1", "neck.conv2": "neck.2", "neck.layer_norm2": "neck.3"}

OWN = {
    "sam": {
        **NECK,
        "vision_encoder.layers.": "image_encoder.blocks.",
        "vision_encoder.": "image_encoder.",
        "patch_embed.projection": "patch_embed.proj",
        ".point_embed.": ".point_embeddings.",
    },
    "sam2": {
        "vision_encoder.backbone.": "image_encoder.trunk.",
        "vision_encoder.": "image_encoder.",
        "patch_embed.projection": "patch_embed.proj",
        "prompt_encoder.": "sam_prompt_encoder.",
        "mask_decoder.": "sam_mask_decoder.",
        "no_memory_embedding": "no_mem_embed",
        "mlp.proj_in": "mlp.layers.0",
        "mlp.proj_out": "mlp.layers.1",
        "o_proj": "out_proj",
        **{f"neck.convs.{k}.": f"neck.convs.{k}.conv." for k in range(4)},
    },
    "lite_medsam": {
        **NECK,
        **{f"stages.{k + 1}.downsample": f"layers.{k}.downsample" for k in range(3)},
        "vision_encoder.stages.": "image_encoder.layers.",
        "vision_encoder.": "image_encoder.",
        "patch_embed.conv1.": "patch_embed.seq.0.",
        "patch_embed.conv2.": "patch_embed.seq.2.",
        ".conv.": ".c.",
        ".point_embed.": ".point_embeddings.",
    },
}

MEMORY = (
    "maskmem_tpos_enc",
    "no_mem_pos_enc",
    "no_obj_ptr",
    "no_obj_embed_spatial",
    "memory_attention.layers.0.self_attn.q_proj.weight",
    "memory_encoder.pix_feat_proj.weight",
    "mask_downsample.weight",
    "obj_ptr_proj.layers.0.weight",
    "obj_ptr_tpos_proj.weight",
)
"""Some tensors of SAM 2.1's memory."""


def published(name: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors in transformers' names -> as their authors store them, memory and all."""
    found: dict[str, Tensor] = {}
    for key, tensor in state.items():
        if key.startswith("shared_image_embedding"):
            continue  # they hold these once
        if key == "prompt_encoder.point_embed.weight":
            found |= {f"sam_prompt_encoder.point_embeddings.{k}.weight": row[None] for k, row in enumerate(tensor)}
            continue
        own = key.replace("layer_norm_final_attn", "norm_final_attn")
        if "mlps." in own or "_head." in own:  # the hidden layer first: it takes the name of the first one otherwise
            own = own.replace(".layers.0.", ".layers.1.")
            own = own.replace(".proj_in.", ".layers.0.").replace(".proj_out.", ".layers.2.")
        for new, old in (OWN[name] | DECODER).items():
            own = own.replace(new, old)
        found[own] = tensor.clone()
    return found | ({key: torch.ones(1) for key in MEMORY} if name == "sam2" else {})
