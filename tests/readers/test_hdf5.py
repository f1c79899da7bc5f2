"""An HDF5 file shows its reader its own bytes and no others, however it points at other files."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from data_modules.errors import DataError
from data_modules.readers import arrays, point_files

SECRET = bytes(range(96))


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file of the host: as bytes, and as an HDF5 file."""
    (tmp_path / "key.bin").write_bytes(SECRET)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = np.frombuffer(SECRET, np.uint8).reshape(-1, 3)
    return tmp_path


def external_storage(file: h5py.File, folder: Path) -> None:
    where = [(str(folder / "key.bin"), 0, len(SECRET))]
    file.create_dataset("data", (len(SECRET) // 3, 3), "u1", external=where)


def virtual(file: h5py.File, folder: Path) -> None:
    layout = h5py.VirtualLayout((32, 3), "u1")
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "data", (32, 3))
    file.create_virtual_dataset("data", layout)


def virtual_of_raw(file: h5py.File, folder: Path) -> None:
    file.create_dataset("stolen", (96,), "u1", external=[(str(folder / "key.bin"), 0, 96)])
    layout = h5py.VirtualLayout((96, 3), "u1")
    layout[:, 1] = h5py.VirtualSource(".", "stolen", (96,))
    file.create_virtual_dataset("data", layout)


def external_link(file: h5py.File, folder: Path) -> None:
    file["data"] = h5py.ExternalLink(str(folder / "other.h5"), "/data")


def soft_chain(file: h5py.File, folder: Path) -> None:
    file["deep/er/gate"] = h5py.ExternalLink(str(folder / "other.h5"), "/")
    file["a"] = h5py.SoftLink("/deep/er/gate/data")
    file["b"] = h5py.SoftLink("/a")
    file["data"] = h5py.SoftLink("/b")


def in_a_group(file: h5py.File, folder: Path) -> None:
    file["loop"] = file.create_group("a/b")["/"]  # a hard link back to the root
    file.create_dataset("a/b/data", (32, 3), "u1", external=[(str(folder / "key.bin"), 0, 96)])


WAYS = (external_storage, virtual, virtual_of_raw, external_link, soft_chain, in_a_group)


@pytest.mark.parametrize("way", WAYS)
def test_a_file_that_leads_to_another_is_refused(way: Callable[[h5py.File, Path], None], secret: Path) -> None:
    stolen = secret / "steal.h5"
    with h5py.File(stolen, "w") as file:
        way(file, secret)
    with pytest.raises(DataError, match=r"steal\.h5: '.*' (is a|keeps its).*; copy the values into the file itself"):
        point_files.read_points(stolen)
    assert point_files.clouds_in(stolen) == [stolen]
    with pytest.raises(DataError, match="copy the values into the file itself"):
        arrays.read_arrays(stolen, ("data",), distributor="")


def test_links_within_the_file_are_followed(tmp_path: Path) -> None:
    values = np.arange(12.0).reshape(4, 3)
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file["kept/here"] = values
        file["data"] = h5py.SoftLink("/kept/here")
        file["dangling"] = h5py.SoftLink("/nowhere")
    np.testing.assert_array_equal(point_files.read_points(tmp_path / "own.h5")[0], values)
    found = arrays.read_arrays(tmp_path / "own.h5", ("data",), distributor="")
    np.testing.assert_array_equal(found["data"], values)
