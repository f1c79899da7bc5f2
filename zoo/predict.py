"""`python -m zoo.predict adapter=DIR input=FILE.mp4 [output=FILE.jsonl] [missing_audio=silence]`: label a clip.

Prints one JSON line: the class of every segment and its probability. The clip is cut as in training; what had to be
made up (a picture repeated, silence) is said on standard error. A clip without sound is an error unless
`missing_audio=silence`.
"""

import json
import sys
from pathlib import Path

import torch

from data_modules.media import decode_clip
from zoo import adapter, recipe
from zoo.batch import Batch, Clip
from zoo.command import fail, parse_words, quiet, user_errors
from zoo.files import write_whole
from zoo.pairing import Pairing


def predict(pairing: Pairing, clips: list[Clip]) -> list[dict[str, object]]:
    """Label the segments of decoded clips, one dictionary a clip."""
    transforms = {name: pairing.backbones[name].transform for name in pairing.depths}
    answers: list[dict[str, object]] = []
    names = [*pairing.classes, "background"]
    for clip in clips:
        inputs = {name: transform(clip)[None] for name, transform in transforms.items()}
        with torch.no_grad():
            output = pairing.predict_step(Batch(ids=[clip.id], inputs=inputs, target={}))
        if "segments" in output:
            best = output["probabilities"][0].max(-1).values
            answers.append(
                {
                    "id": clip.id,
                    "segments": [names[int(k)] for k in output["segments"][0]],
                    "probability": [round(float(p), 6) for p in best],
                }
            )
        else:
            answers.append(
                {
                    "id": clip.id,
                    **{
                        name: [
                            [pairing.classes[k] for k in row.nonzero().flatten().tolist()] for row in output[name][0]
                        ]
                        for name in ("audio", "visual")
                    },
                }
            )
    return answers


def main(argv: list[str] | None = None) -> int:
    """Predict one media file; exit code 2 on a mistake in the command, 1 on one in the adapter or the file."""
    words, _ = parse_words(argv, __doc__ or "", required=("adapter", "input"), optional=("output", "missing_audio"))
    silence = words.get("missing_audio", "error")
    if silence not in ("error", "silence"):
        fail([f"missing_audio: expected error or silence, got {silence!r}"])
    quiet()
    with user_errors():
        config, pairing = adapter.load(Path(words["adapter"]))
        data = recipe.instantiate(config.data)
        decoded = decode_clip(
            Path(words["input"]),
            segments=data.segments,
            segment_seconds=data.segment_seconds,
            sample_rate=data.sample_rate,
            missing_audio="silence" if silence == "silence" else "error",
        )
    for note in decoded.notes:
        print(f"note: {words['input']}: {note}", file=sys.stderr)
    clip = Clip(words["input"], decoded.frames, decoded.audio, data.sample_rate, {})
    lines = "".join(json.dumps(answer) + "\n" for answer in predict(pairing, [clip]))
    if output := words.get("output"):
        write_whole(Path(output), lines)
    else:
        print(lines, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
