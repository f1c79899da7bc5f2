"""Tasks whose answers a language model writes, on batches made by hand."""

import pytest
import torch

from zoo.backbones.vision_language import WIDTH, encode
from zoo.batch import Batch, Question
from zoo.errors import SettingError
from zoo.metrics.grouped import accuracy_by
from zoo.recipe.schema import signature
from zoo.tasks.multiple_choice import MultipleChoice
from zoo.tasks.open_vqa import OpenVQA
from zoo.tasks.written import Written

STREAM = "vision-language"
ROADS = ("Road", "River", "Roof")


def attached(task: Written, *classes: str) -> Written:
    task.attach({STREAM: 16}, classes)
    return task


def batch(*questions: Question) -> Batch:
    return Batch([f"picture{i}" for i in range(len(questions))], {}, {}, questions=list(questions), write=8)


def count(task: Written, asked: Batch, *texts: str) -> None:
    task.update(task.predict({STREAM: encode(texts)}, asked), asked)


def choice(answer: str, kind: str, group: str = "", choices: tuple[str, ...] = ROADS) -> Question:
    return Question("What is it?", choices, answer, kind, group)


def test_the_loss_is_the_mean_over_an_answers_own_tokens() -> None:
    task = attached(MultipleChoice(), "a")
    features = torch.tensor([[-1.0, -3.0, torch.nan], [-2.0, torch.nan, torch.nan]], requires_grad=True)
    asked = batch(choice("A", "a"), choice("B", "a"))
    loss = task.loss({STREAM: features}, asked)
    assert set(loss) == {"likelihood"}
    torch.testing.assert_close(loss["likelihood"], torch.tensor([2.0, 2.0]))
    loss["likelihood"].mean().backward()
    expected = torch.tensor([[-0.25, -0.25, 0.0], [-0.5, 0.0, 0.0]])
    torch.testing.assert_close(features.grad, expected, rtol=0, atol=0)


def test_padding_sends_no_nan_back_into_the_model() -> None:
    task, asked = attached(OpenVQA(), "a"), batch(Question("?", answer="yes"), Question("?", answer="no"))
    weights = torch.randn(2, 3, 5, requires_grad=True, generator=torch.Generator().manual_seed(0))
    likelihood = weights.log_softmax(-1)[..., 0]
    padded = likelihood.masked_fill(torch.tensor([[False, False, True], [False, True, True]]), torch.nan)
    task.loss({STREAM: padded}, asked)["likelihood"].mean().backward()
    assert weights.grad is not None
    assert weights.grad.isfinite().all()
    assert weights.grad.abs().sum(-1).gt(0).tolist() == [[True, True, False], [True, False, False]]


def test_what_is_written_is_predicted_and_answered_as_it_stands() -> None:
    task, asked = attached(MultipleChoice(), "a"), batch(choice("A", "a"), choice("B", "a"))
    said = task.predict({STREAM: encode(["A", "Überall B"])}, asked)
    assert said["written"].shape == (2, WIDTH)
    assert task.answer({"written": said["written"][1]}) == {"written": "Überall B"}
    assert task.answer({"written": said["written"][1].float()}) == {"written": "Überall B"}


def test_multiple_choice_counts_batches_by_hand() -> None:
    task = attached(MultipleChoice(max_new_tokens=4), "find", "name")
    assert task.writes == 4
    count(task, batch(choice("A", "name"), choice("B", "name")), "A", "The answer is C")
    count(task, batch(choice("A C", "find"), choice("A", "name")), "C A", "no idea")
    assert task.compute() == pytest.approx(
        {"accuracy": 2 / 4, "accuracy_upstream": 2 / 4, "task_macro": (1 / 3 + 1) / 2, "parse_failures": 1 / 4}
    )
    assert task.per_sample().tolist() == [1, 0, 1, 0]
    assert task.per_sample().dtype == torch.double
    assert accuracy_by(task.kinds, task.right()) == {"name": (pytest.approx(1 / 3), 3), "find": (1.0, 1)}
    low, high = task.intervals()["accuracy"]
    assert low <= task.compute()["accuracy"] <= high
    task.reset()
    count(task, batch(choice("B", "name")), "B")
    assert task.compute()["accuracy"] == 1


def test_groups_are_averaged_where_there_are_several() -> None:
    task = attached(MultipleChoice(), "x", "y")
    asked = batch(choice("A", "x", "air"), choice("A", "y", "air"), choice("A", "z", "sea"))
    count(task, asked, "A", "B", "A")
    found = task.compute()
    assert found["group_macro"] == pytest.approx(0.75)
    task.reset()
    count(task, batch(choice("A", "x", "air"), choice("A", "y", "air")), "A", "B")
    assert "group_macro" not in task.compute()


def test_multiple_choice_beside_trivial_predictors() -> None:
    task = attached(MultipleChoice(), "find", "name")
    asked = batch(
        choice("A", "name"),
        choice("A", "name"),
        choice("B", "name", choices=("Yes", "No")),
        choice("A C", "find"),
    )
    count(task, asked, "", "", "", "")
    found = task.baselines()
    assert found["commonest_letter"] == pytest.approx({"accuracy": 3 / 4, "task_macro": (2 / 3 + 1) / 2})
    assert found["chance"] == pytest.approx({"accuracy": (1 / 3 + 1 / 3 + 1 / 2) / 3, "task_macro": 7 / 18})
    assert task.compute()["parse_failures"] == 1
    task.reset()
    count(task, batch(choice("A C", "find")), "")
    assert set(task.baselines()) == {"commonest_letter"}


def test_open_questions_count_ranges_or_numbers() -> None:
    asked = batch(
        Question("How many roofs?", answer="12", kind="count"),
        Question("How many roads?", answer="0", kind="count"),
        Question("How large?", answer="250m2", kind="area"),
        Question("Is there a road?", answer="yes", kind="presence"),
        Question("Is there a river?", answer="no", kind="presence"),
    )
    said = ("17", "0", "between 100m2 and 1000m2", "Yes.", "yes")
    task = attached(OpenVQA(), "area", "count", "presence", "comp")
    count(task, asked, *said)
    assert task.compute() == pytest.approx(
        {
            "accuracy": 4 / 5,
            "average_accuracy": (1 + 1 + 1 / 2) / 3,
            "accuracy_area": 1.0,
            "accuracy_count": 1.0,
            "accuracy_presence": 1 / 2,
            "accuracy_without_count_and_area": 1 / 2,
        }
    )
    assert task.per_sample().tolist() == [1, 1, 1, 1, 0]
    assert accuracy_by(task.kinds, task.right())["presence"] == (0.5, 2)
    exact = attached(OpenVQA(buckets=False), "area", "count", "presence")
    count(exact, asked, *said)
    assert exact.per_sample().tolist() == [0, 1, 1, 1, 0]


def test_open_questions_beside_the_commonest_answer_of_their_type() -> None:
    task = attached(OpenVQA(), "count", "presence")
    asked = batch(
        *(Question("How many?", answer=number, kind="count") for number in ("3", "5", "40")),
        Question("Is there?", answer="yes", kind="presence"),
    )
    count(task, asked, "", "", "", "")
    found = task.baselines()["commonest_answer"]
    assert found["accuracy"] == pytest.approx(3 / 4)
    assert found["average_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert set(found) == set(task.compute())


@pytest.mark.parametrize("task", [MultipleChoice(), OpenVQA()])
def test_mistakes_are_named(task: Written) -> None:
    with pytest.raises(SettingError, match=r"one vision-language model, got features of \['audio', 'video'\]"):
        task.attach({"video": 4, "audio": 4}, ["a"])
    attached(task, "a")
    with pytest.raises(SettingError, match="has no scores over classes"):
        task.logits({STREAM: torch.zeros(1, 3)}, batch(choice("A", "a")))
    with pytest.raises(SettingError, match="ask nothing of lone"):
        count(task, Batch(["lone"], {}, {}), "A")
    with pytest.raises(SettingError, match="do not know the answer of picture1"):
        count(task, batch(choice("A", "a"), choice("", "a")), "A", "B")


def test_multiple_choice_refuses_open_questions() -> None:
    with pytest.raises(SettingError, match="picture0 asks an open question: How many"):
        count(attached(MultipleChoice(), "a"), batch(Question("How many?", answer="3", kind="a")), "3")


def test_recipes_see_the_settings() -> None:
    assert set(signature("zoo.tasks.multiple_choice.MultipleChoice")) == {"max_new_tokens"}
    settings = signature("zoo.tasks.open_vqa.OpenVQA")
    assert {name: setting.default for name, setting in settings.items()} == {"max_new_tokens": "8", "buckets": "True"}
    assert all(setting.meaning for setting in settings.values())
