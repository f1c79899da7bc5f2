"""Callbacks of a recipe: checked like any block, called in the training, and never taken from an adapter."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from adapter_files import seal
from lightning.pytorch.callbacks import Callback
from run_tiny import as_it_was, command, refusal

import zoo
from zoo.adapter import directory
from zoo.adapter.trust import TrustError

__all__ = ["as_it_was", "refusal"]  # fixtures

MONITOR = "callbacks=[{_target_: lightning.pytorch.callbacks.LearningRateMonitor, logging_interval: step}]"
OWN = "callbacks=[{_target_: test_callbacks.Counting, name: mine}]"


class Counting(Callback):
    """Counts batches; a user's own."""

    counted: list[str] = []  # noqa: RUF012

    def __init__(self, name: str, every: int = 1) -> None:
        if not name:
            raise ValueError("a name is needed")
        self.name, self.every = name, every

    def on_train_batch_end(self, *_: object) -> None:
        self.counted.append(self.name)


def test_lightnings_callbacks_and_ones_own_are_called(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert command(f"into={folder}", MONITOR, "trainer.max_epochs=1") == 0
    assert "lr-AdamW" in (folder / "logs" / "csv" / "metrics.csv").read_text().splitlines()[0]
    Counting.counted.clear()
    assert command(f"into={tmp_path / 'own'}", OWN, "trainer.max_epochs=1") == 0
    assert Counting.counted == ["mine"] * 6


def test_an_adapter_has_no_callbacks_and_says_which_its_training_had(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    assert command(f"into={folder}", OWN, "trainer.max_epochs=1") == 0
    assert "callbacks" in yaml.safe_load((folder / "recipe.yaml").read_text())
    assert "callbacks" not in yaml.safe_load((folder / "adapter" / "recipe.yaml").read_text())
    manifest = json.loads((folder / "adapter" / "metrics.json").read_text())["manifest"]
    assert manifest["left_out"] == {"callbacks": [{"_target_": "test_callbacks.Counting", "name": "mine"}]}
    zoo.load(str(folder / "adapter"))
    capsys.readouterr()
    assert command(f"into={tmp_path / 'next'}", f"init={folder / 'adapter'}", "trainer.max_epochs=1") == 0
    assert "trained with callbacks, which its metrics.json has" in capsys.readouterr().out


def test_an_adapter_that_brings_callbacks_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert command(f"into={folder}", "trainer.max_epochs=1") == 0
    file = folder / "adapter" / "recipe.yaml"
    file.write_text(file.read_text() + "callbacks: [{_target_: test_callbacks.Counting, name: evil}]\n")
    seal(folder / "adapter")
    with pytest.raises(TrustError, match="has the key 'callbacks'"):
        directory.verify(folder / "adapter")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("3", "callbacks: expected a list of blocks with _target_, got 3"),
        ("[3]", "callbacks.0: expected a block with _target_, got 3"),
        (
            "[{_target_: test_callbacks.Countin, name: a}]",
            "module test_callbacks has no 'Countin'. Did you mean 'Counting'?",
        ),
        ("[{_target_: test_callbacks.Counting}]", "missing value 'callbacks.0.name' (str)"),
        (
            "[{_target_: test_callbacks.Counting, nam: a, name: b}]",
            "unknown key 'callbacks.0.nam'. Did you mean 'name'?",
        ),
        ("[{_target_: test_callbacks.Counting, name: a, every: b}]", "callbacks.0.every: expected int, got 'b' (str)"),
        ("[{_target_: pathlib.PurePath}]", "callbacks.0: expected a lightning.pytorch.callbacks.Callback"),
        ("[{_target_: lightning.pytorch.callbacks.EMAWeightAveraging}]", "set trainer.ema"),
        ("[{_target_: test_callbacks.Counting, name: ''}]", "callbacks.0: ValueError: a name is needed"),
    ],
)
def test_a_wrong_callback_is_told_before_anything_is_read(value: str, said: str, refusal: Callable[..., str]) -> None:
    assert said in refusal(f"callbacks={value}")
