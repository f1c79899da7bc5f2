"""Several processes train to the result of one on the same global batch, and stop together."""

import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import point_tiny
import pytest
import ranks
import torch
from tiny_data import Tiny, fit, pairing_of
from torch import distributed, nn

from data_modules.errors import DataError
from zoo.errors import SettingError
from zoo.ops.batch_norm import BatchNorm1d
from zoo.records import run_places
from zoo.records.run_places import FOLDER
from zoo.training import processes as training_processes
from zoo.training.loaders import EpochSampler, Loaders
from zoo.training.module import TrainingModule
from zoo.training.trainer import build_trainer

TOLERANCE = 1e-5
"""Of a parameter after six steps: float32 sums of a batch in another order; parameters are of order 1."""


def checkpoint(folder: Path, name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return loaded


def difference(one: Path, other: Path, name: str = "last") -> float:
    a, b = (checkpoint(folder, name)["state_dict"] for folder in (one, other))
    assert a.keys() == b.keys()
    assert all(a[key].shape == b[key].shape for key in a)
    # A running mean is a sum over a layer's inputs, each times a weight that may differ by TOLERANCE.
    inputs = {key: a[key.replace("1.running_mean", "0.weight")].shape[1] if "running_mean" in key else 1 for key in a}
    return max(float((a[key] - b[key]).abs().max()) / inputs[key] for key in a)


CASES = [(*case, strategy) for case in (("clips", 1), ("clips", 2), ("clouds", 1)) for strategy in ("ddp", "fsdp")]
FAST = (("clouds", 1, "ddp"),)
"""`fsdp` runs on two machines below; the others are slow tests."""


@pytest.mark.parametrize(
    ("kind", "accumulate", "strategy"),
    [case if case in FAST else pytest.param(*case, marks=pytest.mark.slow) for case in CASES],
)
def test_two_processes_train_to_the_result_of_one(tmp_path: Path, strategy: str, kind: str, accumulate: int) -> None:
    """Clips: two encoders; clouds: batch norm over the whole batch, and losses of the method's own."""
    one, two, more = tmp_path / "one", tmp_path / "two", {"accumulate_grad_batches": accumulate}
    for folder in (one, two):
        folder.mkdir()
    fit(one, kind, 4, more)
    assert ranks.run(fit, 2, two, kind, 2, more | {"strategy": strategy, "devices": 2}) == [0, 0]
    assert checkpoint(one, "last")["global_step"] == checkpoint(two, "last")["global_step"] > 2
    assert checkpoint(one, "best")["epoch"] == checkpoint(two, "best")["epoch"]
    print(f"largest difference: {difference(one, two):.2e}, best {difference(one, two, 'best'):.2e}")
    assert difference(one, two) < TOLERANCE
    assert difference(one, two, "best") < TOLERANCE
    first, *others = (
        torch.load(path, weights_only=True) for path in (one / "rank0.pt", two / "rank0.pt", two / "rank1.pt")
    )
    for other in others:
        assert len(other["counted"]) == 5
        assert torch.equal(other["counted"].sort().values, first["counted"].sort().values)
        assert other["seen"] == pytest.approx(first["seen"], abs=1e-5, rel=5e-5)
        assert other["seen"]["val/selected"] == first["seen"]["val/selected"]


def resumed(folder: Path, kind: str, batch: int, settings: dict[str, Any], epoch: int) -> None:
    """Train to the end of an epoch, as if cut off there, and on from the checkpoint."""
    begin = TrainingModule.on_train_epoch_start

    def crash(model: TrainingModule) -> None:
        if model.current_epoch == epoch:
            raise ZeroDivisionError
        begin(model)

    TrainingModule.on_train_epoch_start = crash  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        fit(folder, kind, batch, settings)
    TrainingModule.on_train_epoch_start = begin  # type: ignore[method-assign]
    torch.distributed.barrier()
    fit(folder, kind, batch, settings, resume=True)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_resume_to_the_result_of_an_uninterrupted_run(tmp_path: Path, strategy: str) -> None:
    whole, cut, settings = tmp_path / "whole", tmp_path / "cut", {"strategy": strategy, "devices": 2}
    for folder in (whole, cut):
        folder.mkdir()
    assert ranks.run(fit, 2, whole, "clips", 2, settings) == [0, 0]
    assert ranks.run(resumed, 2, cut, "clips", 2, settings, 1) == [0, 0]
    assert checkpoint(cut, "last")["global_step"] == checkpoint(whole, "last")["global_step"]
    assert difference(whole, cut) == 0


def resumed_within(folder: Path, settings: dict[str, Any]) -> None:
    """Train into the second epoch, and on from the checkpoint after its first batch."""
    begin = TrainingModule.on_train_batch_start

    def crash(model: TrainingModule, batch: Any, batch_idx: int) -> None:
        if (model.current_epoch, batch_idx) == (1, 1):
            raise ZeroDivisionError
        begin(model, batch, batch_idx)

    TrainingModule.on_train_batch_start = crash  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        fit(folder, "clips", 2, settings)
    TrainingModule.on_train_batch_start = begin  # type: ignore[method-assign]
    torch.distributed.barrier()
    fit(folder, "clips", 2, settings, resume=True)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_resume_within_an_epoch_to_the_same_result_and_means(tmp_path: Path, strategy: str) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    settings = {"strategy": strategy, "devices": 2, "save_every": 2}
    for folder in (whole, cut):
        folder.mkdir()
    assert ranks.run(fit, 2, whole, "clips", 2, settings) == [0, 0]
    assert ranks.run(resumed_within, 2, cut, settings) == [0, 0]
    assert difference(whole, cut) == 0
    for rank in (0, 1):
        one, other = (torch.load(folder / f"rank{rank}.pt", weights_only=True)["seen"] for folder in (whole, cut))
        assert one == other
        assert "train/loss" in one


def test_two_machines_of_one_process_each_are_one_run(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
    fit(one, "clips", 4, {})
    settings = {"strategy": "fsdp", "devices": 1, "num_nodes": 2}
    assert ranks.run(fit, 2, two, "clips", 2, settings, machines=2) == [0, 0]
    assert difference(one, two) < TOLERANCE


def draws(folder: Path) -> None:
    """What random numbers a process's training steps see."""
    seen: list[float] = []
    step = TrainingModule.training_step

    def watched(model: TrainingModule, batch: Any, batch_idx: int) -> torch.Tensor:
        seen.append(float(torch.rand(())))
        return step(model, batch, batch_idx)

    TrainingModule.training_step = watched  # type: ignore[method-assign]
    fit(folder, "clips", 2, {"strategy": "ddp", "devices": 2, "max_epochs": 1})
    torch.save(seen, folder / f"draws{os.environ['RANK']}.pt")


def test_processes_drop_out_differently(tmp_path: Path) -> None:
    assert ranks.run(draws, 2, tmp_path) == [0, 0]
    first, second = (torch.load(tmp_path / f"draws{rank}.pt") for rank in (0, 1))
    assert len({*first, *second}) == len(first) + len(second) == 6


def failing(folder: Path, how: str) -> None:
    """The second process fails in the second step of training."""
    step = TrainingModule.training_step

    def broken(model: TrainingModule, batch: Any, batch_idx: int) -> torch.Tensor:
        if model.trainer.global_rank == 1 and batch_idx == 1:
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ZeroDivisionError
        return step(model, batch, batch_idx)

    TrainingModule.training_step = broken  # type: ignore[method-assign]
    try:
        with training_processes.guard_lost_rank():
            fit(folder, "clips", 2, {"strategy": "ddp", "devices": 2})
    except training_processes.LostProcessError as error:
        (folder / "said").write_text(str(error))
        sys.exit(1)


@pytest.mark.parametrize(("how", "code"), [("raise", 1), pytest.param("kill", -signal.SIGKILL, marks=pytest.mark.slow)])
def test_when_one_process_fails_the_others_stop_and_say_so(tmp_path: Path, how: str, code: int) -> None:
    assert ranks.run(failing, 2, tmp_path, how, timeout=120) == [1, code]
    assert "process 0 of 2" in (tmp_path / "said").read_text()
    assert "resume=true" in (tmp_path / "said").read_text()


def counted_apart(folder: Path) -> None:
    distributed.init_process_group("gloo")
    model = pairing_of("clouds").eval()
    rank = distributed.get_rank()
    mine = [point_tiny.batch(*rows) for rows in ([[0, 1], [2]] if rank == 0 else [[3, 4]])]
    kept = [training_processes.to_cpu(model.predict(batch), batch) for batch in mine]
    together = training_processes.all_gather_objects(kept)
    assert [batch.ids for _, batch in together] == [["cloud0", "cloud1"], ["cloud2"], ["cloud3", "cloud4"]]
    assert not any(batch.inputs for _, batch in together)


def test_shares_of_unequal_size_are_counted_together_in_order(tmp_path: Path) -> None:
    assert ranks.run(counted_apart, 2, tmp_path) == [0, 0]


@pytest.mark.parametrize("processes", [2, 3, 5])
def test_shares_of_an_epoch_make_up_the_batches_of_one_process(processes: int) -> None:
    whole = EpochSampler(23, 4)
    shares = [EpochSampler(23, 4, rank=rank, processes=processes) for rank in range(processes)]
    left: list[list[int]] = []
    for epoch in (0, 1):
        for sampler in (whole, *shares):
            sampler.set_epoch(epoch)
        rows, parts = list(whole), [list(share) for share in shares]
        assert {len(part) for part in parts} == {len(share) for share in shares} == {23 // processes}
        for start in range(0, 23 // processes, 2):
            together = {row for part in parts for row in part[start : start + 2]}
            assert together <= set(rows[start * processes : (start + 2) * processes])
        left.append([row for row in rows if not any(row in part for part in parts)])
    assert len(left[0]) == 23 % processes
    assert left[0] != left[1]


def test_more_processes_than_samples_are_refused() -> None:
    data = Tiny()
    data.setup()
    loaders = Loaders(data, pairing_of("clips"))
    loaders.trainer = SimpleNamespace(global_rank=0, world_size=6, training=False)  # type: ignore[assignment]
    assert list(loaders.train_dataloader().sampler)
    with pytest.raises(DataError, match="6 processes, but split val has 5 samples"):
        loaders.val_dataloader()


def normalised(folder: Path) -> None:
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    torch.save(normalise(rank, 2), folder / f"{rank}.pt")


def normalise(rank: int, processes: int) -> dict[str, torch.Tensor]:
    """Every second row of a batch through batch norm and back."""
    torch.manual_seed(0)
    rows, weight = torch.randn(8, 3, 5) + 2, torch.randn(8, 3, 5)
    norm = BatchNorm1d(3)
    nn.init.uniform_(norm.weight)
    mine = rows[rank::processes].clone().requires_grad_()
    out = norm(mine)
    (out.square() * weight[rank::processes]).mean().backward()
    assert mine.grad is not None
    return {"out": out.detach(), "gradient": mine.grad / processes, **norm.state_dict()}


def test_batch_norm_normalises_over_the_rows_of_all_processes(tmp_path: Path) -> None:
    assert ranks.run(normalised, 2, tmp_path) == [0, 0]
    one = normalise(0, 1)
    for rank in (0, 1):
        share = torch.load(tmp_path / f"{rank}.pt")
        for name, tensor in share.items():
            expected = one[name][rank::2] if name in ("out", "gradient") else one[name]
            torch.testing.assert_close(tensor, expected, rtol=0, atol=1e-6)


def test_a_launcher_with_another_number_of_processes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0"}
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingError, match=r"2 processes, but trainer.devices x trainer.num_nodes is 1"):
        build_trainer(tmp_path, accelerator="cpu", devices=1)


def test_a_process_of_another_machine_is_told_the_run_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    monkeypatch.setenv("NODE_RANK", "1")
    with pytest.raises(FileNotFoundError, match=FOLDER):
        run_places.shared_folder()
    monkeypatch.setenv(FOLDER, str(tmp_path / "shared"))
    assert run_places.shared_folder() == tmp_path / "shared"
