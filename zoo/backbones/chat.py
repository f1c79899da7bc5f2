"""What a language model reads and writes: a question's tokens, by its own chat template or byte by byte, and back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.backbones.vision_language import ask
from zoo.backbones.weights import WeightsError
from zoo.batch import Question
from zoo.errors import SettingError


class Chat(Protocol):
    """How one language model is spoken to.

    Attributes:
        image: the token that stands for a picture in a prompt, one for each.
        stops: tokens that end an answer.
        settings: what else of it decides a result; part of a fingerprint.
    """

    image: int
    stops: frozenset[int]
    settings: str

    def prompt(self, question: Question, images: int) -> list[int]:
        """Tokens of one turn of the user, and of the start of the model's turn."""
        ...

    def answer(self, text: str) -> list[int]:
        """Tokens of an answer and of the end of its turn."""
        ...

    def text(self, tokens: Sequence[int]) -> str:
        """What was written, without special tokens."""
        ...


class TemplateChat:
    """The chat template and the tokenizer that come with real weights.

    Args:
        processor: transformers' processor of the model.
        image: see `Chat`.
        stops: tokens at which the model's own generation settings stop, besides the tokenizer's end of turn.
        source: named in errors.
    """

    def __init__(self, processor: Any, image: int, stops: Sequence[int], source: str) -> None:
        self.processor, self.tokenizer, self.image = processor, processor.tokenizer, image
        if processor.chat_template is None:
            raise WeightsError(f"{source} has no chat template, so nobody can say how to put a question to it")
        if self.tokenizer.eos_token_id is None:
            raise WeightsError(f"{source}: its tokenizer names no end of turn (eos_token)")
        self.end = int(self.tokenizer.eos_token_id)
        self.stops = frozenset([self.end, *stops])
        self.settings = str(processor.chat_template)

    def prompt(self, question: Question, images: int) -> list[int]:
        """See `Chat`.

        Raises:
            SettingError: the question's own words hold the mark of a picture.
        """
        content = [*({"type": "image"} for _ in range(images)), {"type": "text", "text": ask(question)}]
        turn = [{"role": "user", "content": content}]
        text = self.processor.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
        # Some templates write the beginning of the sequence themselves; the tokenizer must not write it again.
        begun = bool(self.tokenizer.bos_token) and text.startswith(self.tokenizer.bos_token)
        tokens: list[int] = self.tokenizer(text, add_special_tokens=not begun)["input_ids"]
        if (found := tokens.count(self.image)) != images:
            raise SettingError(
                f"a prompt holds {found} marks of a picture for {images} pictures; is there one in the question's own "
                f"words? {question.text[:80]!r}"
            )
        return tokens

    def answer(self, text: str) -> list[int]:
        """See `Chat`."""
        return [*self.tokenizer(text, add_special_tokens=False)["input_ids"], self.end]

    def text(self, tokens: Sequence[int]) -> str:
        """See `Chat`."""
        written: str = self.tokenizer.decode(list(tokens), skip_special_tokens=True)
        return written.strip()


class ByteChat:
    """A stand-in for models without weights: bytes of the text, modulo the tokens that mean nothing special.

    Args:
        config: of the model; its special tokens are never used for a byte.
    """

    settings = "bytes"

    def __init__(self, config: Any) -> None:
        self.image = int(config.image_token_id)
        around = [getattr(config, f"vision_{name}_token_id", None) for name in ("start", "end")]
        self.before, self.after = ([token] if token is not None else [] for token in around)
        size = config.text_config.vocab_size
        named = (getattr(config.text_config, f"{name}_token_id", None) for name in ("bos", "eos", "pad"))
        # Defaults of the published size, which a tiny vocabulary does not reach, name nothing.
        begin, end, pad = (token if token is None or token < size else None for token in named)
        self.begin = [begin] if begin is not None else []
        special = {self.image, getattr(config, "video_token_id", None), begin, end, pad, *around}
        free = [token for token in range(size) if token not in special]
        # Qwen's configuration names no end of turn; any token without another meaning will do.
        self.end = int(free.pop() if end is None else end)
        self.stops, self.tokens = frozenset([self.end]), free
        self.bytes = {token: byte for byte, token in enumerate(free[:256])}

    def prompt(self, question: Question, images: int) -> list[int]:
        """See `Chat`."""
        return [*self.begin, *[*self.before, self.image, *self.after] * images, *self._bytes(f"{ask(question)}\n")]

    def answer(self, text: str) -> list[int]:
        """See `Chat`."""
        return [*self._bytes(text), self.end]

    def text(self, tokens: Sequence[int]) -> str:
        """See `Chat`."""
        return bytes(self.bytes[token] for token in tokens if token in self.bytes).decode(errors="replace").strip()

    def _bytes(self, text: str) -> list[int]:
        return [self.tokens[byte % len(self.tokens)] for byte in text.encode()]


@dataclass(frozen=True)
class Prompt:
    """What the language model reads, padded on the left.

    Attributes:
        embeds: [B, L, D].
        mask: int64 [B, L], 0 where padded.
        positions: int64 [B, L], or [3, B, L] (time, height, width) where the model has such.
        pictures: bool [B, L], true where a vision token stands.
    """

    embeds: Tensor
    mask: Tensor
    positions: Tensor
    pictures: Tensor

    def followed_by(self, word: Tensor) -> "Prompt":
        """The prompt and one more word each, [B, 1, D]."""
        return Prompt(
            torch.cat([self.embeds, word], 1),
            F.pad(self.mask, (0, 1), value=1),
            torch.cat([self.positions, self.positions[..., -1:] + 1], -1),
            F.pad(self.pictures, (0, 1)),
        )
