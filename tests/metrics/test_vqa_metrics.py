"""Answers read out of text: known outputs of the upstream parser, and scores counted by hand."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.batch import Macro, Question
from zoo.metrics import multiple_choice, rsvqa
from zoo.metrics.grouped import accuracy_by, commonest, macro
from zoo.metrics.multiple_choice import strict, upstream

COLOURS = ("Blue", "Red", "Dark green", "Green.", "Grey")
PIECES = ("A", "B", "a", "c", "and", ",", ".", ":", "(", ")", "The", "answer", "is", "So", "I", "think", "Red", "blue")
TOY = [("x", "air"), ("y", "air"), ("x", "sea"), ("x", "sea")]
WORDS = st.lists(st.sampled_from(PIECES))


@pytest.mark.parametrize(
    ("text", "loose", "exact"),
    [
        ("B", "B", "B"),
        ("(B)", "B", "B"),
        ("B.", "B", "B"),
        ("The answer is (B).", "B", "B"),
        ("The best answer is (B).", "B", "B"),
        ("b", "", "B"),
        ("The correct answer is: B. Red", "BDE", "B"),
        ("I think the best option is D", "BDE", "D"),
        ("Based on the image, B", "ABDE", "B"),
        ("Cannot determine", "ACDE", None),
    ],
)
def test_both_readers_on_the_outputs_that_upstream_was_run_on(text: str, loose: str, exact: str | None) -> None:
    assert upstream(text) == loose
    assert strict(text, COLOURS) == exact


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        (" B \n", "B"),
        ("**B**", "B"),
        ("B)", "B"),
        ("[B].", "B"),
        ("a", "A"),
        ("A C", "A C"),
        ("C, A", "A C"),
        ("(A), (C) and E", "A C E"),
        ("A\nC\n", "A C"),
        ("D and D", "D"),
        ("a b", "A B"),
        ("B. Red", "B"),
        ("(B) red.", "B"),
        ("B: RED", "B"),
        ("B Red", "B"),
        ("b. red", "B"),
        ("C. Dark", "C"),  # cut off by the limit on tokens
        ("Answer: C", "C"),
        ("Option D", "D"),
        ("The answer is option D.", "D"),
        ("The answers are A and C", "A C"),
        ("The **answer** is a.", "A"),
        ("So, I think that the correct choice is: (E)", "E"),
        ("The answer is A. blue", "A"),
        ("The answer is a", None),  # ... red roof
        ("B. Blue", None),  # says A and B at once
        ("D. Green and grey", None),
        ("B. because", None),
        ("B.", "B"),
        ("B. .", None),
        ("F", None),  # there are five choices
        ("A F", None),
        ("Red", None),
        ("AC", None),
        ("A bad answer", None),
        ("answers", None),
        ("Blue", None),
        ("I cannot see B", None),
        ("B or C", None),
        ("", None),
        ("The answer is", None),
    ],
)
def test_the_strict_reader(text: str, letters: str | None) -> None:
    assert strict(text, COLOURS) == letters


def test_words_that_begin_one_choice_and_are_another_name_neither() -> None:
    assert strict("B. Green", ("Green", "Green roof")) is None
    assert strict("A. Green", ("Green", "Green roof")) == "A"
    assert strict("B. None", ("None", "None")) == "B"
    assert strict("B", ()) is None


@given(st.one_of(st.text(), WORDS.map(" ".join), WORDS.map("".join)), st.integers(0, 5))
def test_the_strict_reader_names_choices_alone_sorted_and_once(text: str, number: int) -> None:
    said = strict(text, COLOURS[:number])
    if said is not None:
        letters = said.split(" ")
        assert set(letters) <= set("ABCDE"[:number])
        assert letters == sorted(set(letters))
        assert strict(said, COLOURS[:number]) == said


@given(st.lists(st.from_regex(r"[A-Za-z]{2,9}", fullmatch=True), min_size=1, max_size=6))
def test_no_letter_is_taken_out_of_a_word(words: list[str]) -> None:
    assert strict(" ".join(words), COLOURS) is None


@given(st.one_of(st.text(), WORDS.map(" ".join)))
def test_the_anchors_of_upstreams_pattern_hold_nothing_back(text: str) -> None:
    anchored = re.findall(r"(?:^|\s)?([a-eA-E])(?:$|[\s,.])?", text)
    assert anchored == [letter for letter in text if letter in "abcdeABCDE"]


def test_upstreams_phrases_brackets_and_letters() -> None:
    assert upstream("The best option is C") == "BCE"  # a phrase that upstream means to strip, and does not
    assert upstream("The answer is C") == "C"
    assert upstream("(a) B") == "A"
    assert upstream("G") == ""
    assert upstream("G", "ABCDEFG") == "G"
    assert upstream("C A") == "AC"


def question(
    answer: str, kind: str, group: str = "", choices: tuple[str, ...] = COLOURS, gold: str = "", macro: Macro = ""
) -> Question:
    return Question("What colour?", choices, answer, kind, group, gold=gold, macro=macro)


def test_multiple_choice_scores_counted_by_hand() -> None:
    asked = [question("B", "one"), question("A C", "several"), question("A C", "several"), question("D", "one")]
    asked.append(question("E", "one"))
    found = multiple_choice.scores(["The correct answer is: B. Red", "C, A", "A", "d", "Cannot determine"], asked)
    assert found == pytest.approx(
        {
            "accuracy": 3 / 5,
            "accuracy_upstream": 1 / 5,
            "task_macro": (2 / 3 + 1 / 2) / 2,
            "parse_failures": 1 / 5,
        }
    )


def test_the_toy_case_of_omniearths_overall_macro() -> None:
    asked = [question("A", kind, group, macro="kinds and groups") for kind, group in TOY]
    said = ["A", "B", "A", "A"]
    found = multiple_choice.scores(said, asked)
    tasks = [(group, kind) for kind, group in TOY]
    assert macro(tasks, multiple_choice.right_strict(said, asked)) == pytest.approx(2 / 3)
    assert found["group_macro"] == pytest.approx(0.75)
    assert found["upstream_macro"] == pytest.approx(0.70)
    assert found["accuracy"] == pytest.approx(0.75)
    assert found["task_macro"] == pytest.approx((1 + 0) / 2)  # `x` of both groups is one kind


def test_xlrs_macro_is_the_plain_mean_over_its_sub_tasks() -> None:
    found = multiple_choice.scores(["A", "B", "A", "A"], [question("A", k, g, macro="kinds") for k, g in TOY])
    assert found["upstream_macro"] == pytest.approx(2 / 3)
    assert "upstream_macro" not in multiple_choice.scores(["A"] * 4, [question("A", k, g) for k, g in TOY])


def test_upstream_compares_the_characters_of_the_answer_as_its_file_writes_it() -> None:
    asked = [question("A B", "x", gold=gold) for gold in ("AB", "BA", "A B", "A, B", "")]
    assert multiple_choice.right_upstream(["A B"] * 5, asked) == [True, True, False, False, True]
    assert multiple_choice.right_strict(["A B"] * 5, asked) == [True] * 5


def test_upstreams_letters_reach_as_far_as_the_benchmarks_choices() -> None:
    four, seven = question("A", "x", choices=COLOURS[:4]), question("G", "x", choices=(*COLOURS, "Six", "Seven"))
    assert multiple_choice.right_upstream(["A f"], [four]) == [True]
    assert multiple_choice.right_upstream(["A f", "G"], [four, seven]) == [False, True]


def test_accuracies_by_name() -> None:
    names, right = ["b", "a", "b", "b"], [True, False, True, False]
    assert accuracy_by(names, right) == {"b": (pytest.approx(2 / 3), 3), "a": (0.0, 1)}
    assert macro(names, right) == pytest.approx(1 / 3)
    assert commonest(["b", "a", "b", "b"], ["no", "no", "yes", "yes"]) == [False, True, True, True]


@pytest.mark.parametrize("unit", ["", "m2"])
@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0{u}"),
        (1, "between 0{u} and 10{u}"),
        (10, "between 0{u} and 10{u}"),
        (11, "between 10{u} and 100{u}"),
        (100, "between 10{u} and 100{u}"),
        (101, "between 100{u} and 1000{u}"),
        (1000, "between 100{u} and 1000{u}"),
        (1001, "more than 1000{u}"),
    ],
)
def test_rsvqas_ranges_at_every_edge(value: int, words: str, unit: str) -> None:
    expected = words.format(u=unit)
    assert rsvqa.bucket(value, unit) == expected
    for text in (f"{value}{unit}", f" {value}{unit}. ", expected, expected.upper()):
        assert rsvqa.canonical(text, buckets=True) == expected
    assert rsvqa.canonical(f"{value}{unit}", buckets=False) == (expected if unit else str(value))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Yes.", "yes"),
        ("  Rural \n", "rural"),
        ("between 11 and 100", "between 10 and 100"),
        ("Between 101 m2 and 1000 m²", "between 100m2 and 1000m2"),
        ("12 m²", "between 10m2 and 100m2"),
        ("1,200", "more than 1000"),
        ("007", "between 0 and 10"),
        ("1.5", "1.5"),
        ("between 3 and 7", "between 3 and 7"),
        ("yes, there is", "yes, there is"),
    ],
)
def test_answers_come_to_their_class(text: str, expected: str) -> None:
    assert rsvqa.canonical(text, buckets=True) == expected
    assert rsvqa.canonical(expected, buckets=True) == expected


def test_the_average_over_types_and_over_questions_differ_where_types_do() -> None:
    kinds = ["comp"] * 6 + ["count"] * 3 + ["rural_urban"]
    right = [True] * 5 + [False] + [True, False, False] + [False]
    assert rsvqa.scores(kinds, right) == pytest.approx(
        {
            "accuracy": 6 / 10,
            "average_accuracy": (5 / 6 + 1 / 3 + 0) / 3,
            "accuracy_comp": 5 / 6,
            "accuracy_count": 1 / 3,
            "accuracy_rural_urban": 0.0,
            "accuracy_without_count_and_area": 5 / 7,
        }
    )
    assert "accuracy_without_count_and_area" not in rsvqa.scores(["comp"], [True])
    assert "accuracy_without_count_and_area" not in rsvqa.scores(["count", "area"], [True, False])
