"""Qwen3-VL (arXiv 2511.21631), through transformers."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from zoo.backbones.chat import Prompt
from zoo.backbones.qwen_vl import QwenVL


class Qwen3VL(QwenVL):
    """Qwen3-VL (`Qwen/Qwen3-VL-8B-Instruct`): features of earlier vision blocks go into the language model's first
    layers as well (DeepStack).

    Arguments are those of `QwenVL`; `config` is `Qwen3VLConfig`'s.
    """

    least = 64
    mean, std = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)

    def architecture(self) -> tuple[Any, Any]:
        """transformers' Qwen3-VL."""
        from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

        return Qwen3VLForConditionalGeneration, Qwen3VLConfig

    @property
    def projectors(self) -> list[nn.Module]:
        """The merger, and those of DeepStack."""
        return [*super().projectors, *self.net.model.visual.deepstack_merger_list]

    def shown(self, found: Any, inputs: Any) -> dict[str, Any]:
        """As `QwenVL`, and a list of the features of earlier blocks."""
        levels = [torch.cat(list(level)) for level in found.deepstack_features]
        return {**super().shown(found, inputs), "deepstack": levels}

    def beside(self, prompt: Prompt, seen: Mapping[str, Any]) -> dict[str, Any]:
        """Features of earlier vision blocks, for the first layers of the language model."""
        return {"visual_pos_masks": prompt.pictures, "deepstack_visual_embeds": seen["deepstack"]}
