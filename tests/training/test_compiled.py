"""Methods compile without a graph break, and a compiled training ends where the plain one does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import point_tiny
import pytest
import scale_tiny
import tiny
import torch
from run_tiny import as_it_was, command, refusal, same_result

from zoo.batch import Batch
from zoo.methods.lora import LoRA
from zoo.methods.mantis import Mantis
from zoo.pairing import Pairing
from zoo.training.compiled import missing as lacking

__all__ = ["as_it_was", "refusal"]  # fixtures

METHODS: dict[str, Callable[[], tuple[Pairing, Batch]]] = {
    "mantis": lambda: (point_tiny.pairing(Mantis(rank=2), depth=1), point_tiny.batch(0, 1)),
    "lora": lambda: (tiny.pairing(LoRA(rank=2, targets={"vision": ["1"], "audio": ["conv1"]})), tiny.batch(0, 1)),
    "scale_earth": lambda: (scale_tiny.encoder(), scale_tiny.pictures(0.3, 3.0)),
}


@pytest.mark.parametrize("name", ["lora", "scale_earth", pytest.param("mantis", marks=pytest.mark.slow)])
def test_a_method_is_one_graph(name: str) -> None:
    pairing, batch = METHODS[name]()
    pairing.train()
    torch._dynamo.reset()
    torch.manual_seed(0)
    plain = pairing(batch)
    torch.manual_seed(0)
    pairing.method.forward = torch.compile(pairing.method.forward, backend="eager", fullgraph=True)  # type: ignore
    compiled = pairing(batch)
    for stream, features in plain.items():
        torch.testing.assert_close(compiled[stream], features)


@pytest.mark.skipif(bool(lacking("cpu")), reason=f"torch.compile needs {lacking('cpu')}")
def test_the_key_compiles_the_training_and_leaves_the_pairing_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, called = list[Any](), list[bool]()

    def compiled(forward: Any) -> Any:
        asked.append(forward)
        return lambda *args: called.append(forward.__self__.training) or forward(*args)

    monkeypatch.setattr(torch, "compile", compiled)
    assert command(f"into={tmp_path / 'plain'}") == 0
    assert asked == []
    assert command(f"into={tmp_path / 'run'}", "trainer.compile=true") == 0
    assert called == ([True] * 6 + [False] * 3) * 2  # steps of training and validation; the test is none of them
    assert "forward" not in vars(asked[0].__self__)
    assert same_result(tmp_path / "plain", tmp_path / "run")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("trainer.compile=yes", "trainer.compile: expected bool, got 'yes' (str); write true or false"),
        ("trainer.compile=true", "trainer.compile needs a C++ compiler, and no-such-compiler is not there"),
    ],
)
def test_a_missing_compiler_is_told_before_anything_is_read(
    word: str, said: str, refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert said in refusal(word)
