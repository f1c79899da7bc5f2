"""Multiple-choice answers as XLRS-Bench and OmniEarth-Bench score them: the letter is read out of what a model wrote.

Two readers. `strict`, ours, understands a whole answer or nothing. `upstream` behaves as `extract_characters_regex` in
lmms-eval (`tasks/xlrs/mcq_utils.py`) and VLMEvalKit (`image_mcq.py`), whose numbers the papers report: it takes letters
out of the middle of words, so "The correct answer is: B. Red" counts as B, D and E. Both count an answer right where
the set of letters is exactly the set of right ones; upstream takes for these the characters of the answer as the file
writes it, so that "A B", with its space, is never matched. VLMEvalKit's default is another extraction since 2026: a
language model, a judge, reads the letters; nothing here does that.
"""

import re
import string
from collections.abc import Sequence
from statistics import fmean

from zoo.batch import Macro, Question
from zoo.metrics.grouped import accuracy_by, macro

SubTask = tuple[str, str]
"""Group and kind of a question: the same kind in two groups is two sub-tasks."""

_LEAD = re.compile(
    r"(?:(?:so|thus|therefore),? )?(?:based on the (?:image|picture)s?, )?(?:i (?:think|believe) (?:that )?)?"
    r"(?:(?:the |my )?(?:best |correct |right |final )?(?:answer|option|choice)s?(?: is| are)?(?: ?: ?| )){0,2}",
    re.IGNORECASE,
)

_LETTER = r"[(\[]?[A-Za-z][)\]]?"

_LETTERS = re.compile(rf"{_LETTER}(?:(?: ?[,;&] ?(?:and )?| (?:and )?){_LETTER})*\.?")

_WORDED = re.compile(r"[(\[]?([A-Za-z])(?:[)\].:,]+ ?| )(.+)")

_STRIPPED = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "The answer",
    # Upstream lacks two commas, so neither half of these is ever taken away.
    "The best option isThe correct option is",
    "Best answer:Best option:",
)


def strict(text: str, choices: Sequence[str]) -> str | None:
    """The letters that an answer names, "B" or "A C" (sorted, each once), or None where it is not plainly an answer.

    The whole text must be one of these, white space and asterisks aside:
      * a letter, bare or in brackets: `B`, `b`, `(B)`, `B)`, `[B].`;
      * several, with spaces, commas, semicolons, `&` or `and` between them: `A C`, `A, C and D`;
      * one letter and the words of its choice, or their beginning, as a limit on length cuts words off: `B. Red`,
        `(B) Red`, `B: Re`. Other words make it no answer, those of another choice too.
    Before it may stand `The answer is`, `The correct answer is:`, `Answer:`, `Option`, `The answer is option`,
    `I think the best option is`, `Based on the image,`, `So`, and their like; after these a bare `a` is the article of
    a sentence cut off, not a letter. A letter beyond the choices makes the text no answer. Letters inside words never
    count, hence a refusal is None.
    """
    text = _plain(text)
    lead = _LEAD.match(text)
    rest = text[lead.end() :] if lead else text
    said: set[str] = set()
    if _LETTERS.fullmatch(rest) and (rest != "a" or rest == text):
        said = {letter.upper() for letter in re.findall(r"\b[A-Za-z]\b", rest)}
    elif worded := _WORDED.fullmatch(rest):
        said = {worded[1].upper()} if _names(worded[2], worded[1].upper(), choices) else set()
    return " ".join(sorted(said)) if said and said <= set(string.ascii_uppercase[: len(choices)]) else None


def _names(words: str, letter: str, choices: Sequence[str]) -> bool:
    """Whether the words begin those of the letter's choice and are not those of another."""
    folded = dict(zip(string.ascii_uppercase, (_fold(choice) for choice in choices), strict=False))
    said, own = _fold(words), folded.pop(letter, "")
    return bool(said) and (said == own or (own.startswith(said) and said not in folded.values()))


def _plain(text: str) -> str:
    return " ".join(text.replace("*", "").split())


def _fold(words: str) -> str:
    return _plain(words).casefold().rstrip(". ")


def upstream(text: str, letters: str = "ABCDE") -> str:
    """The letters that upstream reads, sorted and without spaces, "" for none.

    Phrases like "The answer is" are cut out, then a text without any capital among `letters` has no answer; else the
    letters in round brackets count, and where there are none every one of `letters` in the text, in either case.
    (Upstream's pattern has anchors, but all of them optional, so they hold nothing back.)

    Args:
        text: what the model wrote.
        letters: of the benchmark, not of the question: A to E for XLRS-Bench, A to G for OmniEarth-Bench.
    """
    for phrase in _STRIPPED:
        text = text.replace(phrase, "")
    if not set(letters) & set(text):
        return ""
    found = re.findall(rf"\(([{letters}{letters.lower()}])\)", text) or text
    return "".join(sorted({letter.upper() for letter in found if letter in letters + letters.lower()}))


def right_strict(texts: Sequence[str], questions: Sequence[Question]) -> list[bool]:
    """Whether `strict` reads exactly the right letters, [N]."""
    return [strict(text, q.choices) == q.answer for text, q in zip(texts, questions, strict=True)]


def right_upstream(texts: Sequence[str], questions: Sequence[Question]) -> list[bool]:
    """Whether `upstream` reads exactly the right letters, [N].

    Upstream's letters belong to a benchmark; here they are A to E, and beyond as far as any of the questions has
    choices, which is the same on the whole of XLRS-Bench (at most five) and of OmniEarth-Bench (at most seven).
    """
    letters = string.ascii_uppercase[: max([5, *(len(q.choices) for q in questions)])]
    golds = [q.gold or q.answer.replace(" ", "") for q in questions]
    return [set(upstream(text, letters)) == set(gold) for text, gold in zip(texts, golds, strict=True)]


def group_macro(tasks: Sequence[SubTask], right: Sequence[float]) -> float:
    """Mean over groups of the mean accuracy of their sub-tasks (OmniEarth-Bench: spheres and L4 tasks)."""
    by_task = accuracy_by(tasks, right)
    return macro([group for group, _ in by_task], [accuracy for accuracy, _ in by_task.values()])


def upstream_macro(tasks: Sequence[SubTask], right: Sequence[float], over: Macro = "kinds and groups") -> float:
    """What VLMEvalKit calls "Overall macro".

    Of XLRS-Bench it is the plain mean over sub-tasks (`kinds`). Of OmniEarth-Bench (`kinds and groups`) it is neither
    of the two means that the name suggests: the group means are appended to the table of sub-task accuracies before
    the table is averaged, so that both are in the mean: sub-tasks (1, 0) and (1) have mean 2/3, their groups 3/4, and
    this gives (1 + 0 + 1 + 1/2 + 1) / 5 = 0.7.
    """
    by_task = {task: accuracy for task, (accuracy, _) in accuracy_by(tasks, right).items()}
    if over == "kinds":
        return fmean(by_task.values())
    by_group = accuracy_by([group for group, _ in by_task], list(by_task.values()))
    return fmean([*by_task.values(), *(accuracy for accuracy, _ in by_group.values())])


def scores(texts: Sequence[str], questions: Sequence[Question]) -> dict[str, float]:
    """Metrics of N written answers, in [0, 1].

    `accuracy` over questions and `task_macro` over kinds, both by the strict reader; `accuracy_upstream` over questions
    by upstream's; `parse_failures`, the share of texts that the strict reader cannot read, all of which count as wrong.
    Where questions come from two groups or more, also `group_macro` (strict); where their benchmark has a macro of its
    own, also `upstream_macro` (upstream's reader).
    """
    right, loose = right_strict(texts, questions), right_upstream(texts, questions)
    out = {
        "accuracy": fmean(right),
        "accuracy_upstream": fmean(loose),
        "task_macro": macro([q.kind for q in questions], right),
        "parse_failures": fmean(strict(text, q.choices) is None for text, q in zip(texts, questions, strict=True)),
    }
    tasks = [(q.group, q.kind) for q in questions]
    if len({group for group, _ in tasks}) > 1:
        out["group_macro"] = group_macro(tasks, right)
    if over := next((q.macro for q in questions if q.macro), None):
        out["upstream_macro"] = upstream_macro(tasks, loose, over)
    return out
