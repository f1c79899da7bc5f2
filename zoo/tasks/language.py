"""Tasks whose prediction a language model writes: no head, the likelihood of the right words, and the text."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from torch import Tensor

from zoo.backbones.vision_language import decode
from zoo.batch import Batch, Question
from zoo.errors import SettingError
from zoo.tasks.base import Task
from zoo.tasks.results import Text


class LanguageTask(Task):
    """Trains the likelihood of the right answer, and decodes what is written where a batch asks for it.

    Reads the features of one vision-language model: log-likelihoods of the answer's tokens [B, A] with NaN as padding,
    or UTF-8 bytes uint8 [B, WIDTH]. Predicts `written`, those bytes. It has no loss outside of training, as likelihood
    and writing are two passes.

    Args:
        max_new_tokens: at which a written answer is cut off.
    """

    result = Text
    decided = ("written",)

    def __init__(self, *, max_new_tokens: Annotated[int, ">= 1"] = 8) -> None:
        super().__init__()
        self.writes = max_new_tokens

    def attach(self, feature_dims: Mapping[str, int], classes: Sequence[str]) -> None:
        """Keep the names of the sub-tasks; nothing to create.

        Raises:
            SettingError: not exactly one stream of features.
        """
        if len(feature_dims) != 1:
            raise SettingError(
                f"task: it needs the words of one vision-language model, got features of {sorted(feature_dims)}"
            )
        (self.stream,) = feature_dims
        self.names = list(classes)
        self.reset()

    def logits(self, features: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """There is no head.

        Raises:
            SettingError: always.
        """
        raise SettingError(
            "task: it has no scores over classes, as its answers are written by a language model; "
            "a method with a consistency loss needs a task with a head"
        )

    def loss(self, features: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Negative log-likelihood averaged over the answer's tokens, [B]."""
        return {"likelihood": -features[self.stream].nanmean(1)}

    def asked(self, batch: Batch) -> Batch:
        """With the number of tokens to write."""
        return replace(batch, write=self.writes)

    def predict(self, features: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """`written` uint8 [B, WIDTH]."""
        return {"written": features[self.stream]}

    def differing(self, one: Tensor, other: Tensor) -> Tensor:
        """An answer differs where a character does: bool [B]."""
        return (one != other).any(-1)

    def answer(self, prediction: Mapping[str, Tensor]) -> dict[str, Any]:
        """The text; what it comes to is among the `remarks`."""
        return {"written": decode(prediction["written"][None])[0]}

    def lacks(self, question: Question | None) -> list[str]:
        """What a user has to say beside a picture so that there is something to answer, as words of the command."""
        return []

    def remarks(self, prediction: Mapping[str, Tensor], question: Question) -> dict[str, Any]:
        """What an answer comes to in the light of its question, beside `answer`, in plain values."""
        return {}
