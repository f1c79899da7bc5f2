"""What tasks share that ask about pictures: written answers are counted beside the right ones, by kind of question."""

from collections.abc import Mapping

import torch
from torch import Tensor

from zoo.backbones.vision_language import decode
from zoo.batch import Batch, Question
from zoo.errors import SettingError
from zoo.tasks.language import LanguageTask


class Written(LanguageTask):
    """Counts answers to `batch.questions`. Subclasses say in `right` which of the texts counted are right.

    Args:
        max_new_tokens: at which a written answer is cut off.
    """

    kind = "visual-question-answering"
    monitor = "accuracy"
    pictures = ("answers",)

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
