"""A user's point clouds as files: which can be read, how many clouds one holds, and the points of each.

    .txt .xyz .csv        a table of numbers, x y z first; a line of names on top says which they are; a
    .pts .asc             line with the number of points may stand there, too
    .npy .npz .h5 .hdf5   an array [M, 3 to 32], or a stack of them [K, M, 3 to 32]; of several arrays the one called
                          data, points or xyz
    .ply .off .obj        vertices, or points drawn from the surface where there are faces
    .stl .glb
    .las .laz .pcd        the points
    .bin                  32-bit floats x y z reflectance, as KITTI's; with a fifth column, as nuScenes'

Points that a sensor did not measure are left out, which is noted. A few formats without a reader here are refused with
what to do.

Cloud number k of a stack is called FILE#k.
"""

import math
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from data_modules.errors import DamagedError, DataError
from data_modules.readers import hdf5
from data_modules.readers.cloud_notes import lost_digits, measured
from data_modules.readers.foreign import LARGEST, reason, require_file
from data_modules.readers.lidar import read_floats, read_las
from data_modules.readers.mesh_files import read_mesh, read_obj
from data_modules.readers.meshes import read_off, read_ply, surface
from data_modules.readers.number_table import read_numbers
from data_modules.readers.pcd import read_pcd

TABLES, STACKS = (".txt", ".xyz", ".csv", ".pts", ".asc"), (".npy", ".npz", ".h5", ".hdf5")

MESHES: dict[str, Callable[[Path], Any]] = {
    ".ply": read_ply, ".off": read_off, ".obj": read_obj, ".stl": read_mesh, ".glb": read_mesh,
}  # fmt: skip

POINTS: dict[str, Callable[[Path], Any]] = {
    ".pcd": read_pcd, ".las": read_las, ".laz": read_las, ".bin": read_floats,
}  # fmt: skip

READABLE = (*TABLES, *STACKS, *MESHES, ".pcd", ".las", ".laz", ".bin")

CONVERTED = "save it as .laz, .ply or .pcd (CloudCompare and PDAL do)"

REFUSED = {
    **dict.fromkeys((".e57", ".ptx", ".rcp", ".rcs", ".fls"), CONVERTED),
    **dict.fromkeys((".gltf", ".fbx", ".dae", ".3ds"), "save it as .glb, .obj or .ply (Blender and MeshLab do)"),
}
"""Formats of clouds and meshes that have no reader here, and what to do."""

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
    if suffix in REFUSED:
        raise DataError(f"{file}: {suffix} files cannot be read here; {REFUSED[suffix]}")
    if suffix not in READABLE:
        raise DataError(f"{file}: expected a cloud as {', '.join(READABLE)}")
    try:
        require_file(file, most=None if suffix in STACKS else LARGEST)
        values, notes = _read(file, suffix, place)
        if not values.size:
            raise DamagedError("it holds no point")
        if values.ndim != 2 or values.shape[1] < 3:
            return values, notes
        values, left_out = measured(values)
        return values, [*notes, *left_out, *lost_digits(values)]
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{file} does not exist") from None
    except PermissionError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from None
    except Exception as error:  # NumPy's header reader alone raises errors of its tokenizer and of Python's syntax
        raise DataError(f"{file} cannot be read as {suffix[1:]}: {_why(error)}") from error


def _why(error: Exception) -> str:
    """Why a file cannot be read, without messages about a library's internals."""
    explained = isinstance(error, DamagedError | MemoryError | RecursionError)
    return reason(error) if explained else "it is damaged, cut short or no such file"


def _read(file: Path, suffix: str, place: int | None) -> tuple[NDArray[Any], list[str]]:
    """Rows of a file as they are stored, and notes."""
    if suffix in STACKS:
        with _array(file) as values:
            return _cloud(values, file, place), []
    if suffix in TABLES:
        return read_numbers(file)
    if suffix in POINTS:
        rows = POINTS[suffix](file)
        known = ~np.isnan(rows).all(1) if suffix == ".pcd" else np.ones(len(rows), np.bool_)
        missing = len(rows) - int(known.sum())
        return rows[known], [f"{missing} points without coordinates are left out"] if missing else []
    points, triangles = MESHES[suffix](file)
    if not len(triangles):
        return points, []
    return surface(points, triangles, DRAWN), [f"a mesh: {DRAWN:,} points are drawn from its surface"]


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
        yield _numbers(_load(path, mmap_mode="r"))
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


def _load(path: Path, mmap_mode: Literal["r"] | None = None) -> Any:
    try:
        return np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
    except ValueError as error:
        if "Object arrays" in str(error) or "Python objects" in str(error):
            raise DamagedError(
                "it holds Python objects, which are not loaded; save an array of numbers alone"
            ) from None
        raise


def _numbers(values: Any) -> Any:
    names = getattr(getattr(values, "dtype", None), "names", None) or ()
    if {"x", "y", "z"} <= set(names):  # a table of named columns
        values = np.stack([values[axis] for axis in "xyz"], axis=-1)
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        raise DamagedError("it holds no array of real numbers")
    return values


def read_table(path: Path) -> NDArray[Any]:
    """A numeric table [M, columns], comma- or space-separated, or of NumPy; never unpickled.

    Raises:
        DataError: naming the file and what is wrong with it.
    """
    try:
        require_file(path, most=LARGEST)
        if path.suffix == ".npy":
            return np.asarray(_numbers(_load(path)))
        if path.suffix not in (".txt", ".xyz", ".csv"):
            raise DataError(f"{path}: expected a .txt, .xyz, .csv or .npy table of coordinates")
        return read_numbers(path)[0]
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except DataError:
        raise
    except Exception as error:  # of any decoder
        raise DataError(f"{path} is no table of numbers: {_why(error)}") from error
