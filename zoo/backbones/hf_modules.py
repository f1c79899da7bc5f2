"""Where things are in a vision-language model of transformers: its parts by name, its blocks, how it may attend, and
what its batches share."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from zoo.errors import SettingError

LANGUAGE = ("language_model", "text_model")
"""What transformers calls the language model inside a vision-language model."""

VISION = ("vision_tower", "visual", "vision_model")

PROJECTORS = ("multi_modal_projector", "connector")

BOTH_WAYS = frozenset({"deepseek_ocr2", "gemma3", "gemma4", "git", "molmo2", "paligemma", "pi0", "unlimited_ocr"})
"""Types of models that attend over pictures, or over the whole prompt, in both directions (transformers 5.24)."""


def part(net: nn.Module, *names: str) -> Any:
    """The first module of one of these names, wherever it lies."""
    return next(module for path, module in net.named_modules() if path.rpartition(".")[2] in names)


def outside_language() -> str:
    """What transformers must leave as it is where it quantises: a pattern of every path outside of the language model's
    blocks, so of vision tower, projector and output layer."""
    return rf"(?!.*\b(?:{'|'.join(LANGUAGE)})\.).+"


def replayable(module: nn.Module) -> bool:
    """Whether transformers can run a layer again for its gradients."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    return isinstance(module, GradientCheckpointingLayer)


def blocks(tower: nn.Module) -> list[nn.Module]:
    """The one list of blocks in a tower, wherever this version of transformers keeps it."""
    (found,) = [m for m in tower.modules() if isinstance(m, nn.ModuleList) and len(m) and all(map(replayable, m))]
    return list(found)


def require_causal(kind: str, text: Any, where: str) -> None:
    """A model reads its prompt from left to right, as ours are masked.

    A mask in both directions would give other likelihoods without a word: PaliGemma's are 0.7 off on a tiny one.

    Args:
        kind: transformers' `model_type`.
        text: configuration of the language model, an object or plain values.
        where: named in the error.

    Raises:
        SettingError: it attends in both directions.
    """
    setting = "use_bidirectional_attention"
    told = text.get(setting) if isinstance(text, dict) else getattr(text, setting, None)
    if kind in BOTH_WAYS or told:
        raise SettingError(
            f"{where}: {kind} attends over its prompt in both directions, and prompts are masked from left to right "
            "here; choose LLaVA, Qwen2.5-VL, Qwen3-VL or SmolVLM"
        )


def means(tokens: Tensor, counts: Tensor) -> Tensor:
    """Mean of every sample's share of [sum of counts, D], float32 [B, D]."""
    return torch.stack([share.float().mean(0) for share in tokens.split(counts.tolist())])


def padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows of tokens padded on the left, int64 [B, L], and the mask, 0 where padded."""
    length = max(map(len, rows))
    tokens = torch.tensor([[0] * (length - len(row)) + list(row) for row in rows], device=device)
    lengths = torch.tensor([[len(row)] for row in rows], device=device)
    return tokens, (torch.arange(length, device=device) >= length - lengths).long()
