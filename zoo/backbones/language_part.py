"""Some blocks of a language model of transformers, run as the whole one runs them."""

import copy
from typing import Any

from torch import nn


def part(model: Any, blocks: slice, *, last: bool) -> Any:
    """A language model of some of these blocks, which are the model's own, with whatever wraps their layers.

    Positions and mask are made by transformers' own `forward`, whose words for them change between versions; so the
    model is copied without its tensors, rather than its `forward` written again. Made anew at each call.

    Args:
        model: transformers' decoder, with `layers` and a last `norm`.
        blocks: those that run; hidden states go in as `inputs_embeds`.
        last: whether the last norm follows.
    """
    made = copy.copy(model)
    made._modules = {**model._modules, "layers": nn.ModuleList(list(model.layers)[blocks])}
    if not last:
        made._modules["norm"] = nn.Identity()
    return made
