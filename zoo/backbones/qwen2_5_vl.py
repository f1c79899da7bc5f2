"""Qwen2.5-VL (Bai et al. 2025, arXiv 2502.13923), through transformers.

Its vision tower attends within windows, but for a few blocks, and nothing of earlier blocks goes into the language
model. Patches are put in the order of windows inside the tower, image by image, so that rows stay their image's.
"""

from typing import Any

from zoo.backbones.qwen_vl import QwenVL


class Qwen25VL(QwenVL):
    """Qwen2.5-VL (`Qwen/Qwen2.5-VL-3B-Instruct`).

    Arguments are those of `QwenVL`; `config` is `Qwen2_5_VLConfig`'s.
    """

    least = 4
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

    def architecture(self) -> tuple[Any, Any]:
        """transformers' Qwen2.5-VL."""
        from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

        return Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLConfig
