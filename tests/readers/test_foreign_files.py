"""Files that are damaged, endless or no files at all: each is told in a line, and the others are read."""

import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from demo_tiny import Clips
from numpy.typing import NDArray

from data_modules.errors import DataError
from data_modules.folder.own_files import _digest
from data_modules.folder.rows import Columns, Kinds, read_entries
from data_modules.kinds.clouds import CloudDataModule
from data_modules.readers import point_files
from data_modules.readers.cloud_preparation import clean
from data_modules.readers.foreign import LARGEST
from data_modules.readers.point_files import READABLE
from data_modules.readers.raster import read_picture
from zoo.inference import inputs


class Clouds(CloudDataModule):
    name = "clouds"

    def __init__(self) -> None:
        super().__init__(points=4)


CLOUD = np.random.default_rng(0).normal(size=(8, 3))


def test_one_bit_flips_of_an_array_header_are_read_or_refused_by_name(tmp_path: Path) -> None:
    """NumPy parses the header as Python: a flip gives errors of its tokenizer and of Python's syntax."""
    np.save(tmp_path / "whole.npy", CLOUD)
    content = (tmp_path / "whole.npy").read_bytes()
    broken, read = tmp_path / "broken.npy", 0
    told, kinds = set(), set()
    for bit in range(0, 8 * (len(content) - CLOUD.nbytes), 5):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        broken.write_bytes(damaged)
        try:
            point_files.read_points(broken)
            read += 1
        except DataError as error:
            told.add(str(error).partition(" cannot be read as npy: ")[0])
            kinds.add(type(error.__cause__).__name__)
    assert read < 100
    assert told == {str(broken)}
    assert {"TokenError", "ValueError"} <= kinds


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A folder of one good cloud among things that are no files, each called like a cloud."""
    np.savetxt(tmp_path / "good.xyz", CLOUD)
    for suffix in READABLE:
        os.mkfifo(tmp_path / f"pipe{suffix}")
        (tmp_path / f"zero{suffix}").symlink_to("/dev/zero")
        (tmp_path / f"empty{suffix}").touch()
        (tmp_path / f"lost{suffix}").symlink_to(tmp_path / "nowhere")
    return tmp_path


def test_a_folder_of_pipes_devices_and_sockets_does_not_hang(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(odd)  # a socket's path may have 107 bytes
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("socket.ply")
        data = Clouds()
        found = inputs.find(str(odd), data, {})
        told = {item.path.name: inputs.read(data, item) for item in found.items}
    assert told.pop("good.xyz").error == ""
    assert told.pop("socket.ply").error == f"{odd / 'socket.ply'} is a socket; expected a file"
    assert len(told) == 4 * len(READABLE)
    words = {"pipe": "is a pipe; expected a file", "zero": "is a device; expected a file", "empty": "is empty"}
    words["lost"] = "does not exist"
    for name, one in told.items():
        assert one.error == f"{odd / name} {words[Path(name).stem]}"


def test_a_pipe_among_the_pictures_of_a_sound_does_not_hang(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "clip.wav", np.zeros(16_000), 16_000)
    (tmp_path / "clip").mkdir()
    for k in range(3):
        os.mkfifo(tmp_path / "clip" / f"{k}.jpg")
    data = Clips()
    (item,) = inputs.find(str(tmp_path / "clip.wav"), data, {}).items
    error = inputs.read(data, item).error
    assert "jpg is a pipe; expected a file" in error
    assert "\n" not in error
    with pytest.raises(DataError, match="is a pipe; expected a file"):
        _digest([tmp_path / "clip" / "0.jpg"])


def test_a_decoder_that_fails_as_none_foresaw_costs_one_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savetxt(tmp_path / "a.xyz", CLOUD)

    def fail(*_: Any) -> NDArray[Any]:
        raise AssertionError("internal\nstate")

    monkeypatch.setattr(Clouds, "read", fail)
    (item,) = inputs.find(str(tmp_path), Clouds(), {}).items
    assert inputs.read(Clouds(), item).error == f"{tmp_path / 'a.xyz'} cannot be read: internal state"


@pytest.mark.parametrize("scale", [1e-160, 1e-200, 5e-324, 1e-31])
def test_a_cloud_too_small_to_be_scaled_is_an_error_and_no_nan(scale: float) -> None:
    with pytest.raises(DataError, match=r"^it has no extent: 8 point\(s\), all at .* but for"):
        clean(CLOUD * scale, "it")


def test_a_file_too_large_to_be_read_whole_is_not_opened(tmp_path: Path) -> None:
    for suffix in (".txt", ".ply", ".off", ".pcd"):
        path = tmp_path / f"sparse{suffix}"
        with path.open("wb") as file:
            file.truncate(LARGEST + 1)
        with pytest.raises(DataError, match=r"has 2,147,483,649 bytes; at most 2,147,483,648 are read"):
            point_files.read_points(path)


def test_a_picture_that_claims_billions_of_pixels_is_refused_by_name(tmp_path: Path) -> None:
    """Pillow's own guard raises an error of a kind of its own, before the size is looked at."""
    header = b"GIF89a" + (65_000).to_bytes(2, "little") * 2 + b"\x00\x00\x00"
    (tmp_path / "bomb.gif").write_bytes(header + b"\x2c" + bytes(4) + (65_000).to_bytes(2, "little") * 2 + bytes(20))
    with pytest.raises(DataError, match=r"bomb\.gif"):
        read_picture(tmp_path / "bomb.gif", "bomb.gif")


def test_a_name_of_hundreds_of_letters_in_a_list_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("path,label\n" + "x" * 300 + ".xyz,a\n")
    with pytest.raises(DataError, match=r"manifest\.csv, line 2: .*x{80}"):
        read_entries(tmp_path, None, Columns("point clouds", ("label",)), Kinds("point clouds", (".xyz",)), {})


@pytest.mark.parametrize("text", ["[" * 100_000, '{"path": ' + "[" * 100_000])
def test_a_line_nested_too_deeply_is_told_with_its_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text(text + "\n")
    with pytest.raises(DataError, match=r"manifest\.jsonl, line 1: no JSON that is read here: it is nested too deeply"):
        read_entries(tmp_path, None, Columns("point clouds", ("label",)), Kinds("point clouds", (".xyz",)), {})
