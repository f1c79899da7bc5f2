"""`python -m zoo.predict adapter=DIR input=FILE [output=FILE.jsonl] [SETTING=VALUE ...]`: answer for one file.

Prints one JSON line: the class of every segment of a clip, of a cloud, of a cloud's points, or of a picture, with
probabilities; or what a vision-language model writes about a picture, and the letter of a choice that comes to. The
file is read as in training; what had to be made up (a picture repeated, silence, points repeated) is said on standard
error. Settings, where they mean something to the adapter's data:

    missing_audio=silence     takes a clip without sound, which is an error otherwise
    category=NAME             of a cloud whose parts are wanted
    gsd=METRES                ground sampling distance of a picture, per pixel; a GeoTIFF says it itself
    question="..."            about a picture; a vision-language adapter needs one
    choices="one|two|three"   of the question

Where a method uses the ground sampling distance, the line says which one, where it came from, and what the method
estimates.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch

from zoo import adapter, recipe
from zoo.batch import Batch, Question
from zoo.command import fail, parse_words, quiet, user_errors
from zoo.errors import SettingError
from zoo.files import write_whole
from zoo.pairing import Pairing

SETTINGS = ("missing_audio", "category", "gsd", "question", "choices")


def predict(pairing: Pairing, samples: list[Any]) -> list[dict[str, object]]:
    """Answer decoded samples, one dictionary each.

    Raises:
        SettingError: there is no question where one is needed, or no choices.
    """
    answers: list[dict[str, object]] = []
    for sample in samples:
        question: Question | None = getattr(sample, "question", None)
        if lacking := pairing.task.lacks(question):
            raise SettingError(f"{type(pairing.task).__name__} answers questions: say {' and '.join(lacking)}")
        batch = Batch(
            ids=[sample.id],
            inputs={
                name: pairing.backbones[name].collate([pairing.backbones[name].transform(sample)])
                for name in pairing.depths
            },
            target={},
            conditions={name: value[None] for name, value in getattr(sample, "conditions", {}).items()},
            questions=[] if question is None else [question],
        )
        with torch.no_grad():
            output = {name: value[0] for name, value in pairing.predict_step(batch).items()}
        answer = {"id": sample.id, **pairing.task.answer(output)}
        answer |= {} if question is None else pairing.task.remarks(output, question)
        answers.append(answer | pairing.method.remarks(pairing.method.observations()))
    return answers


def main(argv: list[str] | None = None) -> int:
    """Predict one file; exit code 2 on a mistake in the command, 1 on one in the adapter or the file."""
    words, _ = parse_words(argv, __doc__ or "", required=("adapter", "input"), optional=("output", *SETTINGS))
    settings = {key: words[key] for key in SETTINGS if key in words}
    quiet()
    with user_errors():
        config, pairing = adapter.load(Path(words["adapter"]))
        data = recipe.instantiate(config.data)
        sample, notes = data.read(Path(words["input"]), settings)
        if settings:
            fail([f"{key}: means nothing to {data.name}, the data of this adapter" for key in settings])
        told = {"gsd": "gsd" in pairing.method.conditions, "question": pairing.task.writes > 0}
        notes += [f"this adapter makes no use of {key}=" for key, used in told.items() if key in words and not used]
        for note in notes:
            print(f"note: {words['input']}: {note}", file=sys.stderr)
        lines = "".join(json.dumps(answer) + "\n" for answer in predict(pairing, [sample]))
    if output := words.get("output"):
        write_whole(Path(output), lines)
    else:
        print(lines, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
