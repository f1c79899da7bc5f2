"""What nobody types in good faith, and what damaged disks give: one line that names it, and no traceback."""

import io
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from adapter_files import code, copied, metrics, seal
from safetensors.numpy import load_file, save_file

from zoo import command_line, predict
from zoo.adapter import download
from zoo.adapter.directory import AdapterError, load, verify
from zoo.adapter.install import inspect
from zoo.adapter.soundness import SoundnessError
from zoo.adapter.trust import TrustError
from zoo.adapter.unpack import ArchiveError, unpack
from zoo.inference import job
from zoo.inference.inputs import Input, InputError, find_questions
from zoo.recipe import schema
from zoo.recipe.compose import RecipeError, compose
from zoo.recipe.schema import SchemaError


def told(capsys: pytest.CaptureFixture[str], work: Callable[[], Any]) -> str:
    """The one line of a command that fails."""
    with pytest.raises(SystemExit) as end:
        sys.exit(work())
    assert end.value.code in (1, 2)
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1, err
    return err


# --- addresses --------------------------------------------------------------------------------------------------------

ADDRESSES = [
    "http://[::1",
    "https://[",
    "http://127.0.0.1:99999/x.zip",
    "https://host:port/x.zip",
    "https://host/é.zip",
    "https://hé.org/x.zip",
    "https://host/a b.zip",
    "https://host/a\tb.zip",
    "https:///x.zip",
    "https://",
    "ftp://host/x.zip",
    "file:///etc/passwd",
    "https://user:secret@host:0x/x.zip",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_what_is_no_address_is_told(
    address: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    line = told(capsys, lambda: code([address]))
    assert "expected https://HOST/PATH" in line
    assert "secret" not in line


def test_a_server_that_sends_one_elsewhere_with_no_address_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("http://[::1", "https://host:99999/", "/é", "https://host:x/"):
        assert download._malformed("https://host/x.zip", place)
    assert download._malformed("https://host/x.zip", "/other.zip") == ""


# --- archives ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "recipe.yaml"},
        {"GNU.sparse.map": "a,b"},
        {"GNU.sparse.map": "0,1,2"},
        {"GNU.sparse.size": "x"},
        {"size": "-1"},
        {"size": "9" * 40},
        {"mtime": "x"},
    ],
)
def test_headers_of_a_tar_that_lie_are_an_archive_error(headers: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as out:
        entry = tarfile.TarInfo("recipe.yaml")
        entry.size, entry.pax_headers = 600, headers
        out.addfile(entry, io.BytesIO(b"x" * 600))
    (tmp_path / "out").mkdir()
    with pytest.raises(ArchiveError, match=r"x\.tar"):
        unpack(path, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


# --- recipes ----------------------------------------------------------------------------------------------------------

TARGETS = [
    "os.system",
    "sys.exit",
    "zlib.compress",
    "builtins.eval",
    "posix.system",
    "numpy.core",
    "x",
    "",
    ".",
    "a..b",
]
TARGETS += [
    "zoo./etc/passwd.X",
    "zoo.methods.\0.X",
    "zoo.methods.mantis.",
    "os.path.join",
    "__main__.X",
    "_frozen_importlib.X",
]


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_without_source_is_a_named_mistake(target: str) -> None:
    with pytest.raises(SchemaError):
        schema.signature(target)


@pytest.mark.parametrize("seed", ["-1", "4294967296", "1" + "0" * 23, "0.5", "true", "null"])
def test_a_seed_out_of_range_is_named(seed: str) -> None:
    with pytest.raises(RecipeError, match="seed: expected int"):
        compose("mantis", [f"seed={seed}"])
    compose("mantis", ["seed=4294967295"])


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "a: " + "[" * 5000 + "]" * 5000, "a: " + "9" * 5000, "{" * 100_000, "\0"]
)
def test_a_recipe_nested_too_deeply_or_no_text_is_a_mistake(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(RecipeError):
        compose(str(tmp_path / "x.yaml"))


def test_an_adapter_that_asks_for_absurd_widths_is_refused(tmp_path: Path) -> None:
    folder = copied(tmp_path / "mine")
    values = yaml.safe_load((folder / "recipe.yaml").read_text())
    for key, value in (("rank", 10**8), ("targets", {"a": [10**9]})):
        changed = {**values, "method": {**values["method"], key: value}}
        (folder / "recipe.yaml").write_text(yaml.safe_dump(changed))
        with pytest.raises(TrustError, match="expected numbers up to 1,048,576"):
            verify(seal(folder))


def test_what_does_not_fit_the_memory_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    def work() -> None:
        with command_line.user_errors():
            torch.empty(2**60)

    line = told(capsys, work)
    assert re.search(r"the memory is too small for these settings \(\d+ bytes\)", line)


# --- places to write to -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place", ["/dev/null/x.jsonl", "/proc/x.jsonl", "/sys/x.jsonl", "x" * 300, "a" * 256 + "/x.jsonl"]
)
def test_a_place_that_cannot_be_written_is_one_line(
    place: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def written() -> int:
        with command_line.user_errors():
            answers = job.open_output({"output": place}, [copied(tmp_path / "mine")])
            assert answers is not None
            answers.begin([])
        return 0

    assert place[:20] in told(capsys, written)


@pytest.mark.parametrize("words", [["into=/dev/null"], ["into=/dev/null/x"], ["runs=/sys"], ["runs=/proc/self/x"]])
def test_a_run_folder_that_cannot_be_is_one_line(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "zoo.train", "recipe=mantis", "--smoke", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (1, 2)
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_the_drawing_of_a_file_with_a_long_name_has_a_name_that_fits(tmp_path: Path) -> None:
    names = ["é" * 120 + f"{k}.xyz" for k in range(2)] + ["x" * 250 + ".xyz", "short.xyz"]
    drawn = []
    for name in names:
        assert len(os.fsencode(name)) <= 254
        item = Input(name, tmp_path / name, tmp_path / name, Path("below") / name, {})
        path = job.picture_of(item, tmp_path)
        path.parent.mkdir(exist_ok=True)
        path.with_name(f".{path.name}").touch()
        drawn.append(path)
    assert len(set(drawn)) == len(names)
    assert drawn[-1] == tmp_path / "below" / "short.xyz.png"


def test_a_list_of_questions_with_an_endless_cell_or_depth_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("path,question\na.png," + "x" * 200_000)
    (tmp_path / "b.jsonl").write_text("[" * 100_000)

    class Data:
        settings = ("question",)

    for name in ("a.csv", "b.jsonl"):
        with pytest.raises(InputError, match=f"{name}"):
            find_questions(str(tmp_path / name), str(tmp_path), Data(), {})  # type: ignore[arg-type]


def test_a_list_of_questions_may_be_separated_by_semicolons(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("path;question\na.png;Is it a field, or water?\n")

    class Data:
        settings = ("question",)

    (item,) = find_questions(str(tmp_path / "a.csv"), str(tmp_path), Data(), {}).items  # type: ignore[arg-type]
    assert (item.path, item.settings) == (tmp_path / "a.png", {"question": "Is it a field, or water?"})


# --- headers and metrics of adapters ----------------------------------------------------------------------------------

VALUES = [
    "",
    "x",
    "null",
    "[]",
    "[1, 2]",
    "{}",
    '{"points": 3}',
    '{"points": {}}',
    "[" * 100_000,
    "NaN",
    "1e999",
    "0",
    "true",
]
VALUES += ['["a", "a"]', '["a", ""]', '[["a"]]', '["a\\nb"]', '{"points": {"weights": 1, "settings": 2}}', None]


@pytest.mark.parametrize("key", ["classes", "fingerprints", "structure"])
def test_a_header_of_the_wrong_kind_is_refused_by_every_command(
    key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied(tmp_path / "mine")
    file = folder / "adapter.safetensors"
    tensors = load_file(file)
    from safetensors import safe_open

    with safe_open(file, framework="np") as opened:
        whole = opened.metadata()
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    for value in VALUES:
        said = {**whole, key: value} if value is not None else {k: v for k, v in whole.items() if k != key}
        save_file(tensors, file, metadata=said)
        seal(folder)
        with pytest.raises(SoundnessError, match=rf"its header is damaged or not the zoo's: {key}"):
            inspect(folder)
    assert "its header is damaged" in told(capsys, lambda: code([str(folder)]))
    assert "its header is damaged" in told(capsys, lambda: predict.main([f"adapter={folder}", "input=x"]))


def test_tensors_of_nan_or_of_another_kind_are_refused(tmp_path: Path) -> None:
    from safetensors import safe_open

    folder = copied(tmp_path / "mine")
    file = folder / "adapter.safetensors"
    whole = load_file(file)
    with safe_open(file, framework="np") as opened:
        said = opened.metadata()
    trained = ((name, tensor) for name, tensor in whole.items() if name.startswith("method."))
    name, tensor = next((name, tensor) for name, tensor in trained if tensor.dtype == np.float32)
    for changed, words in ((np.full_like(tensor, np.nan), "holds NaN"), (tensor.view(np.int32), "holds torch.int32")):
        save_file({**whole, name: changed}, file, metadata=said)
        seal(folder)
        with pytest.raises(AdapterError, match=f"{re.escape(name)} {words}"):
            load(folder)


WRONG: list[dict[str, Any]] = [{"n": "<b>"}, {"n": -1}, {"n": True}, {"metrics": []}, {"metrics": {"accuracy": "x"}}]
WRONG += [{"intervals": {"accuracy": [1]}}, {"monitor": "other"}, {"monitor": 3}, {"manifest": {}}, {"manifest": []}]
WRONG += [{"unit": None}, {"split": {}}, {"metrics": {"accuracy": float("nan")}}, {"manifest": {"data": {"name": 3}}}]


@pytest.mark.parametrize("changes", WRONG, ids=json.dumps)
def test_metrics_of_the_wrong_kind_are_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    folder = copied(tmp_path / "mine", {"metrics.json": metrics(**changes)})
    with pytest.raises(SoundnessError, match=r"metrics\.json: (n|m|i|u|split)[\w.]*: "):
        inspect(folder)
