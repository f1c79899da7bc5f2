"""An adapter is complete, verified, and fits exactly, or it is refused."""

import math
import os
from pathlib import Path

import pytest
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException
from saving import saved
from tiny import batch, pairing, train_steps

from data_modules.errors import DataError
from zoo import evaluate
from zoo.adapter import directory
from zoo.adapter.directory import FILES, AdapterError
from zoo.command_line import user_errors
from zoo.errors import SettingError
from zoo.methods.lora import LoRA
from zoo.methods.tb_ava import TBAVA
from zoo.pairing import count_parameters
from zoo.records import run_places
from zoo.train import main as train
from zoo.training.checkpoints import AtomicCheckpointIO
from zoo.training.module import NonFiniteLossError, TrainingModule
from zoo.training.trainer import build_trainer


def test_a_saved_directory_verifies_and_holds_trainable_tensors_only(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    folder = saved(tmp_path)
    directory.verify(folder)
    names = set(load_file(folder / "adapter.safetensors"))
    assert names == set(pairing(TBAVA(rank=4)).trainable_state())
    assert not any(name.startswith("backbones.") for name in names)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["adapter"]


@pytest.mark.parametrize("name", FILES)
def test_an_altered_or_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder = saved(tmp_path)
    with (folder / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(AdapterError, match=f"{name} was altered"):
        directory.verify(folder)
    (folder / name).unlink()
    with pytest.raises(AdapterError, match=f"{name} is missing"):
        directory.verify(folder)


def test_a_folder_that_is_no_adapter_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="no adapter directory"):
        directory.verify(tmp_path)


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(OSError, match="No space left"):
        saved(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_good_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"state_dict": {"a": torch.ones(3)}}, path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left.*last\.ckpt"):
        AtomicCheckpointIO().save_checkpoint({"state_dict": {"a": torch.zeros(3)}}, path)
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]
    assert torch.equal(torch.load(path, weights_only=True)["state_dict"]["a"], torch.ones(3))


def test_a_full_disk_and_a_fault_in_the_data_are_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    faults = {
        SettingError("method.last = 9"): "error: method.last = 9\n",
        OSError(28, "No space left on device", "runs/last.ckpt"): "error: runs/last.ckpt: No space left on device\n",
        DataError("labels.csv is empty"): "error: labels.csv is empty\n",
    }
    for fault, line in faults.items():
        with pytest.raises(SystemExit) as end, user_errors():
            raise fault
        assert end.value.code == 1
        assert capsys.readouterr().err == line
    with pytest.raises(ZeroDivisionError), user_errors():
        raise ZeroDivisionError


def test_a_run_that_is_terminated_does_not_exit_as_if_all_had_gone_well(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end, user_errors():
        raise SIGTERMException
    assert end.value.code == 143
    assert capsys.readouterr().err == "stopped by SIGTERM\n"
    with pytest.raises(SystemExit) as end, user_errors():
        raise SystemExit(2)
    assert end.value.code == 2


def test_a_run_folder_that_cannot_be_made_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def read_only(root: Path, name: str) -> Path:
        raise OSError(30, "Read-only file system", str(root))

    monkeypatch.setattr(run_places, "new_run", read_only)
    with pytest.raises(SystemExit) as end:
        train(["recipe=tb_ava", "runs=/somewhere"])
    assert end.value.code == 1
    assert capsys.readouterr().err == "error: /somewhere: Read-only file system\n"


def test_what_the_machine_does_not_have_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"trainer: You selected an invalid strategy name: `strategy='foo'`"):
        build_trainer(tmp_path, strategy="foo")
    if not torch.cuda.is_available():
        with pytest.raises(SettingError, match="trainer: No supported gpu backend found"):
            build_trainer(tmp_path, accelerator="gpu")


def test_tensors_must_fit_exactly() -> None:
    model = pairing(TBAVA(rank=4))
    state = {name: tensor.clone() for name, tensor in model.trainable_state().items()}
    first, second, *_ = sorted(state)
    state["renamed"] = state.pop(first)
    state[second] = torch.zeros(1, 2, 3)
    with pytest.raises(ValueError, match="here does not fit") as error:
        model.load_trainable(state, source="here")
    for part in (f"missing {first}", "unexpected renamed", f"{second} has shape [1, 2, 3]"):
        assert part in str(error.value)


def test_loading_tensors_reproduces_the_prediction() -> None:
    model, fresh = pairing(LoRA(rank=2, targets={"vision": ["1"]})), pairing(LoRA(rank=2, targets={"vision": ["1"]}))
    train_steps(model)
    data = batch(0, 1)
    assert not torch.equal(model.predict(data)["probabilities"], fresh.predict(data)["probabilities"])
    fresh.load_trainable(model.trainable_state(), source="memory")
    assert torch.equal(model.predict(data)["probabilities"], fresh.predict(data)["probabilities"])


def test_a_loss_that_is_not_finite_stops_and_names_the_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    model = pairing(TBAVA(rank=4))
    data = batch(0, 1)
    data.inputs["audio"][1, 0, 0] = math.nan
    with pytest.raises(NonFiniteLossError, match="samples clip0, clip1"):
        TrainingModule(model).training_step(data, 7)


def test_parameters_are_counted_by_hand() -> None:
    model = pairing(LoRA(rank=2, targets={"vision": ["1"]}, last={"vision": 1}))
    trainable, total = count_parameters(model)
    head = 2 * 8 + 2 * 6 + (14 * 8 + 8) + (8 * 4 + 4)
    assert trainable == 2 * (8 + 8) + head
    assert total == trainable + sum(p.numel() for n, p in model.named_parameters() if not p.requires_grad)


def test_an_adapter_is_measured_as_it_was_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        evaluate.main([f"adapter={tmp_path}", "task.hidden=3", "data.root=x"])
    assert end.value.code == 2
    assert capsys.readouterr().err == (
        "error: 'task.hidden=3': an adapter is measured as it was trained; only data.* may be changed\n"
    )
