"""What a first prediction imports: neither Lightning nor torchmetrics, nor a library that no backbone of it needs."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

TRAINING = ("lightning", "torchmetrics", "tensorboard")
PICTURES = ("timm", "torchvision", "transformers")
LOAD = "import zoo; zoo.load({name!r})"
PREDICT = "from zoo.predict import main; assert main(['adapter={name}', 'input={file}', 'output={out}']) == 0"
TELL = "import json, sys; print(json.dumps(sorted({module.partition('.')[0] for module in sys.modules})))"


def imported(code: str) -> set[str]:
    """Top-level modules that a new interpreter has after running a line of code."""
    done = subprocess.run([sys.executable, "-c", f"{code}\n{TELL}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "name", ["mantis-dales", *(pytest.param(n, marks=pytest.mark.slow) for n in ("scale_earth-rsscn7", "tb_ava-grid"))]
)
def test_loading_imports_neither_training_nor_foreign_libraries(name: str) -> None:
    assert not imported(LOAD.format(name=name)) & {*TRAINING, *PICTURES}


def test_predicting_a_file_imports_no_training(tmp_path: Path) -> None:
    cloud = tmp_path / "cloud.npy"
    np.save(cloud, np.random.default_rng(0).normal(size=(600, 3)).astype(np.float32))
    code = PREDICT.format(name="mantis-dales", file=cloud, out=tmp_path / "out.jsonl")
    assert not imported(code) & {*TRAINING, *PICTURES}
    assert json.loads((tmp_path / "out.jsonl").read_text())["label"]


def test_the_package_and_the_catalogue_import_no_torch() -> None:
    assert not imported("import zoo; zoo.list_adapters()") & {"torch", *TRAINING, *PICTURES}
