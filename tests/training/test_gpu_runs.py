"""Recipes on a GPU (`pytest -m gpu`): those whose small form needs no weights from elsewhere train and resume."""

import json
from pathlib import Path

import pytest
import torch
from recipe_runs import NAMES, crash_in_the_second_epoch, data_words
from safetensors.torch import load_file

from zoo.adapter import directory
from zoo.recipe import compose
from zoo.train import main

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def fetched(name: str) -> list[str]:
    """Sources of a recipe's small form that lie elsewhere."""
    config = compose.read(compose.find(name), [])
    small = config.get("smoke", {})
    given = {stream: dict(block or {}) for stream, block in config.get("backbones", {}).items()}
    sources = [str(small.get(f"backbones.{stream}.source", block.get("source", ""))) for stream, block in given.items()]
    return [source for source in sources if source.partition(":")[0] in ("hf", "timm", "pypi", "open_clip", "file")]


def made_for_a_gpu(name: str) -> bool:
    return "GPU" in [*compose.header(compose.find(name))][2]


# Those whose weights and data the zoo brings come first, in case time runs out.
LOCAL = sorted((name for name in NAMES if not fetched(name)), key=made_for_a_gpu)


def trained(name: str, folder: Path, *words: str) -> Path:
    words = (f"recipe={name}", "--smoke", "trainer.accelerator=gpu", "trainer.max_epochs=2", *words)
    assert main([*words, f"runs={folder}"]) == 0
    return next((folder / name).iterdir())


@pytest.mark.parametrize("name", LOCAL)
def test_a_recipe_trains_on_the_gpu_and_resumes_to_the_same_result(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        words = data_words(name, tmp_path)
    except ModuleNotFoundError as error:
        pytest.skip(f"its made-up files need what this machine lacks: {error}")
    whole = trained(name, tmp_path / "whole", *words)
    directory.verify(whole / "adapter")
    record = json.loads((whole / "metrics.json").read_text())
    assert "CPU" not in record["manifest"]["hardware"]
    crash_in_the_second_epoch(monkeypatch)
    with pytest.raises(ZeroDivisionError):
        trained(name, tmp_path / "cut", *words)
    monkeypatch.undo()
    cut = trained(name, tmp_path / "cut", *words, "resume=true")
    a, b = (load_file(run / "adapter" / "adapter.safetensors") for run in (whole, cut))
    differing = {
        key: (a[key].double() - b[key].double()).abs().max().item() for key in a if not torch.equal(a[key], b[key])
    }
    assert differing == {}  # else atomics of a kernel add in another order: by how much stands here
