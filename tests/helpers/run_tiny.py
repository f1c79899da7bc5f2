"""Runs of a second, for tests of what becomes of run folders: the tiny recipe on data that a test may change."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_data import Some, Tiny

from data_modules.errors import DataError
from zoo.adapter import directory
from zoo.batch import SampleSet
from zoo.records.run_places import FOLDER
from zoo.report import run_pictures
from zoo.train import main as train
from zoo.training.module import TrainingModule

TINY = Path(__file__).parent / "tiny.yaml"
STEPS = 6  # an epoch: twelve samples by two


class Own(Tiny):
    """The tiny data, with samples that a test may change."""

    changed: tuple[int, ...] = ()
    fault = ""
    stop: signal.Signals | None = None

    def splits(self) -> dict[str, SampleSet[Any]]:
        if self.stop:
            os.kill(os.getpid(), self.stop)
        if self.fault:
            raise DataError(self.fault)
        return {split: Edited(self.kind, one.first, len(one)) for split, one in super().splits().items()}  # type: ignore


class Edited(Some):
    def key(self, index: int) -> str:
        return f"{super().key(index)}{'*' * (self.first + index in Own.changed)}"


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A training tells its folder to further processes, and Lightning turns Ctrl-C off when it has met it."""
    monkeypatch.delenv(FOLDER, raising=False)
    monkeypatch.setenv("ZOO_TRUST", "tiny,run_tiny")
    monkeypatch.setattr(run_pictures, "pictures", no_pictures)
    yield
    Own.changed, Own.fault, Own.stop = (), "", None
    signal.signal(signal.SIGINT, signal.default_int_handler)


def no_pictures(folder: Path, *_: Any, **__: Any) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "curves.png").touch()


def command(*words: object) -> int:
    """Exit code of `zoo.train` on the tiny recipe."""
    try:
        return train([f"recipe={TINY}", "data._target_=run_tiny.Own", *map(str, words)])
    except SystemExit as end:
        return int(str(end.code))


@pytest.fixture
def refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The one line by which `zoo.train` refuses some words, before data are read."""

    def line(*words: object) -> str:
        monkeypatch.setattr("zoo.training.fit.build_data", lambda *_: pytest.fail("data are read"))
        assert command(f"into={tmp_path / 'run'}", *words) == 2
        (said,) = capsys.readouterr().err.splitlines()
        return said

    return line


def cut(
    folder: Path, *words: object, epoch: int = 1, batch: int = 1, act: Callable[[], None] | None = None
) -> int | None:
    """Train until an epoch's second batch, or another one, and stop there."""

    number = batch

    def stop(model: TrainingModule, batch: Any, batch_idx: int) -> None:
        if (model.current_epoch, batch_idx) == (epoch, number):
            (act or crash)()
        begin(model, batch, batch_idx)

    begin = TrainingModule.on_train_batch_start
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingModule, "on_train_batch_start", stop)
        try:
            return command(f"into={folder}", *words)
        except ZeroDivisionError:
            return None


def crash() -> None:
    raise ZeroDivisionError


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    directory.verify(folder / "adapter")
    return load_file(folder / "adapter" / "adapter.safetensors")


def same_result(one: Path, other: Path) -> bool:
    a, b = tensors(one), tensors(other)
    histories = [json.loads((f / "fit.json").read_text())["history"] for f in (one, other)]
    scores = [(f / "per_sample.json").read_text() for f in (one, other)]
    return all(torch.equal(a[k], b[k]) for k in a) and histories[0] == histories[1] and scores[0] == scores[1]


def close_result(one: Path, other: Path) -> bool:
    """Whether two runs ended alike, where the one read from a cache what the other computed: with AVX2 MKL rounds by
    where in memory its operands lie."""
    a, b = tensors(one), tensors(other)
    return a.keys() == b.keys() and all(torch.allclose(a[k], b[k], atol=1e-5) for k in a)


def falling(patch: pytest.MonkeyPatch) -> None:
    """The first epoch is the best, the later the worse."""
    true = TrainingModule.log

    def log(model: TrainingModule, name: str, value: Any, **settings: Any) -> None:
        true(model, name, torch.tensor(1 - 0.1 * model.current_epoch) if name == "val/selected" else value, **settings)

    patch.setattr(TrainingModule, "log", log)
