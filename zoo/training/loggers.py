"""Where a training writes its metrics: `trainer.logger` names it, and all of it lies below the run folder."""

import importlib.metadata
import os
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from zoo.errors import install

Name = Literal["csv", "tensorboard", "wandb", "mlflow", "trackio"]

PROJECT = "multimodal-peft-zoo"

FURTHER = ("wandb", "mlflow", "trackio")
"""Packages of their own, under the loggers' names."""


def build(names: Sequence[Name], run_dir: Path) -> list[Logger]:
    """The named loggers of a run."""
    return [LOGGERS[name](run_dir) for name in dict.fromkeys(names)]


def missing(names: Sequence[str]) -> list[str]:
    """A line for every named logger that is not installed."""
    # By the package's metadata: W&B's own `wandb/` folder in the working directory imports as a package too.
    return [
        f"trainer.logger: {name} is not installed: {install(name)}"
        for name in names
        if name in FURTHER and not any(importlib.metadata.distributions(name=name))
    ]


def _csv(run_dir: Path) -> Logger:
    """A run that goes on writes its CSV beside the earlier one (`csv-2`, ...), which Lightning would delete."""
    earlier = len(list((run_dir / "logs").glob("csv*")))
    return CSVLogger(run_dir, name="logs", version=f"csv-{earlier + 1}" if earlier else "csv")


def _tensorboard(run_dir: Path) -> Logger:
    return TensorBoardLogger(run_dir, name="logs", version="tensorboard")


def _wandb(run_dir: Path) -> Logger:
    """Offline, unless its WANDB_MODE says `online`."""
    from lightning.pytorch.loggers import WandbLogger

    return WandbLogger(save_dir=run_dir, project=PROJECT, offline=os.environ.get("WANDB_MODE") != "online")


def _mlflow(run_dir: Path) -> Logger:
    """A database in the run folder, unless its MLFLOW_TRACKING_URI names a server; it reports its use to nobody."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from lightning.pytorch.loggers import MLFlowLogger

    folder, server = (run_dir / "logs" / "mlflow").resolve(), os.environ.get("MLFLOW_TRACKING_URI")
    if server:
        return MLFlowLogger(experiment_name=PROJECT, run_name=run_dir.name, tracking_uri=server)
    folder.mkdir(parents=True, exist_ok=True)
    return MLFlowLogger(
        experiment_name=PROJECT,
        run_name=run_dir.name,
        tracking_uri=f"sqlite:///{folder / 'mlflow.db'}",
        artifact_location=(folder / "artifacts").as_uri(),
    )


def _trackio(run_dir: Path) -> Logger:
    """A database in the run folder, or where TRACKIO_DIR says.

    The package reads that when imported: a second run of one process goes where it says that it logs.
    """
    os.environ.setdefault("TRACKIO_DIR", str((run_dir / "logs" / "trackio").resolve()))
    return TrackioLogger(run_dir.name)


LOGGERS: dict[str, Callable[[Path], Logger]] = {
    "csv": _csv,
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
    "trackio": _trackio,
}


class TrackioLogger(Logger):
    """Trackio, for which Lightning has no logger.

    Args:
        run: its name; a run that goes on adds to what is there.
    """

    def __init__(self, run: str) -> None:
        super().__init__()
        self.run = run
        self._opened: Any = None

    @property
    def name(self) -> str:
        """The project."""
        return PROJECT

    @property
    def version(self) -> str:
        """The run."""
        return self.run

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: the recipe is in the run folder."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Metrics of a step."""
        if self._opened is None:
            import trackio

            self._opened = trackio.init(project=PROJECT, name=self.run, resume="allow", embed=False)
        self._opened.log(dict(metrics), step=step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is left."""
        if self._opened is not None:
            self._opened.finish()
            self._opened = None
