"""An average of what is trained is measured, selected and saved; the training itself is as it was."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from run_tiny import as_it_was, command, refusal, tensors
from torch import Tensor

from zoo.training.module import TrainingModule

__all__ = ["as_it_was", "refusal"]  # fixtures

DECAY = 0.8


def test_the_saved_adapter_is_the_moving_average_and_training_does_not_know_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, steps = TrainingModule.on_train_batch_start, list[dict[str, Tensor]]()

    def note(model: TrainingModule, batch: Any, batch_idx: int) -> None:
        steps.append({name: tensor.clone() for name, tensor in model.pairing.trainable_state().items()})
        begin(model, batch, batch_idx)

    monkeypatch.setattr(TrainingModule, "on_train_batch_start", note)
    words = ["trainer.max_epochs=1"]
    assert command(f"into={tmp_path / 'plain'}", *words) == 0
    plain, steps[:] = list(steps), []
    assert command(f"into={tmp_path / 'run'}", *words, f"trainer.ema={DECAY}") == 0
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    before = torch.load(tmp_path / "plain" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(one[name], other[name]) for one, other in zip(plain, steps, strict=True) for name in one)
    assert all(torch.equal(last[name], before[name]) for name in last)

    averaged = steps[0]
    for number, state in enumerate([*steps[1:], last], 1):
        decay = min(DECAY, (1 + number) / (10 + number))
        averaged = {name: decay * averaged[name] + (1 - decay) * tensor for name, tensor in state.items()}
    saved = tensors(tmp_path / "run")
    for name, tensor in averaged.items():
        torch.testing.assert_close(saved[name], tensor)
    assert any(not torch.allclose(saved[name], last[name]) for name in last)


def test_validation_measures_the_average(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true, measured = TrainingModule.on_validation_epoch_end, list[dict[str, Tensor]]()

    def note(model: TrainingModule) -> None:
        measured.append({name: tensor.clone() for name, tensor in model.pairing.trainable_state().items()})
        true(model)

    monkeypatch.setattr(TrainingModule, "on_validation_epoch_end", note)
    assert command(f"into={tmp_path / 'run'}", "trainer.max_epochs=1", "trainer.ema=0.9") == 0
    saved = tensors(tmp_path / "run")
    assert all(torch.equal(saved[name], tensor) for name, tensor in measured[0].items())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trainer.ema=1"], "trainer.ema: expected float > 0 and < 1 | None, got 1 (int)"),
        (["trainer.ema=0.9", "trainer.strategy=fsdp"], "trainer.ema: under trainer.strategy=fsdp"),
    ],
)
def test_a_wrong_average_is_told_before_anything_is_read(
    words: list[str], said: str, refusal: Callable[..., str]
) -> None:
    assert said in refusal(*words)
