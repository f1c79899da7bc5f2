"""Measure a pairing on a test split by its task's own metrics, in training and in evaluation alike."""

import contextlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from omegaconf import DictConfig
from torch import Tensor

from zoo.adapter import kept_anchors
from zoo.adapter.directory import AdapterError
from zoo.errors import SettingError
from zoo.files import file_hash
from zoo.pairing import Pairing
from zoo.predictions import Predictions
from zoo.recipe import schema
from zoo.recipe.schema import TARGET
from zoo.records import provenance
from zoo.records.calibration import KEY as CALIBRATION
from zoo.records.calibration import apart
from zoo.records.cautions import NEVER
from zoo.records.verdict import verdict
from zoo.training import calibration, voting
from zoo.training.breakdown import branches, breakdown
from zoo.training.build import build_data, build_loaders
from zoo.training.interventions import intervene
from zoo.training.loaders import Loaders
from zoo.training.module import TrainingModule
from zoo.training.progress import EpochLines

if TYPE_CHECKING:
    from data_modules.base import DataModule


def measure(
    loaders: Loaders,
    trainer: L.Trainer,
    *,
    probed: bool = True,
    thorough: bool = False,
    temperature: float | None = None,
) -> tuple[dict[str, Any], Predictions]:
    """Run the test split once: metrics, their intervals and the trivial baselines, all by the task's own code; beside
    them the predictions.

    Its probes (blank pictures, a wrong condition), interventions on the method on validation and test, and the method's
    further points come first, so that the task's state afterwards is the split's own; without `probed` they are left
    out, and those that are costly come with `thorough`. A task that gives probabilities sees the validation split
    before, on which their `temperature` is fitted unless it is given; every further point has its own.
    """
    pairing, data = loaders.pairing, loaders.data
    monitor, probes, module = pairing.task.monitor, {}, TrainingModule(pairing)
    replaced = _interventions(loaders, trainer) if probed else {}
    shown = data.probes(pairing.method.conditions) if probed else {}
    for name, samples in (shown | (data.costly_probes() if probed and thorough else {})).items():
        trainer.test(module, dataloaders=loaders.loader(samples), verbose=False)
        probes[name] = _measured(pairing, module.predictions)
    points = pairing.method.points() if probed else {}
    calibrated = pairing.task.gives_probabilities
    for name, within in points.items():
        with within():
            scaling = calibration.fitted(loaders, trainer) if calibrated else {}
            trainer.test(module, dataloaders=loaders.test_dataloader(), verbose=False)
            probes[name] = _measured(pairing, module.predictions)
            if calibrated:
                probes[name][CALIBRATION] = calibration.measured(pairing.task, scaling)
    given = {} if temperature is None else {"value": temperature}
    scaling = given or (calibration.fitted(loaders, trainer) if calibrated else {})
    trainer.test(module, dataloaders=loaders.test_dataloader(), verbose=False)
    predictions = module.predictions
    measured = _measured(pairing, predictions)
    at_points = {"": measured["metrics"][monitor], **{name: probes[name]["metrics"][monitor] for name in points}}
    measured["method"] |= pairing.method.over_points(at_points)
    spoilt = {f"{monitor}_{name}": probe["metrics"][monitor] for name, probe in probes.items()}
    whole = {
        "split": "test",
        "task": pairing.task.kind,
        "unit": pairing.task.unit,
        "monitor": monitor,
        **measured,
        "metrics": measured["metrics"] | spoilt,
        **({CALIBRATION: calibration.measured(pairing.task, scaling)} if calibrated else {}),
        "by": breakdown(predictions, pairing.task, pairing.classes),
        "probes": probes,
        **({"interventions": replaced} if replaced else {}),
        "intervals": {name: list(pair) for name, pair in pairing.task.intervals().items()},
        "baselines": pairing.task.baselines(),
        **({NEVER: never} if (never := pairing.task.never_predicted()) else {}),
        **({"note": pairing.task.note} if pairing.task.note else {}),
    }
    return whole, predictions


def _interventions(loaders: Loaders, trainer: L.Trainer) -> dict[str, Any]:
    loaders.setup()
    # Own files may be of the test split alone.
    splits = [split for split in ("val", "test") if len(loaders.data.sets.get(split, ()))]
    found = {split: intervene(loaders, split, trainer.strategy.root_device) for split in splits}
    return {split: measured for split, measured in found.items() if measured}


def _measured(pairing: Pairing, predictions: Predictions) -> dict[str, Any]:
    """Metrics of a split or of an intervention on it."""
    observed, metrics = predictions.concatenated(predictions.observed), pairing.task.compute()
    return {
        "n": len(predictions.ids if (names := pairing.task.names_counted()) is None else names),
        "metrics": apart(metrics)[0] if pairing.task.gives_probabilities else metrics,
        "method": pairing.method.measure(observed),
        **({"quantities": counted} if (counted := pairing.task.quantities()) else {}),
        "branches": branches(observed, pairing.method, pairing.task),
        **({"familiarity": fires(predictions.unlike)} if predictions.unlike else {}),
    }


def fires(unlike: Sequence[Tensor]) -> dict[str, float]:
    """Share of samples that are unlike training: of the own test split's, false alarms.

    Args:
        unlike: as `Batch.unlike`, batch by batch.
    """
    found = torch.cat(list(unlike))
    return {"fires": (found > 1).double().mean().item(), "n": len(found)}


def described(data: "DataModule") -> dict[str, Any]:
    """A data set for a manifest."""
    return {"name": data.name, "synthetic": data.synthetic, "fingerprint": data.fingerprint(), **data.report()}


def evaluate(
    folder: Path, config: DictConfig, pairing: Pairing, *, probed: bool = True, votes: int = 0
) -> dict[str, Any]:
    """Measure a loaded adapter on the test split of `config.data`; with a manifest, as in training, and the verdict on
    whether its card's number is reproduced. With `votes`, how many random views, `voted` stands beside that. The
    temperature of probabilities is the adapter's own; one that has none, or settings chosen after training, get it from
    the data's validation split.

    Of a sum of adapters `folder` is the first, and nothing stored is of the sum.

    A task of open classes is measured on the data's own classes, whatever it was trained on; of others they must be the
    same.
    """
    start, opened = time.perf_counter(), pairing.task.open_classes
    stored = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    own = not pairing.chosen and not pairing.summed
    temperature = calibration.brought(stored, folder / "metrics.json") if own else None
    if not opened and config.data.get("classes") is None and "classes" in schema.signature(config.data[TARGET]):
        config.data.classes = pairing.classes  # own files may lack some, and must have no other
    if votes and pairing.method.owns_probabilities:
        raise SettingError(f"votes={votes}: views vote by their logits, and this adapter's method owns probabilities")
    data = build_data(config, "test")
    if votes:
        voting.require(data, pairing.task, votes)
    naming: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if list(data.classes) != pairing.classes and opened:
        naming = pairing.naming(data.classes, kept_anchors.tower(config, pairing, folder.name))
    elif list(data.classes) != pairing.classes:
        raise AdapterError(
            f"{folder} knows {len(pairing.classes)} classes ({', '.join(pairing.classes[:4])}, ...), the data "
            f"{len(data.classes)} ({', '.join(data.classes[:4])}, ...): they must be the same, in the same order"
        )
    with naming:
        loaders = build_loaders(config, data, pairing)
        trainer = single_trainer("auto", pairing)
        measured, _ = measure(loaders, trainer, probed=probed, thorough=True, temperature=temperature)
        voted = {"voted": voting.vote(loaders, trainer.strategy.root_device, votes)} if votes else {}
    manifest = provenance.manifest(
        **({} if pairing.summed else {key: stored["manifest"][key] for key in ("recipe", "seed", "selected_on")}),
        seconds=round(time.perf_counter() - start, 1),
        adapter=pairing.summed or file_hash(folder / "adapter.safetensors"),
        data=described(data),
        backbones={name: asdict(known) for name, known in pairing.fingerprints.items()},
        **({"features": pairing.cache.origins()} if pairing.cache else {}),
    )
    result = measured | voted | ({"forced": pairing.forced} if pairing.forced else {}) | {"manifest": manifest}
    result |= {"chosen": pairing.chosen} if pairing.chosen else {}
    result |= {"summed": list(pairing.summed)} if pairing.summed else {}
    return result | {"verdict": verdict(result, stored)}


def single_trainer(accelerator: str, pairing: Pairing | None = None) -> L.Trainer:
    """A Trainer of one process and device that measures and writes nothing; off a terminal it says how far it is.

    Args:
        accelerator: "auto", "cpu" or "gpu".
        pairing: to measure, where its method might own probabilities: those take gradients, which inference mode has
            none of.
    """
    return L.Trainer(
        callbacks=[] if sys.stderr.isatty() else [EpochLines()],
        accelerator=accelerator,
        devices=1,
        inference_mode=pairing is None or not pairing.method.owns_probabilities,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
