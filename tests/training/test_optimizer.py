"""The optimizer block: AdamW with warm-up and cosine as ever, or what the recipe names; groups of a method's own."""

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import tiny
import torch
from run_tiny import as_it_was, command, refusal
from torch import nn

from zoo.adapter import public
from zoo.errors import SettingError
from zoo.methods.lora import LoRA
from zoo.training.optimizer import Optimizer

__all__ = ["as_it_was", "refusal"]  # fixtures

SGD = "optimizer.optimizer={_target_: torch.optim.SGD, momentum: 0.9}"
STEP = "optimizer.schedule={_target_: torch.optim.lr_scheduler.StepLR, step_size: 4, gamma: 0.5}"


def test_without_names_it_is_adamw_with_warm_up_and_cosine() -> None:
    torch.manual_seed(0)
    one, other = (nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1)) for _ in "ab")
    other.load_state_dict(one.state_dict())
    built = Optimizer(lr=0.1, weight_decay=0.2, warmup=0.25).build(one, 8)
    groups = [[m.weight for m in other], [m.bias for m in other]]
    options = [{"params": part, "weight_decay": decay} for part, decay in zip(groups, (0.2, 0.0), strict=True)]
    plain = torch.optim.AdamW(options, lr=0.1)
    for step in range(8):
        rate = 0.1 * ((step + 1) / 2 if step < 2 else 0.5 * (1 + math.cos(math.pi * (step - 2) / 6)))
        for group in plain.param_groups:
            group["lr"] = rate
        for net, optimizer in ((one, built["optimizer"]), (other, plain)):
            optimizer.zero_grad()
            net(torch.ones(2, 4)).sum().backward()
            optimizer.step()
        built["lr_scheduler"]["scheduler"].step()
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_run_trains_with_the_optimizer_and_schedule_that_it_names(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert command(f"into={folder}", SGD, STEP) == 0
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    groups = last["optimizer_states"][0]["param_groups"]
    assert {group["momentum"] for group in groups} == {0.9}
    assert {group["lr"] for group in groups} == {0.01 / 8}  # halved after 4, 8 and 12 steps
    assert {group["weight_decay"] for group in groups} == {0.05, 0.0}


def test_plateaus_are_those_of_the_validation_metric() -> None:
    plateau = partial(torch.optim.lr_scheduler.ReduceLROnPlateau, mode="max")
    built = Optimizer(schedule=plateau).build(nn.Linear(2, 1), 4)["lr_scheduler"]
    assert (built["interval"], built["monitor"]) == ("epoch", "val/selected")
    with pytest.raises(SettingError, match="say mode: max"):
        Optimizer(schedule=torch.optim.lr_scheduler.ReduceLROnPlateau).build(nn.Linear(2, 1), 4)


def test_lora_plus_lets_b_learn_faster() -> None:
    model = tiny.pairing(LoRA(rank=2, targets={"vision": ["1"]}, lr_ratio=16))
    optimizer = Optimizer(lr=0.01, head_lr=0.02).build(model, 1)["optimizer"]
    names = {parameter: name for name, parameter in model.named_parameters()}
    rates = {names[p]: group["initial_lr"] for group in optimizer.param_groups for p in group["params"]}
    assert len(rates) == sum(parameter.requires_grad for parameter in names)
    for name, rate in rates.items():
        expected = 0.02 if name.startswith("task.") else 0.16 if "lora_B" in name else 0.01
        assert rate == pytest.approx(expected), name


def test_a_ratio_of_one_makes_no_groups_of_its_own() -> None:
    plain = tiny.pairing(LoRA(rank=2, targets={"vision": ["1"]}))
    groups = Optimizer(lr=0.01).build(plain, 1)["optimizer"].param_groups
    assert [(group["initial_lr"], group["weight_decay"]) for group in groups] == [(0.01, 0.05), (0.01, 0.0)]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("optimizer.optimizer=sgd", "optimizer.optimizer: expected a block with _target_ | None, got 'sgd' (str)"),
        ("optimizer.optimizer={_target_: torch.optim.SGDD}", "module torch.optim has no 'SGDD'"),
        (
            "optimizer.optimizer={_target_: torch.optim.SGD, momentun: 0.9}",
            "unknown key 'optimizer.optimizer.momentun'. Did you mean 'momentum'?",
        ),
        (
            "optimizer.optimizer={_target_: torch.optim.SGD, lr: 0.9}",
            "unknown key 'optimizer.optimizer.lr'. Did you mean 'optimizer.lr'?",
        ),
        (
            "optimizer.schedule={_target_: torch.optim.lr_scheduler.StepLR}",
            "missing value 'optimizer.schedule.step_size'",
        ),
        (
            "optimizer.optimizer={_target_: torch.optim.SGD, nesterov: true}",
            "optimizer.optimizer: Nesterov momentum requires a momentum",
        ),
        ("optimizer.schedule={_target_: torch.optim.lr_scheduler.OneCycleLR, max_lr: 1}", "optimizer.schedule: You"),
    ],
)
def test_a_wrong_name_is_told_before_anything_is_read(word: str, said: str, refusal: Callable[..., str]) -> None:
    assert said in refusal(word)


def test_lr_ratio_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    method = "method={_target_: zoo.methods.lora.LoRA, targets: {vision: ['1']}, lr_ratio: 0}"
    assert command(f"into={tmp_path / 'run'}", method) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "method.lr_ratio: expected float > 0, got 0 (int)" in line


def test_an_adapter_names_pytorchs_own_optimizer_and_tells_of_any_other(tmp_path: Path) -> None:
    assert command(f"into={tmp_path / 'known'}", SGD) == 0
    assert "torch.optim.SGD" in (tmp_path / "known" / "adapter" / "recipe.yaml").read_text()
    other = "optimizer.optimizer={_target_: own_optimizers.Slow, momentum: 0.5}"
    assert command(f"into={tmp_path / 'own'}", other) == 0
    assert "own_optimizers" not in (tmp_path / "own" / "adapter" / "recipe.yaml").read_text()
    assert "own_optimizers" in (tmp_path / "own" / "recipe.yaml").read_text()
    manifest = json.loads((tmp_path / "own" / "metrics.json").read_text())["manifest"]
    assert manifest["left_out"] == {"optimizer.optimizer": {"_target_": "own_optimizers.Slow", "momentum": 0.5}}


def test_a_shared_recipe_keeps_pytorchs_optimizer_and_schedule() -> None:
    optimizer = {"_target_": "torch.optim.SGD", "momentum": 0.9}
    schedule = {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau", "mode": "max"}
    block = {"_target_": "zoo.training.optimizer.Optimizer", "lr": 0.1, "optimizer": optimizer, "schedule": schedule}
    trainer = {
        "_target_": "zoo.training.trainer.build_trainer",
        "logger": ["csv", "mlflow"],
        "max_steps": 9,
        "ema": 0.9,
    }
    assert public.settings({"optimizer": block, "trainer": trainer}, []) == {"optimizer": block, "trainer": trainer}
