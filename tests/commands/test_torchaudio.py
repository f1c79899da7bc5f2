"""A torchaudio that cannot be imported is named, with what to do, and is not the zoo's end."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from zoo.command_line import message_of
from zoo.records import torchaudio

ROOT = Path(__file__).parents[2]


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a torchaudio made for another torch, in front of any other."""
    (package := tmp_path / "torchaudio").mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('PyTorch has CUDA version 1 whereas TorchAudio has 0')\n")
    (info := tmp_path / "torchaudio-0.1.dist-info").mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torchaudio\nVersion: 0.1\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path


def test_one_that_does_not_load_is_told_with_its_remedy(broken: Path) -> None:
    line = torchaudio.fault("2.99.0")
    assert line.startswith("torchaudio 0.1 cannot be imported beside torch ")
    assert line.endswith("pip uninstall torchaudio")
    assert torchaudio.fault("") == ""
    assert torchaudio.fault("0.1") == ""  # of the same release, which is not tried


def test_what_it_stops_ends_in_one_line(broken: Path) -> None:
    with pytest.raises(RuntimeError) as end:
        importlib.import_module("torchaudio")
    told = ModuleNotFoundError("Could not import module 'LlamaForCausalLM'")  # so transformers does
    told.__cause__ = end.value
    assert message_of(end.value) == message_of(told) == torchaudio.remedy()
    assert message_of(RuntimeError("of something else")) == ""


def test_the_zoo_is_imported_beside_it(broken: Path) -> None:
    code = "import zoo, zoo.recipe.build, zoo.backbones.aisfx, zoo.backbones.beats, data_modules.readers.media_sound"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
