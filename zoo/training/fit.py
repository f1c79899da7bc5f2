"""Train a recipe: fit, select on validation, test once, write the run folder and its adapter."""

import contextlib
import json
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.utilities.exceptions import SIGTERMException
from omegaconf import DictConfig, OmegaConf
from torch import distributed

from zoo import files
from zoo.adapter import directory, trust
from zoo.catalog import card
from zoo.pairing import count_parameters
from zoo.predictions import Predictions
from zoo.quiet import quiet
from zoo.recipe import compose
from zoo.recipe.build import build_pairing, refuse_unknown
from zoo.records import calibration, provenance, run_folder
from zoo.records.cautions import NEVER, cautions
from zoo.records.run_folder import BEST, FITTED, LAST, RunFolder
from zoo.report import run_pictures
from zoo.training import familiarity, processes
from zoo.training.build import build_data, build_loaders, build_trained
from zoo.training.callbacks import CostMonitor, MetricHistory
from zoo.training.checkpoints import Best, load, trained
from zoo.training.conclude import conclude
from zoo.training.initialise import initialise, summary
from zoo.training.loaders import Loaders, lone
from zoo.training.measure import described, measure, single_trainer
from zoo.training.module import TrainingModule
from zoo.training.preflight import preflight
from zoo.training.weight_changes import weight_changes


@dataclass
class Training:
    """A training on its way, handed from step to step.

    Attributes:
        config: the composed recipe.
        name: of the recipe.
        run: its folder.
        module: trains the pairing.
        loaders: of the pairing's data.
        trainer: does the loop.
        init: record of the adapter that it starts from, if any.
        since: when it began, by `time.perf_counter`.
    """

    config: DictConfig
    name: str
    run: RunFolder
    module: TrainingModule
    loaders: Loaders
    trainer: L.Trainer
    init: dict[str, Any] | None
    since: float

    @property
    def backbones(self) -> dict[str, dict[str, str]]:
        """Fingerprints as plain values."""
        return {name: asdict(known) for name, known in self.module.pairing.fingerprints.items()}


def train(
    config: DictConfig,
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
    quiet()
    with run_folder.entered(run_dir, config, resume=resume) as run:
        training = prepare(config, run, name=name, init=init)
        fitted = fit(training)
        if not test or not left_alone(training):
            return None
        record, predictions = measure_best(training, fitted)
        write(training, fitted, record, predictions)
        return record


def prepare(config: DictConfig, run: RunFolder, *, name: str, init: Path | None) -> Training:
    """Data, pairing, trainer and run folder; everything that can be refused is refused here.

    Raises:
        UserError: in the recipe, the data, the weights, the starting adapter or the run folder.
    """
    since = time.perf_counter()
    with _unwinding():
        refuse_unknown(config)
        callbacks = preflight(config)
        data = build_data(config)
        digests = data.sample_digests() if run_folder.leads() else {}
        if run_folder.leads():
            run.check_data(digests)
        module, loaders, trainer = build_trained(config, data, run.folder, callbacks)
    start_of = initialise(module.pairing, config, init) if init else None
    data.measured_in(module.pairing.ground)  # an adapter to start from brings its own
    training = Training(config, name, run, module, loaders, trainer, start_of, since)
    if trainer.is_global_zero:
        training.init = run.check_start(training.backbones, start_of)
        run.begin(config, digests, name=name, backbones=training.backbones, init=training.init)
        for line in announcement(training):
            print(line, flush=True)
        if data.plan:
            files.write_json(run.folder / "splits.json", data.plan)
    return training


def announcement(training: Training) -> list[str]:
    """Lines printed at the start of a run: what trains, where it writes, and anything unusual."""
    pairing, loaders, trainer = training.module.pairing, training.loaders, training.trainer
    trainable, total = count_parameters(pairing)
    facts = [f"{trainable:,} of {total:,} parameters train", pairing.method.describe()]
    facts += [backbone.describe(trainer.strategy.root_device) for backbone in pairing.backbones.values()]
    if pairing.method.ahead and pairing.cache:
        facts.append(f"its first {pairing.method.ahead.blocks} language blocks read each question once")
    facts.append(f"writing {training.run.folder}")
    if loaders.joins and trainer.world_size == 1 and lone(len(loaders.data.sets["train"]), loaders.batch_size):
        facts.append(f"the last batch has {loaders.batch_size + 1} samples, as one alone has no batch statistics")
    lines = [f"{training.name}: {'; '.join(filter(None, facts))}"]
    lines += [summary(training.init)] if training.init else []
    lines += training.run.changes()
    return [*lines, f"this {_again(loaders)}"] if training.run.starts_again else lines


def fit(training: Training) -> dict[str, Any]:
    """Train, and keep history, cost, the seconds since the beginning, the metrics' unit and which checkpoint is best;
    read them where that is done."""
    run, trainer = training.run, training.trainer
    fitted, last = run.folder / FITTED, run.folder / LAST
    if run.begun and fitted.exists():
        outcome: dict[str, Any] = json.loads(fitted.read_text(encoding="utf-8"))
        return outcome
    best = next(c for c in trainer.callbacks if isinstance(c, Best))  # type: ignore[attr-defined]
    best.run = run.id
    onwards = str(last) if run.begun and last.exists() else None
    try:
        with processes.guard_lost_rank():
            trainer.fit(
                training.module,
                datamodule=training.loaders,
                ckpt_path=onwards,
                weights_only=onwards is not None or None,
            )
    except SystemExit as end:
        if not trainer.interrupted:
            raise
        terminated = type(end).__name__ == "SIGTERMException"
        if trainer.is_global_zero:
            how = "goes on" if last.exists() else _again(training.loaders)
            by = " by SIGTERM" if terminated else ""
            print(
                f"stopped{by} in epoch {trainer.current_epoch + 1}: the same command with resume=true {how}",
                file=sys.stderr,
            )
        sys.exit(143 if terminated else 130)  # Lightning would exit with 0 and 1
    history = next(c for c in trainer.callbacks if isinstance(c, MetricHistory)).rows  # type: ignore[attr-defined]
    cost = next(c for c in trainer.callbacks if isinstance(c, CostMonitor)).summary()  # type: ignore[attr-defined]
    seconds, unit = time.perf_counter() - training.since, training.module.pairing.task.unit
    outcome = {"history": history, "cost": cost, "seconds": seconds, "unit": unit}
    if trainer.is_global_zero:
        never = load(best.path).get(NEVER, []) if best.path.exists() else []
        outcome["best"] = {"file": BEST, "sha256": best.sha256(), NEVER: never}
        files.write_json(fitted, outcome)
        for line in cautions({"split": "val", **outcome["best"]}):
            print(f"warning: {line}")
    return outcome


def left_alone(training: Training) -> bool:
    """End the further processes of a distributed training: one measures the test split, once, on a pairing that no
    strategy has wrapped or sharded. Whether this process is the one."""
    training.since = time.perf_counter()
    if distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()
        if not training.trainer.is_global_zero:
            return False
        config, data = training.config, training.loaders.data
        pairing = build_pairing(config, data.classes, scale=training.module.pairing.ground)
        training.module = TrainingModule(pairing)
        training.loaders = build_loaders(config, data, pairing)
    return True


def measure_best(training: Training, fitted: dict[str, Any]) -> tuple[dict[str, Any], Predictions]:
    """Measure the test split with the checkpoint that validation selected: metrics with the manifest, and predictions.

    Args:
        training: after its last epoch; its pairing takes the selected tensors, of which its method concludes.
        fitted: as `fit` returns it.
    """
    config, loaders, pairing = training.config, training.loaders, training.module.pairing
    best = training.run.best(fitted)
    pairing.load_trainable(trained(load(best)), source=str(best))
    alone = single_trainer(config.trainer.get("accelerator", "auto"), pairing)
    familiarity.learn(loaders, alone)
    concluded = conclude(loaders, alone.strategy.root_device)
    measured, predictions = measure(loaders, alone)
    trainable, total = count_parameters(pairing)
    extended, left_out = training.run.record["extended"], trust.stripped(config)[1]
    manifest = provenance.manifest(
        recipe=training.name,
        seed=config.seed,
        selected_on="val",
        epochs=max((math.ceil(row["epoch"] + 1) for row in fitted["history"]), default=0),
        seconds=round(fitted["seconds"] + time.perf_counter() - training.since, 1),
        data=described(loaders.data),
        backbones=training.backbones,
        parameters={"trainable": trainable, "total": total},
        precision=str(training.trainer.precision),
        cost={**fitted["cost"], "checkpoint_bytes": best.stat().st_size},
        **({"features": pairing.cache.origins()} if pairing.cache else {}),
        **({"init": training.init} if training.init else {}),
        **({"extended": extended} if extended else {}),
        **({"left_out": left_out} if left_out else {}),
    )
    beside = {"weight_changes": weight_changes(pairing), "concluded": concluded}
    return {**measured, **{name: one for name, one in beside.items() if one}, "manifest": manifest}, predictions


def write(training: Training, fitted: dict[str, Any], record: dict[str, Any], predictions: Predictions) -> None:
    """Metrics, pictures and, last, the adapter: by it a run is known to have finished."""
    folder, data, pairing = training.run.folder, training.loaders.data, training.module.pairing
    counted = pairing.task.names_counted()
    names = predictions.ids if counted is None else counted
    scores = dict(zip(names, pairing.task.per_sample().tolist(), strict=True))
    files.write_json(folder / "metrics.json", record)
    files.write_json(folder / "per_sample.json", scores)
    temperature = calibration.temperature(record)
    run_pictures.pictures(folder / "report", fitted["history"], predictions, data, pairing, temperature=temperature)
    # What the files settled, an adapter must know without them.
    resolved = OmegaConf.create({**training.config, "data": {**training.config.data, **data.resolved_settings()}})
    text = compose.to_yaml(trust.stripped(resolved)[0])
    directory.save(pairing, folder / "adapter", recipe=text, metrics=record, card=card.for_adapter)


@contextlib.contextmanager
def _unwinding() -> Iterator[None]:
    """Let SIGTERM end what goes before a training as Ctrl-C does, so that no empty folder stays; Lightning sees to it
    in the training itself."""

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


def _again(loaders: Loaders) -> str:
    """How a training continues that was stopped before its first checkpoint."""
    known = [loaders.samples(loaders.data.sets[split]) for split in ("train", "val")]
    if not (cached := sum(samples.cached() for samples in known)):
        return "starts again: there is no checkpoint yet"
    total = sum(len(samples) for samples in known)
    return f"starts again: {cached:,} of {total:,} samples' features are cached, and it goes on from there"
