"""Run the trials of a sweep with Ray Tune, and test the best."""

import contextlib
import logging
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from zoo.errors import UserError, require_packages
from zoo.recipe import compose, data_roots
from zoo.recipe.compose import RecipeError
from zoo.recipe.request import Request
from zoo.records import run_places
from zoo.search import record
from zoo.search import space as search_space
from zoo.search import trial as search_trial
from zoo.search.record import RECORD

EXTRA = {
    "samples": f"draws for every combination of the lists (default: {search_space.SAMPLES}, where anything is drawn)",
    "seeds": "each point is trained with every one, and judged by the mean, e.g. [0,1] (default: [0])",
    "parallel": "trials at a time (default: 1)",
    "cpus": "of a trial (default: a machine's cores, divided by the trials at a time)",
    "address": "of a Ray cluster, or auto (default: this machine alone)",
    "into": "the sweep's folder (default: a new one below runs/sweep/<recipe>/)",
    "runs": "where run folders go (default: runs)",
    "resume": "true: go on with the newest sweep of this recipe, or the one in into=",
}

AGAIN = 2
"""Largest number of further attempts at a killed trial."""


def configurations(
    request: Request, space: Sequence[search_space.Axis], points: Sequence[dict[str, Any]], seeds: Sequence[int]
) -> dict[str, str]:
    """The resolved recipe of every trial, by the trial's name."""
    if supplied := [word for word in request.overrides if word.startswith("seed=")]:
        raise RecipeError([f"{supplied[0]}: a sweep takes seeds=[{supplied[0].removeprefix('seed=')}]"])
    found = {}
    for i, config in enumerate(
        search_space.compose(request.recipe, request.overrides, space, points, smoke=request.smoke)
    ):
        data_roots.require(config.data)
        if config.trainer.get("num_nodes", 1) != 1:
            raise RecipeError(["trainer.num_nodes: a trial runs on one machine; the sweep itself takes many"])
        for seed in seeds:
            found[record.name(i, seed)] = compose.to_yaml(OmegaConf.create({**config, "seed": seed}))
    return found


def sweep_folder(request: Request, name: str, configs: dict[str, str]) -> Path:
    """A fresh sweep folder with every trial's recipe, or the one to go on with."""
    root, into = Path(request.extra.get("runs", "runs")) / "sweep", request.extra.get("into")
    if request.extra.get("resume", "false") == "true":
        started = sorted(path.parent for path in (root / name).glob(f"*/{RECORD}"))
        folder = Path(into) if into else next(reversed(started), root / name)
        if not (folder / RECORD).exists():
            raise RecipeError([f"resume=true: no sweep with a {RECORD} in {folder}"])
        stored = {path.parent.name: path.read_text("utf-8") for path in folder.glob(f"trials/*/{search_trial.CONFIG}")}
        if stored != configs:
            raise RecipeError([f"resume=true: this command differs from the one of {folder}: see its {RECORD}"])
        return folder.resolve()
    folder = Path(into) if into else run_places.new_run(root, name)
    if (folder / "trials").exists():
        raise RecipeError([f"into: {folder} holds a sweep already; resume=true goes on with it"])
    for one, config in configs.items():
        (folder / "trials" / one).mkdir(parents=True)
        (folder / "trials" / one / search_trial.CONFIG).write_text(config, encoding="utf-8")
    return folder.resolve()


# --- Ray --------------------------------------------------------------------------------------------------------------


def check_ray(address: str | None) -> None:
    """Before anything is written.

    Raises:
        UserError: Ray is not installed, or nothing answers at the address, which Ray itself would try for minutes.
    """
    require_packages("a sweep", "ray")
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            raise UserError(f"address={address}: nothing answers there ({error})") from None


@contextlib.contextmanager
def connected(
    address: str | None, parallel: int, cpus: int | None, trainer: dict[str, Any]
) -> Iterator[dict[str, float]]:
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


def run_trials(folder: Path, name: str, trials: list[str], parallel: int, resources: dict[str, float]) -> None:
    """Attempt every unfinished trial; what becomes of each stands in its folder."""
    from ray import tune

    todo = [one for one in trials if not (folder / "trials" / one / search_trial.FITTED).exists()]
    where, screen = Path.cwd(), sys.stdout

    def attempt(config: dict[str, Any]) -> None:
        try:
            search_trial.attempt(folder / "trials" / config["trial"], name, where=where)
        except search_trial.TrialError as error:
            print(error)  # it would fail again in the same way; its folder holds the error

    ended: set[str] = set()

    class Progress(tune.Callback):  # type: ignore[misc]  # Ray is optional
        """A line for every trial that ends."""

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            ended.add(trial.config["trial"])
            print(record.line(folder, trial.config["trial"], len(todo)), file=screen, flush=True)

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


def test_best(folders: list[Path], name: str, resources: dict[str, float]) -> None:
    """Measure the test split with the winner's checkpoints."""
    import ray

    measure = ray.remote(num_cpus=resources["cpu"], num_gpus=resources["gpu"], max_retries=AGAIN)(search_trial.attempt)
    ray.get([measure.remote(folder, name, where=Path.cwd(), test=True) for folder in folders])
