"""What the parts of a method did in one answer: it is given again with one part replaced at a time."""

from html import escape
from typing import Any

from zoo.demos.answer import Answer, ask
from zoo.metrics.names import replaced
from zoo.pairing import Pairing

NEED_A_SPLIT = ("mean", "other")
"""Replacements of a signal that take other samples to know."""


def alone(pairing: Pairing) -> list[str]:
    """Names of the interventions that one sample is enough for."""
    signals = {f"{mechanism}_{by}" for mechanism in pairing.method.controlled() for by in NEED_A_SPLIT}
    return [name for name in pairing.method.interventions() if name not in signals]


def parts(pairing: Pairing, answered: Answer) -> str:
    """A table as HTML, a row a replaced part: share of the decisions that become others, and what is then answered.

    Args:
        pairing: that answered.
        answered: the answer as it was given.
    """
    rows = []
    for name in alone(pairing):
        with pairing.method.interventions()[name]():
            other = ask(pairing, answered.sample)
        rows.append((replaced(name), _changed(pairing, answered, other), _in_short(other)))
    head = "".join(f"<th>{cell}</th>" for cell in ("replaced", "decisions that change", "answer"))
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<table class="zoo-table"><tr>{head}</tr>{body}</table>'


def _changed(pairing: Pairing, one: Answer, other: Answer) -> str:
    task = pairing.task
    differing = [
        task.differing(one.decoded[name][None], other.decoded[name][None]).float().flatten() for name in task.decided
    ]
    count = sum(len(each) for each in differing)
    return f"{sum(float(each.sum()) for each in differing):.0f} of {count}" if count else ""


def _in_short(answered: Answer) -> str:
    """Its first value: a label with its probability, what is written, the events in turn, or shares of the area."""
    record: dict[str, Any] = answered.record
    if "label" in record:
        return f"{record['label']} ({record['probability']:.3f})"
    if "segments" in record:
        return ", ".join(dict.fromkeys(record["segments"]))
    if "classes" in record:
        return ", ".join(f"{name} {100 * found['share']:.1f} %" for name, found in record["classes"].items())
    return str(record.get("written", ""))
