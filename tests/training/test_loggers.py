"""Metrics go where `trainer.logger` says, below the run folder, and nowhere by the mere presence of a package."""

import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from run_tiny import as_it_was, command, refusal

from zoo.training import loggers

__all__ = ["as_it_was", "refusal"]  # fixtures


@pytest.mark.parametrize(
    ("words", "written"),
    [([], {"csv", "tensorboard"}), (["trainer.logger=[csv]"], {"csv"}), (["trainer.logger=[]"], set())],
)
def test_what_is_named_is_written_and_nothing_else(
    words: list[str], written: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site" / "wandb-1.0.dist-info").mkdir(parents=True)  # W&B is installed, as it seems
    (tmp_path / "site" / "wandb-1.0.dist-info" / "METADATA").write_text("Name: wandb\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert loggers.missing(["wandb"]) == []
    assert command(f"into={tmp_path / 'run'}", "trainer.max_epochs=1", *words) == 0
    assert {path.name for path in tmp_path.glob("run/logs/*")} == written


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["trainer.logger=[csv,mlflow]"],
            "trainer.logger: mlflow is not installed: pip install 'multimodal-peft-zoo[mlflow]'",
        ),
        (["trainer.logger=[csv,wandbb]"], "trainer.logger: expected "),
        (["trainer.logger=csv"], "trainer.logger: expected "),
    ],
)
def test_what_is_not_there_is_told_before_anything_is_read(
    words: list[str], said: str, refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.metadata, "distributions", lambda **_: iter([]))
    assert said in refusal(*words)


def test_trackio_is_given_the_metrics_and_a_folder_in_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    run = SimpleNamespace(log=lambda metrics, step: seen.append((step, metrics)), finish=lambda: seen.append("end"))
    monkeypatch.setitem(sys.modules, "trackio", SimpleNamespace(init=lambda **settings: seen.append(settings) or run))
    monkeypatch.setenv("TRACKIO_DIR", "")
    monkeypatch.delenv("TRACKIO_DIR")
    monkeypatch.setattr(loggers, "missing", lambda names: [])
    assert command(f"into={tmp_path / 'run'}", "trainer.max_epochs=1", "trainer.logger=[trackio]") == 0
    assert seen[0]["name"] == "run"
    assert {"val/loss", "train/loss"} <= {name for _, metrics in seen[1:-1] for name in metrics}
    assert seen[-1] == "end"
    import os

    assert Path(os.environ["TRACKIO_DIR"]) == tmp_path / "run" / "logs" / "trackio"


@pytest.mark.slow
@pytest.mark.parametrize("name", loggers.FURTHER)
def test_every_logger_writes_below_the_run_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Not imported here: Trackio asks for its folder when it is.
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    assert command("into=run", "trainer.max_epochs=1", f"trainer.logger=[{name}]") == 0
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
    assert any(name in str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
