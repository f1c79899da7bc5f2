"""Accuracy of questions that fall into sub-tasks, by sub-task and averaged over sub-tasks."""

from collections import Counter
from collections.abc import Hashable, Sequence
from statistics import fmean
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


def accuracy_by(names: Sequence[Name], right: Sequence[float]) -> dict[Name, tuple[float, int]]:
    """Mean of `right` and number of questions by name, in order of first appearance; both sequences are [N]."""
    parts: dict[Name, list[float]] = {}
    for name, value in zip(names, right, strict=True):
        parts.setdefault(name, []).append(value)
    return {name: (fmean(part), len(part)) for name, part in parts.items()}


def macro(names: Sequence[Hashable], right: Sequence[float]) -> float:
    """Mean over names of their accuracies, so that every name counts the same however many questions it has."""
    return fmean(accuracy for accuracy, _ in accuracy_by(names, right).values())


def commonest(names: Sequence[Hashable], answers: Sequence[str]) -> list[bool]:
    """Whether each answer is the commonest one of its name, [N]: who would be right without looking."""
    counts: dict[Hashable, Counter[str]] = {}
    for name, answer in zip(names, answers, strict=True):
        counts.setdefault(name, Counter())[answer] += 1
    best = {name: count.most_common(1)[0][0] for name, count in counts.items()}
    return [answer == best[name] for name, answer in zip(names, answers, strict=True)]
