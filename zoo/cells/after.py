"""What a trained cell costs and forgets, measured beside the frozen model in one process.

`slower`: time of a forward pass with the method over that without it. A method that can be merged costs nothing then.
`moved`: how far the features of foreign data, which nothing was trained on, turned away from the frozen ones; of a
language model the perplexity of English text, as a ratio to the frozen model's.
"""

import json
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.adapter import directory
from zoo.backbones.vision_language import VisionLanguage
from zoo.batch import Question
from zoo.cells.english import passages
from zoo.cells.plan import Setting
from zoo.errors import SettingError
from zoo.files import write_json
from zoo.methods.frozen import Frozen
from zoo.pairing import Pairing
from zoo.recipe.build import build_pairing
from zoo.recipe.instantiate import instantiate
from zoo.recipe.schema import TARGET

ROUNDS, SAMPLES = 7, 16

FOREIGN = 64
"""Foreign samples."""

RESULT = "after.json"


def measure(setting: Setting, run: Path) -> dict[str, Any]:
    """`merges`, `slower` and, where the pairing names foreign data or is a language model, `moved` or `perplexity`.

    Args:
        setting: the pairing.
        run: folder of a training that is done; what is found is kept in it.
    """
    file = run / RESULT
    if file.exists():
        kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return kept
    config, pairing = directory.load(run / "adapter")
    frozen = _frozen(config, pairing)
    data = instantiate(config.data)
    data.seed = config.seed
    data.setup("test")
    samples = [data.sets["test"][i] for i in range(min(SAMPLES, len(data.sets["test"])))]
    with torch.no_grad():
        found: dict[str, Any] = {"merges": _merges(pairing), "slower": _slower(pairing, frozen, samples)}
        if isinstance(pairing.backbones[setting.stream], VisionLanguage):
            adapted, plain = (_perplexity(one, setting.stream, samples[:1]) for one in (pairing, frozen))
            found["perplexity"] = adapted / plain
        elif setting.foreign:
            found["moved"] = _moved(pairing, frozen, dict(setting.foreign))
    write_json(file, found)
    return found


def _frozen(config: Any, pairing: Pairing) -> Pairing:
    """The same backbones and task without the method."""
    bare = config.copy()
    bare.method = {TARGET: f"{Frozen.__module__}.{Frozen.__name__}"}
    return build_pairing(bare, pairing.classes, cached=False).eval()


def _merges(pairing: Pairing) -> bool:
    """Whether all that is trained inside the backbones can be folded into them."""
    try:
        pairing.method.deltas()
    except SettingError:
        return False
    return True


def _slower(pairing: Pairing, frozen: Pairing, samples: Sequence[Any]) -> float:
    """Seconds of a forward pass over those of the frozen model, the median of rounds in turn."""
    batches = [(one, one.batch(samples)) for one in (pairing, frozen)]
    ratios = []
    for _ in range(ROUNDS + 1):
        seconds = []
        for model, batch in batches:
            start = time.perf_counter()
            model(batch)
            seconds.append(time.perf_counter() - start)
        ratios.append(seconds[0] / seconds[1])
    return statistics.median(ratios[1:])  # the first one pays for what is made once


def _moved(pairing: Pairing, frozen: Pairing, block: Mapping[str, Any]) -> float | None:
    """One minus the mean cosine of features to the frozen ones; None where a method has features of another kind."""
    data = instantiate(block)
    data.setup("test")
    samples = [data.sets["test"][i] for i in range(min(FOREIGN, len(data.sets["test"])))]
    cosines: list[Tensor] = []
    for at in range(0, len(samples), SAMPLES):
        part = samples[at : at + SAMPLES]
        ours, theirs = pairing(pairing.batch(part)), frozen(frozen.batch(part))
        if {name: value.shape for name, value in ours.items()} != {name: value.shape for name, value in theirs.items()}:
            return None
        cosines += [torch.cosine_similarity(ours[name], theirs[name], dim=-1).flatten() for name in ours]
    return 1 - float(torch.cat(cosines).mean())


def _perplexity(pairing: Pairing, stream: str, sample: Sequence[Any]) -> float:
    """Of English text after its beginning and a picture: exp(-mean log-likelihood of a token)."""
    batch, model = pairing.batch(sample), pairing.backbones[stream]
    assert isinstance(model, VisionLanguage)
    seen = pairing.prefix(batch)[stream] if pairing.depths[stream] is not None else model.look(batch.inputs[stream])
    questions = [Question(text=beginning, answer=end) for beginning, end in passages()]
    tokens = torch.cat([model.likelihood(seen, [question]).flatten() for question in questions])
    return float(torch.exp(-tokens[~tokens.isnan()].double().mean()))
