"""What Qwen2.5-VL and Qwen3-VL share: images of any shape, packed as one sequence of patches."""

import math
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from zoo.backbones.fingerprint import Fingerprint
from zoo.backbones.hf_modules import means
from zoo.backbones.hf_vision_language import HFVisionLanguage
from zoo.backbones.hf_weights import Precision, Quantization

MAX_PIXELS = 1_310_720
"""1280 tokens of Qwen3-VL's 32 x 32 pixels, 1672 of Qwen2.5-VL's 28 x 28."""


class QwenVL(HFVisionLanguage):
    """A Qwen of pictures: one row of the vision tower a patch, of all images of a batch.

    Its vision tokens are what the merger makes of 2 x 2 patches. Subclasses implement `architecture` and set the
    attributes.

    Attributes:
        least: tokens of the smallest image, up to which it is scaled.
        mean: of colours, in the published image processor.
        std: of colours, there.

    Args:
        source: `hf:REPO[@REVISION]`, `file:FOLDER` in transformers' layout, or `random:SEED`.
        config: settings of a `random:` model, as its transformers configuration takes them; refused with real weights.
        quantize: `4bit` keeps the language model's weights as NF4 with double quantisation and computes in bfloat16
            (QLoRA); vision tower, merger and output layer stay whole. Needs bitsandbytes; slow without CUDA.
        dtype: of the weights, where they are not quantised.
        checkpointing: forget activations inside the blocks while training and run the blocks again for the gradients.
        max_pixels: an image of a larger area is scaled down to it, keeping its shape, to sides that whole merged
            patches fill; one token is 32 x 32 pixels of Qwen3-VL, so 8500 x 8500 pixels become 1225 tokens, not 70756,
            and 28 x 28 of Qwen2.5-VL. transformers refuses an image that is 200 times as long as it is wide.
    """

    least: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __init__(
        self,
        *,
        source: str,
        config: dict[str, Any] | None = None,
        quantize: Quantization = "none",
        dtype: Precision = "float32",
        checkpointing: bool = False,
        max_pixels: Annotated[int, ">= 1024"] = MAX_PIXELS,
    ) -> None:
        super().__init__(source=source, config=config, quantize=quantize, dtype=dtype, checkpointing=checkpointing)
        self.images.size["shortest_edge"] = min(self.images.size["shortest_edge"], max_pixels)
        self.images.size["longest_edge"] = max_pixels
        self.max_pixels = max_pixels
        self.fingerprint = self.fingerprint.also(max_pixels)

    def in_four_bits(self) -> Fingerprint:
        """See `HFVisionLanguage`; with `max_pixels`."""
        return super().in_four_bits().also(self.max_pixels)

    def width(self) -> int:
        """Width of the merger's output."""
        return int(self.net.config.vision_config.out_hidden_size)

    def image_processor(self) -> Any:
        """Qwen2-VL's with this model's patches, smallest image and colours."""
        from transformers import Qwen2VLImageProcessor

        sizes = self.net.config.vision_config
        least = self.least * (sizes.patch_size * sizes.spatial_merge_size) ** 2
        return Qwen2VLImageProcessor(
            patch_size=sizes.patch_size,
            temporal_patch_size=sizes.temporal_patch_size,
            merge_size=sizes.spatial_merge_size,
            size={"shortest_edge": least, "longest_edge": MAX_PIXELS},
            image_mean=list(self.mean),
            image_std=list(self.std),
        )

    def coarsens(self, height: int, width: int, side: int | None) -> float:
        """Pixels of the picture, along a side, that become one, as its own processor resizes it."""
        from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

        rows, columns = smart_resize(
            height,
            width,
            factor=self.images.patch_size * self.images.merge_size,
            min_pixels=self.images.size["shortest_edge"],
            max_pixels=self.images.size["longest_edge"],
        )
        return math.sqrt(height * width / (rows * columns))

    @property
    def projectors(self) -> list[nn.Module]:
        """The merger."""
        return [self.net.model.visual.merger]

    def look(self, inputs: Any) -> dict[str, Any]:
        """Merged features, and each image's grid of patches int64 [N, 3]; see `HFVisionLanguage`."""
        return self.shown(self.net.model.get_image_features(inputs["pixel_values"], inputs["image_grid_thw"]), inputs)

    def shown(self, found: Any, inputs: Any) -> dict[str, Any]:
        """What the language model is shown of transformers' output of the vision tower."""
        grid = inputs["image_grid_thw"]
        features = torch.cat(list(found.pooler_output))
        merged = self.net.config.vision_config.spatial_merge_size**2
        return {
            "features": features,
            "tokens": grid.prod(-1) // merged,
            "images": inputs["images"],
            "pooled": means(features, inputs["rows"] // merged),
            "grid": grid,
        }

    def positions(self, tokens: Tensor, mask: Tensor, seen: Mapping[str, Any]) -> Tensor:
        """M-RoPE: a vision token has its place in the image, a word the same number three times: int64 [3, B, L]."""
        kinds = (tokens == self.chat.image).int() * mask.int()
        found: Tensor = self.net.model.get_rope_index(
            tokens, mm_token_type_ids=kinds, image_grid_thw=seen["grid"], attention_mask=mask
        )[0]
        return found
