"""`python benchmarks/open_vocabulary.py root=DIR [recipe=rsscn7_open] [output=FILE.json]`: unseen classes, no training.

Of ESC-10 (recipe `esc10_open`, the default) every choice of three of the ten classes (120), decided between the three
by what frozen YAMNet hears and MiniLM reads (`zoo.tasks.open_vocabulary` with its prior alone); and all ten at once. Of
RSSCN7 the 35 choices of three of seven, by what EfficientNet-Lite0 sees. Beside the names: the names of other classes,
drawn vectors (ten seeds each), and the encoder's vocabulary without every name that is close to that of a class, which
shows how much of the number is that it already has these classes. Nothing is trained and nothing is selected: all
samples are measured.
"""

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from measuring import Record
from torch import Tensor
from torch.nn import functional as F

from data_modules.base import DataModule
from zoo.batch import Batch
from zoo.command_line import parse_arguments
from zoo.pairing import Pairing
from zoo.recipe.build import build_pairing
from zoo.recipe.compose import compose
from zoo.recipe.instantiate import instantiate
from zoo.tasks.open_vocabulary import OpenVocabulary

SEEDS = range(10)
UNSEEN = 3
CLOSE = (0.8, 0.7, 0.6)
"""Cosines to a class from which on a name of the vocabulary is left out."""


def features_of(pairing: Pairing, data: DataModule) -> tuple[dict[str, Tensor], Tensor]:
    """Features [N, T, D] of all samples by stream, and their classes [N]."""
    samples = [data.sets[split][index] for split in data.sets for index in range(len(data.sets[split]))]
    with torch.no_grad():
        found = [pairing(pairing.batch([sample])) for sample in samples]
    features = {stream: torch.cat([one[stream] for one in found]) for stream in found[0]}
    return features, torch.stack([sample.target["label"] for sample in samples])


def accuracies(task: OpenVocabulary, features: dict[str, Tensor], truth: Tensor) -> dict[str, float]:
    """Of all classes, and of every choice of three."""
    with torch.no_grad():
        logits = task.logits(features, Batch(ids=[], inputs={}, target={}))
    found = []
    for choice in itertools.combinations(range(logits.shape[1]), UNSEEN):
        asked = torch.tensor(choice)
        rows = torch.isin(truth, asked)
        found.append((asked[logits[rows][:, asked].argmax(1)] == truth[rows]).double().mean())
    unseen = torch.stack(found)
    return {
        "all": (logits.argmax(1) == truth).double().mean().item(),
        "unseen": unseen.mean().item(),
        "deviation": unseen.std().item(),
        "worst": unseen.min().item(),
    }


def tasks(pairing: Pairing, make: Callable[..., OpenVocabulary]) -> Iterator[tuple[str, list[OpenVocabulary]]]:
    """The forms that are measured, by name."""
    yield "names", [make()]
    for text in ("shuffled", "random"):
        yield text, [make(text=text, seed=seed) for seed in SEEDS]
    task = make()
    words, classes = (F.normalize(vectors, dim=-1) for vectors in (task.vocabulary, task.vectors))
    closest = (words @ classes.T).amax(1)
    for least in CLOSE:
        without = make()
        without.near = without.near * (closest < least)[:, None]
        without.near = without.near / without.near.sum(0)
        yield f"without the {int((closest >= least).sum())} names closer than {least:g}", [without]


def main(argv: list[str] | None = None) -> int:
    """Measure every form."""
    arguments, _ = parse_arguments(argv, __doc__ or "", required=("root",), optional=("recipe", "output"))
    name = arguments.get("recipe", "esc10_open")
    config = compose(name, [f"data.root={arguments['root']}", "task.learned=false", "cache=null"])
    data = instantiate(config.data)
    data.setup()
    pairing = build_pairing(config, data.classes, cached=False)
    text = instantiate(config.backbones.text)

    def make(**settings: object) -> OpenVocabulary:
        task = OpenVocabulary(learned=False, **settings)  # type: ignore[arg-type]
        task.attach(pairing.method.feature_dims, data.classes, text=text, encoders=dict(pairing.backbones.items()))
        return task

    features, truth = features_of(pairing, data)
    record = Record(Path(arguments.get("output", "open_vocabulary.json")), torch=torch.__version__, n=len(truth))
    for name, forms in tasks(pairing, make):
        each = [accuracies(form, features, truth) for form in forms]
        mean = {key: round(sum(one[key] for one in each) / len(each), 3) for key in each[0]}
        record.add(what=name, draws=len(forms), **mean)
    return 0


if __name__ == "__main__":
    sys.exit(main())
