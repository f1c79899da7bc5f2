"""Frozen language blocks done once: what they make of a question and its right answer, kept beside the prefix.

A method that adapts a language model's last blocks alone leaves the first ones as they are, and they read the same
picture, question and answer at every training step. What they make of them is a pure function of the frozen weights,
the picture and the tokens read, so an entry of the prefix cache is named by these and by the number of blocks.

A sample is read alone and kept without padding: its batch must not enter. Only the likelihood of answers begins from
there. Answers that are written are read from the start, as their later words need the first blocks' keys and values.
"""

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.backbones.vision_language import VisionLanguage
from zoo.batch import Batch, Question

if TYPE_CHECKING:
    from zoo.prefix import PrefixCache


@torch.no_grad()
def read_ahead(model: VisionLanguage, blocks: int, tokens: Tensor, batch: Batch, cache: "PrefixCache") -> Batch:
    """The batch with what the first blocks make of its questions and right answers: kept, or read now and kept.

    Args:
        model: with `blocks_ahead`.
        blocks: of its language model.
        tokens: vision tokens, as `VisionLanguage.look` gives them, [B, ...].
        batch: of B samples that have keys and questions.
        cache: of the prefix.
    """
    rows = []
    for i, (sample, words) in enumerate(zip(batch.keys, model.words(tokens, batch.questions), strict=True)):
        asked = hashlib.sha256(str(words).encode()).hexdigest()
        key = cache.key(model.fingerprint, blocks, f"{sample}|read {asked}")
        found = cache.entry(key)
        if found is None:
            rows.append(cache.round(_row(model, blocks, tokens[i : i + 1], batch.questions[i])))
            cache.write(key, rows[-1])
        else:
            rows.append(found.tokens.to(tokens.device))
            cache.used.add(found.origin)
    longest = max(map(len, rows))
    read = torch.stack([F.pad(row, (0, 0, longest - len(row), 0)) for row in rows])
    return replace(batch, read=read, read_blocks=blocks)


def _row(model: VisionLanguage, blocks: int, tokens: Tensor, question: Question) -> Tensor:
    """Hidden states of one sample, float32 [L, D]; not in a run's precision, as runs share the cache."""
    with torch.autocast(tokens.device.type, enabled=False):
        return model.read(tokens, [question], blocks)[0].float()
