"""What the parts of a method do: a split measured again, with one part replaced at a time.

The same samples in one drawn order throughout, so that another sample is seldom of the same class, and differences are
paired.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from zoo.batch import Batch, SampleSet
from zoo.methods import signals
from zoo.metrics.bootstrap import bootstrap_interval
from zoo.pairing import Pairing
from zoo.records.interventions import WITHOUT
from zoo.tasks.language import LanguageTask
from zoo.training.loaders import Loaders
from zoo.training.progress import StepLines

MOST, MOST_WRITTEN = 256, 96
"""Samples of a split that are measured, drawn where there are more; fewer where a model writes its answers, which takes
a hundred times as long as naming a class."""


def intervene(loaders: Loaders, split: str, device: torch.device) -> dict[str, Any]:
    """Measure a split with every part of the method replaced in turn; the task has counted something else afterwards.

    Args:
        loaders: of the data and the trained pairing.
        split: "val" or "test".
        device: to run on; the pairing is put back where it was.

    Returns:
        `n` samples; `signals`: see `zoo.methods.signals.described`; `replaced`, by intervention: `changed`, the share
        of decisions that become others (none where the task decides nothing), the monitored metric's `value`, its
        `change` and the paired 95 % `interval` of that, and `lost`, the share of what the trained method brings that
        vanishes, where it brings anything beyond chance. Empty for a method without interventions.
    """
    pairing = loaders.pairing
    interventions = pairing.method.interventions()
    if not interventions:
        return {}
    samples, before = loaders.data.sets[split], pairing.device
    most = MOST_WRITTEN if isinstance(pairing.task, LanguageTask) else MOST
    rows = drawn(samples, most)
    loader = loaders.loader(samples, sampler=rows)
    what, passes = f"{split}, one part of the method replaced at a time", 1 + len(interventions)
    lines = StepLines(what, passes * len(loader), len(loader))
    pairing.to(device).eval()
    try:
        controlled = pairing.method.controlled()
        with signals.watching(controlled):
            decisions, scores = _run(pairing, loader, lines)
        found: dict[str, dict[str, Any]] = {}
        for name, intervention in interventions.items():
            with intervention():
                others, values = _run(pairing, loader, lines)
            found[name] = {
                "changed": _changed(pairing, decisions, others),
                "value": float(values.mean()),
                "change": float((values - scores).mean()),
                "interval": list(bootstrap_interval(values - scores)),
            }
    finally:
        pairing.to(before)
    brought = found.get(WITHOUT)
    if brought and brought["interval"][1] < 0:
        for name, one in found.items():
            if name != WITHOUT:
                one["lost"] = one["change"] / brought["change"]
    return {"n": len(rows), "signals": signals.described(controlled), "replaced": found}


def drawn(samples: SampleSet[Any], most: int) -> list[int]:
    """About so many samples in one drawn order, no picture without all of its squares."""
    rows: dict[int, None] = {}
    for index in torch.randperm(len(samples), generator=torch.Generator().manual_seed(0)).tolist():
        if len(rows) >= most:
            break
        rows |= dict.fromkeys(samples.together(index))
    return list(rows)


@torch.no_grad()
def _run(pairing: Pairing, loader: DataLoader[Batch], lines: StepLines) -> tuple[dict[str, Tensor], Tensor]:
    """Predictions by name, and the monitored metric of every sample, [N]."""
    task, device = pairing.task, pairing.device
    task.reset()
    kept: dict[str, list[Tensor]] = {}
    for batch in loader:
        batch = pairing.asked(batch.to(device))
        prediction = pairing.decide(pairing(batch), batch)
        task.update(prediction, batch)
        for name in task.decided:
            kept.setdefault(name, []).append(prediction[name].cpu())
        lines.step()
    return {name: torch.cat(values) for name, values in kept.items()}, task.per_sample().double().cpu()


def _changed(pairing: Pairing, before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> float | None:
    """Share of decisions that differ."""
    differing = [pairing.task.differing(before[name], after[name]).flatten() for name in before]
    return float(torch.cat(differing).double().mean()) if differing else None
