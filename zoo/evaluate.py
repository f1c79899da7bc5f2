"""`python -m zoo.evaluate adapter=NAME|DIR [data.root=...] [data=folder] [output=FILE.json] [--update-card] [--force]`.

Measures an adapter on its test split with the code that measured it in training, prints that beside its card's value,
and says whether it reproduces: whether it lies within the interval that the card gives, on the same data. On other data
(your own: `data=folder data.root=DIR`) there is nothing to reproduce, and the number stands for itself.

    probes=false    leaves out the further looks at pictures (blank, wrong or no scale), which take most of the time
    --update-card   enters the measurement into the adapter's metrics.json and card; from a clean commit only
    --force         takes an adapter whose backbones or structure differ from those it was trained with; results say so
"""

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

from zoo import adapter, card, catalog, data_roots, evidence, public_record, recipe, report, run, schema
from zoo.breakdown import branches, breakdown
from zoo.command import fail, parse_words, quiet, user_errors
from zoo.files import file_hash
from zoo.initialise import plain
from zoo.pairing import Pairing
from zoo.predictions import Predictions
from zoo.training.build import build_data, build_loaders
from zoo.training.loaders import Loaders
from zoo.training.module import TrainingModule
from zoo.training.progress import Lines
from zoo.verdict import verdict

if TYPE_CHECKING:
    from data_modules.base import DataModule


def measure(loaders: Loaders, trainer: L.Trainer, *, probed: bool = True) -> tuple[dict[str, Any], Predictions]:
    """Run the test split once: metrics, their intervals and the trivial baselines, all by the task's own code; beside
    them the predictions.

    Its probes (blank pictures, a wrong condition) come first, so that the task's state afterwards is the split's own;
    without `probed` they are left out.
    """
    pairing, data = loaders.pairing, loaders.data
    monitor, probes, module = pairing.task.monitor, {}, TrainingModule(pairing)
    for name, samples in data.probes(pairing.method.conditions).items() if probed else ():
        trainer.test(module, dataloaders=loaders.loader(samples), verbose=False)
        probes[name] = _measured(pairing, module.predictions)
    trainer.test(module, dataloaders=loaders.test_dataloader(), verbose=False)
    predictions = module.predictions
    measured = _measured(pairing, predictions)
    beside = {f"{monitor}_{name}": probe["metrics"][monitor] for name, probe in probes.items()}
    whole = {
        "split": "test",
        "task": pairing.task.kind,
        "unit": pairing.task.unit,
        "monitor": monitor,
        **measured,
        "metrics": measured["metrics"] | beside,
        "by": breakdown(predictions, pairing.task, pairing.classes),
        "probes": probes,
        "intervals": {name: list(pair) for name, pair in pairing.task.intervals().items()},
        "baselines": pairing.task.baselines(),
    }
    return whole, predictions


def _measured(pairing: Pairing, predictions: Predictions) -> dict[str, Any]:
    """What a split and a probe of it have in common."""
    observed = predictions.gathered(predictions.observed)
    return {
        "n": len(predictions.ids),
        "metrics": pairing.task.compute(),
        "method": pairing.method.measure(observed),
        "branches": branches(observed, pairing.task),
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


def evaluate(folder: Path, config: DictConfig, pairing: Pairing, *, probed: bool = True) -> dict[str, Any]:
    """Measure a loaded adapter on the test split of `config.data`; with a manifest, as in training."""
    start = time.perf_counter()
    data = build_data(config, "test")
    if list(data.classes) != pairing.classes:
        raise adapter.AdapterError(
            f"{folder} knows {len(pairing.classes)} classes ({', '.join(pairing.classes[:4])}, ...), the data "
            f"{len(data.classes)} ({', '.join(data.classes[:4])}, ...): they must be the same, in the same order"
        )
    measured, _ = measure(build_loaders(config, data, pairing), single_trainer("auto"), probed=probed)
    stored = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["manifest"]
    manifest = run.manifest(
        recipe=stored["recipe"],
        seed=stored["seed"],
        selected_on=stored["selected_on"],
        seconds=round(time.perf_counter() - start, 1),
        adapter=file_hash(folder / "adapter.safetensors"),
        data=described(data),
        backbones={name: asdict(known) for name, known in pairing.fingerprints.items()},
        **({"features": pairing.cache.told()} if pairing.cache else {}),
    )
    return measured | ({"forced": pairing.forced} if pairing.forced else {}) | {"manifest": manifest}


def single_trainer(accelerator: str) -> L.Trainer:
    """A Trainer of one process and device that measures and writes nothing; off a terminal it says how far it is."""
    return L.Trainer(
        callbacks=[] if sys.stderr.isatty() else [Lines()],
        accelerator=accelerator,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def main(argv: list[str] | None = None) -> int:
    """Evaluate an adapter; exit code 2 on a mistake in the command, 1 on one in the adapter or the data."""
    named, overrides = parse_words(
        argv,
        __doc__ or "",
        required=("adapter",),
        optional=("output", "probes"),
        flags=("--update-card", "--force"),
        free=True,
    )
    if other := [word for word in overrides if not word.startswith(("data.", "data="))]:
        fail([f"'{word}': an adapter is measured as it was trained; only data.* may be changed" for word in other])
    if named.get("probes", "true") not in ("true", "false"):
        fail([f"probes={named['probes']}: expected true or false"])
    quiet()
    with user_errors():
        folder = catalog.resolve(named["adapter"])
        adapter.verify(folder)
        config = recipe.compose(str(folder / "recipe.yaml"), overrides)
        data_roots.require(config.data)  # before weights are fetched
        if "--update-card" in named and not evidence.publishable({"manifest": run.git_state()}):
            raise card.CardError(
                "--update-card: a number enters a card from a clean commit only; this is a tree with uncommitted "
                "changes, or no checkout"
            )
        # With the cache, as in training: probes look at the same pictures, whose frozen part is then computed once.
        _, pairing = adapter.load(folder, cached=True, force="--force" in named)
        if config.data.get("classes") is None and "classes" in schema.signature(config.data[schema.TARGET]):
            config.data.classes = pairing.classes  # own files may lack some, and must have no other
        result = evaluate(folder, config, pairing, probed=named.get("probes") != "false")
        stored = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        result["verdict"] = verdict(result, stored)
        report.show(report.evaluation(result, stored))
        print(result["verdict"]["line"])
        if "familiarity" in result:
            print(f"unlike its training: {report.unlike(result['familiarity'])}")
        for line in pairing.forced:
            print(f"forced: {line}")
        for line in pairing.notes:
            print(f"note: {line}")
        if output := named.get("output"):
            run.write_json(Path(output), result)
        if "--update-card" in named:
            public = public_record.record(result, plain(config), pairing.classes)
            adapter.remeasured(folder, public, card=card.for_adapter)
            print(f"updated: {folder / 'README.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
