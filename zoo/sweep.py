"""`python -m zoo.sweep recipe=NAME search.KEY=[a,b] [search.KEY=loguniform(a,b)] [key=value ...]`: find good settings.

Trains the recipe at every point of a space (see `zoo.search`) through Ray Tune, on this machine or, with `address=`, on
a Ray cluster. Points are compared on the validation split; the test split is measured once, for the winner. Everything
lies in `runs/sweep/<recipe>/<time>/`: `sweep.json`, a picture, and below `trials/` one run folder a trial. A trial
whose process is killed is attempted again from its last checkpoint; so is every unfinished one of a killed sweep, with
resume=true. On a cluster the folder must lie on storage that all machines share, and the zoo be installed on each.
"""

import contextlib
import importlib.util
import logging
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from zoo import data_roots, recipe, run, search, sweep_record, trial
from zoo.command import Request, parse_recipe_command, user_errors
from zoo.errors import UserError
from zoo.recipe import RecipeError
from zoo.sweep_record import RECORD

EXTRA = {
    "samples": f"draws for every combination of the lists (default: {search.SAMPLES}, where anything is drawn)",
    "seeds": "each point is trained with every one, and judged by the mean, e.g. [0,1] (default: [0])",
    "parallel": "trials at a time (default: 1)",
    "cpus": "of a trial (default: a machine's cores, divided by the trials at a time)",
    "address": "of a Ray cluster, or auto (default: this machine alone)",
    "into": "the sweep's folder (default: a new one below runs/sweep/<recipe>/)",
    "runs": "where run folders go (default: runs)",
    "resume": "true: go on with the newest sweep of this recipe, or the one in into=",
}
AGAIN = 2
"""How often a killed trial is attempted again."""


def main(argv: list[str] | None = None) -> int:
    """Sweep; exit code 2 on a mistake in the command, 1 where no point could be trained."""
    request = parse_recipe_command(argv, "zoo.sweep", extra=EXTRA)
    name = Path(request.recipe).stem
    with user_errors():
        space, samples, seeds = _space(request)
        points = search.points(space, samples)
        configs = _configs(request, space, points, seeds)
        parallel, cpus = (_number(request, key) for key in ("parallel", "cpus"))
        address = request.extra.get("address")
        _check_ray(address)
        folder = _folder(request, name, configs)
        record = sweep_record.start(folder, name, space, points, seeds)
        print(f"{name}: {len(points)} points, {len(configs)} trials; writing {folder}", flush=True)
        trainer = yaml.safe_load(next(iter(configs.values())))["trainer"]
        with _ray(address, parallel or 1, cpus, trainer) as resources:
            _run(folder, name, list(configs), parallel or 1, resources)
            record = sweep_record.gather(folder, record)
            winner = record["winner"]
            if winner is not None:
                _test([folder / "trials" / one for one in winner["trials"]], name, resources)
                record = sweep_record.tested(folder, record)
        from zoo import plots_sweep, report

        plots_sweep.draw(folder / "sweep.png", record)
        report.show(sweep_record.table(record, folder))
        if winner is None:
            raise UserError(f"no point was trained with every seed: see the train.log files below {folder / 'trials'}")
    return 0


# --- the plan ---------------------------------------------------------------------------------------------------------


def _space(request: Request) -> tuple[list[search.Axis], int | None, list[int]]:
    """Axes, samples and seeds; `search.` words leave the overrides."""
    words = [word for word in request.overrides if word.startswith(search.PREFIX)]
    request.overrides = [word for word in request.overrides if word not in words]
    seeds = yaml.safe_load(request.extra.get("seeds", "[0]"))
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int for seed in seeds):
        raise RecipeError([f"seeds: expected whole numbers like [0,1], got {request.extra['seeds']}"])
    return search.axes(words), _number(request, "samples"), list(dict.fromkeys(seeds))


def _number(request: Request, key: str) -> int | None:
    given = request.extra.get(key)
    if given is not None and not (given.isdecimal() and int(given) > 0):
        raise RecipeError([f"{key}: expected a whole number above 0, got {given!r}"])
    return int(given) if given else None


def _configs(
    request: Request, space: Sequence[search.Axis], points: Sequence[dict[str, Any]], seeds: Sequence[int]
) -> dict[str, str]:
    """The resolved recipe of every trial, by the trial's name."""
    if given := [word for word in request.overrides if word.startswith("seed=")]:
        raise RecipeError([f"{given[0]}: a sweep is told seeds=[{given[0].removeprefix('seed=')}]"])
    found = {}
    for i, config in enumerate(search.compose(request.recipe, request.overrides, space, points, smoke=request.smoke)):
        data_roots.require(config.data)
        if config.trainer.get("num_nodes", 1) != 1:
            raise RecipeError(["trainer.num_nodes: a trial runs on one machine; the sweep itself takes many"])
        for seed in seeds:
            found[sweep_record.name(i, seed)] = recipe.to_yaml(OmegaConf.create({**config, "seed": seed}))
    return found


def _folder(request: Request, name: str, configs: dict[str, str]) -> Path:
    """A fresh sweep folder with every trial's recipe, or the one to go on with."""
    root, into = Path(request.extra.get("runs", "runs")) / "sweep", request.extra.get("into")
    if request.extra.get("resume", "false") == "true":
        started = sorted(path.parent for path in (root / name).glob(f"*/{RECORD}"))
        folder = Path(into) if into else next(reversed(started), root / name)
        if not (folder / RECORD).exists():
            raise RecipeError([f"resume=true: no sweep with a {RECORD} in {folder}"])
        stored = {path.parent.name: path.read_text("utf-8") for path in folder.glob(f"trials/*/{trial.CONFIG}")}
        if stored != configs:
            raise RecipeError([f"resume=true: this command differs from the one of {folder}: see its {RECORD}"])
        return folder.resolve()
    folder = Path(into) if into else run.create(root, name)
    if (folder / "trials").exists():
        raise RecipeError([f"into: {folder} holds a sweep already; resume=true goes on with it"])
    for one, config in configs.items():
        (folder / "trials" / one).mkdir(parents=True)
        (folder / "trials" / one / trial.CONFIG).write_text(config, encoding="utf-8")
    return folder.resolve()


# --- Ray --------------------------------------------------------------------------------------------------------------


def _check_ray(address: str | None) -> None:
    """Before anything is written.

    Raises:
        UserError: Ray is not installed, or nothing answers at the address, which Ray itself would try for minutes.
    """
    if importlib.util.find_spec("ray") is None:
        raise UserError("a sweep needs Ray Tune: pip install 'multimodal-peft-zoo[sweep]'")
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            raise UserError(f"address={address}: nothing answers there ({error})") from None


@contextlib.contextmanager
def _ray(address: str | None, parallel: int, cpus: int | None, trainer: dict[str, Any]) -> Iterator[dict[str, float]]:
    """A Ray that runs; what a trial takes of a machine.

    Raises:
        UserError: none runs at the address.
    """
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1"}
    import ray

    settings = {} if address else {"include_dashboard": False}
    try:
        # A killed trial is a line of ours, not a screen of Ray's.
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.CRITICAL, **settings)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(f"address={address or 'local'}: no Ray runs there ({str(error).splitlines()[0]})") from error
    try:
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        cores = max(int(machine.get("CPU", 0)) for machine in machines)
        gpus = trainer.get("accelerator", "auto") != "cpu" and any(machine.get("GPU") for machine in machines)
        devices = trainer.get("devices")
        yield {"cpu": cpus or max(1, cores // parallel), "gpu": (devices if type(devices) is int else 1) * gpus}
    finally:
        ray.shutdown()


def _run(folder: Path, name: str, trials: list[str], parallel: int, resources: dict[str, float]) -> None:
    """Attempt every unfinished trial; what becomes of each stands in its folder."""
    from ray import tune

    todo = [one for one in trials if not (folder / "trials" / one / trial.FITTED).exists()]
    where, screen = Path.cwd(), sys.stdout

    def attempt(config: dict[str, Any]) -> None:
        try:
            trial.attempt(folder / "trials" / config["trial"], name, where=where)
        except trial.TrialError as error:
            print(error)  # attempted again it would end so again: its folder says what it said

    ended: set[str] = set()

    class Progress(tune.Callback):  # type: ignore[misc]  # Ray is optional
        """A line for every trial that ends."""

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            ended.add(trial.config["trial"])
            print(sweep_record.line(folder, trial.config["trial"], len(todo)), file=screen, flush=True)

        on_trial_error = on_trial_complete

    if not todo:
        return
    tuner = tune.Tuner(
        tune.with_resources(attempt, resources),
        param_space={"trial": tune.grid_search(todo)},
        tune_config=tune.TuneConfig(max_concurrent_trials=parallel),
        run_config=tune.RunConfig(
            name="ray",
            storage_path=str(folder),
            failure_config=tune.FailureConfig(max_failures=AGAIN),
            callbacks=[Progress()],
            verbose=0,
        ),
    )
    with (folder / "ray.log").open("a", encoding="utf-8") as log, contextlib.redirect_stdout(log):
        tuner.fit()
    if len(ended) < len(todo):  # Ctrl-C: Tune stops its trials and returns
        print(f"stopped: {len(todo) - len(ended)} trials are left; resume=true goes on", file=sys.stderr)
        sys.exit(130)


def _test(folders: list[Path], name: str, resources: dict[str, float]) -> None:
    """Measure the test split with the winner's checkpoints."""
    import ray

    measure = ray.remote(num_cpus=resources["cpu"], num_gpus=resources["gpu"], max_retries=AGAIN)(trial.attempt)
    ray.get([measure.remote(folder, name, where=Path.cwd(), test=True) for folder in folders])


if __name__ == "__main__":
    sys.exit(main())
