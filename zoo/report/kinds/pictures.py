"""Pictures from above: predictions beside them, questions with what was written, and what concerns their scale."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from zoo.backbones.vision_language import LETTERS, decode
from zoo.metrics.by_scale import accuracy_by_gsd
from zoo.report import answers, scale
from zoo.report.answers import Scale, SceneExample
from zoo.report.figures import ACCENT, NOTE, WIDE, bars, plain, select, small, wrapped, write
from zoo.report.run import Drawer, One, Run, confusion, examples, reliability

LABELLED, ASKED = 9, 8
"""How many pictures a picture shows."""


def labelled(run: Run) -> None:
    """`examples`: some pictures beside target and prediction in words."""
    shown = examples(run, LABELLED, shuffled=True)
    words = [
        {
            "truth": example.target,
            "predicted": example.prediction,
            "right": example.right,
            "probability": example.probability,
        }
        for example in shown
    ]
    _sheet(run, [example.index for example in shown], words)


def asked(run: Run) -> None:
    """`answers`: some pictures beside what was asked about them and `written`."""
    right, questions = run.pairing.task.per_sample().numpy() == 1, run.predictions.questions
    kinds = sorted({question.kind for question in questions})
    of = np.array([kinds.index(question.kind) for question in questions])
    # Shuffled, as sets are often in order of scale, and all mistakes shown would be of the first one.
    order = np.random.default_rng(0).permutation(len(of))
    rows = order[select(of[order], np.flatnonzero(~right[order]), ASKED)].tolist()
    written = run.predictions.concatenated({"written": run.predictions.prediction["written"]})["written"]
    words = [
        {"truth": questions[i].answer, "predicted": predicted, "right": bool(right[i]), "question": questions[i]}
        for i, predicted in zip(rows, decode(written[rows]), strict=True)
    ]
    _sheet(run, rows, words)


PICTURES: dict[str, Drawer] = {
    "confusion": confusion,
    "examples": labelled,
    "answers": asked,
    "reliability": reliability,
}


def observed(run: Run) -> None:
    """How far gates open over the scale, the calibration of a method's estimate of it, and accuracy by scale."""
    unit, conditions = _unit(run), run.predictions.conditions
    if "gsd" in conditions:
        gsd = run.array(conditions, "gsd")
        if curve := run.pairing.method.curves().get("openness"):
            z, gates = (values.detach().float().cpu().numpy() for values in curve)
            scale.openness(z, gates, np.log10(gsd), run.folder / "openness.png", unit=unit)
        if run.pairing.task.monitor == "accuracy":
            right = run.pairing.task.per_sample().numpy()
            if len(accuracy_by_gsd(gsd, right)) > 1:
                scale.by_gsd(gsd, right, run.folder / "accuracy_by_gsd.png", unit=unit)
    if found := run.observed("gsd/told", "gsd/mean", "gsd/deviation"):
        told, mean, deviation = found
        if not np.isnan(told).all():
            scale.calibration(told, mean, deviation, run.folder / "calibration.png", unit=unit)


def _sheet(run: Run, rows: list[int], words: list[dict[str, Any]]) -> None:
    """Some test pictures, each beside its words and the scale that the method used."""
    shown = []
    for i, line in zip(rows, words, strict=True):
        sample = run.samples[i]
        further = len(sample.images) - 1
        shown.append(SceneExample(id=sample.id, image=sample.images[0], scale=_scale(run, i), further=further, **line))
    answers.answers(shown, run.folder / "examples.png", unit=_unit(run))


def _unit(run: Run) -> str:
    """Of the scale; only some data sets have one of their own."""
    unit: str = getattr(run.data, "gsd_unit", "m")
    return unit


def _scale(run: Run, row: int) -> Scale | None:
    """What the method's remarks say of the scale of one sample, where they do."""
    part = {name: values for name, values in run.predictions.observed.items() if name.startswith("gsd/")}
    seen = {name: value[row : row + 1] for name, value in run.predictions.concatenated(part).items()}
    remarks = run.pairing.method.remarks(seen) if seen else {}
    if "gsd" not in remarks:
        return None
    estimate = remarks.get("gsd_estimate")
    return Scale(remarks["gsd"], remarks["gsd_from"], (estimate["low"], estimate["high"]) if estimate else None)


SAID = {"told": "as told", "file": "as its file says", "estimated": "estimated", "default": "the default"}
"""Who says a ground sampling distance."""


def one(one: One) -> Figure:
    """The picture beside what was asked and predicted, and its scale."""
    sample, record = one.sample, one.record
    figure = Figure(figsize=(9.6, 5.0), layout="constrained")
    left, side = figure.subplots(1, 2, width_ratios=[1.15, 1])
    left.imshow(small(sample.images[0], 560))
    left.axis("off")
    lines: list[tuple[str, str, bool]] = []
    if "likely" in record:
        bars(side.inset_axes((0.0, 0.5, 1.0, 0.44)), record["likely"], "probability")
        lines += [("", "black", False)] * 12
    elif not one.task.wants("answers"):
        lines += plain(record)
    if (question := sample.question) and one.task.wants("answers"):
        lines += [(line, "black", True) for line in wrapped(question.text, WIDE - 4, 8)]
        for letter, words in zip(LETTERS, question.choices, strict=False):
            chosen = letter in (record.get("letter") or "").split()
            first, *rest = wrapped(f"{letter}. {words}", WIDE - 3, 2)
            colour = ACCENT if chosen else "0.25"
            lines += [
                (("● " if chosen else "   ") + first, colour, chosen),
                *((f"     {r}", colour, chosen) for r in rest),
            ]
        predicted = wrapped(f"wrote: {record['written'].strip() or '(nothing)'}", WIDE - 4, 6)
        lines += [("", "black", False), *((line, ACCENT, True) for line in predicted)]
    write(side, [*lines, ("", "black", False), *((line, NOTE, False) for line in scale_lines(record))])
    return figure


def scale_lines(record: Mapping[str, Any]) -> list[str]:
    """What an answer says of the ground sampling distance it used, in sentences; none where its method uses none."""
    if "gsd" not in record:
        return []
    unit, clamped = record["gsd_unit"], ", clamped to what training saw" if record.get("gsd_clamped") else ""
    found = wrapped(
        f"ground sampling distance {record['gsd']:.3g} {unit}, {SAID[record['gsd_from']]}{clamped}", WIDE, 3
    )
    if estimate := record.get("gsd_estimate"):
        middle, low, high = (f"{estimate[end]:.3g}" for end in ("middle", "low", "high"))
        found.append(f"estimate {middle} {unit}, {low} to {high} in 90 of 100 cases")
    return found
