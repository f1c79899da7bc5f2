"""`python -m zoo.predict adapter=DIR input=FILE [output=FILE.jsonl] [missing_audio=silence] [category=NAME]`.

Prints one JSON line: the class of every segment of a clip, of a cloud, or of a cloud's points, with probabilities. The
file is read as in training; what had to be made up (a picture repeated, silence, points repeated) is said on standard
error. A clip without sound is an error unless `missing_audio=silence`; part segmentation is told the `category`.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch

from zoo import adapter, recipe
from zoo.batch import Batch
from zoo.command import fail, parse_words, quiet, user_errors
from zoo.files import write_whole
from zoo.pairing import Pairing

SETTINGS = ("missing_audio", "category")


def predict(pairing: Pairing, samples: list[Any]) -> list[dict[str, object]]:
    """Label decoded samples, one dictionary each."""
    answers: list[dict[str, object]] = []
    for sample in samples:
        batch = Batch(
            ids=[sample.id],
            inputs={name: pairing.backbones[name].transform(sample)[None] for name in pairing.depths},
            target={},
            conditions={name: value[None] for name, value in getattr(sample, "conditions", {}).items()},
        )
        with torch.no_grad():
            output = pairing.predict_step(batch)
        answers.append({"id": sample.id, **pairing.task.answer({name: value[0] for name, value in output.items()})})
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
