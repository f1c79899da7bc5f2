"""`python -m zoo.train recipe=NAME [key=value ...] [resume=true] [--smoke]`: train, select on val, test once, save.

`data=folder data.root=DIR` trains on your own files; `init=ADAPTER` starts from an adapter's tensors, and without
`recipe=` trains by its recipe.

Everything a run leaves lies in `runs/<recipe>/<time>/`: the resolved recipe, checkpoints, logs, metrics, pictures, the
model card and the adapter.
"""

import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo import recipe
from zoo.command import Request, parse_recipe_command, quiet, user_errors
from zoo.files import write_whole
from zoo.initialise import initialise, recipe_name, starting_point, told

if TYPE_CHECKING:
    import lightning as L
    from omegaconf import DictConfig

    from data_modules.base import DataModule
    from zoo.pairing import Pairing


FITTED = "fit.json"
"""In a run folder: what a training that stopped before its test left: history, cost and seconds."""


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
        run_dir: an existing folder; when `resume`, one with `checkpoints/last.ckpt`.
        name: of the recipe; its card becomes the adapter's.
        resume: go on from the last checkpoint, or with the test where a training ended before it.
        init: an adapter directory to take tensors from.
        test: measure the test split; else stop before it, as a sweep does with all but its winner.

    Returns:
        What metrics.json holds: measured metrics and the manifest. None without a test, and in the further processes of
        a distributed run.
    """
    import torch
    from omegaconf import OmegaConf

    from zoo import adapter, card, results, run
    from zoo.build import build, build_pairing, connect
    from zoo.collect import Collect
    from zoo.evaluate import described, measure, single_trainer
    from zoo.pairing import count_parameters

    quiet()
    start = time.perf_counter()
    data, pairing, trainer = build(config, run_dir)
    trainable, total = count_parameters(pairing)
    start_of = initialise(pairing, config, init) if init else None
    data.measured_in(pairing.ground)  # an adapter to start from brings its own
    if trainer.is_global_zero:
        write_whole(run_dir / "recipe.yaml", recipe.to_yaml(config))
        said = [backbone.describe(trainer.strategy.root_device) for backbone in pairing.backbones.values()]
        said = [f"{trainable:,} of {total:,} parameters train", pairing.method.describe(), *said, f"writing {run_dir}"]
        what = "; ".join(filter(None, said))
        print(f"{name}: {what}", flush=True)
        if start_of:
            print(told(start_of), flush=True)
        if data.plan:
            run.write_json(run_dir / "splits.json", data.plan)
    fitted = _fit(trainer, pairing, data, run_dir, resume=resume, since=start)
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
    best = run_dir / "checkpoints" / "best.ckpt"
    pairing.load_trainable(load_checkpoint(best), source=str(best))
    collect = Collect()
    measured = measure(pairing, data, single_trainer(config.trainer.get("accelerator", "auto")), collect)

    manifest = run.manifest(
        recipe=name,
        seed=config.seed,
        selected_on="val",
        epochs=len(fitted["history"]),
        seconds=round(fitted["seconds"] + time.perf_counter() - start, 1),
        data=described(data),
        backbones={name: asdict(known) for name, known in pairing.fingerprints.items()},
        parameters={"trainable": trainable, "total": total},
        cost={**fitted["cost"], "checkpoint_bytes": best.stat().st_size},
        **({"init": start_of} if start_of else {}),
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


def _fit(
    trainer: "L.Trainer", pairing: "Pairing", data: "DataModule", run_dir: Path, *, resume: bool, since: float
) -> dict[str, Any]:
    """Train, and keep history, cost, the seconds since `since` and the metrics' unit; read them where that is done."""
    from zoo import processes, run
    from zoo.trainer import Cost, History

    fitted, last = run_dir / FITTED, run_dir / "checkpoints" / "last.ckpt"
    if resume and fitted.exists():
        outcome: dict[str, Any] = json.loads(fitted.read_text(encoding="utf-8"))
        return outcome
    try:
        with processes.none_lost():
            trainer.fit(pairing, datamodule=data, ckpt_path=str(last) if resume else None, weights_only=resume or None)
    except SystemExit:
        if not trainer.interrupted:  # Lightning's answer to Ctrl-C is an exit of its own
            raise
        where = "the same command with resume=true goes on" if last.exists() else "before the first checkpoint"
        print(f"stopped in epoch {trainer.current_epoch + 1}: {where}", file=sys.stderr)
        sys.exit(130)
    history = next(c for c in trainer.callbacks if isinstance(c, History)).rows  # type: ignore[attr-defined]
    cost = next(c for c in trainer.callbacks if isinstance(c, Cost)).summary()  # type: ignore[attr-defined]
    outcome = {"history": history, "cost": cost, "seconds": time.perf_counter() - since, "unit": pairing.task.unit}
    if trainer.is_global_zero:
        run.write_json(fitted, outcome)
    return outcome


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Trainable tensors of a checkpoint."""
    import torch

    state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
    return state


EXTRA = {
    "resume": "true: continue the newest interrupted run of this recipe, or the one in into=",
    "test": "false: stop before the test split is measured; resume=true measures it later",
    "runs": "where run folders go (default: runs)",
    "into": "a folder to use as the run folder",
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
        run_dir = _run_folder(request, config, name, resume=resume)
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


def _run_folder(request: Request, config: "DictConfig", name: str, *, resume: bool) -> Path:
    """A fresh run folder, or the one to go on with; told to the processes that a strategy starts."""
    from zoo import run

    root = Path(request.extra.get("runs", "runs"))
    try:
        if shared := run.shared_folder():
            folder = run.resumable(shared) if resume else shared
        elif resume:
            folder = run.resumable(Path(into)) if (into := request.extra.get("into")) else run.last(root, name)
            stored = (folder / "recipe.yaml").read_text(encoding="utf-8")
            if stored != recipe.to_yaml(config):
                raise recipe.RecipeError(
                    [f"resume=true: this command differs from the one of {folder}: see its recipe.yaml"]
                )
        else:
            folder = Path(request.extra["into"]) if "into" in request.extra else run.create(root, name)
            folder.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError as error:
        raise recipe.RecipeError([str(error)]) from None
    os.environ[run.FOLDER] = str(folder)
    return folder


if __name__ == "__main__":
    sys.exit(main())
