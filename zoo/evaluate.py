"""`python -m zoo.evaluate adapter=DIR [data.root=...] [output=FILE.json]`: measure an adapter on its test split."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
from omegaconf import DictConfig

from zoo import adapter, recipe, report, run
from zoo.breakdown import branches, breakdown
from zoo.build import connect
from zoo.collect import Collect
from zoo.command import fail, parse_words, quiet, user_errors
from zoo.pairing import Pairing

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from data_modules.base import DataModule


def measure(pairing: Pairing, data: "DataModule", trainer: L.Trainer, collect: Collect) -> dict[str, Any]:
    """Run the test split once: metrics, their intervals and the trivial baselines, all by the task's own code.

    Its probes (blank pictures, a wrong condition) come first, so that the task's state afterwards is the split's own.
    """
    monitor, probes = pairing.task.monitor, {}
    for name, samples in data.probes(pairing.method.conditions).items():
        seen = Collect()
        _run(pairing, trainer, seen, data.loader(samples, "test"))
        probes[name] = _measured(pairing, seen)
    _run(pairing, trainer, collect, data.loader(data.sets["test"], "test"))
    measured = _measured(pairing, collect)
    beside = {f"{monitor}_{name}": probe["metrics"][monitor] for name, probe in probes.items()}
    return {
        "split": "test",
        "task": pairing.task.kind,
        "unit": pairing.task.unit,
        "monitor": monitor,
        **measured,
        "metrics": measured["metrics"] | beside,
        "by": breakdown(collect, pairing.task, pairing.classes),
        "probes": probes,
        "intervals": {name: list(pair) for name, pair in pairing.task.intervals().items()},
        "baselines": pairing.task.baselines(),
    }


def _measured(pairing: Pairing, collect: Collect) -> dict[str, Any]:
    """What a split and a probe of it have in common."""
    observed = collect.gathered(collect.observed)
    return {
        "n": len(collect.ids),
        "metrics": pairing.task.compute(),
        "method": pairing.method.measure(observed),
        "branches": branches(observed, pairing.task),
    }


def _run(pairing: Pairing, trainer: L.Trainer, collect: Collect, batches: "DataLoader[Any]") -> None:
    others = [c for c in trainer.callbacks if not isinstance(c, Collect)]  # type: ignore[attr-defined]
    trainer.callbacks = [*others, collect]  # type: ignore[attr-defined]
    trainer.test(pairing, dataloaders=batches, verbose=False)


def evaluate(folder: Path, config: DictConfig, pairing: Pairing) -> dict[str, Any]:
    """Measure a loaded adapter on the test split of `config.data`."""
    data = recipe.instantiate(config.data)
    data.seed = config.seed
    data.setup("test")
    if list(data.classes) != pairing.classes:
        raise adapter.AdapterError(
            f"{folder} knows {len(pairing.classes)} classes ({', '.join(pairing.classes[:4])}, ...), the data "
            f"{len(data.classes)} ({', '.join(data.classes[:4])}, ...): they must be the same, in the same order"
        )
    connect(data, pairing, seed=config.seed)
    return measure(pairing, data, single_trainer("auto"), Collect())


def single_trainer(accelerator: str) -> L.Trainer:
    """A Trainer of one process and device that measures and writes nothing."""
    return L.Trainer(
        accelerator=accelerator,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def main(argv: list[str] | None = None) -> int:
    """Evaluate an adapter directory; exit code 2 on a mistake in the command, 1 on one in the adapter or the data."""
    named, overrides = parse_words(argv, __doc__ or "", required=("adapter",), optional=("output",), free=True)
    folder = Path(named["adapter"])
    if other := [word for word in overrides if not word.startswith("data.")]:
        fail([f"'{word}': an adapter is measured as it was trained; only data.* may be changed" for word in other])
    quiet()
    with user_errors():
        adapter.verify(folder)
        config = recipe.compose(str(folder / "recipe.yaml"), overrides)
        _, pairing = adapter.load(folder)
        result = evaluate(folder, config, pairing)
    stored = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    report.show(report.evaluation(result, stored))
    if output := named.get("output"):
        run.write_json(Path(output), result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
