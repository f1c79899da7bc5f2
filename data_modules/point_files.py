"""A user's point clouds as files: which can be read, how many clouds one holds, and the points of each.

    .txt .xyz .csv       a table of numbers, x y z first; a line of names may stand on top, and then says which they are
    .npy .npz .h5 .hdf5   an array [M, 3 to 32], or a stack of them [K, M, 3 to 32]; of several arrays the one called
                          data, points or xyz
    .ply .off             vertices, or points drawn from the surface where there are faces
    .pcd                  without the points that the sensor did not measure

Cloud number k of a stack is called FILE#k.
"""

import math
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from data_modules import hdf5
from data_modules.errors import DataError
from data_modules.foreign import LARGEST, reason, require_file
from data_modules.meshes import read_off, read_ply, surface
from data_modules.pcd import read_pcd

TABLES, STACKS = (".txt", ".xyz", ".csv"), (".npy", ".npz", ".h5", ".hdf5")
MESHES: dict[str, Callable[[Path], Any]] = {".ply": read_ply, ".off": read_off}
READABLE = (*TABLES, *STACKS, *MESHES, ".pcd")
NAMES = ("data", "points", "xyz")
MOST_COLUMNS = 32
DRAWN = 10_000
"""Points drawn from a surface: as many as the authors of PointNet++ drew from ModelNet's."""


def clouds_in(path: Path) -> list[Path]:
    """FILE#0, FILE#1, ... where a file holds several clouds, else the file itself; one that cannot be read, too."""
    if path.suffix.lower() not in STACKS:
        return [path]
    try:
        with _array(path) as values:
            return [path] if values.ndim != 3 else [Path(f"{path}#{k}") for k in range(len(values))]
    except Exception:  # of any decoder; reading the file says what is wrong with it
        return [path]


def read_points(path: Path) -> tuple[NDArray[Any], list[str]]:
    """A cloud [M, >= 3] with its coordinates first, and notes.

    Args:
        path: a file, or FILE#k.

    Raises:
        DataError: naming the file and what is wrong with it.
    """
    name, mark, number = str(path).rpartition("#")
    file, place = (Path(name), int(number)) if mark and number.isdecimal() and not path.exists() else (path, None)
    suffix = file.suffix.lower()
    if place is not None and suffix not in STACKS:
        raise DataError(f"{path}: {suffix or file} holds one cloud, so it has no #{place}")
    if suffix not in READABLE:
        raise DataError(f"{file}: expected a cloud as {', '.join(READABLE)}")
    try:
        require_file(file, most=None if suffix in STACKS else LARGEST)
        if suffix in TABLES:
            return _table(file), []
        if suffix in STACKS:
            with _array(file) as values:
                return _cloud(values, file, place), []
        if suffix == ".pcd":
            points = read_pcd(file)
            measured = ~np.isnan(points).all(1)
            missing = len(points) - int(measured.sum())
            return points[measured], [f"{missing} points without coordinates are left out"] if missing else []
        points, triangles = MESHES[suffix](file)
        if not len(triangles):
            return points, []
        return surface(points, triangles, DRAWN), [f"a mesh: {DRAWN:,} points are drawn from its surface"]
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{file} does not exist") from None
    except PermissionError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from None
    except Exception as error:  # NumPy's header reader alone raises errors of its tokenizer and of Python's syntax
        raise DataError(f"{file} cannot be read as {suffix[1:]}: {reason(error)}") from error


def _cloud(values: Any, file: Path, place: int | None) -> NDArray[Any]:
    """One cloud of an array or stack."""
    if values.ndim == 3 and len(values) == 1 and place is None:
        place = 0
    if values.ndim == 3 and (place is None or place >= len(values)):
        raise DataError(f"{file} holds {len(values)} clouds; {file}#0 is the first, {file}#{len(values) - 1} the last")
    if values.ndim == 2 and place:
        raise DataError(f"{file} holds one cloud, so it has no #{place}")
    if (size := math.prod(values.shape[-2:]) * values.dtype.itemsize) > LARGEST:
        raise DataError(f"{file} holds a cloud of {size:,} bytes; at most {LARGEST:,} are read")
    return np.asarray(values[place] if values.ndim == 3 else values[:])


@contextmanager
def _array(path: Path) -> Iterator[Any]:
    """The array of a `.npy`, `.npz` or HDF5 file that clouds are in; read from the disk when it is indexed.

    Raises:
        DataError: none, or several of which none is called as expected.
    """
    require_file(path)
    if path.suffix.lower() == ".npy":
        yield _numbers(np.load(path, mmap_mode="r", allow_pickle=False))
    elif path.suffix.lower() == ".npz":
        require_small(path)
        with np.load(path, allow_pickle=False) as archive:
            yield _chosen({name: archive[name] for name in archive.files}, path)
    else:
        with hdf5.opened(path) as file:
            found: dict[str, Any] = {}
            file.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
            yield _chosen(found, path)


def require_small(path: Path) -> None:
    """Raises DataError: an archive that unpacks to more than is read."""
    with zipfile.ZipFile(path) as archive:
        size = sum(info.file_size for info in archive.infolist())
    if size > LARGEST:
        raise DataError(f"{path} unpacks to {size:,} bytes; at most {LARGEST:,} are read")


def _chosen(arrays: dict[str, Any], path: Path) -> Any:
    fitting = {
        name: array
        for name, array in arrays.items()
        if array.dtype.kind in "fiu" and array.ndim in (2, 3) and 3 <= array.shape[-1] <= MOST_COLUMNS
    }
    called = [name for name in NAMES if name in fitting] or list(fitting)
    if len(called) != 1:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items()) or "nothing"
        raise DataError(
            f"{path} holds {shapes}; expected one array [M, 3 or more] or [K, M, 3 or more], or one of several called "
            "data"
        )
    return fitting[called[0]]


def _numbers(values: Any) -> Any:
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        raise ValueError("it holds no array of real numbers")
    return values


def _table(path: Path) -> NDArray[np.float64]:
    """Numbers between commas, semicolons or blanks; x, y and z first, where a line of names says which they are."""
    with path.open(encoding="utf-8-sig") as file:
        first, second = file.readline(), file.readline()
    words = [word.lower() for word in re.split(r"[,;\s]+", first.strip().lstrip("#/ ")) if word]
    named = bool(words) and not any(map(_is_number, words))
    line = second if named else first
    separator = next((mark for mark in ",;" if mark in line), None)
    table = np.loadtxt(path, delimiter=separator, ndmin=2, skiprows=int(named), encoding="utf-8-sig")
    if not named or not {"x", "y", "z"} <= set(words) or len(words) != table.shape[1]:
        return table
    front = [words.index(axis) for axis in "xyz"]
    return table[:, [*front, *(k for k in range(len(words)) if k not in front)]]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def read_table(path: Path) -> NDArray[Any]:
    """A numeric table [M, columns], comma- or space-separated, or of NumPy; never unpickled.

    Raises:
        DataError: naming the file and what is wrong with it.
    """
    try:
        require_file(path, most=LARGEST)
        if path.suffix == ".npy":
            values = np.load(path, allow_pickle=False)
            return np.asarray(_numbers(values))
        if path.suffix not in (".txt", ".xyz", ".csv"):
            raise DataError(f"{path}: expected a .txt, .xyz, .csv or .npy table of coordinates")
        with path.open(encoding="utf-8") as file:
            separator = "," if "," in file.readline() else None
        return np.loadtxt(path, delimiter=separator, ndmin=2)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except DataError:
        raise
    except Exception as error:  # of any decoder
        raise DataError(f"{path} is no table of numbers: {reason(error)}") from error
