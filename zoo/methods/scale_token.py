"""The control that tells a scale in so many words: a token of the encoder, a sentence before a question."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from zoo.backbones.base import Backbone
from zoo.batch import Question
from zoo.errors import SettingError


def scale_token(backbone: Backbone, depth: int, *, maps: bool) -> nn.Sequential:
    """What makes a token of log10(GSD) with its sine and cosine, to stand among those after `depth` blocks.

    Raises:
        SettingError: the encoder has no room for it, or its maps are read.
    """
    if maps:
        raise SettingError("method.scale=token: a map of tokens has no place for one more; use gate or none")
    if getattr(getattr(backbone, "net", None), "rope", None) is not None:
        raise SettingError("method.scale=token: this encoder's rotary positions leave no room for another token")
    width = backbone.dims[depth]
    return nn.Sequential(nn.Linear(3, width), nn.GELU(), nn.Linear(width, width))


def rest_with_token(token: nn.Module, backbone: Backbone, tokens: Tensor, depth: int, z: Tensor) -> Tensor:
    """As `Backbone.rest`, with a token for the scales z [B] behind the others, which is dropped before pooling."""
    flat = tokens.flatten(0, 1)
    scale = token(torch.stack([z, torch.sin(math.pi * z), torch.cos(math.pi * z)], dim=-1))
    flat = torch.cat([flat, scale.repeat_interleave(tokens.shape[1], dim=0)[:, None]], dim=1)
    for block in backbone.blocks[depth:]:
        flat = block(flat)
    pooled: Tensor = backbone.pool(backbone.finish(flat[:, :-1])).unflatten(0, tokens.shape[:2])
    return pooled


def worded(questions: Sequence[Question], z: Tensor) -> list[Question]:
    """The questions, each behind a sentence with its picture's scale."""
    told = [f"One pixel is {10 ** float(value):.2g} m wide. " for value in z]
    return [question._replace(text=words + question.text) for words, question in zip(told, questions, strict=True)]
