"""`python -m zoo.train recipe=NAME [key=value ...] [resume=true] [--smoke]`: train, select on val, test once, save.

`data=folder data.root=DIR` trains on your own files; `init=ADAPTER` starts from an adapter's tensors, and without
`recipe=` trains by its recipe.

Everything a run leaves lies in `runs/<recipe>/<time>/`: the resolved recipe, checkpoints, logs, metrics, pictures, the
model card and the adapter. A folder that holds anything of a run takes no other: `resume=true` goes on with it, on the
same data, and wherever the folder lies by then. With a larger `trainer.max_epochs` a stopped or finished run goes on
for longer: the schedule of the learning rate is then that of the longer training, from the epoch that was reached on
(the rate rises again where it had come down), so the result is not that of a training begun with this length. What a
shorter training had measured and shipped moves to `earlier/`.
"""

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo import recipe, run_folder
from zoo.command import Request, parse_recipe_command, quiet, user_errors
from zoo.errors import UserError
from zoo.initialise import initialise, recipe_name, starting_point, told
from zoo.run_folder import RunFolder

if TYPE_CHECKING:
    import lightning as L
    from omegaconf import DictConfig

    from data_modules.base import DataModule
    from zoo.pairing import Pairing


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

    from data_modules.base import lone
    from zoo import adapter, card, familiarity, results, run
    from zoo.build import build_data, build_pairing, build_trained, connect
    from zoo.collect import Collect
    from zoo.evaluate import described, measure, single_trainer
    from zoo.pairing import count_parameters

    quiet()
    start, run_dir = time.perf_counter(), entered.folder
    with _unwinding():
        data = build_data(config)
        digests = data.sample_digests() if run_folder.leads() else {}
        if run_folder.leads():
            entered.check_data(digests)
        pairing, trainer = build_trained(config, data, run_dir)
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
        if data.joins and trainer.world_size == 1 and lone(rows, data.batch_size):
            said.append(f"the last batch has {data.batch_size + 1} samples, as one alone has no batch statistics")
        print(f"{name}: {'; '.join(filter(None, said))}", flush=True)
        again = [f"this {_again(data, pairing)}"] if entered.starts_again else []
        for line in ([told(start_of)] if start_of else []) + entered.told() + again:
            print(line, flush=True)
        if data.plan:
            run.write_json(run_dir / "splits.json", data.plan)
    fitted = _fit(trainer, pairing, data, entered, since=start)
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
        connect(data, pairing, seed=config.seed)
    best = entered.best(fitted)
    pairing.load_trainable(load_checkpoint(best), source=str(best))
    collect, alone = Collect(), single_trainer(config.trainer.get("accelerator", "auto"))
    familiarity.learn(pairing, data, alone)
    measured = measure(pairing, data, alone, collect)

    extended = entered.record["extended"]
    manifest = run.manifest(
        recipe=name,
        seed=config.seed,
        selected_on="val",
        epochs=len(fitted["history"]),
        seconds=round(fitted["seconds"] + time.perf_counter() - start, 1),
        data=described(data),
        backbones=backbones,
        parameters={"trainable": trainable, "total": total},
        precision=str(trainer.precision),
        cost={**fitted["cost"], "checkpoint_bytes": best.stat().st_size},
        **({"init": start_of} if start_of else {}),
        **({"extended": extended} if extended else {}),
    )
    record = {**measured, "manifest": manifest}
    run.write_json(run_dir / "metrics.json", record)
    run.write_json(run_dir / "per_sample.json", dict(zip(collect.ids, pairing.task.per_sample().tolist(), strict=True)))
    results.pictures(run_dir / "report", fitted["history"], collect, data, pairing)
    # What the files settled, an adapter must know without them.
    resolved = OmegaConf.create({**config, "data": {**config.data, **data.settled()}})
    adapter.save(
        pairing,
        run_dir / "adapter",
        recipe=recipe.to_yaml(resolved),
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
    trainer: "L.Trainer", pairing: "Pairing", data: "DataModule", entered: RunFolder, *, since: float
) -> dict[str, Any]:
    """Train, and keep history, cost, the seconds since `since`, the metrics' unit and which checkpoint is best; read
    them where that is done."""
    from zoo import processes, run
    from zoo.checkpoints import Best
    from zoo.trainer import Cost, History

    fitted, last = entered.folder / run_folder.FITTED, entered.folder / run_folder.LAST
    if entered.begun and fitted.exists():
        outcome: dict[str, Any] = json.loads(fitted.read_text(encoding="utf-8"))
        return outcome
    best = next(c for c in trainer.callbacks if isinstance(c, Best))  # type: ignore[attr-defined]
    best.run = entered.id
    onwards = str(last) if entered.begun and last.exists() else None
    try:
        with processes.none_lost():
            trainer.fit(pairing, datamodule=data, ckpt_path=onwards, weights_only=onwards is not None or None)
    except SystemExit as end:
        if not trainer.interrupted:
            raise
        terminated = type(end).__name__ == "SIGTERMException"
        if trainer.is_global_zero:
            how = "goes on" if last.exists() else _again(data, pairing)
            by = " by SIGTERM" if terminated else ""
            print(
                f"stopped{by} in epoch {trainer.current_epoch + 1}: the same command with resume=true {how}",
                file=sys.stderr,
            )
        sys.exit(143 if terminated else 130)  # Lightning would exit with 0 and 1
    history = next(c for c in trainer.callbacks if isinstance(c, History)).rows  # type: ignore[attr-defined]
    cost = next(c for c in trainer.callbacks if isinstance(c, Cost)).summary()  # type: ignore[attr-defined]
    outcome = {"history": history, "cost": cost, "seconds": time.perf_counter() - since, "unit": pairing.task.unit}
    if trainer.is_global_zero:
        outcome["best"] = {"file": run_folder.BEST, "sha256": best.sha256()}
        run.write_json(fitted, outcome)
    return outcome


def _again(data: "DataModule", pairing: "Pairing") -> str:
    """What becomes of a training that was stopped before its first checkpoint."""
    from zoo.prefix import PrefixDataset

    read = [data.wrap(data.sets[split], split) for split in ("train", "val")] if data.wrap else []
    known = [samples for samples in read if isinstance(samples, PrefixDataset)]
    if not (cached := sum(samples.cached() for samples in known)):
        return "starts again: there is no checkpoint yet"
    total = sum(len(samples) for samples in known)
    return f"starts again: {cached:,} of {total:,} samples' features are cached, and it goes on from there"


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Trainable tensors of a checkpoint."""
    import torch

    state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
    return state


EXTRA = {
    "resume": "true: go on with the newest run of this recipe, or the one in into=; trainer.max_epochs may be larger",
    "test": "false: stop before the test split is measured; resume=true measures it later",
    "runs": "where run folders go (default: runs)",
    "into": "a folder to use as the run folder; it takes one run",
    "init": "an adapter, by name or folder, to start from; without recipe= its own recipe is trained",
    "card": "recipe whose model card the adapter takes (default: the recipe's own)",
}


def main(argv: list[str] | None = None) -> int:
    """Train a recipe; exit code 2 on a mistake of the user's, 1 when training stops on an error."""
    with user_errors():
        words, init = starting_point(list(sys.argv[1:] if argv is None else argv))
    request = parse_recipe_command(words, "zoo.train", extra=EXTRA)
    name = recipe_name(request.recipe)
    with user_errors():
        config = recipe.compose(request.recipe, request.overrides, smoke=request.smoke)
        resume, test = (_flag(request, "resume", "false"), _flag(request, "test", "true"))
        run_dir, made = _run_folder(request, name, resume=resume)
        with run_folder.not_left_empty(made):
            record = train(config, run_dir, name=request.extra.get("card", name), resume=resume, init=init, test=test)
        if record:
            from zoo import report

            report.show(report.summary(record, run_dir))
    return 0


def _flag(request: Request, key: str, default: str) -> bool:
    given = request.extra.get(key, default)
    if given not in ("true", "false"):
        raise recipe.RecipeError([f"{key}: expected true or false, got {given!r}"])
    return given == "true"


def _run_folder(request: Request, name: str, *, resume: bool) -> tuple[Path, list[Path]]:
    """A run folder, told to the processes that a strategy starts; and the folders that are made for it, inner first."""
    from zoo import run

    root, into, made = Path(request.extra.get("runs", "runs")), request.extra.get("into"), list[Path]()
    try:
        shared = run.shared_folder()
    except FileNotFoundError as error:
        raise recipe.RecipeError([str(error)]) from None
    if shared or into:
        folder = shared or Path(str(into))
        made = [place for place in (folder, *folder.parents) if not place.exists()]
        if not resume:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(f"{error.filename or folder}: {error.strerror}; a run needs a folder") from None
    elif resume:
        folder = run_folder.newest(root, name)
    else:
        folder = run.create(root, name)
        made = [folder, folder.parent, folder.parent.parent]
    os.environ[run.FOLDER] = str(folder)
    return folder, made


if __name__ == "__main__":
    sys.exit(main())
