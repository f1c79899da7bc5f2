"""Qwen2.5-VL (Bai et al. 2025, arXiv 2502.13923), through transformers: Qwen3-VL's way with pictures, one step earlier.

Its vision tower attends within windows, but for a few blocks, and nothing of earlier blocks goes into the language
model (no DeepStack). Patches are put in the order of windows inside the tower, image by image, so that rows stay their
image's.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from zoo.backbones.chat import Prompt
from zoo.backbones.hf_weights import Precision, Quantization
from zoo.backbones.qwen3_vl import Qwen3VL

MAX_PIXELS = 1_003_520
"""1280 tokens of 28 x 28 pixels."""


class Qwen25VL(Qwen3VL):
    """Qwen2.5-VL (`Qwen/Qwen2.5-VL-3B-Instruct`): one row of the vision tower a patch, of all images of a batch.

    Args:
        source: `hf:REPO[@REVISION]`, `file:FOLDER` in transformers' layout, or `random:SEED`.
        config: settings of a `random:` model, as `Qwen2_5_VLConfig` takes them; refused with real weights.
        quantize: see `Qwen3VL`.
        dtype: of the weights, where they are not quantised.
        checkpointing: forget activations inside the blocks while training and run the blocks again for the gradients.
        max_pixels: see `Qwen3VL`; one token is 28 x 28 pixels.
    """

    least = 4
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

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
        super().__init__(
            source=source,
            config=config,
            quantize=quantize,
            dtype=dtype,
            checkpointing=checkpointing,
            max_pixels=max_pixels,
        )

    def architecture(self) -> tuple[Any, Any]:
        """transformers' Qwen2.5-VL."""
        from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

        return Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLConfig

    def beside(self, prompt: Prompt, seen: Mapping[str, Any]) -> dict[str, Any]:
        """Nothing: the language model reads the merged features alone."""
        return {}
