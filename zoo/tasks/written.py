"""What tasks share whose answer a language model writes: no head, the likelihood of the answer, and the text."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from torch import Tensor

from zoo.backbones.vision_language import decode
from zoo.batch import Batch, Question
from zoo.errors import SettingError
from zoo.metrics.grouped import accuracy_by
from zoo.tasks.base import Task


class Written(Task):
    """Trains the likelihood of the right answer, and decodes what is written where a batch asks for it.

    Reads the features of one vision-language model: log-likelihoods of the answer's tokens [B, A] with NaN as padding,
    or UTF-8 bytes uint8 [B, WIDTH]; and `batch.questions`. Predicts `written`, those bytes. Subclasses say in `right`
    which of the texts counted are right.

    Args:
        max_new_tokens: at which a written answer is cut off.
    """

    kind = "visual-question-answering"
    monitor = "accuracy"

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

    def predict(self, features: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """`written` uint8 [B, WIDTH]."""
        return {"written": features[self.stream]}

    def answer(self, prediction: Mapping[str, Tensor]) -> dict[str, Any]:
        """The text; what it comes to is among the `remarks`."""
        return {"written": decode(prediction["written"][None])[0]}

    def lacks(self, question: Question | None) -> list[str]:
        """A question."""
        return ['question="..."'] if question is None else []

    def reset(self) -> None:
        """Forget what was counted."""
        self.texts: list[str] = []
        self.questions: list[Question] = []

    def update(self, prediction: Mapping[str, Tensor], batch: Batch) -> None:
        """Count B written answers.

        Raises:
            SettingError: the data ask nothing, or nobody knows the answer.
        """
        unknown = [name for name, question in zip(batch.ids, batch.questions, strict=False) if not question.answer]
        if len(batch.questions) != len(batch) or unknown:
            raise SettingError(
                "task: it measures answers to questions, but the data "
                + (f"do not know the answer of {', '.join(unknown)}" if unknown else f"ask nothing of {batch.ids[0]}")
            )
        self.texts += decode(prediction["written"])
        self.questions += batch.questions

    @property
    def kinds(self) -> list[str]:
        """Sub-task of every question counted, N of them."""
        return [question.kind for question in self.questions]

    def right(self) -> list[bool]:
        """Whether each text counted is right, N of them."""
        raise NotImplementedError

    def per_sample(self) -> Tensor:
        """Right or wrong, [N]."""
        return torch.tensor(self.right(), dtype=torch.double)

    def by_kind(self) -> dict[str, tuple[float, int]]:
        """Accuracy and number of questions of every sub-task counted."""
        return accuracy_by(self.kinds, self.right())
