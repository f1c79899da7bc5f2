"""Nothing of what other libraries print reaches a user: their bars, tips, notices and warnings with lines of source."""

import logging
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from zoo.batch import Clip, Cloud
from zoo.quiet import quiet


def test_notices_of_lightning_are_not_shown() -> None:
    quiet()
    for name in (
        "lightning.pytorch.utilities.rank_zero",
        "lightning.pytorch.trainer.connectors.signal_connector",
        "lightning.fabric.utilities.seed",
    ):
        assert not logging.getLogger(name).isEnabledFor(logging.INFO), name


@pytest.mark.parametrize("before", ["", "import huggingface_hub.constants; ", "import transformers; "])
def test_bars_of_transformers_are_off_without_importing_it(before: str) -> None:
    code = (
        f"import sys; {before}from zoo.quiet import quiet; had = 'transformers' in sys.modules; quiet(); "
        "assert had == ('transformers' in sys.modules); from huggingface_hub.utils import are_progress_bars_disabled; "
        "from transformers.utils import logging; "
        "assert are_progress_bars_disabled() and not logging.is_progress_bar_enabled()"
    )
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_DISABLE_PROGRESS_BARS"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def test_an_array_that_cannot_be_written_to_brings_no_warning() -> None:
    """As Pillow gives them."""
    import point_tiny

    from zoo.backbones.aisfx import AiSFX
    from zoo.backbones.mamba3d import Mamba3D

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cloud = Cloud("a", frozen(point_tiny.clouds(0)[0, 0].numpy().copy()), {})
        Mamba3D.transform(None, cloud)  # type: ignore[arg-type]
        clip = Clip("a", frozen(np.zeros((1, 8, 8, 3), np.uint8)), frozen(np.zeros((1, 16000), np.float32)), 16000, {})
        AiSFX.transform(None, clip)  # type: ignore[arg-type]


def test_a_file_without_numbers_is_refused_without_a_warning(tmp_path: Path) -> None:
    from data_modules.errors import DataError
    from data_modules.readers.point_files import read_points

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for text in ("", "\n\n", "x y z\n", "# nothing\n"):
            (tmp_path / "notes.txt").write_text(text)
            with pytest.raises(DataError):
                read_points(tmp_path / "notes.txt")


@pytest.mark.slow
def test_reading_the_small_language_model_shows_no_bar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its GGUF file is read as if for the first time."""
    from zoo.backbones import small_llava, weights
    from zoo.backbones.small_llava import LANGUAGE
    from zoo.quiet import quiet

    file = weights.resolve(LANGUAGE)
    copied = tmp_path / file.name
    shutil.copyfile(file, copied)
    quiet()  # as every command does
    capfd.readouterr()
    small_llava.smollm2(f"file:{copied}")
    assert capfd.readouterr() == ("", "")


def test_lightning_that_is_imported_afterwards_says_nothing_of_machines() -> None:
    lines = "from zoo.quiet import quiet; quiet(); import lightning; lightning.Trainer(logger=False, accelerator='cpu')"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", lines], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_a_kernel_that_no_wheel_carries_is_not_asked_for() -> None:
    quiet()
    assert not logging.getLogger("bitsandbytes.backends.cpu.ops").isEnabledFor(logging.WARNING)
