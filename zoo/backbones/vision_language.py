"""The contract of a frozen vision-language model: it looks at pictures, reads a question, and writes an answer.

Its features are words, not vectors. While training they are the log-likelihoods of the right answer's tokens, [B, A]
with NaN where an answer is shorter; where a batch asks to `write`, they are the written answers as UTF-8 bytes, uint8
[B, WIDTH] padded with zeros, so that they travel as every other feature does.
"""

import string
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from zoo.backbones.base import Backbone
from zoo.batch import Batch, Question

ONE = "Answer with the letter of the right choice alone."

OPEN = "Answer with one word or number."

LETTERS = string.ascii_uppercase

WIDTH = 512
"""Bytes kept of a written answer."""

Contexts = tuple[AbstractContextManager[Any], AbstractContextManager[Any]]


class VisionLanguage(Backbone):
    """A vision tower, a projector and a causal language model.

    Subclasses set `image_dim` beside what every backbone sets, and implement `transform`, `towers`, `look`,
    `likelihood` and `write`. `seen` is what `look` gives; where `prefix_depth` is None, methods see the transformed
    inputs.

    Attributes:
        image_dim: width of the vision tokens.
        recompute: gives the contexts in which a checkpointed block runs forward and is run again, so that what a method
            told the blocks in the forward pass is told again; set by a method in `attach`.
    """

    stream = "vision-language"
    image_dim: int
    recompute: Callable[[], Contexts] | None = None

    @property
    def towers(self) -> Mapping[str, Sequence[nn.Module]]:
        """Blocks of the towers `vision` and `language`, as modules of the model itself."""
        raise NotImplementedError

    @property
    def projectors(self) -> list[nn.Module]:
        """Modules that translate vision tokens for the language model, one input each; a method may train them."""
        return []

    def prefix_depth(self, first: Mapping[str, int]) -> int | None:
        """0 where `look` is a pure function of the input with one shape, None where inputs differ in shape."""
        raise NotImplementedError

    def look(self, inputs: Any) -> Any:
        """Collated inputs -> what the language model is shown, for instance vision tokens [B, T, L, image_dim]."""
        raise NotImplementedError

    def pooled(self, seen: Any) -> Tensor:
        """Mean of a sample's vision tokens, float32 [B, image_dim]."""
        raise NotImplementedError

    def owners(self, inputs: Any, tower: str) -> Tensor | None:
        """Sample of every leading row of the tower's hidden states, int64 [rows]; None where rows are samples."""
        return None

    def likelihood(self, seen: Any, questions: Sequence[Question]) -> Tensor:
        """Log-likelihood of every token of the right answers and of the end of turn, [B, A], NaN as padding."""
        raise NotImplementedError

    def write(self, seen: Any, questions: Sequence[Question], tokens: int) -> list[str]:
        """Greedy answers of at most so many tokens, B of them."""
        raise NotImplementedError

    # --- reading ahead: blocks of the language model that precede every trainable part need to run only once ----------

    def blocks_ahead(self, first: Mapping[str, int]) -> int:
        """Blocks of the language model whose outputs may be kept, `first` as in `prefix_depth`; 0 where none may.

        Where there are some, `words`, `read` and `likelihood_from` are there as well.
        """
        return 0

    def words(self, seen: Any, questions: Sequence[Question]) -> list[list[int]]:
        """Tokens that `likelihood` reads of every sample: what `read` depends on beside `seen`."""
        raise NotImplementedError

    def read(self, seen: Any, questions: Sequence[Question], blocks: int) -> Tensor:
        """Hidden states of what `likelihood` reads after so many blocks, [B, L, D], padded on the left."""
        raise NotImplementedError

    def likelihood_from(self, read: Tensor, blocks: int, seen: Any, questions: Sequence[Question]) -> Tensor:
        """As `likelihood`, from what `read` gives."""
        raise NotImplementedError

    def rest(self, tokens: Any, depth: int | None, batch: Batch) -> Tensor:
        """Log-likelihoods [B, A], or written answers as bytes [B, WIDTH] where the batch asks for them."""
        seen = self.look(tokens) if depth is None else tokens
        if batch.read is not None and not batch.write:
            return self.likelihood_from(batch.read, batch.read_blocks, seen, batch.questions)
        if not batch.write:
            return self.likelihood(seen, batch.questions)
        return encode(self.write(seen, batch.questions, batch.write)).to(seen_device(seen))


def ask(question: Question) -> str:
    """The words put to a model: question, lettered choices, and how to answer."""
    marks = (question.marks.replace("A", letter) for letter in LETTERS)
    lines = [question.text, *(f"{mark} {words}" for mark, words in zip(marks, question.choices, strict=False))]
    return "\n".join([*lines, question.instruction or (OPEN if not question.choices else ONE)])


def encode(texts: Sequence[str]) -> Tensor:
    """Texts as UTF-8 bytes, uint8 [B, WIDTH] padded with zeros; what is longer is cut."""
    rows = [text.encode()[:WIDTH].ljust(WIDTH, b"\0") for text in texts]
    return torch.frombuffer(bytearray(b"".join(rows)), dtype=torch.uint8).view(len(rows), WIDTH)


def decode(rows: Tensor) -> list[str]:
    """The inverse of `encode`, from any numeric type."""
    return [bytes(row.to(torch.uint8).tolist()).rstrip(b"\0").decode(errors="replace") for row in rows.cpu()]


def seen_device(seen: Any) -> torch.device:
    """Device of a tensor, or of the first one in a mapping."""
    first: Tensor = seen if isinstance(seen, Tensor) else next(iter(seen.values()))
    return first.device
