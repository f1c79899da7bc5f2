"""Open questions with short answers: a vision-language model writes a word, a number or a range."""

from typing import Annotated

from zoo.metrics.grouped import commonest
from zoo.metrics.rsvqa import canonical, scores
from zoo.tasks.written import Written


class OpenVQA(Written):
    """Right where the written answer and the right one come to the same class of RSVQA.

    Classes are the question types. Both answers may be numbers or the ranges in words; the words are longer ("between
    100m2 and 1000m2"), so that data that teach them need more tokens than the default.

    Args:
        max_new_tokens: at which a written answer is cut off.
        buckets: counts are right where they lie in the right range, as RSVQA-LR has it; for RSVQA-HR, and whatever else
            asks for the exact number, false. Areas are always compared by range.
    """

    def __init__(self, *, max_new_tokens: Annotated[int, ">= 1"] = 8, buckets: bool = True) -> None:
        super().__init__(max_new_tokens=max_new_tokens)
        self.buckets = buckets

    def truth(self) -> list[str]:
        """Class of every right answer, N of them."""
        return [canonical(question.answer, buckets=self.buckets) for question in self.questions]

    def right(self) -> list[bool]:
        """Whether each text comes to the class of the right answer, N of them."""
        predicted = [canonical(text, buckets=self.buckets) for text in self.texts]
        return [a == b for a, b in zip(predicted, self.truth(), strict=True)]

    def compute(self) -> dict[str, float]:
        """`accuracy` over questions, `average_accuracy` over types, and of every type that was asked about."""
        return scores(self.kinds, self.right())

    def baselines(self) -> dict[str, dict[str, float]]:
        """Every type's commonest answer."""
        return {"commonest_answer": scores(self.kinds, commonest(self.kinds, self.truth()))}
