"""Multiple choice: a vision-language model writes the letter of the right choice, or several letters."""

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from torch import Tensor

from zoo.backbones.vision_language import decode
from zoo.batch import Batch, Question
from zoo.errors import SettingError
from zoo.metrics.grouped import commonest, macro
from zoo.metrics.multiple_choice import right_strict, scores, strict
from zoo.tasks.written import Written


class MultipleChoice(Written):
    """Right where exactly the right letters are written, by a reader that takes no letter out of a word.

    Classes are the names of the sub-tasks.

    Args:
        max_new_tokens: at which a written answer is cut off.
    """

    def update(self, prediction: Mapping[str, Tensor], batch: Batch) -> None:
        """Count B written answers.

        Raises:
            SettingError: a question has no choices, or what `Written` refuses.
        """
        for name, question in zip(batch.ids, batch.questions, strict=False):
            if not question.choices:
                raise SettingError(f"multiple choice needs choices, but {name} asks an open question: {question.text}")
        super().update(prediction, batch)

    def lacks(self, question: Question | None) -> list[str]:
        """A question, and choices."""
        return [*super().lacks(question), *([] if question and question.choices else ['choices="one|two|three"'])]

    def remarks(self, prediction: Mapping[str, Tensor], question: Question) -> dict[str, Any]:
        """`letter`, as it counts: "B", "A C", or None where the text is not plainly an answer."""
        return {"letter": strict(decode(prediction["written"][None])[0], question.choices)}

    def right(self) -> list[bool]:
        """Whether each text names exactly the right letters, N of them."""
        return right_strict(self.texts, self.questions)

    def compute(self) -> dict[str, float]:
        """`accuracy`, `accuracy_upstream`, `task_macro`, `parse_failures`; by groups where there are several."""
        return scores(self.texts, self.questions)

    def baselines(self) -> dict[str, dict[str, float]]:
        """Every sub-task's commonest answer, and guessing one letter where one letter is right."""
        lucky = commonest(self.kinds, [q.answer for q in self.questions])
        out = {"commonest_letter": {"accuracy": fmean(lucky), "task_macro": macro(self.kinds, lucky)}}
        single = [q for q in self.questions if " " not in q.answer]
        if single:
            chance = [1 / len(q.choices) for q in single]
            out["chance"] = {"accuracy": fmean(chance), "task_macro": macro([q.kind for q in single], chance)}
        return out
