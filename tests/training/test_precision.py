"""The arithmetic of a training is what the recipe says, or what this machine gains by; the run says which."""

from pathlib import Path
from typing import Any

import pytest
import torch

from zoo.errors import SettingError
from zoo.recipe import compose
from zoo.training import precision
from zoo.training.precision import MatmulPrecision, choose
from zoo.training.trainer import build_trainer


@pytest.mark.parametrize("named", ["32-true", "16-mixed", "bf16-mixed"])
def test_what_a_recipe_names_is_taken_without_asking(named: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "multiplies_bfloat16", None)
    assert choose(named, "cpu") == (named, "")


@pytest.mark.parametrize(("able", "chosen"), [(True, "bf16-mixed"), (False, "32-true")])
def test_a_processor_takes_bfloat16_where_it_gains_by_it(
    able: bool, chosen: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: able)
    trainer = build_trainer(tmp_path, precision="auto", accelerator="cpu")
    assert trainer.precision == chosen
    (said,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("precision")]
    assert said.startswith(f"precision {chosen}: the processor ")


@pytest.mark.parametrize(
    ("limit", "amx", "able"),
    [
        ("", True, True),
        ("", False, False),
        ("ALL", True, True),
        ("avx512_core_amx", True, True),
        ("AVX512_CORE_BF16", True, False),
        ("AVX2", True, False),
    ],
)
def test_units_that_are_switched_off_do_not_count(
    limit: str, amx: bool, able: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DNNL_MAX_CPU_ISA", raising=False)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert precision.multiplies_bfloat16() == able


def test_a_torch_that_does_not_know_is_taken_for_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported")
    assert not precision.multiplies_bfloat16()


@pytest.mark.parametrize(("able", "chosen"), [(True, "bf16-mixed"), (False, "32-true")])
@pytest.mark.parametrize("accelerator", ["auto", "gpu", "cuda"])
def test_a_gpu_is_asked(able: bool, chosen: str, accelerator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "multiplies_bfloat16", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: able)
    assert choose("auto", accelerator)[0] == chosen


@pytest.mark.slow
def test_the_manifest_says_in_which_precision_a_run_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    from zoo.train import main

    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: False)
    words = [
        "recipe=mantis",
        "--smoke",
        "method.rank=2",
        "task.hidden=[]",
        "trainer.precision=auto",
        f"runs={tmp_path}",
    ]
    assert main(words) == 0
    (run,) = (tmp_path / "mantis").iterdir()
    for file in (run / "metrics.json", run / "adapter" / "metrics.json"):
        assert json.loads(file.read_text())["manifest"]["precision"] == "32-true"


MADE_FOR = {name: compose.find(name).read_text().splitlines()[2] for name in compose.available()}


@pytest.mark.parametrize("name", [name for name, hardware in MADE_FOR.items() if "GPU" in hardware])
def test_a_recipe_for_a_gpu_names_its_arithmetic(name: str) -> None:
    trainer = compose.read(compose.find(name), [])["trainer"]
    assert trainer["precision"] in ("32-true", "bf16-mixed")
    assert trainer["matmul_precision"] == "high"


def test_no_recipe_for_a_processor_names_the_arithmetic_of_a_gpu() -> None:
    names = [name for name, hardware in MADE_FOR.items() if "CPU" in hardware]
    assert len(names) > 5
    assert not [name for name in names if "matmul_precision" in compose.read(compose.find(name), [])["trainer"]]


def arithmetic() -> tuple[str, bool]:
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32


class On:
    """As much of a trainer as a callback asks."""

    is_global_zero = True

    def __init__(self, device: str) -> None:
        self.strategy = self
        self.root_device = torch.device(device)


@pytest.mark.parametrize("ends", ["well", "early"])
@pytest.mark.parametrize(("asked", "tf32"), [("highest", False), ("high", True), ("medium", True)])
def test_a_gpu_takes_the_named_arithmetic_while_it_trains(
    asked: Any, tf32: bool, ends: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before, callback, trainer = arithmetic(), MatmulPrecision(asked), On("cuda")
    callback.on_fit_start(trainer, None)
    try:
        assert arithmetic() == (asked, tf32)
    finally:
        if ends == "well":
            callback.on_fit_end(trainer, None)
        else:
            callback.on_exception(trainer, None, KeyboardInterrupt())
    assert arithmetic() == before
    assert capsys.readouterr().out == ("" if asked == "highest" else f"matmul precision {asked}\n")


def test_a_processor_stays_exact_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    before, callback = arithmetic(), MatmulPrecision("high")
    callback.on_fit_start(On("cpu"), None)
    assert arithmetic() == before
    assert capsys.readouterr().out == "matmul precision high, which is for a GPU: float32 stays exact here\n"


def test_a_training_has_the_arithmetic_of_its_recipe_and_torchs_own_without(tmp_path: Path) -> None:
    def asked(**settings: Any) -> list[str]:
        made = build_trainer(tmp_path, accelerator="cpu", **settings)
        return [one.asked for one in made.callbacks if isinstance(one, MatmulPrecision)]

    assert (asked(), asked(matmul_precision="high")) == ([], ["high"])


def test_a_process_that_tells_torch_in_the_other_way_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def mixed() -> str:  # as torch does; whether depends on all that the process has set before
        raise RuntimeError("you have used mix of the legacy and new APIs to set the matmul precision")

    monkeypatch.setattr(torch, "get_float32_matmul_precision", mixed)
    with pytest.raises(SettingError, match=r"trainer\.matmul_precision: this process has set"):
        MatmulPrecision("high").on_fit_start(On("cuda"), None)
