"""Run the trials of a sweep with Ray Tune, on this machine or a cluster, and test the best."""

import contextlib
import logging
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zoo.errors import UserError, require_packages
from zoo.search import record
from zoo.search import trial as search_trial
from zoo.search.trial import AGAIN


def check_ray(address: str | None) -> None:
    """Before anything is written.

    Raises:
        UserError: Ray is not installed, or nothing answers at the address, which Ray itself would try for minutes.
    """
    require_packages("engine=ray", "ray")
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
