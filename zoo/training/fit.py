"""Train a recipe: fit, select on validation, test once, write the run folder and its adapter."""

import contextlib
import json
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.quiet import quiet
from zoo.recipe import compose
from zoo.records import run_folder
from zoo.records.run_folder import BEST, FITTED, LAST, RunFolder
from zoo.training.initialise import initialise, told

if TYPE_CHECKING:
    import lightning as L
    from omegaconf import DictConfig

    from zoo.training.loaders import Loaders
    from zoo.training.module import TrainingModule


def train(
    config: "DictConfig",
    run_dir: Path,
    *,
    name: str,
    resume: bool = False,
    init: Path | None = None,
    test: bool = True,
) -> dict[str, Any] | None:
    """Fit, select the checkpoint on the validation split, measure the test split once, write the run folder.

    Args:
        config: a composed recipe.
        run_dir: an existing folder, without anything of a run unless `resume`.
        name: of the recipe; its card becomes the adapter's.
        resume: go on with the run in `run_dir`, from its last checkpoint, or with the test where its training ended
            before it.
        init: an adapter directory to take tensors from.
        test: measure the test split; else stop before it, as a sweep does with all but its winner.

    Returns:
        What metrics.json holds: measured metrics and the manifest. None without a test, and in the further processes of
        a distributed run.

    Raises:
        RecipeError: the folder holds another run, or this is not the run to go on with.
    """
    with run_folder.entered(run_dir, config, resume=resume) as entered:
        return _train(config, entered, name=name, init=init, test=test)


def _train(
    config: "DictConfig", entered: RunFolder, *, name: str, init: Path | None, test: bool
) -> dict[str, Any] | None:
    import torch
    from omegaconf import OmegaConf

    from zoo import files
    from zoo.adapter import directory
    from zoo.catalog import card
    from zoo.pairing import count_parameters
    from zoo.recipe.build import build_pairing
    from zoo.records import provenance
    from zoo.report import run_pictures
    from zoo.training import familiarity
    from zoo.training.build import build_data, build_loaders, build_trained
    from zoo.training.loaders import lone
    from zoo.training.measure import described, measure, single_trainer

    quiet()
    start, run_dir = time.perf_counter(), entered.folder
    with _unwinding():
        data = build_data(config)
        digests = data.sample_digests() if run_folder.leads() else {}
        if run_folder.leads():
            entered.check_data(digests)
        module, loaders, trainer = build_trained(config, data, run_dir)
    pairing = module.pairing
    trainable, total = count_parameters(pairing)
    start_of = initialise(pairing, config, init) if init else None
    backbones = {name: asdict(known) for name, known in pairing.fingerprints.items()}
    data.measured_in(pairing.ground)  # an adapter to start from brings its own
    if trainer.is_global_zero:
        start_of = entered.check_start(backbones, start_of)
        entered.begin(config, digests, name=name, backbones=backbones, init=start_of)
        said = [backbone.describe(trainer.strategy.root_device) for backbone in pairing.backbones.values()]
        said = [f"{trainable:,} of {total:,} parameters train", pairing.method.describe(), *said, f"writing {run_dir}"]
        rows = len(data.sets["train"])
        if loaders.joins and trainer.world_size == 1 and lone(rows, loaders.batch_size):
            said.append(f"the last batch has {loaders.batch_size + 1} samples, as one alone has no batch statistics")
        print(f"{name}: {'; '.join(filter(None, said))}", flush=True)
        again = [f"this {_again(loaders)}"] if entered.starts_again else []
        for line in ([told(start_of)] if start_of else []) + entered.told() + again:
            print(line, flush=True)
        if data.plan:
            files.write_json(run_dir / "splits.json", data.plan)
    fitted = _fit(trainer, module, loaders, entered, since=start)
    if not test:
        return None
    start = time.perf_counter()
    if torch.distributed.is_initialized():
        # One process measures the test split, once, on a pairing that no strategy has wrapped or sharded.
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
        if not trainer.is_global_zero:
            return None
        pairing = build_pairing(config, data.classes, scale=pairing.ground)
        loaders = build_loaders(config, data, pairing)
    best = entered.best(fitted)
    pairing.load_trainable(load_checkpoint(best), source=str(best))
    alone = single_trainer(config.trainer.get("accelerator", "auto"))
    familiarity.learn(loaders, alone)
    measured, predictions = measure(loaders, alone)

    extended = entered.record["extended"]
    manifest = provenance.manifest(
        recipe=name,
        seed=config.seed,
        selected_on="val",
        epochs=len(fitted["history"]),
        seconds=round(fitted["seconds"] + time.perf_counter() - start, 1),
        data=described(data),
        backbones=backbones,
        parameters={"trainable": trainable, "total": total},
        cost={**fitted["cost"], "checkpoint_bytes": best.stat().st_size},
        **({"features": pairing.cache.told()} if pairing.cache else {}),
        **({"init": start_of} if start_of else {}),
        **({"extended": extended} if extended else {}),
    )
    record = {**measured, "manifest": manifest}
    files.write_json(run_dir / "metrics.json", record)
    files.write_json(
        run_dir / "per_sample.json", dict(zip(predictions.ids, pairing.task.per_sample().tolist(), strict=True))
    )
    run_pictures.pictures(run_dir / "report", fitted["history"], predictions, data, pairing)
    # What the files settled, an adapter must know without them.
    resolved = OmegaConf.create({**config, "data": {**config.data, **data.settled()}})
    directory.save(
        pairing,
        run_dir / "adapter",
        recipe=compose.to_yaml(resolved),
        metrics=record,
        card=card.for_adapter,
    )
    return record


@contextlib.contextmanager
def _unwinding() -> Iterator[None]:
    """Let SIGTERM end what goes before a training as Ctrl-C does, so that no empty folder stays; Lightning sees to it
    in the training itself."""
    from lightning.pytorch.utilities.exceptions import SIGTERMException

    def stop(*_: object) -> None:
        raise SIGTERMException

    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _fit(
    trainer: "L.Trainer", module: "TrainingModule", loaders: "Loaders", entered: RunFolder, *, since: float
) -> dict[str, Any]:
    """Train, and keep history, cost, the seconds since `since`, the metrics' unit and which checkpoint is best; read
    them where that is done."""
    from zoo import files
    from zoo.training import processes
    from zoo.training.checkpoints import Best
    from zoo.training.trainer import Cost, History

    fitted, last = entered.folder / FITTED, entered.folder / LAST
    if entered.begun and fitted.exists():
        outcome: dict[str, Any] = json.loads(fitted.read_text(encoding="utf-8"))
        return outcome
    best = next(c for c in trainer.callbacks if isinstance(c, Best))  # type: ignore[attr-defined]
    best.run = entered.id
    onwards = str(last) if entered.begun and last.exists() else None
    try:
        with processes.none_lost():
            trainer.fit(module, datamodule=loaders, ckpt_path=onwards, weights_only=onwards is not None or None)
    except SystemExit as end:
        if not trainer.interrupted:
            raise
        terminated = type(end).__name__ == "SIGTERMException"
        if trainer.is_global_zero:
            how = "goes on" if last.exists() else _again(loaders)
            by = " by SIGTERM" if terminated else ""
            print(
                f"stopped{by} in epoch {trainer.current_epoch + 1}: the same command with resume=true {how}",
                file=sys.stderr,
            )
        sys.exit(143 if terminated else 130)  # Lightning would exit with 0 and 1
    history = next(c for c in trainer.callbacks if isinstance(c, History)).rows  # type: ignore[attr-defined]
    cost = next(c for c in trainer.callbacks if isinstance(c, Cost)).summary()  # type: ignore[attr-defined]
    outcome = {
        "history": history,
        "cost": cost,
        "seconds": time.perf_counter() - since,
        "unit": module.pairing.task.unit,
    }
    if trainer.is_global_zero:
        outcome["best"] = {"file": BEST, "sha256": best.sha256()}
        files.write_json(fitted, outcome)
    return outcome


def _again(loaders: "Loaders") -> str:
    """What becomes of a training that was stopped before its first checkpoint."""
    known = [loaders.samples(loaders.data.sets[split]) for split in ("train", "val")]
    if not (cached := sum(samples.cached() for samples in known)):
        return "starts again: there is no checkpoint yet"
    total = sum(len(samples) for samples in known)
    return f"starts again: {cached:,} of {total:,} samples' features are cached, and it goes on from there"


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Trainable tensors of a checkpoint."""
    import torch

    state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
    return state
